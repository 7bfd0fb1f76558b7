//! Rows of `information_schema`.
//!
//! PostgreSQL defines these as views over `pg_catalog`; here they are made from the same
//! [`entities`](super::entities), which is faster to plan.

use arrow::array::RecordBatch;
use datafusion::common::Result;

use crate::pg_types::PgType;

use super::cells::Cell;
use super::context::SystemContext;
use super::entities::{ColumnRow, RelationRow, columns, relations, schemas};
use super::pg_catalog::owner;
use super::table::Columns;

/// What PostgreSQL says is the longest text, in bytes.
const TEXT_BYTES_MAX: i64 = 1 << 30;
/// Bytes a character takes at most.
const CHARACTER_BYTES_MAX: i64 = 4;
/// Digits after the second where none are declared.
const DATETIME_PRECISION: i64 = 6;

/// The rows of a view, or none if it is one that is always empty here.
pub(crate) fn rows(
    name: &str,
    context: &SystemContext,
    target: &Columns<'_>,
) -> Option<Result<RecordBatch>> {
    Some(match name {
        "tables" => target.build(&relations(context), |row, column| {
            tables(context, row, column)
        }),
        "views" => {
            let mut rows = relations(context);
            rows.retain(|row| row.is_view);
            target.build(&rows, |row, column| views(context, row, column))
        }
        "columns" => {
            let rows = columns(context);
            let views: std::collections::BTreeSet<_> = relations(context)
                .into_iter()
                .filter(|relation| relation.is_view)
                .map(|relation| relation.oid)
                .collect();
            target.build(&rows, |row, column| {
                columns_cell(context, row, column, !views.contains(&row.relation))
            })
        }
        "schemata" => target.build(&schemas(context), |row, column| match column {
            "catalog_name" => Cell::text(&context.database),
            "schema_name" => Cell::text(row.name.clone()),
            "schema_owner" => Cell::text(owner(context)),
            _ => Cell::Null,
        }),
        "information_schema_catalog_name" => target
            .build(std::slice::from_ref(context), |row, _| {
                Cell::text(&row.database)
            }),
        "enabled_roles" => target.build(&context.roles, |row, _| Cell::text(&row.name)),
        "character_sets" => {
            target.build(std::slice::from_ref(context), |row, column| match column {
                "character_set_name" | "form_of_use" => Cell::text("UTF8"),
                "character_repertoire" => Cell::text("UCS"),
                "default_collate_catalog" => Cell::text(&row.database),
                "default_collate_schema" => Cell::text("pg_catalog"),
                "default_collate_name" => Cell::text("C.UTF-8"),
                _ => Cell::Null,
            })
        }
        _ => return None,
    })
}

fn tables<'r>(context: &'r SystemContext, row: &'r RelationRow, column: &str) -> Cell<'r> {
    match column {
        "table_catalog" => Cell::text(&context.database),
        "table_schema" => Cell::text(&row.schema),
        "table_name" => Cell::text(&row.name),
        "table_type" => Cell::text(if row.is_view {
            "VIEW"
        } else if row.is_temporary {
            "LOCAL TEMPORARY"
        } else {
            "BASE TABLE"
        }),
        "is_insertable_into" => Cell::yes_no(row.is_temporary),
        "is_typed" => Cell::yes_no(false),
        _ => Cell::Null,
    }
}

fn views<'r>(context: &'r SystemContext, row: &'r RelationRow, column: &str) -> Cell<'r> {
    match column {
        "table_catalog" => Cell::text(&context.database),
        "table_schema" => Cell::text(&row.schema),
        "table_name" => Cell::text(&row.name),
        "view_definition" => Cell::optional(row.view_sql.as_deref()),
        "check_option" => Cell::text("NONE"),
        "is_updatable"
        | "is_insertable_into"
        | "is_trigger_updatable"
        | "is_trigger_deletable"
        | "is_trigger_insertable_into" => Cell::yes_no(false),
        _ => Cell::Null,
    }
}

fn columns_cell<'r>(
    context: &'r SystemContext,
    row: &'r ColumnRow,
    column: &str,
    is_table: bool,
) -> Cell<'r> {
    let int = |value: Option<i64>| value.map_or(Cell::Null, Cell::Int);
    let numbers = NumberFacts::of(&row.pg_type);
    match column {
        "table_catalog" | "udt_catalog" => Cell::text(&context.database),
        "table_schema" => Cell::text(row.schema.as_ref()),
        "table_name" => Cell::text(row.table.as_ref()),
        "column_name" => Cell::text(row.name.as_ref()),
        "ordinal_position" => Cell::Int(row.number),
        "column_default" => Cell::optional(row.default.as_deref()),
        "is_nullable" => Cell::yes_no(!row.not_null),
        "data_type" => Cell::text(data_type(&row.pg_type)),
        "character_maximum_length" => int(characters(&row.pg_type)),
        "character_octet_length" => int(octets(&row.pg_type)),
        "numeric_precision" => int(numbers.precision),
        "numeric_precision_radix" => int(numbers.radix),
        "numeric_scale" => int(numbers.scale),
        "datetime_precision" => int(datetime_precision(&row.pg_type)),
        "udt_schema" => Cell::text("pg_catalog"),
        "udt_name" => Cell::text(&row.pg_type.name),
        "dtd_identifier" => Cell::text(row.number.to_string()),
        "is_self_referencing" | "is_identity" | "identity_cycle" => Cell::yes_no(false),
        "is_generated" => Cell::text("NEVER"),
        "is_updatable" => Cell::yes_no(is_table),
        _ => Cell::Null,
    }
}

/// The type without modifiers; all arrays are ARRAY.
fn data_type(pg_type: &PgType) -> String {
    if pg_type.name.starts_with('_') {
        return "ARRAY".to_owned();
    }
    PgType {
        name: pg_type.name.clone(),
        typmod: -1,
    }
    .sql_name()
}

fn characters(pg_type: &PgType) -> Option<i64> {
    match pg_type.name.as_str() {
        "varchar" | "bpchar" if pg_type.typmod >= 4 => Some(i64::from(pg_type.typmod - 4)),
        _ => None,
    }
}

fn octets(pg_type: &PgType) -> Option<i64> {
    match pg_type.name.as_str() {
        "text" => Some(TEXT_BYTES_MAX),
        "varchar" | "bpchar" => {
            Some(characters(pg_type).map_or(TEXT_BYTES_MAX, |length| length * CHARACTER_BYTES_MAX))
        }
        _ => None,
    }
}

fn datetime_precision(pg_type: &PgType) -> Option<i64> {
    match pg_type.name.as_str() {
        "date" => Some(0),
        "time" | "timetz" | "timestamp" | "timestamptz" | "interval" => Some(
            if (0..=DATETIME_PRECISION as i32).contains(&pg_type.typmod) {
                i64::from(pg_type.typmod)
            } else {
                DATETIME_PRECISION
            },
        ),
        _ => None,
    }
}

#[derive(Default)]
struct NumberFacts {
    precision: Option<i64>,
    radix: Option<i64>,
    scale: Option<i64>,
}

impl NumberFacts {
    fn of(pg_type: &PgType) -> Self {
        let binary = |bits, scale| Self {
            precision: Some(bits),
            radix: Some(2),
            scale,
        };
        match pg_type.name.as_str() {
            "int2" => binary(16, Some(0)),
            "int4" => binary(32, Some(0)),
            "int8" => binary(64, Some(0)),
            "float4" => binary(24, None),
            "float8" => binary(53, None),
            "numeric" => {
                let (precision, scale) = pg_type.numeric().unzip();
                Self {
                    precision,
                    radix: Some(10),
                    scale,
                }
            }
            _ => Self::default(),
        }
    }
}

//! Rows of `pg_catalog`.
//!
//! Values that do not apply to us are what PostgreSQL has in their place: 0, `-1`, null. A column
//! that a `match` below does not name is null, or zero where it is NOT NULL.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use datafusion::common::Result;

use crate::names::{Oid, PG_CATALOG};

use super::cells::{Cell, parse_copy};
use super::context::{Role, SystemContext};
use super::entities::{ColumnRow, RelationRow, columns, relations, schemas};
use super::layout::layout;
use super::table::Columns;

/// OID of the one database, as of `postgres` in PostgreSQL.
pub(crate) const DATABASE: Oid = Oid(5);
/// `pg_default`.
const TABLESPACE: Oid = Oid(1663);
/// UTF8.
const ENCODING: i64 = 6;
/// First OID of `pg_attrdef` rows, which nothing else refers to.
const FIRST_DEFAULT: i64 = 3_000_000_000;

/// The rows of a table, or none if it is one that is always empty here.
pub(crate) fn rows(
    name: &str,
    context: &SystemContext,
    target: &Columns<'_>,
) -> Option<Result<RecordBatch>> {
    Some(match name {
        "pg_class" => target.build(&relations(context), pg_class),
        "pg_attribute" => target.build(&columns(context), pg_attribute),
        "pg_namespace" => target.build(&schemas(context), |row, column| match column {
            "oid" => row.oid.into(),
            "nspname" => Cell::text(&row.name),
            "nspowner" => Role::BOOTSTRAP.into(),
            _ => Cell::Null,
        }),
        "pg_attrdef" => pg_attrdef(context, target),
        "pg_description" => pg_description(context, target),
        "pg_database" => target.build(std::slice::from_ref(context), pg_database),
        "pg_tables" => pg_tables(context, target),
        "pg_views" => pg_views(context, target),
        "pg_authid" | "pg_roles" | "pg_user" | "pg_shadow" => target.build(&context.roles, role),
        "pg_settings" => pg_settings(context, target),
        "pg_stat_activity" => pg_stat_activity(context, target),
        "pg_prepared_statements" => pg_prepared_statements(context, target),
        "pg_cursors" => pg_cursors(context, target),
        "pg_type" | "pg_proc" | "pg_collation" | "pg_language" | "pg_tablespace" => {
            static_rows(target)
        }
        _ => return None,
    })
}

fn pg_class<'r>(row: &'r RelationRow, column: &'static str) -> Cell<'r> {
    match column {
        "oid" => row.oid.into(),
        "relname" => Cell::text(&row.name),
        "relnamespace" => row.schema_oid.into(),
        "relowner" => Role::BOOTSTRAP.into(),
        "relkind" => Cell::text(row.kind()),
        "relpersistence" => Cell::text(if row.is_temporary { "t" } else { "p" }),
        // PostgreSQL's own statistic: -1 until a table was analyzed.
        "reltuples" => row
            .rows
            .map_or(Cell::Float(-1.0), |rows| Cell::Float(rows as f64)),
        "relnatts" => Cell::Int(row.column_count as i64),
        "relispopulated" => Cell::Bool(true),
        "relreplident" => Cell::text(if row.is_system() || row.is_view {
            "n"
        } else {
            "d"
        }),
        _ => Cell::Null,
    }
}

fn pg_attribute<'r>(row: &'r ColumnRow, column: &'static str) -> Cell<'r> {
    match column {
        "attrelid" => row.relation.into(),
        "attname" => Cell::text(row.name.as_ref()),
        "atttypid" => row.type_oid().into(),
        "attstattarget" | "attcacheoff" => Cell::Int(-1),
        "attlen" => Cell::Int(row.facts.map_or(-1, |facts| i64::from(facts.len))),
        "attnum" => Cell::Int(row.number),
        "attndims" => Cell::Int(i64::from(row.pg_type.name.starts_with('_'))),
        "atttypmod" => Cell::Int(i64::from(row.pg_type.typmod)),
        "attbyval" => Cell::Bool(row.facts.is_some_and(|facts| facts.by_value)),
        "attalign" => Cell::text(row.facts.map_or("i", |facts| facts.align)),
        "attstorage" => Cell::text(row.facts.map_or("x", |facts| facts.storage)),
        "attnotnull" => Cell::Bool(row.not_null),
        "atthasdef" => Cell::Bool(row.default.is_some()),
        "attislocal" => Cell::Bool(true),
        "attcollation" => row.facts.map_or(Oid(0), |facts| facts.collation).into(),
        _ => Cell::Null,
    }
}

/// Default expressions are kept, and shown, as SQL text.
fn pg_attrdef(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let rows: Vec<_> = columns(context)
        .into_iter()
        .filter(|column| column.default.is_some())
        .enumerate()
        .collect();
    target.build(&rows, |(index, row), column| match column {
        "oid" => Cell::Int(FIRST_DEFAULT + *index as i64),
        "adrelid" => row.relation.into(),
        "adnum" => Cell::Int(row.number),
        "adbin" => Cell::optional(row.default.as_deref()),
        _ => Cell::Null,
    })
}

struct Description {
    object: Oid,
    /// OID of the system table the object is a row of.
    class: &'static str,
    column: i64,
    text: String,
}

fn pg_description(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let of_schemas = schemas(context).into_iter().map(|schema| Description {
        object: schema.oid,
        class: "pg_namespace",
        column: 0,
        text: schema.comment.unwrap_or_default(),
    });
    let of_relations = relations(context).into_iter().map(|relation| Description {
        object: relation.oid,
        class: "pg_class",
        column: 0,
        text: relation.comment.unwrap_or_default(),
    });
    let of_columns = columns(context).into_iter().map(|column| Description {
        object: column.relation,
        class: "pg_class",
        column: column.number,
        text: column.comment.unwrap_or_default(),
    });
    let rows: Vec<_> = of_schemas
        .chain(of_relations)
        .chain(of_columns)
        .filter(|row| !row.text.is_empty())
        .collect();
    target.build(&rows, |row, column| match column {
        "objoid" => row.object.into(),
        "classoid" => layout(PG_CATALOG, row.class)
            .map_or(Oid(0), |class| class.oid)
            .into(),
        "objsubid" => Cell::Int(row.column),
        "description" => Cell::text(&row.text),
        _ => Cell::Null,
    })
}

fn pg_database<'r>(context: &'r SystemContext, column: &'static str) -> Cell<'r> {
    match column {
        "oid" => DATABASE.into(),
        "datname" => Cell::text(&context.database),
        "datdba" => Role::BOOTSTRAP.into(),
        "encoding" => Cell::Int(ENCODING),
        "datlocprovider" => Cell::text("c"),
        "datallowconn" => Cell::Bool(true),
        "datconnlimit" => Cell::Int(-1),
        "dattablespace" => TABLESPACE.into(),
        "datcollate" | "datctype" => Cell::text("C.UTF-8"),
        _ => Cell::Null,
    }
}

fn pg_tables(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let mut rows = relations(context);
    rows.retain(|row| !row.is_view);
    target.build(&rows, |row, column| match column {
        "schemaname" => Cell::text(&row.schema),
        "tablename" => Cell::text(&row.name),
        "tableowner" => Cell::text(owner(context)),
        "hasindexes" | "hasrules" | "hastriggers" | "rowsecurity" => Cell::Bool(false),
        _ => Cell::Null,
    })
}

fn pg_views(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let mut rows = relations(context);
    rows.retain(|row| row.is_view);
    target.build(&rows, |row, column| match column {
        "schemaname" => Cell::text(&row.schema),
        "viewname" => Cell::text(&row.name),
        "viewowner" => Cell::text(owner(context)),
        "definition" => Cell::optional(row.view_sql.as_deref()),
        _ => Cell::Null,
    })
}

/// The name of the role that owns everything.
pub(crate) fn owner(context: &SystemContext) -> &str {
    context
        .roles
        .iter()
        .find(|role| role.oid == Role::BOOTSTRAP)
        .map_or(&context.user, |role| &role.name)
}

/// One role in `pg_authid`, `pg_roles`, `pg_user` and `pg_shadow`, whose columns differ in name.
fn role<'r>(role: &'r Role, column: &'static str) -> Cell<'r> {
    match column {
        "oid" | "usesysid" => role.oid.into(),
        "rolname" | "usename" => Cell::text(&role.name),
        "rolsuper" | "rolcreaterole" | "rolcreatedb" | "rolreplication" | "rolbypassrls"
        | "usecreatedb" | "usesuper" | "userepl" | "usebypassrls" => Cell::Bool(role.superuser),
        "rolinherit" | "rolcanlogin" => Cell::Bool(true),
        "rolconnlimit" => Cell::Int(-1),
        // `pg_authid` and `pg_shadow` are the superuser's in PostgreSQL; nobody sees secrets here.
        "rolpassword" | "passwd" => Cell::text("********"),
        _ => Cell::Null,
    }
}

fn pg_settings(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let rows = (context.settings)();
    target.build(&rows, |row, column| match column {
        "name" => Cell::text(&row.name),
        "setting" => Cell::text(&row.setting),
        "unit" => Cell::optional(row.unit.as_deref()),
        "category" => Cell::text(&row.category),
        "short_desc" => Cell::text(&row.short_desc),
        "context" => Cell::text(&row.context),
        "vartype" => Cell::text(&row.vartype),
        "source" => Cell::text(&row.source),
        "min_val" => Cell::optional(row.min_val.as_deref()),
        "max_val" => Cell::optional(row.max_val.as_deref()),
        "enumvals" => row.enumvals.clone().map_or(Cell::Null, Cell::Texts),
        "boot_val" => Cell::optional(row.boot_val.as_deref()),
        "reset_val" => Cell::optional(row.reset_val.as_deref()),
        "pending_restart" => Cell::Bool(row.pending_restart),
        _ => Cell::Null,
    })
}

fn pg_stat_activity(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let rows = (context.activity)();
    let time = |time: Option<i64>| time.map_or(Cell::Null, Cell::Time);
    target.build(&rows, |row, column| match column {
        "datid" => DATABASE.into(),
        "datname" => Cell::text(&context.database),
        "pid" => Cell::Int(i64::from(row.pid)),
        "usesysid" => context
            .roles
            .iter()
            .find(|role| role.name == row.user)
            .map_or(Cell::Null, |role| role.oid.into()),
        "usename" => Cell::text(&row.user),
        "application_name" => Cell::text(&row.application_name),
        "client_addr" => Cell::optional(row.client_addr.as_deref()),
        "client_port" => row
            .client_port
            .map_or(Cell::Null, |port| Cell::Int(i64::from(port))),
        "backend_start" => time(row.backend_start),
        "xact_start" => time(row.xact_start),
        "query_start" => time(row.query_start),
        "state_change" => time(row.state_change),
        "wait_event_type" => Cell::optional(row.wait_event_type.as_deref()),
        "wait_event" => Cell::optional(row.wait_event.as_deref()),
        "state" => Cell::optional(row.state.as_deref()),
        "query_id" => row.query_id.map_or(Cell::Null, Cell::Int),
        "query" => Cell::text(&row.query),
        "backend_type" => Cell::text("client backend"),
        _ => Cell::Null,
    })
}

fn pg_prepared_statements(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    let rows = (context.prepared_statements)();
    target.build(&rows, |row, column| match column {
        "name" => Cell::text(&row.name),
        "statement" => Cell::text(&row.statement),
        "prepare_time" => Cell::Time(row.prepare_time),
        "parameter_types" => {
            Cell::Ints(row.parameter_types.iter().copied().map(i64::from).collect())
        }
        "from_sql" => Cell::Bool(row.from_sql),
        // Every execution is planned for its parameters.
        "generic_plans" | "custom_plans" => Cell::Int(0),
        _ => Cell::Null,
    })
}

fn pg_cursors(context: &SystemContext, target: &Columns<'_>) -> Result<RecordBatch> {
    target.build(&context.cursors, |row, column| match column {
        "name" => Cell::text(&row.name),
        "statement" => Cell::text(&row.statement),
        "is_holdable" => Cell::Bool(row.is_holdable),
        "is_binary" => Cell::Bool(row.is_binary),
        "is_scrollable" => Cell::Bool(row.is_scrollable),
        "creation_time" => Cell::Time(row.creation_time),
        _ => Cell::Null,
    })
}

/// A table whose rows never change: read once from its file.
fn static_rows(target: &Columns<'_>) -> Result<RecordBatch> {
    let layout = target.layout();
    let table = STATIC_TABLES.iter().find(|table| table.name == layout.name);
    let Some(table) = table else {
        return target.build::<()>(&[], |(), _| Cell::Null);
    };
    target.build(&table.rows, |row, column| {
        let Some(index) = table.header.iter().position(|name| *name == column) else {
            return Cell::Null;
        };
        let text = row.get(index).copied().unwrap_or("\\N");
        match layout.arrow.field_with_name(column) {
            Ok(field) => parse_copy(field.data_type(), text),
            Err(_) => Cell::Null,
        }
    })
}

struct StaticTable {
    name: &'static str,
    header: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

static STATIC_TABLES: LazyLock<Vec<StaticTable>> = LazyLock::new(|| {
    [
        ("pg_type", include_str!("data/pg_type.tsv")),
        ("pg_proc", include_str!("data/pg_proc.tsv")),
        ("pg_collation", include_str!("data/pg_collation.tsv")),
        ("pg_language", include_str!("data/pg_language.tsv")),
        ("pg_tablespace", include_str!("data/pg_tablespace.tsv")),
    ]
    .into_iter()
    .map(|(name, text)| {
        let mut lines = text.lines().map(|line| line.split('\t').collect());
        StaticTable {
            name,
            header: lines.next().unwrap_or_default(),
            rows: lines.collect(),
        }
    })
    .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_tables_have_the_columns_of_their_layout() {
        for table in STATIC_TABLES.iter() {
            let layout = layout(PG_CATALOG, table.name).unwrap();
            for column in &layout.columns {
                assert!(
                    table.header.contains(&column.name),
                    "{}.{}",
                    table.name,
                    column.name
                );
            }
            for row in &table.rows {
                assert_eq!(row.len(), table.header.len(), "{}", table.name);
            }
        }
    }
}

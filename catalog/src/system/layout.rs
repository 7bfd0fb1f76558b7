//! Which system relations there are and what columns they have: PostgreSQL's own, from
//! `data/columns.tsv`, and ours, from `data/firesteel.tsv`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::names::Oid;
use crate::pg_types::PG_TYPE_KEY;

static COLUMNS: &str = concat!(
    include_str!("data/columns.tsv"),
    include_str!("data/firesteel.tsv")
);

/// All system relations, by schema and name.
static LAYOUT: LazyLock<BTreeMap<(&'static str, &'static str), Arc<Layout>>> =
    LazyLock::new(|| read(COLUMNS));

/// One system relation.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) schema_name: &'static str,
    pub(crate) name: &'static str,
    pub(crate) oid: Oid,
    pub(crate) is_view: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) arrow: SchemaRef,
}

/// One of its columns.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// As `format_type` prints it.
    pub(crate) sql_type: &'static str,
    pub(crate) not_null: bool,
}

pub(crate) fn layout(schema: &str, name: &str) -> Option<&'static Arc<Layout>> {
    static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), &'static Arc<Layout>>> =
        LazyLock::new(|| {
            LAYOUT
                .iter()
                .map(|(name, layout)| (*name, layout))
                .collect()
        });
    BY_NAME.get(&(schema, name)).copied()
}

pub(crate) fn layouts() -> impl Iterator<Item = &'static Arc<Layout>> {
    LAYOUT.values()
}

/// Names of the relations in a system schema, in order.
pub fn system_relation_names(schema: &str) -> impl Iterator<Item = &'static str> {
    LAYOUT
        .keys()
        .filter(move |(of, _)| *of == schema)
        .map(|(_, name)| *name)
}

fn read(tsv: &'static str) -> BTreeMap<(&'static str, &'static str), Arc<Layout>> {
    let mut relations: BTreeMap<(&str, &str), (Oid, bool, Vec<Column>)> = BTreeMap::new();
    for line in tsv.lines() {
        let mut cells = line.split('\t');
        let mut next = || cells.next().unwrap_or_default();
        let key = (next(), next());
        let oid = Oid(next().parse().unwrap_or_default());
        let is_view = next() == "v";
        let column = Column {
            name: next(),
            sql_type: next(),
            not_null: next() == "t",
        };
        relations
            .entry(key)
            .or_insert_with(|| (oid, is_view, Vec::new()))
            .2
            .push(column);
    }
    relations
        .into_iter()
        .map(|((schema_name, name), (oid, is_view, columns))| {
            let fields: Vec<_> = columns.iter().map(field).collect();
            let layout = Layout {
                schema_name,
                name,
                oid,
                is_view,
                columns,
                arrow: Arc::new(Schema::new(fields)),
            };
            ((schema_name, name), Arc::new(layout))
        })
        .collect()
}

/// How a column is carried in Arrow. OIDs are 64-bit integers that say they are OIDs, so that
/// they compare with any number a client writes.
fn field(column: &Column) -> Field {
    let (data_type, pg_type) = arrow_type(column.sql_type);
    let field = Field::new(column.name, data_type, !column.not_null);
    match pg_type {
        Some(name) => field.with_metadata([(PG_TYPE_KEY.to_owned(), name.to_owned())].into()),
        None => field,
    }
}

/// The Arrow type, and the metadata where it does not tell all.
fn arrow_type(sql_type: &'static str) -> (DataType, Option<&'static str>) {
    let list = |item| DataType::new_list(item, true);
    match sql_type {
        "boolean" => (DataType::Boolean, None),
        "smallint" => (DataType::Int16, None),
        "integer" => (DataType::Int32, None),
        "bigint" => (DataType::Int64, None),
        "real" => (DataType::Float32, None),
        "double precision" | "numeric" => (DataType::Float64, None),
        "bytea" => (DataType::Binary, None),
        "oid" | "xid" | "regproc" | "regtype" => (DataType::Int64, Some(sql_type)),
        "name" | "pg_node_tree" | "pg_lsn" => (DataType::Utf8, Some(sql_type)),
        "\"char\"" => (DataType::Utf8, Some("char")),
        "character varying" => (DataType::Utf8, Some("varchar")),
        "character varying(3)" => (DataType::Utf8, Some("varchar(3)")),
        "timestamp with time zone" | "timestamp(2) with time zone" => (
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            None,
        ),
        "int2vector" => (list(DataType::Int16), Some("int2vector")),
        "oidvector" => (list(DataType::Int64), Some("oidvector")),
        "oid[]" | "regtype[]" => (list(DataType::Int64), Some(sql_type)),
        "smallint[]" => (list(DataType::Int16), None),
        "real[]" => (list(DataType::Float32), None),
        "name[]" | "aclitem[]" => (list(DataType::Utf8), Some(sql_type)),
        "\"char\"[]" => (list(DataType::Utf8), Some("char[]")),
        "text[]" | "anyarray" => (list(DataType::Utf8), None),
        // inet, interval: shown as text.
        _ => (DataType::Utf8, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_have_their_columns() {
        let pg_class = layout("pg_catalog", "pg_class").unwrap();
        assert_eq!(pg_class.oid, Oid(1259));
        assert_eq!(pg_class.columns[0].name, "oid");
        assert_eq!(pg_class.arrow.field(0).data_type(), &DataType::Int64);
        assert_eq!(pg_class.arrow.field(1).metadata()[PG_TYPE_KEY], "name");
        let tables = layout("information_schema", "tables").unwrap();
        assert!(tables.is_view);
        assert_eq!(tables.columns.len(), 12);
        assert!(layout("pg_catalog", "nope").is_none());
        // Added for PostgreSQL 16.
        let database = layout("pg_catalog", "pg_database").unwrap();
        assert!(database.arrow.field_with_name("daticurules").is_ok());
    }

    #[test]
    fn every_relation_has_an_oid_and_a_known_type_for_each_column() {
        for layout in layouts() {
            assert_ne!(layout.oid, Oid(0), "{}", layout.name);
            assert!(!layout.columns.is_empty());
        }
        assert_eq!(
            LAYOUT.values().map(|l| l.columns.len()).sum::<usize>(),
            COLUMNS.lines().count()
        );
    }
}

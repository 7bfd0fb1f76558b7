//! Relations and columns as the system tables show them, wherever they come from: the durable
//! catalog, the session's temporary tables, and the system relations themselves.

use std::borrow::Cow;

use crate::names::{
    FIRESTEEL, INFORMATION_SCHEMA, Oid, PG_CATALOG, RelationKind, is_system_schema,
};
use crate::pg_types::{PgType, parse, pg_type};
use crate::snapshot::{Definition, Relation};

use super::context::SystemContext;
use super::layout::layouts;
use super::types::{TypeFacts, type_by_name};

/// The schema of the session's temporary tables. Others cannot see it, so one number does for
/// every session.
pub(crate) const TEMP_SCHEMA: Oid = Oid(15_999);

/// A schema.
#[derive(Debug, Clone)]
pub(crate) struct SchemaRow {
    pub(crate) oid: Oid,
    pub(crate) name: String,
    pub(crate) comment: Option<String>,
}

/// A table or view.
#[derive(Debug, Clone)]
pub(crate) struct RelationRow {
    pub(crate) oid: Oid,
    pub(crate) schema: String,
    pub(crate) schema_oid: Oid,
    pub(crate) name: String,
    pub(crate) is_view: bool,
    pub(crate) is_temporary: bool,
    pub(crate) column_count: usize,
    /// Exact for temporary tables, unknown for others.
    pub(crate) rows: Option<u64>,
    pub(crate) view_sql: Option<String>,
    pub(crate) comment: Option<String>,
}

impl RelationRow {
    /// `pg_class.relkind`.
    pub(crate) fn kind(&self) -> &'static str {
        if self.is_view { "v" } else { "r" }
    }

    pub(crate) fn is_system(&self) -> bool {
        is_system_schema(&self.schema)
    }
}

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct ColumnRow {
    pub(crate) relation: Oid,
    pub(crate) schema: Cow<'static, str>,
    pub(crate) table: Cow<'static, str>,
    pub(crate) name: Cow<'static, str>,
    /// From 1.
    pub(crate) number: i64,
    pub(crate) pg_type: PgType,
    pub(crate) facts: Option<&'static TypeFacts>,
    pub(crate) not_null: bool,
    pub(crate) default: Option<String>,
    pub(crate) comment: Option<String>,
}

impl ColumnRow {
    /// OID of the type; 0 for one that is not in `pg_type`.
    pub(crate) fn type_oid(&self) -> Oid {
        self.facts.map_or(Oid(0), |facts| facts.oid)
    }
}

/// System schemas, stored ones and the session's own.
pub(crate) fn schemas(context: &SystemContext) -> Vec<SchemaRow> {
    let row = |oid, name: &str, comment: Option<&str>| SchemaRow {
        oid,
        name: name.to_owned(),
        comment: comment.map(str::to_owned),
    };
    let mut rows = vec![
        row(Oid::PG_CATALOG, PG_CATALOG, Some("system catalog schema")),
        row(Oid::INFORMATION_SCHEMA, INFORMATION_SCHEMA, None),
        row(Oid::FIRESTEEL, FIRESTEEL, Some("the server itself")),
    ];
    rows.extend(
        context
            .snapshot
            .schemas()
            .map(|schema| row(schema.oid, &schema.name, schema.comment.as_deref())),
    );
    if let Some(tables) = &context.session_tables
        && !(tables.tables().is_empty() && tables.views().is_empty())
    {
        rows.push(row(TEMP_SCHEMA, &tables.schema_name(), None));
    }
    rows
}

/// All relations.
pub(crate) fn relations(context: &SystemContext) -> Vec<RelationRow> {
    let mut rows: Vec<_> = layouts()
        .map(|layout| RelationRow {
            oid: layout.oid,
            schema: layout.schema_name.to_owned(),
            schema_oid: system_schema_oid(layout.schema_name),
            name: layout.name.to_owned(),
            is_view: layout.is_view,
            is_temporary: false,
            column_count: layout.columns.len(),
            rows: None,
            view_sql: None,
            comment: None,
        })
        .collect();
    for relation in context.snapshot.relations() {
        let schema_oid = context
            .snapshot
            .schema(&relation.schema)
            .map_or(Oid(0), |schema| schema.oid);
        rows.push(relation_row(relation, schema_oid, false));
    }
    if let Some(tables) = &context.session_tables {
        for table in tables.tables() {
            rows.push(RelationRow {
                oid: table.oid,
                schema: tables.schema_name(),
                schema_oid: TEMP_SCHEMA,
                name: table.name.clone(),
                is_view: false,
                is_temporary: true,
                column_count: table.columns.fields().len(),
                rows: Some(table.rows()),
                view_sql: None,
                comment: None,
            });
        }
        for view in tables.views() {
            rows.push(relation_row(&view, TEMP_SCHEMA, true));
        }
    }
    rows
}

fn relation_row(relation: &Relation, schema_oid: Oid, is_temporary: bool) -> RelationRow {
    RelationRow {
        oid: relation.oid,
        schema: relation.schema.clone(),
        schema_oid,
        name: relation.name.clone(),
        is_view: relation.kind() == RelationKind::View,
        is_temporary,
        column_count: relation.columns.fields().len(),
        rows: None,
        view_sql: match &relation.definition {
            Definition::View(view) => Some(view.sql.clone()),
            Definition::External(_) => None,
        },
        comment: relation.comment.clone(),
    }
}

/// All columns of all relations.
pub(crate) fn columns(context: &SystemContext) -> Vec<ColumnRow> {
    let mut rows = Vec::with_capacity(2048);
    for layout in layouts() {
        for (index, column) in layout.columns.iter().enumerate() {
            let pg_type = parse(column.sql_type);
            rows.push(ColumnRow {
                relation: layout.oid,
                schema: layout.schema_name.into(),
                table: layout.name.into(),
                name: column.name.into(),
                number: index as i64 + 1,
                facts: type_by_name(&pg_type.name),
                pg_type,
                not_null: column.not_null,
                default: None,
                comment: None,
            });
        }
    }
    let session = context.session_tables.as_ref();
    let views = session.map(|tables| tables.views()).unwrap_or_default();
    for relation in context.snapshot.relations().chain(&views) {
        for (index, field) in relation.columns.fields().iter().enumerate() {
            let pg_type = pg_type(field);
            rows.push(ColumnRow {
                relation: relation.oid,
                schema: relation.schema.clone().into(),
                table: relation.name.clone().into(),
                name: field.name().clone().into(),
                number: index as i64 + 1,
                facts: type_by_name(&pg_type.name),
                pg_type,
                not_null: relation.kind() == RelationKind::Table && !field.is_nullable(),
                default: None,
                comment: relation.column_comments.get(field.name()).cloned(),
            });
        }
    }
    if let Some(tables) = &context.session_tables {
        let schema = tables.schema_name();
        for table in tables.tables() {
            for (index, field) in table.columns.fields().iter().enumerate() {
                let pg_type = pg_type(field);
                rows.push(ColumnRow {
                    relation: table.oid,
                    schema: schema.clone().into(),
                    table: table.name.clone().into(),
                    name: field.name().clone().into(),
                    number: index as i64 + 1,
                    facts: type_by_name(&pg_type.name),
                    pg_type,
                    not_null: !field.is_nullable(),
                    default: table.defaults.get(index).cloned().flatten(),
                    comment: None,
                });
            }
        }
    }
    rows
}

fn system_schema_oid(name: &str) -> Oid {
    match name {
        PG_CATALOG => Oid::PG_CATALOG,
        FIRESTEEL => Oid::FIRESTEEL,
        _ => Oid::INFORMATION_SCHEMA,
    }
}

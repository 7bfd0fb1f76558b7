//! Looking objects up by name and OID: what `regclass` casts, `pg_table_is_visible`,
//! `obj_description` and their kin ask.
//!
//! The functions themselves are `functions`' and know no catalog; the server answers their
//! questions from here.

use std::sync::Arc;

use crate::names::{FIRESTEEL, INFORMATION_SCHEMA, ObjectName, Oid, PG_CATALOG, SearchPath};
use crate::snapshot::{Definition, Relation};

use super::context::SystemContext;
use super::entities::{TEMP_SCHEMA, schemas};
use super::layout::{layout, layouts};
use super::pg_catalog::DATABASE;

/// Names as one session sees them.
#[derive(Debug, Clone)]
pub struct SystemNames {
    context: SystemContext,
    path: SearchPath,
}

/// A relation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRelation {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
}

impl SystemNames {
    pub fn new(context: SystemContext, path: SearchPath) -> Self {
        Self { context, path }
    }

    /// A relation by name: the session's temporary tables first, then `pg_catalog`, then the
    /// search path, as PostgreSQL does where the path names neither.
    pub fn relation(&self, name: &ObjectName) -> Option<FoundRelation> {
        match &name.schema {
            Some(schema) => self.relation_in(schema, &name.name),
            None => self
                .implied_path()
                .find_map(|schema| self.relation_in(schema, &name.name)),
        }
    }

    pub fn relation_by_oid(&self, oid: Oid) -> Option<FoundRelation> {
        let found = |schema: &str, name: &str| FoundRelation {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
        };
        if let Some(relation) = self.context.snapshot.relation_by_oid(oid) {
            return Some(found(&relation.schema, &relation.name));
        }
        if let Some(layout) = layouts().find(|layout| layout.oid == oid) {
            return Some(found(layout.schema_name, layout.name));
        }
        let tables = self.context.session_tables.as_ref()?;
        let name = match self.temporary(oid) {
            Some(table) => table.name.clone(),
            None => self.temporary_view(oid)?.name.clone(),
        };
        Some(found(&tables.schema_name(), &name))
    }

    /// Would the bare name find this very relation?
    pub fn is_relation_visible(&self, oid: Oid) -> bool {
        self.relation_by_oid(oid).is_some_and(|relation| {
            self.relation(&ObjectName::bare(relation.name))
                .is_some_and(|found| found.oid == oid)
        })
    }

    pub fn schema_by_name(&self, name: &str) -> Option<Oid> {
        match name {
            PG_CATALOG => Some(Oid::PG_CATALOG),
            INFORMATION_SCHEMA => Some(Oid::INFORMATION_SCHEMA),
            FIRESTEEL => Some(Oid::FIRESTEEL),
            _ => match self.context.snapshot.schema(name) {
                Some(schema) => Some(schema.oid),
                None => self.is_temp_schema(name).then_some(TEMP_SCHEMA),
            },
        }
    }

    pub fn schema_by_oid(&self, oid: Oid) -> Option<String> {
        schemas(&self.context)
            .into_iter()
            .find(|schema| schema.oid == oid)
            .map(|schema| schema.name)
    }

    pub fn role_by_name(&self, name: &str) -> Option<Oid> {
        let role = self.context.roles.iter().find(|role| role.name == name)?;
        Some(role.oid)
    }

    pub fn role_by_oid(&self, oid: Oid) -> Option<&str> {
        let role = self.context.roles.iter().find(|role| role.oid == oid)?;
        Some(&role.name)
    }

    /// Whether a role may do everything.
    pub fn is_superuser(&self, role: &str) -> bool {
        self.context
            .roles
            .iter()
            .any(|known| known.name == role && known.superuser)
    }

    pub fn database_by_name(&self, name: &str) -> Option<Oid> {
        (name == self.context.database).then_some(DATABASE)
    }

    pub fn database_by_oid(&self, oid: Oid) -> Option<&str> {
        (oid == DATABASE).then_some(self.context.database.as_str())
    }

    /// The names of a relation's columns, in order.
    pub fn columns(&self, relation: Oid) -> Option<Vec<String>> {
        let names = |schema: &arrow::datatypes::Schema| {
            let fields = schema.fields().iter();
            fields.map(|field| field.name().clone()).collect()
        };
        if let Some(relation) = self.context.snapshot.relation_by_oid(relation) {
            return Some(names(&relation.columns));
        }
        if let Some(layout) = layouts().find(|layout| layout.oid == relation) {
            return Some(names(&layout.arrow));
        }
        Some(names(&self.temporary(relation)?.columns))
    }

    /// Bytes stored here of a relation: those of temporary tables. Files of external tables are
    /// not ours, and views have none.
    pub fn relation_bytes(&self, oid: Oid) -> Option<u64> {
        match self.temporary(oid) {
            Some(table) => Some(table.bytes()),
            None => self.relation_by_oid(oid).map(|_| 0),
        }
    }

    /// Bytes stored here of all relations this session sees.
    pub fn database_bytes(&self) -> u64 {
        let tables = self.context.session_tables.as_ref();
        tables.map_or(0, |tables| {
            tables.tables().iter().map(|table| table.bytes()).sum()
        })
    }

    fn temporary(&self, oid: Oid) -> Option<Arc<crate::temp::TempTable>> {
        let tables = self.context.session_tables.as_ref()?;
        tables.tables().into_iter().find(|table| table.oid == oid)
    }

    fn temporary_view(&self, oid: Oid) -> Option<Arc<Relation>> {
        let tables = self.context.session_tables.as_ref()?;
        tables.views().into_iter().find(|view| view.oid == oid)
    }

    /// The SQL of a view; none for other relations and for system views.
    pub fn view_definition(&self, oid: Oid) -> Option<String> {
        let relation = match self.context.snapshot.relation_by_oid(oid) {
            Some(relation) => Arc::clone(relation),
            None => self.temporary_view(oid)?,
        };
        match &relation.definition {
            Definition::View(view) => Some(view.sql.clone()),
            Definition::External(_) => None,
        }
    }

    /// The comment on a schema or relation, or with a column number from 1 on a column.
    pub fn description(&self, oid: Oid, column: i32) -> Option<String> {
        if let Some(relation) = self.context.snapshot.relation_by_oid(oid) {
            if column == 0 {
                return relation.comment.clone();
            }
            let index = usize::try_from(column).ok()?.checked_sub(1)?;
            let field = relation.columns.fields().get(index)?;
            return relation.column_comments.get(field.name()).cloned();
        }
        schemas(&self.context)
            .into_iter()
            .find(|schema| schema.oid == oid && column == 0)?
            .comment
    }

    fn relation_in(&self, schema: &str, name: &str) -> Option<FoundRelation> {
        let found = |oid, schema: &str| FoundRelation {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
        };
        if let Some(layout) = layout(schema, name) {
            return Some(found(layout.oid, schema));
        }
        if let Some(relation) = self.context.snapshot.relation(schema, name) {
            return Some(found(relation.oid, schema));
        }
        let tables = self.context.session_tables.as_ref()?;
        if !tables.is_schema(schema) {
            return None;
        }
        let oid = match tables.get(name) {
            Some(table) => table.oid,
            None => tables.view(name)?.oid,
        };
        Some(found(oid, &tables.schema_name()))
    }

    fn is_temp_schema(&self, name: &str) -> bool {
        self.context
            .session_tables
            .as_ref()
            .is_some_and(|tables| tables.is_schema(name))
    }

    /// The search path with the schemas PostgreSQL searches without being told.
    fn implied_path(&self) -> impl Iterator<Item = &str> {
        const TEMP: &str = "pg_temp";
        [TEMP, PG_CATALOG]
            .into_iter()
            .filter(|implied| !self.path.0.iter().any(|named| named == implied))
            .chain(self.path.0.iter().map(String::as_str))
    }
}

//! The catalog as one statement sees it: immutable, shared, versioned.
//!
//! A snapshot is swapped, never changed: DDL builds the next one from the present one and a list
//! of [`Change`]s, and the same list is what goes into SQLite. So memory and disk cannot differ in
//! anything but time, and disk comes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::{CatalogError, Result};
use crate::external::ExternalTable;
use crate::names::{ObjectName, Oid, RelationKind, SearchPath};

/// A schema: a name space of relations.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaEntry {
    pub oid: Oid,
    pub name: String,
    pub comment: Option<String>,
}

/// A table or a view.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    pub oid: Oid,
    /// Name of the schema it is in.
    pub schema: String,
    pub name: String,
    /// Columns in order, partition columns last. Field metadata `firesteel.pg_type` names
    /// PostgreSQL types Arrow lacks.
    pub columns: SchemaRef,
    pub definition: Definition,
    pub comment: Option<String>,
    /// By column name; columns without a comment are absent.
    pub column_comments: BTreeMap<String, String>,
}

impl Relation {
    pub fn kind(&self) -> RelationKind {
        match &self.definition {
            Definition::External(_) => RelationKind::Table,
            Definition::View(_) => RelationKind::View,
        }
    }

    pub fn object_name(&self) -> ObjectName {
        ObjectName::qualified(&self.schema, &self.name)
    }
}

/// Where a relation's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    /// Files we read in place.
    External(ExternalTable),
    /// A query.
    View(ViewDefinition),
}

/// A view's query, as text the planner plans again for every statement that names it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ViewDefinition {
    pub sql: String,
    /// Relations the query names; they cannot be dropped before the view.
    pub depends_on: Vec<Oid>,
    /// The search path when the view was created: its bare names resolve along it.
    #[serde(default)]
    pub search_path: Vec<String>,
}

/// One step from a snapshot to the next. Applied to memory and to SQLite alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Insert or overwrite by OID.
    PutSchema(Arc<SchemaEntry>),
    DropSchema(Oid),
    /// Insert or overwrite by OID.
    PutRelation(Arc<Relation>),
    DropRelation(Oid),
}

/// Everything the durable catalog holds, at one version.
#[derive(Debug, Clone, Default)]
pub struct CatalogSnapshot {
    version: u64,
    schemas: BTreeMap<String, Arc<SchemaEntry>>,
    /// By schema name, then relation name. Every schema has an entry.
    relations: BTreeMap<String, BTreeMap<String, Arc<Relation>>>,
    by_oid: BTreeMap<Oid, Arc<Relation>>,
}

impl CatalogSnapshot {
    /// Grows with every DDL statement; equal versions of one catalog are equal snapshots.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// User schemas in name order; the system schemas are not among them.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<SchemaEntry>> {
        self.schemas.values()
    }

    pub fn schema(&self, name: &str) -> Option<&Arc<SchemaEntry>> {
        self.schemas.get(name)
    }

    /// All relations, by schema and name.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values().flat_map(BTreeMap::values)
    }

    pub fn relations_in(&self, schema: &str) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations
            .get(schema)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    pub fn relation(&self, schema: &str, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(schema)?.get(name)
    }

    pub fn relation_by_oid(&self, oid: Oid) -> Option<&Arc<Relation>> {
        self.by_oid.get(&oid)
    }

    /// Finds a relation as a query would: in its schema, or along the search path.
    pub fn lookup(&self, name: &ObjectName, path: &SearchPath) -> Option<&Arc<Relation>> {
        match &name.schema {
            Some(schema) => self.relation(schema, &name.name),
            None => path
                .0
                .iter()
                .find_map(|schema| self.relation(schema, &name.name)),
        }
    }

    /// The schema a new relation of this name goes to: the one named, or the first of the search
    /// path that exists.
    pub fn creation_schema(
        &self,
        name: &ObjectName,
        path: &SearchPath,
    ) -> Result<&Arc<SchemaEntry>> {
        match &name.schema {
            Some(schema) if crate::names::is_system_schema(schema) => {
                Err(CatalogError::SystemSchema {
                    schema: schema.clone(),
                    name: name.name.clone(),
                })
            }
            Some(schema) => self
                .schema(schema)
                .ok_or_else(|| CatalogError::UndefinedSchema(schema.clone())),
            None => path
                .0
                .iter()
                .find_map(|schema| self.schema(schema))
                .ok_or(CatalogError::NoCreationSchema),
        }
    }

    /// Views that read this relation directly, in OID order.
    pub fn dependents(&self, oid: Oid) -> impl Iterator<Item = &Arc<Relation>> {
        self.by_oid
            .values()
            .filter(move |relation| match &relation.definition {
                Definition::View(view) => view.depends_on.contains(&oid),
                Definition::External(_) => false,
            })
    }

    /// The next snapshot. Costs one clone of the maps, whose values are shared.
    pub(crate) fn apply(&self, changes: &[Change]) -> Self {
        let mut next = self.clone();
        next.version += 1;
        for change in changes {
            next.apply_one(change);
        }
        next
    }

    fn apply_one(&mut self, change: &Change) {
        match change {
            Change::PutSchema(schema) => {
                self.schemas.retain(|_, old| old.oid != schema.oid);
                self.schemas.insert(schema.name.clone(), Arc::clone(schema));
                self.relations.entry(schema.name.clone()).or_default();
            }
            Change::DropSchema(oid) => {
                if let Some(name) = self
                    .schemas
                    .values()
                    .find(|schema| schema.oid == *oid)
                    .map(|schema| schema.name.clone())
                {
                    self.schemas.remove(&name);
                    self.relations.remove(&name);
                }
            }
            Change::PutRelation(relation) => {
                self.remove_relation(relation.oid);
                self.by_oid.insert(relation.oid, Arc::clone(relation));
                self.relations
                    .entry(relation.schema.clone())
                    .or_default()
                    .insert(relation.name.clone(), Arc::clone(relation));
            }
            Change::DropRelation(oid) => self.remove_relation(*oid),
        }
    }

    fn remove_relation(&mut self, oid: Oid) {
        if let Some(old) = self.by_oid.remove(&oid)
            && let Some(relations) = self.relations.get_mut(&old.schema)
        {
            relations.remove(&old.name);
        }
    }
}

//! Temporary views, and the end of temporary relations: both know what depends on what.
//!
//! A temporary view is a [`Relation`] like a permanent one, kept by its session beside the tables it
//! may read. Dropping a permanent relation that it reads is not refused, since other sessions
//! cannot see the view; it then fails when it is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use job::{ErrorReport, SqlState};

use crate::ddl::{DdlOutcome, DropBehavior, IfExists, check_columns, check_view_columns};
use crate::error::{CatalogError, Result};
use crate::names::{Oid, RelationKind};
use crate::snapshot::{Definition, Relation, ViewDefinition};
use crate::temp::{SessionTables, TempTables};

impl TempTables {
    /// The relation of this name.
    pub(crate) fn oid(&self, name: &str) -> Option<Oid> {
        let table = self.tables.get(name).map(|table| table.oid);
        table.or_else(|| self.views.get(name).map(|view| view.oid))
    }

    /// The views that read any of `oids`, directly or not, and what each reads of them.
    fn dependents(&self, oid: Oid) -> Vec<(Arc<Relation>, Oid)> {
        let mut found: Vec<(Arc<Relation>, Oid)> = Vec::new();
        let mut pending = vec![oid];
        while let Some(read) = pending.pop() {
            for view in self.views.values() {
                let known = found.iter().any(|(dependent, _)| dependent.oid == view.oid);
                if !known && reads(view, read) {
                    found.push((Arc::clone(view), read));
                    pending.push(view.oid);
                }
            }
        }
        found
    }

    /// `table t`, `view v`
    fn describe(&self, oid: Oid) -> String {
        let table = self.tables.values().find(|table| table.oid == oid);
        match table {
            Some(table) => format!("table {}", table.name),
            None => {
                let view = self.views.values().find(|view| view.oid == oid);
                format!("view {}", view.map_or("", |view| view.name.as_str()))
            }
        }
    }
}

fn reads(view: &Relation, oid: Oid) -> bool {
    match &view.definition {
        Definition::View(view) => view.depends_on.contains(&oid),
        Definition::External(_) => false,
    }
}

impl SessionTables {
    /// `CREATE [OR REPLACE] TEMP VIEW`.
    pub async fn create_view(
        self: &Arc<Self>,
        name: &str,
        definition: ViewDefinition,
        columns: SchemaRef,
        if_exists: IfExists,
    ) -> Result<DdlOutcome> {
        check_columns(&columns)?;
        let new_oid = self.catalog().allocate_oid().await?;
        let mut relations = self.lock();
        let mut view = Relation {
            oid: new_oid,
            schema: self.schema_name(),
            name: name.to_owned(),
            columns,
            definition: Definition::View(definition),
            comment: None,
            column_comments: BTreeMap::new(),
        };
        if let Some(old) = relations.oid(name) {
            match if_exists {
                IfExists::Fail => return Err(CatalogError::DuplicateRelation(name.to_owned())),
                IfExists::Skip => {
                    return Ok(DdlOutcome {
                        oid: Some(old),
                        notices: vec![ErrorReport::new(
                            SqlState::DUPLICATE_TABLE,
                            format!("relation \"{name}\" already exists, skipping"),
                        )],
                    });
                }
                IfExists::Replace => {}
            }
            let Some(old) = relations.views.get(name) else {
                return Err(CatalogError::report(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("\"{name}\" is not a view"),
                ));
            };
            let is_recursive = reads(&view, old.oid)
                || relations
                    .dependents(old.oid)
                    .iter()
                    .any(|(dependent, _)| reads(&view, dependent.oid));
            if is_recursive {
                return Err(CatalogError::report(
                    SqlState::INVALID_OBJECT_DEFINITION,
                    format!("infinite recursion detected in rules for relation \"{name}\""),
                ));
            }
            check_view_columns("view", &old.columns, &view.columns)?;
            view.oid = old.oid;
        }
        let oid = view.oid;
        relations.views.insert(name.to_owned(), Arc::new(view));
        Ok(DdlOutcome {
            oid: Some(oid),
            notices: Vec::new(),
        })
    }

    /// DROP TABLE and DROP VIEW; `None` when there is no temporary relation of that name.
    pub fn drop_relation(
        &self,
        kind: RelationKind,
        name: &str,
        behavior: DropBehavior,
    ) -> Result<Option<DdlOutcome>> {
        let mut relations = self.lock();
        let Some(oid) = relations.oid(name) else {
            return Ok(None);
        };
        let actual = if relations.tables.contains_key(name) {
            RelationKind::Table
        } else {
            RelationKind::View
        };
        if actual != kind {
            return Err(CatalogError::WrongKind {
                name: name.to_owned(),
                wanted: kind.word(),
                actual: actual.word(),
            });
        }
        let dependents = relations.dependents(oid);
        let described: Vec<String> = dependents
            .iter()
            .map(|(view, _)| relations.describe(view.oid))
            .collect();
        if behavior == DropBehavior::Restrict && !dependents.is_empty() {
            return Err(CatalogError::DependentsExist {
                object: relations.describe(oid),
                dependents: dependents
                    .iter()
                    .zip(&described)
                    .map(|((_, read), view)| {
                        format!("{view} depends on {}", relations.describe(*read))
                    })
                    .collect(),
            });
        }
        relations.tables.remove(name);
        relations.views.remove(name);
        for (view, _) in &dependents {
            relations.views.remove(&view.name);
        }
        let notice = |message| ErrorReport::new(SqlState::SUCCESSFUL_COMPLETION, message);
        let cascades = |view: &String| format!("drop cascades to {view}");
        let notices = match described.as_slice() {
            [] => Vec::new(),
            [view] => vec![notice(cascades(view))],
            views => {
                let message = format!("drop cascades to {} other objects", views.len());
                let detail: Vec<String> = views.iter().map(cascades).collect();
                vec![notice(message).with_detail(detail.join("\n"))]
            }
        };
        Ok(Some(DdlOutcome {
            oid: Some(oid),
            notices,
        }))
    }
}

//! Decides DDL: from a snapshot and a command to the changes it makes, or an error.
//!
//! Pure: no SQLite, no files, no clock. [`crate::catalog`] performs what is decided here.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use job::{ErrorReport, SqlState};

use crate::error::{CatalogError, Result, TOO_MANY_COLUMNS};
use crate::external::{ExternalTable, FileKind};
use crate::names::{ObjectName, Oid, PUBLIC, RelationKind, SearchPath, is_system_schema};
use crate::pg_types::pg_type_name;
use crate::snapshot::{CatalogSnapshot, Change, Definition, Relation, SchemaEntry};
use job::Caching;

/// PostgreSQL's MaxHeapAttributeNumber.
const COLUMNS_MAX: usize = 1600;

/// What a CREATE does when the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// An error.
    Fail,
    /// `IF NOT EXISTS`: a notice.
    Skip,
    /// `OR REPLACE`: the relation keeps its OID and gets the new definition.
    Replace,
}

/// What a DROP does about objects that depend on the one dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropBehavior {
    Restrict,
    Cascade,
}

/// What a DDL statement did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DdlOutcome {
    /// The object created, replaced or found; none for drops.
    pub oid: Option<Oid>,
    /// NOTICEs for the client, in order.
    pub notices: Vec<ErrorReport>,
}

/// An object a comment is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommentTarget {
    Schema(String),
    Relation {
        kind: RelationKind,
        name: ObjectName,
    },
    Column {
        relation: ObjectName,
        column: String,
    },
}

/// Changes plus what to tell the client. No changes means nothing is written.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) changes: Vec<Change>,
    pub(crate) outcome: DdlOutcome,
}

impl Decision {
    fn notice(sqlstate: SqlState, message: String) -> Self {
        Self {
            changes: Vec::new(),
            outcome: DdlOutcome {
                oid: None,
                notices: vec![ErrorReport::new(sqlstate, message)],
            },
        }
    }
}

pub(crate) fn create_schema(
    snapshot: &CatalogSnapshot,
    name: &str,
    if_not_exists: bool,
    oid: Oid,
) -> Result<Decision> {
    if snapshot.schema(name).is_some() || is_system_schema(name) {
        if if_not_exists {
            return Ok(Decision::notice(
                SqlState::DUPLICATE_SCHEMA,
                format!("schema \"{name}\" already exists, skipping"),
            ));
        }
        return Err(CatalogError::DuplicateSchema(name.to_owned()));
    }
    if name.starts_with("pg_") {
        return Err(CatalogError::ReservedSchemaName(name.to_owned()));
    }
    // A recreated `public` is an ordinary schema with an OID of its own.
    Ok(Decision {
        changes: vec![Change::PutSchema(Arc::new(SchemaEntry {
            oid,
            name: name.to_owned(),
            comment: None,
        }))],
        outcome: DdlOutcome {
            oid: Some(oid),
            notices: Vec::new(),
        },
    })
}

pub(crate) fn drop_schema(
    snapshot: &CatalogSnapshot,
    name: &str,
    if_exists: bool,
    behavior: DropBehavior,
) -> Result<Decision> {
    if is_system_schema(name) {
        return Err(CatalogError::RequiredSchema(name.to_owned()));
    }
    let Some(schema) = snapshot.schema(name) else {
        if if_exists {
            return Ok(Decision::notice(
                SqlState::SUCCESSFUL_COMPLETION,
                format!("schema \"{name}\" does not exist, skipping"),
            ));
        }
        return Err(CatalogError::UndefinedSchema(name.to_owned()));
    };
    let members: Vec<_> = snapshot.relations_in(name).cloned().collect();
    if behavior == DropBehavior::Restrict && !members.is_empty() {
        return Err(CatalogError::DependentsExist {
            object: format!("schema {name}"),
            dependents: members
                .iter()
                .map(|member| format!("{} depends on schema {name}", describe(member)))
                .collect(),
        });
    }
    let doomed = with_dependents(snapshot, members);
    let mut changes: Vec<_> = doomed
        .iter()
        .map(|relation| Change::DropRelation(relation.oid))
        .collect();
    changes.push(Change::DropSchema(schema.oid));
    Ok(Decision {
        changes,
        outcome: DdlOutcome {
            oid: None,
            notices: cascade_notices(&doomed),
        },
    })
}

/// Creates or replaces a relation whose definition is complete but for its OID.
pub(crate) fn create_relation(
    snapshot: &CatalogSnapshot,
    mut relation: Relation,
    if_exists: IfExists,
    oid: Oid,
) -> Result<Decision> {
    if is_system_schema(&relation.schema) {
        return Err(CatalogError::SystemSchema {
            schema: relation.schema,
            name: relation.name,
        });
    }
    if snapshot.schema(&relation.schema).is_none() {
        return Err(CatalogError::UndefinedSchema(relation.schema));
    }
    check_columns(&relation.columns)?;
    relation.oid = oid;
    if let Some(old) = snapshot.relation(&relation.schema, &relation.name) {
        match if_exists {
            IfExists::Fail => return Err(CatalogError::DuplicateRelation(relation.name)),
            IfExists::Skip => {
                let mut decision = Decision::notice(
                    SqlState::DUPLICATE_TABLE,
                    format!("relation \"{}\" already exists, skipping", relation.name),
                );
                decision.outcome.oid = Some(old.oid);
                return Ok(decision);
            }
            IfExists::Replace => {
                check_replacement(snapshot, old, &relation)?;
                relation.oid = old.oid;
                relation.comment.clone_from(&old.comment);
                relation.column_comments.clone_from(&old.column_comments);
                let columns = Arc::clone(&relation.columns);
                relation
                    .column_comments
                    .retain(|column, _| columns.field_with_name(column).is_ok());
            }
        }
    }
    let oid = relation.oid;
    Ok(Decision {
        changes: vec![Change::PutRelation(Arc::new(relation))],
        outcome: DdlOutcome {
            oid: Some(oid),
            notices: Vec::new(),
        },
    })
}

/// Column names must differ and be few enough.
pub(crate) fn check_columns(columns: &arrow::datatypes::Schema) -> Result<()> {
    if columns.fields().len() > COLUMNS_MAX {
        return Err(CatalogError::report(
            TOO_MANY_COLUMNS,
            format!("tables can have at most {COLUMNS_MAX} columns"),
        ));
    }
    let mut seen = BTreeSet::new();
    for field in columns.fields() {
        if !seen.insert(field.name().as_str()) {
            return Err(CatalogError::DuplicateColumn(field.name().clone()));
        }
    }
    Ok(())
}

/// PostgreSQL lets a view be replaced by one that has the same columns, and perhaps more at the
/// end, so that views on top of it stay valid. The same is asked of tables that views depend on.
fn check_replacement(snapshot: &CatalogSnapshot, old: &Relation, new: &Relation) -> Result<()> {
    if old.kind() != new.kind() {
        return Err(CatalogError::report(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a {}", old.name, new.kind().word()),
        ));
    }
    if let Definition::View(view) = &new.definition
        && reaches(snapshot, &view.depends_on, old.oid)
    {
        return Err(CatalogError::report(
            SqlState::INVALID_OBJECT_DEFINITION,
            format!(
                "infinite recursion detected in rules for relation \"{}\"",
                old.name
            ),
        ));
    }
    let kind = match new.kind() {
        RelationKind::View => "view",
        // A table nobody depends on may change freely.
        RelationKind::Table if snapshot.dependents(old.oid).next().is_none() => return Ok(()),
        RelationKind::Table => "table",
    };
    check_view_columns(kind, &old.columns, &new.columns)
}

/// The columns there were, and perhaps more at the end.
pub(crate) fn check_view_columns(kind: &str, old: &Schema, new: &Schema) -> Result<()> {
    let invalid = |message: String| {
        Err(CatalogError::report(
            SqlState::INVALID_TABLE_DEFINITION,
            message,
        ))
    };
    if new.fields().len() < old.fields().len() {
        return invalid(format!("cannot drop columns from {kind}"));
    }
    for (before, after) in old.fields().iter().zip(new.fields()) {
        if before.name() != after.name() {
            return invalid(format!(
                "cannot change name of {kind} column \"{}\" to \"{}\"",
                before.name(),
                after.name()
            ));
        }
        let (before_type, after_type) = (pg_type_name(before), pg_type_name(after));
        if before_type != after_type {
            return invalid(format!(
                "cannot change data type of {kind} column \"{}\" from {before_type} to {after_type}",
                before.name()
            ));
        }
    }
    Ok(())
}

/// Does any of `from` lead to `target` by way of views?
fn reaches(snapshot: &CatalogSnapshot, from: &[Oid], target: Oid) -> bool {
    let mut pending = from.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(oid) = pending.pop() {
        if oid == target {
            return true;
        }
        if seen.insert(oid)
            && let Some(relation) = snapshot.relation_by_oid(oid)
            && let Definition::View(view) = &relation.definition
        {
            pending.extend(&view.depends_on);
        }
    }
    false
}

pub(crate) fn drop_relation(
    snapshot: &CatalogSnapshot,
    kind: RelationKind,
    name: &ObjectName,
    path: &SearchPath,
    if_exists: bool,
    behavior: DropBehavior,
) -> Result<Decision> {
    let Some(relation) = snapshot.lookup(name, path) else {
        let missing_schema = name
            .schema
            .as_ref()
            .filter(|schema| snapshot.schema(schema).is_none() && !is_system_schema(schema));
        if if_exists {
            return Ok(Decision::notice(
                SqlState::SUCCESSFUL_COMPLETION,
                match missing_schema {
                    Some(schema) => format!("schema \"{schema}\" does not exist, skipping"),
                    None => format!("{} \"{}\" does not exist, skipping", kind.word(), name.name),
                },
            ));
        }
        return Err(match missing_schema {
            Some(schema) => CatalogError::UndefinedSchema(schema.clone()),
            None => CatalogError::UndefinedRelation {
                kind: kind.word(),
                name: name.name.clone(),
            },
        });
    };
    if relation.kind() != kind {
        return Err(CatalogError::WrongKind {
            name: relation.name.clone(),
            wanted: kind.word(),
            actual: relation.kind().word(),
        });
    }
    let doomed = with_dependents(snapshot, vec![Arc::clone(relation)]);
    if behavior == DropBehavior::Restrict && doomed.len() > 1 {
        let dependents = doomed
            .iter()
            .flat_map(|object| {
                snapshot.dependents(object.oid).map(move |dependent| {
                    format!("{} depends on {}", describe(dependent), describe(object))
                })
            })
            .collect();
        return Err(CatalogError::DependentsExist {
            object: describe(relation),
            dependents,
        });
    }
    Ok(Decision {
        changes: doomed
            .iter()
            .map(|relation| Change::DropRelation(relation.oid))
            .collect(),
        outcome: DdlOutcome {
            oid: None,
            notices: cascade_notices(&doomed[1..]),
        },
    })
}

pub(crate) fn comment(
    snapshot: &CatalogSnapshot,
    target: &CommentTarget,
    path: &SearchPath,
    text: Option<String>,
) -> Result<Decision> {
    let find = |name: &ObjectName, kind: &'static str| {
        snapshot
            .lookup(name, path)
            .ok_or_else(|| CatalogError::UndefinedRelation {
                kind,
                name: name.name.clone(),
            })
    };
    let change = match target {
        CommentTarget::Schema(name) => {
            let schema = snapshot
                .schema(name)
                .ok_or_else(|| CatalogError::UndefinedSchema(name.clone()))?;
            Change::PutSchema(Arc::new(SchemaEntry {
                comment: text,
                ..schema.as_ref().clone()
            }))
        }
        CommentTarget::Relation { kind, name } => {
            let relation = find(name, "relation")?;
            if relation.kind() != *kind {
                return Err(CatalogError::report(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("\"{}\" is not a {}", relation.name, kind.word()),
                ));
            }
            Change::PutRelation(Arc::new(Relation {
                comment: text,
                ..relation.as_ref().clone()
            }))
        }
        CommentTarget::Column { relation, column } => {
            let mut relation = find(relation, "relation")?.as_ref().clone();
            if relation.columns.field_with_name(column).is_err() {
                return Err(CatalogError::UndefinedColumn {
                    column: column.clone(),
                    relation: relation.name,
                });
            }
            match text {
                Some(text) => relation.column_comments.insert(column.clone(), text),
                None => relation.column_comments.remove(column),
            };
            Change::PutRelation(Arc::new(relation))
        }
    };
    Ok(Decision {
        changes: vec![change],
        outcome: DdlOutcome::default(),
    })
}

pub(crate) fn set_caching(
    snapshot: &CatalogSnapshot,
    name: &ObjectName,
    path: &SearchPath,
    caching: Option<Caching>,
    if_exists: bool,
) -> Result<Decision> {
    let Some(relation) = snapshot.lookup(name, path) else {
        if if_exists {
            return Ok(Decision::notice(
                SqlState::SUCCESSFUL_COMPLETION,
                format!("relation \"{}\" does not exist, skipping", name.name),
            ));
        }
        return Err(CatalogError::UndefinedRelation {
            kind: "relation",
            name: name.name.clone(),
        });
    };
    let uncacheable = |what: &str| {
        let report = ErrorReport::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("cannot cache {what} \"{}\"", relation.name),
        );
        Err(CatalogError::Reported(report.with_hint(format!(
            "CACHE TABLE name AS SELECT * FROM {} keeps its present rows for this session.",
            relation.name
        ))))
    };
    let table = match &relation.definition {
        Definition::View(_) => return uncacheable("view"),
        Definition::External(table) if table.format != FileKind::Parquet && caching.is_some() => {
            return uncacheable(&format!("{} table", table.format));
        }
        Definition::External(table) => table,
    };
    let oid = Some(relation.oid);
    let changes = if table.caching() == caching {
        Vec::new()
    } else {
        vec![with_caching(relation, table, caching)]
    };
    Ok(Decision {
        changes,
        outcome: DdlOutcome {
            oid,
            notices: Vec::new(),
        },
    })
}

pub(crate) fn clear_caching(snapshot: &CatalogSnapshot) -> Decision {
    let cached = snapshot
        .relations()
        .filter_map(|relation| match &relation.definition {
            Definition::External(table) if table.storage_level.is_some() => {
                Some(with_caching(relation, table, None))
            }
            Definition::External(_) | Definition::View(_) => None,
        });
    Decision {
        changes: cached.collect(),
        outcome: DdlOutcome::default(),
    }
}

fn with_caching(relation: &Relation, table: &ExternalTable, caching: Option<Caching>) -> Change {
    Change::PutRelation(Arc::new(Relation {
        definition: Definition::External(ExternalTable {
            storage_level: caching.map(|caching| caching.level),
            cached_lazily: caching.is_some_and(|caching| caching.lazy),
            ..table.clone()
        }),
        ..relation.clone()
    }))
}

/// The given relations, then every view that directly or indirectly reads one of them.
fn with_dependents(snapshot: &CatalogSnapshot, roots: Vec<Arc<Relation>>) -> Vec<Arc<Relation>> {
    let mut found: Vec<Arc<Relation>> = Vec::new();
    let mut seen: BTreeSet<Oid> = BTreeSet::new();
    let mut wave = roots;
    while !wave.is_empty() {
        let mut next = Vec::new();
        for relation in wave {
            if seen.insert(relation.oid) {
                next.extend(snapshot.dependents(relation.oid).cloned());
                found.push(relation);
            }
        }
        wave = next;
    }
    found
}

/// PostgreSQL names one object in the message, and several in the detail.
fn cascade_notices(relations: &[Arc<Relation>]) -> Vec<ErrorReport> {
    match relations {
        [] => Vec::new(),
        [one] => vec![ErrorReport::new(
            SqlState::SUCCESSFUL_COMPLETION,
            format!("drop cascades to {}", describe(one)),
        )],
        many => {
            let detail: Vec<_> = many
                .iter()
                .map(|relation| format!("drop cascades to {}", describe(relation)))
                .collect();
            vec![
                ErrorReport::new(
                    SqlState::SUCCESSFUL_COMPLETION,
                    format!("drop cascades to {} other objects", many.len()),
                )
                .with_detail(detail.join("\n")),
            ]
        }
    }
}

/// `view v`, `table s.t`: qualified unless in `public`, which is nearly always on the path.
fn describe(relation: &Relation) -> String {
    let word = relation.kind().word();
    if relation.schema == PUBLIC {
        format!("{word} {}", relation.name)
    } else {
        format!("{word} {}.{}", relation.schema, relation.name)
    }
}

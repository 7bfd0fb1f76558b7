//! Catalog statements. The catalog decides and stores; here names, clauses and tags are matched up.
//!
//! Permanent objects are durable the moment their statement is answered, or in a transaction block
//! the moment its COMMIT is: until then they are in a catalog that only the block sees. Temporary
//! tables are versions in memory, undone by going back to the old ones.

use std::sync::Arc;

use catalog::{
    Catalog, CatalogError, CommentTarget, DdlOutcome, DropBehavior, FileKind, IfExists,
    NewExternalTable, ObjectName, RelationKind, SearchPath, SortColumn,
};
use datafusion::arrow::datatypes::{Field, FieldRef, Schema};
use functions::pg_type::PgType;
use job::{ErrorReport, SqlError, SqlState};
use planner::{
    CommentOn, CreateExternalTable, CreateView, Drop, DropKind, Name, ParsedStatement, Statement,
    ViewPlace,
};

use super::registry::lock;
use super::rows::Reply;
use super::{Session, TransactionStatus};
use crate::pg::Severity;

/// The command, as tags and errors name it.
pub(super) fn drop_command(kind: DropKind) -> &'static str {
    match kind {
        DropKind::Table => "DROP TABLE",
        DropKind::View => "DROP VIEW",
        DropKind::Schema => "DROP SCHEMA",
    }
}

impl Session {
    pub(super) async fn run_ddl(&mut self, parsed: &ParsedStatement) -> Result<Reply, ErrorReport> {
        let before = self.catalog().snapshot();
        let tag = match parsed.statement() {
            Statement::CreateExternalTable(create) => {
                self.create_external_table(create).await?;
                "CREATE EXTERNAL TABLE"
            }
            Statement::CreateView(create) => {
                self.create_view(create, parsed).await?;
                "CREATE VIEW"
            }
            Statement::CreateSchema {
                name,
                if_not_exists,
            } => {
                let catalog = self.ddl_catalog();
                let created = catalog.create_schema(name, *if_not_exists).await;
                self.tell(created)?;
                "CREATE SCHEMA"
            }
            Statement::Drop(drop) => {
                self.drop_objects(drop).await?;
                drop_command(drop.kind)
            }
            Statement::Comment { on, comment } => {
                self.comment(on, comment.clone()).await?;
                "COMMENT"
            }
            _ => {
                return Err(ErrorReport::new(
                    SqlState::INTERNAL_ERROR,
                    "statement is not DDL",
                ));
            }
        };
        self.forget_difference(&before);
        Ok(Reply::Done(tag.to_owned()))
    }

    /// The catalog DDL changes: in a transaction block the block's own, else everybody's, and then
    /// the statement can't be stopped any more.
    pub(super) fn ddl_catalog(&mut self) -> Arc<Catalog> {
        if !self.transaction.in_block() {
            self.critical();
        }
        self.block_catalog()
    }

    pub(super) fn block_catalog(&mut self) -> Arc<Catalog> {
        let everybodys = &self.services.catalog;
        match &mut self.undo {
            Some(undo) if self.transaction.in_block() => {
                let own = undo.catalog.get_or_insert_with(|| everybodys.begin());
                Arc::clone(own)
            }
            Some(_) | None => Arc::clone(everybodys),
        }
    }

    /// The catalog as this session's statements see it.
    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        let own = self.undo.as_ref().and_then(|undo| undo.catalog.as_ref());
        own.unwrap_or(&self.services.catalog)
    }

    /// The block is about to commit: its DDL is made everybody's. When that fails, nothing of the
    /// block is left.
    pub(super) async fn commit_ddl(&mut self) -> Result<(), ErrorReport> {
        let own = self.undo.as_mut().and_then(|undo| undo.catalog.take());
        let Some(own) = own else {
            return Ok(());
        };
        if self.status() != TransactionStatus::InTransaction {
            return Ok(());
        }
        self.critical();
        if let Err(error) = self.services.catalog.commit(&own).await {
            let _warning = self.transaction.rollback();
            self.rollback_work();
            return Err(error.report());
        }
        Ok(())
    }

    /// The catalog is about to change for good: the statement can't be stopped any more.
    pub(super) fn critical(&self) {
        self.handle().interrupt.enter_critical();
    }

    /// Notices to the client, errors to the statement.
    pub(super) fn tell(
        &mut self,
        outcome: Result<DdlOutcome, CatalogError>,
    ) -> Result<DdlOutcome, ErrorReport> {
        let mut outcome = outcome.map_err(|error| error.report())?;
        for notice in outcome.notices.drain(..) {
            self.notice(Severity::Notice, notice);
        }
        Ok(outcome)
    }

    /// The search path with the user's name in place of `"$user"`, unless that is a system schema's:
    /// the user `firesteel` is an ordinary one.
    pub(super) fn search_path(&self) -> SearchPath {
        let user = &self.handle().user;
        SearchPath(
            lock(&self.gucs)
                .search_path()
                .into_iter()
                .filter(|schema| schema != "$user" || !catalog::is_system_schema(user))
                .map(|schema| match schema.as_str() {
                    "$user" => user.clone(),
                    _ => schema,
                })
                .collect(),
        )
    }

    async fn create_external_table(
        &mut self,
        create: &CreateExternalTable,
    ) -> Result<(), ErrorReport> {
        let mut fields: Vec<FieldRef> = create
            .columns
            .iter()
            .map(|column| Arc::clone(&column.field))
            .collect();
        // PARTITIONED BY may give a column its type, or name one of the list.
        for (name, field) in &create.partitioned_by {
            if let Some(field) = field {
                fields.push(Arc::clone(field));
            } else if !fields.is_empty() && fields.iter().all(|field| field.name() != name) {
                let text = PgType::TEXT.arrow_field(name, true).unwrap_or_else(|| {
                    Field::new(name, datafusion::arrow::datatypes::DataType::Utf8, true)
                });
                fields.push(Arc::new(text));
            }
        }
        let new = NewExternalTable {
            location: create.location.clone(),
            format: FileKind::parse(&create.format).ok_or_else(|| {
                ErrorReport::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("file format {} is not supported", create.format),
                )
                .with_hint("Supported are PARQUET, CSV, JSON, AVRO and ARROW.")
            })?,
            columns: (!create.columns.is_empty()).then(|| Arc::new(Schema::new(fields))),
            partitioned_by: create
                .partitioned_by
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            ordering: match create.order.as_slice() {
                [] => Vec::new(),
                [columns] => columns
                    .iter()
                    .map(|order| SortColumn {
                        column: order.column.clone(),
                        descending: order.descending,
                        nulls_first: order.nulls_first,
                    })
                    .collect(),
                [_, ..] => {
                    return Err(ErrorReport::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "more than one WITH ORDER clause is not supported",
                    ));
                }
            },
            options: create.options.clone(),
        };
        let state = Arc::clone(self.services.planner.session_state());
        let path = self.search_path();
        // Reading files takes its time, so it can be stopped: not yet critical.
        let catalog = self.block_catalog();
        let created = catalog
            .create_external_table(
                &object_name(&create.name),
                &path,
                new,
                if_exists(create.or_replace, create.if_not_exists),
                state.as_ref(),
            )
            .await;
        self.tell(created)?;
        Ok(())
    }

    async fn create_view(
        &mut self,
        create: &CreateView,
        parsed: &ParsedStatement,
    ) -> Result<(), ErrorReport> {
        let planned = self.plan_view(parsed, create).await?;
        let (view, columns) = (planned.definition, planned.columns);
        let if_exists = if_exists(create.or_replace, create.if_not_exists);
        let name = &create.name.name;
        match planned.place {
            ViewPlace::Permanent => {}
            ViewPlace::Temporary | ViewPlace::BecomesTemporary => {
                if planned.place == ViewPlace::BecomesTemporary {
                    self.notice(
                        Severity::Notice,
                        ErrorReport::new(
                            SqlState::SUCCESSFUL_COMPLETION,
                            format!("view \"{name}\" will be a temporary view"),
                        ),
                    );
                }
                let created = self
                    .tables
                    .create_view(name, view, columns, if_exists)
                    .await;
                self.tell(created)?;
                return Ok(());
            }
        }
        let path = self.search_path();
        let catalog = self.ddl_catalog();
        let created = catalog
            .create_view(&object_name(&create.name), &path, view, columns, if_exists)
            .await;
        self.tell(created)?;
        Ok(())
    }

    async fn drop_objects(&mut self, drop: &Drop) -> Result<(), ErrorReport> {
        let behavior = if drop.cascade {
            DropBehavior::Cascade
        } else {
            DropBehavior::Restrict
        };
        for name in &drop.names {
            if self.drop_temporary(drop.kind, name, behavior)? {
                continue;
            }
            let catalog = self.ddl_catalog();
            let dropped = match drop.kind {
                DropKind::Schema => {
                    catalog
                        .drop_schema(&name.name, drop.if_exists, behavior)
                        .await
                }
                DropKind::Table | DropKind::View => {
                    let kind = match drop.kind {
                        DropKind::View => RelationKind::View,
                        DropKind::Table | DropKind::Schema => RelationKind::Table,
                    };
                    catalog
                        .drop_relation(
                            kind,
                            &object_name(name),
                            &self.search_path(),
                            drop.if_exists,
                            behavior,
                        )
                        .await
                }
            };
            self.tell(dropped)?;
        }
        Ok(())
    }

    /// Drops a temporary relation if the name means one; its schema comes first in any search path.
    fn drop_temporary(
        &mut self,
        kind: DropKind,
        name: &Name,
        behavior: DropBehavior,
    ) -> Result<bool, ErrorReport> {
        let kind = match kind {
            DropKind::Table => RelationKind::Table,
            DropKind::View => RelationKind::View,
            DropKind::Schema => return Ok(false),
        };
        if let Some(schema) = &name.schema
            && !self.tables.is_schema(schema)
        {
            return Ok(false);
        }
        if self.is_cached_temporary(&name.name) {
            self.forget(name);
        }
        let dropped = self.tables.drop_relation(kind, &name.name, behavior);
        let dropped = dropped.map_err(|error| error.report())?;
        let Some(outcome) = dropped else {
            return Ok(false);
        };
        self.tell(Ok(outcome))?;
        Ok(true)
    }

    async fn comment(&mut self, on: &CommentOn, text: Option<String>) -> Result<(), ErrorReport> {
        let target = match on {
            CommentOn::Schema(name) => CommentTarget::Schema(name.clone()),
            CommentOn::Table(name) => CommentTarget::Relation {
                kind: RelationKind::Table,
                name: object_name(name),
            },
            CommentOn::View(name) => CommentTarget::Relation {
                kind: RelationKind::View,
                name: object_name(name),
            },
            CommentOn::Column { relation, column } => CommentTarget::Column {
                relation: object_name(relation),
                column: column.clone(),
            },
        };
        let path = self.search_path();
        let commented = self.ddl_catalog().comment(target, &path, text).await;
        self.tell(commented)?;
        Ok(())
    }
}

pub(super) fn object_name(name: &Name) -> ObjectName {
    ObjectName {
        schema: name.schema.clone(),
        name: name.name.clone(),
    }
}

fn if_exists(or_replace: bool, if_not_exists: bool) -> IfExists {
    match (or_replace, if_not_exists) {
        (true, _) => IfExists::Replace,
        (false, true) => IfExists::Skip,
        (false, false) => IfExists::Fail,
    }
}

//! Runs one statement: what may run now, and who runs it.

use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use functions::pg_type::Format;
use job::{ErrorReport, SqlState};
use planner::{ParsedStatement, Statement};

use super::Session;
use super::prepared::{Prepared, ends_transaction};
use super::registry::lock;
use super::rows::Reply;
use crate::config::KeyId;

/// `read_only_sql_transaction`
const READ_ONLY_TRANSACTION: SqlState = SqlState(*b"25006");

impl Session {
    /// The statements of a simple query. A syntax error anywhere fails them all.
    pub(crate) fn parse_batch(&mut self, sql: &str) -> Result<Vec<ParsedStatement>, ErrorReport> {
        self.handle().set_query(sql.into());
        Ok(planner::parse(sql)?)
    }

    /// Runs a statement of a simple query; `batch` when it is not the only one.
    pub(crate) async fn run_simple(
        &mut self,
        statement: &ParsedStatement,
        batch: bool,
    ) -> Result<Reply, ErrorReport> {
        self.in_batch = batch;
        self.check_usable(statement)?;
        self.enter_transaction();
        let prepared = self.prepare(Some(statement.clone()), None).await?;
        self.run(statement, &Arc::new(prepared), &[], &[], true)
            .await
    }

    /// In a failed block only its end may run.
    pub(super) fn check_usable(&self, statement: &ParsedStatement) -> Result<(), ErrorReport> {
        if ends_transaction(statement) {
            return Ok(());
        }
        self.transaction.check_usable()
    }

    /// Runs a bound statement. `at_once` when it was prepared for nothing but this.
    pub(super) async fn run(
        &mut self,
        parsed: &ParsedStatement,
        prepared: &Arc<Prepared>,
        parameters: &[ScalarValue],
        formats: &[Format],
        at_once: bool,
    ) -> Result<Reply, ErrorReport> {
        self.handle().set_query(parsed.text().into());
        self.check_read_only(parsed.statement())?;
        match parsed.statement() {
            Statement::Query(_)
            | Statement::Insert(_)
            | Statement::CreateTempTable(_)
            | Statement::ShowTables
            | Statement::Explain(_) => {
                self.run_planned(parsed, prepared, parameters, formats, at_once)
                    .await
            }
            Statement::CreateExternalTable(_)
            | Statement::CreateView(_)
            | Statement::CreateSchema { .. }
            | Statement::Drop(_)
            | Statement::Comment { .. } => self.run_ddl(parsed).await,
            Statement::CacheTable(cache) => self.cache_table(parsed, cache).await,
            Statement::UncacheTable { name, if_exists } => {
                self.uncache_table(name, *if_exists).await
            }
            Statement::ClearCache => self.clear_cache().await,
            Statement::RefreshTable(name) => self.refresh_table(name),
            Statement::Copy(copy) => self.run_copy(parsed, copy, prepared, at_once).await,
            Statement::Execute { name, arguments } => {
                self.run_execute(parsed, name, arguments, formats).await
            }
            Statement::DeclareCursor(declare) => self.declare(parsed, declare).await,
            Statement::Fetch(fetch) => self.fetch(fetch, formats).await,
            Statement::Move(fetch) => self.move_cursor(fetch).await,
            Statement::Prepare(prepare) => self.run_prepare(parsed, prepare).await,
            Statement::Commit { .. } => {
                self.commit_ddl().await?;
                self.run_utility(parsed)
            }
            Statement::Set(_)
            | Statement::SetTransaction { .. }
            | Statement::SetRole { .. }
            | Statement::SetSessionAuthorization { .. }
            | Statement::SetConstraints
            | Statement::Show(_)
            | Statement::ShowAll
            | Statement::Reset(_)
            | Statement::ResetAll
            | Statement::Begin(_)
            | Statement::Rollback { .. }
            | Statement::Savepoint(_)
            | Statement::ReleaseSavepoint(_)
            | Statement::RollbackToSavepoint(_)
            | Statement::Deallocate(_)
            | Statement::CloseCursor(_)
            | Statement::Discard(_)
            | Statement::Listen(_)
            | Statement::Unlisten(_)
            | Statement::Notify { .. }
            | Statement::Nothing { .. }
            | Statement::Unsupported(_) => self.run_utility(parsed),
        }
    }

    /// Temporary tables may be written in a read-only transaction, but nothing may be defined.
    fn check_read_only(&self, statement: &Statement) -> Result<(), ErrorReport> {
        let command = match statement {
            Statement::CreateTempTable(create) => match create.source {
                planner::TempTableSource::Columns(_) => "CREATE TABLE",
                planner::TempTableSource::Query { .. } => "CREATE TABLE AS",
            },
            Statement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE",
            Statement::CreateView(_) => "CREATE VIEW",
            Statement::CreateSchema { .. } => "CREATE SCHEMA",
            Statement::Drop(drop) => super::ddl::drop_command(drop.kind),
            Statement::Comment { .. } => "COMMENT",
            Statement::CacheTable(_) => "CACHE TABLE",
            Statement::UncacheTable { .. } => "UNCACHE TABLE",
            Statement::ClearCache => "CLEAR CACHE",
            _ => return Ok(()),
        };
        if lock(&self.gucs).flag(KeyId::TransactionReadOnly) {
            return Err(ErrorReport::new(
                READ_ONLY_TRANSACTION,
                format!("cannot execute {command} in a read-only transaction"),
            ));
        }
        Ok(())
    }
}

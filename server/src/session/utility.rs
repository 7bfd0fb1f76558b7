//! Statements about the session itself: settings, transactions, prepared statements, DISCARD.
//! All of them are done at once.

use std::sync::Arc;

use job::{ErrorReport, SqlState};
use planner::{
    CursorTarget, Discard, ParsedStatement, Prepare, SetScope as ParsedScope, SetStatement,
    SetValue, Statement, TransactionModes,
};

use super::gucs::SetScope;
use super::prepared::undefined_portal;
use super::registry::lock;
use super::rows::{Reply, Rows, text_rows};
use super::{Ended, Session};
use crate::config::KeyId;
use crate::pg::{Column, Severity};

impl Session {
    /// Runs a statement that [`Session::run`] sent here.
    pub(super) fn run_utility(&mut self, parsed: &ParsedStatement) -> Result<Reply, ErrorReport> {
        let tag = match parsed.statement() {
            Statement::Set(set) => self.set(set)?,
            Statement::SetTransaction { modes, session } => {
                self.set_transaction(modes, *session)?
            }
            Statement::SetRole { role, .. } => self.set_role(role.as_deref())?,
            Statement::SetSessionAuthorization { role, .. } => self.set_role(role.as_deref())?,
            Statement::SetConstraints => "SET CONSTRAINTS",
            Statement::Show(name) => return self.show(name),
            Statement::ShowAll => return Ok(self.show_all()),
            Statement::Reset(name) => {
                lock(&self.gucs).reset(name)?;
                "RESET"
            }
            Statement::ResetAll => {
                lock(&self.gucs).reset_all();
                "RESET"
            }
            Statement::Begin(modes) => self.begin(modes, parsed.text())?,
            Statement::Commit { chain } => self.commit(*chain)?,
            Statement::Rollback { chain } => self.rollback(*chain)?,
            Statement::Savepoint(name) => self.savepoint(name)?,
            Statement::ReleaseSavepoint(name) => self.release_savepoint(name)?,
            Statement::RollbackToSavepoint(name) => self.rollback_to_savepoint(name)?,
            Statement::Deallocate(name) => self.deallocate(name.as_deref())?,
            Statement::CloseCursor(target) => self.close_cursor(target)?,
            Statement::Discard(what) => self.discard(*what)?,
            Statement::Unlisten(_) => "UNLISTEN",
            Statement::Listen(_) => return Err(no_notifications("LISTEN")),
            Statement::Notify { .. } => return Err(no_notifications("NOTIFY")),
            Statement::Nothing { tag } => tag,
            Statement::Unsupported(error) => return Err(error.clone().into()),
            Statement::Query(_)
            | Statement::Insert(_)
            | Statement::CreateTempTable(_)
            | Statement::CreateExternalTable(_)
            | Statement::CreateView(_)
            | Statement::CreateSchema { .. }
            | Statement::Drop(_)
            | Statement::Comment { .. }
            | Statement::CacheTable(_)
            | Statement::UncacheTable { .. }
            | Statement::ClearCache
            | Statement::RefreshTable(_)
            | Statement::Explain(_)
            | Statement::ShowTables
            | Statement::Copy(_)
            | Statement::Prepare(_)
            | Statement::Execute { .. }
            | Statement::DeclareCursor(_)
            | Statement::Fetch(_)
            | Statement::Move(_) => {
                return Err(ErrorReport::new(
                    SqlState::INTERNAL_ERROR,
                    "statement is not a utility",
                ));
            }
        };
        Ok(Reply::Done(tag.to_owned()))
    }

    fn set(&mut self, set: &SetStatement) -> Result<&'static str, ErrorReport> {
        let scope = match set.scope {
            ParsedScope::Session => SetScope::Session,
            ParsedScope::Local => {
                self.warn_without_block("SET LOCAL");
                SetScope::Local
            }
        };
        let value = match &set.value {
            SetValue::Default => None,
            SetValue::Value(value) => Some(value.as_str()),
        };
        lock(&self.gucs).set(&set.name, value, scope)?;
        Ok("SET")
    }

    /// Some commands mean nothing when the transaction ends with them.
    fn warn_without_block(&mut self, command: &str) {
        if !self.transaction.in_block() && !self.in_batch {
            self.notice(
                Severity::Warning,
                ErrorReport::new(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    format!("{command} can only be used in transaction blocks"),
                ),
            );
        }
    }

    fn set_transaction(
        &mut self,
        modes: &TransactionModes,
        session: bool,
    ) -> Result<&'static str, ErrorReport> {
        if !session {
            self.warn_without_block("SET TRANSACTION");
        }
        self.apply_modes(modes, session)?;
        Ok("SET")
    }

    fn apply_modes(
        &mut self,
        modes: &TransactionModes,
        for_later: bool,
    ) -> Result<(), ErrorReport> {
        let mut gucs = lock(&self.gucs);
        let keys = if for_later {
            [
                KeyId::DefaultTransactionIsolation,
                KeyId::DefaultTransactionReadOnly,
                KeyId::DefaultTransactionDeferrable,
            ]
        } else {
            [
                KeyId::TransactionIsolation,
                KeyId::TransactionReadOnly,
                KeyId::TransactionDeferrable,
            ]
        };
        let on_off = |flag: bool| if flag { "on" } else { "off" };
        let values = [
            modes.isolation.map(|level| level.name()),
            modes.read_only.map(on_off),
            modes.deferrable.map(on_off),
        ];
        for (id, value) in keys.into_iter().zip(values) {
            if let Some(value) = value {
                gucs.set(id.key().name, Some(value), SetScope::Session)?;
            }
        }
        Ok(())
    }

    /// There are no roles yet: a session may only be who it is.
    fn set_role(&self, role: Option<&str>) -> Result<&'static str, ErrorReport> {
        match role {
            Some(role) if role != self.handle().user => Err(ErrorReport::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("role \"{role}\" does not exist"),
            )),
            Some(_) | None => Ok("SET"),
        }
    }

    fn show(&self, name: &str) -> Result<Reply, ErrorReport> {
        let (name, value) = lock(&self.gucs).show(name)?;
        Ok(text_reply("SHOW", &[&name], &[vec![Some(value)]]))
    }

    fn show_all(&self) -> Reply {
        let rows: Vec<_> = lock(&self.gucs)
            .show_all()
            .into_iter()
            .map(|(name, value, doc)| vec![Some(name), Some(value), Some(doc.to_owned())])
            .collect();
        text_reply("SHOW", &SHOW_ALL_COLUMNS, &rows)
    }

    /// What Describe says of a SHOW before it runs.
    pub(super) fn show_columns(&self, statement: &Statement) -> Vec<String> {
        match statement {
            // An unknown name fails when it runs.
            Statement::Show(name) => {
                let known = lock(&self.gucs).show(name).map(|(name, _)| name);
                vec![known.unwrap_or_else(|_| name.clone())]
            }
            _ => SHOW_ALL_COLUMNS.map(str::to_owned).to_vec(),
        }
    }

    fn begin(&mut self, modes: &TransactionModes, text: &str) -> Result<&'static str, ErrorReport> {
        let warning = self.transaction.begin();
        self.warn(warning);
        self.apply_modes(modes, false)?;
        let start = text
            .get(..5)
            .is_some_and(|word| word.eq_ignore_ascii_case("start"));
        Ok(if start { "START TRANSACTION" } else { "BEGIN" })
    }

    fn commit(&mut self, chain: bool) -> Result<&'static str, ErrorReport> {
        self.check_chain(chain, "COMMIT AND CHAIN")?;
        let modes = self.present_modes();
        let (ended, warning) = self.transaction.commit();
        self.warn(warning);
        let tag = match ended {
            Ended::Committed => {
                self.commit_work();
                "COMMIT"
            }
            Ended::RolledBack => {
                self.rollback_work();
                "ROLLBACK"
            }
        };
        self.chain(chain, modes)?;
        Ok(tag)
    }

    fn rollback(&mut self, chain: bool) -> Result<&'static str, ErrorReport> {
        self.check_chain(chain, "ROLLBACK AND CHAIN")?;
        let modes = self.present_modes();
        let warning = self.transaction.rollback();
        self.warn(warning);
        self.rollback_work();
        self.chain(chain, modes)?;
        Ok("ROLLBACK")
    }

    fn check_chain(&self, chain: bool, command: &str) -> Result<(), ErrorReport> {
        if chain && !self.transaction.in_block() {
            return Err(ErrorReport::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                format!("{command} can only be used in transaction blocks"),
            ));
        }
        Ok(())
    }

    /// The characteristics of this transaction, as AND CHAIN hands them on.
    fn present_modes(&self) -> Vec<(KeyId, String)> {
        let gucs = lock(&self.gucs);
        [
            KeyId::TransactionIsolation,
            KeyId::TransactionReadOnly,
            KeyId::TransactionDeferrable,
        ]
        .map(|id| (id, id.key().kind.show(gucs.value(id))))
        .to_vec()
    }

    fn chain(&mut self, chain: bool, modes: Vec<(KeyId, String)>) -> Result<(), ErrorReport> {
        if !chain {
            return Ok(());
        }
        self.transaction.begin();
        self.enter_transaction();
        let mut gucs = lock(&self.gucs);
        for (id, value) in modes {
            gucs.set(id.key().name, Some(&value), SetScope::Local)?;
        }
        Ok(())
    }

    fn savepoint(&mut self, name: &str) -> Result<&'static str, ErrorReport> {
        self.transaction.savepoint(name.to_owned())?;
        lock(&self.gucs).savepoint();
        let tables = self.tables.save();
        if let Some(undo) = &mut self.undo {
            let ddl = undo.catalog.as_ref().map(|catalog| catalog.savepoint());
            undo.savepoints.push((tables, ddl));
        }
        Ok("SAVEPOINT")
    }

    fn release_savepoint(&mut self, name: &str) -> Result<&'static str, ErrorReport> {
        let depth = self.transaction.release(name)?;
        lock(&self.gucs).release(depth);
        if let Some(undo) = &mut self.undo {
            undo.savepoints.truncate(depth.0);
        }
        for portal in self.portals.values_mut() {
            portal.depth = portal.depth.min(depth.0);
        }
        Ok("RELEASE")
    }

    fn rollback_to_savepoint(&mut self, name: &str) -> Result<&'static str, ErrorReport> {
        let depth = self.transaction.rollback_to(name)?;
        lock(&self.gucs).rollback_to(depth);
        if let Some(undo) = &mut self.undo {
            undo.savepoints.truncate(depth.0 + 1);
            if let Some((tables, ddl)) = undo.savepoints.last() {
                self.tables.restore(tables.clone());
                match (&undo.catalog, ddl) {
                    (Some(catalog), Some(ddl)) => catalog.rollback_to(ddl),
                    // All of the block's DDL came after the savepoint.
                    (Some(_), None) => undo.catalog = None,
                    (None, _) => {}
                }
            }
        }
        self.portals
            .retain(|_, portal| portal.committed || portal.depth <= depth.0);
        Ok("ROLLBACK")
    }

    /// PREPARE.
    pub(super) async fn run_prepare(
        &mut self,
        parsed: &ParsedStatement,
        prepare: &Prepare,
    ) -> Result<Reply, ErrorReport> {
        self.check_statement_name(&prepare.name)?;
        let types: Vec<_> = prepare.types.iter().copied().map(Some).collect();
        let prepared = self
            .prepare(Some(prepare.statement.clone()), Some(&types))
            .await?;
        self.name_statement(prepare.name.clone(), prepared, parsed.text(), true);
        Ok(Reply::Done("PREPARE".to_owned()))
    }

    fn deallocate(&mut self, name: Option<&str>) -> Result<&'static str, ErrorReport> {
        match name {
            None => {
                self.statements = Arc::default();
                Ok("DEALLOCATE ALL")
            }
            Some(name) => {
                self.find_statement(name)?;
                self.remove_statement(name);
                Ok("DEALLOCATE")
            }
        }
    }

    fn close_cursor(&mut self, target: &CursorTarget) -> Result<&'static str, ErrorReport> {
        match target {
            CursorTarget::All => {
                self.portals.clear();
                Ok("CLOSE CURSOR ALL")
            }
            CursorTarget::Named(name) => match self.portals.remove(name) {
                Some(_) => Ok("CLOSE CURSOR"),
                None => Err(undefined_portal("cursor", name)),
            },
        }
    }

    fn discard(&mut self, what: Discard) -> Result<&'static str, ErrorReport> {
        Ok(match what {
            // Plans are made anew for every execution, and there are no sequences.
            Discard::Plans => "DISCARD PLANS",
            Discard::Sequences => "DISCARD SEQUENCES",
            Discard::Temp => {
                self.forget_temporary();
                self.tables.drop_all();
                "DISCARD TEMP"
            }
            Discard::All => {
                self.transaction.check_no_block("DISCARD ALL")?;
                self.portals.clear();
                self.statements = Arc::default();
                self.forget_temporary();
                self.tables.drop_all();
                lock(&self.gucs).reset_all();
                "DISCARD ALL"
            }
        })
    }
}

const SHOW_ALL_COLUMNS: [&str; 3] = ["name", "setting", "description"];

fn no_notifications(command: &str) -> ErrorReport {
    ErrorReport::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("{command} is not supported"),
    )
    .with_detail("Firesteel does not deliver notifications.")
}

/// Rows of text under these column names.
fn text_reply(command: &'static str, columns: &[&str], rows: &[Vec<Option<String>>]) -> Reply {
    let columns = columns.iter().map(|name| Column::text(*name)).collect();
    Reply::Rows(Rows::new(columns, text_rows(rows), command))
}

//! The objects of the extended protocol: prepared statements and portals.
//!
//! ```text
//!   Parse --> Prepared --Bind--> Portal(ready) --Execute--> open <--> taken --> finished
//!                                                            ^  max_rows |
//!                                                            +-----------+
//! ```
//!
//! SQL's PREPARE and DECLARE CURSOR make the same objects.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use datafusion::scalar::ScalarValue;
use functions::pg_type::{Format, InputContext, Now, PgType, TypeError, decode};
use job::{ErrorReport, SqlState};
use operators::rows::column_formats;
use planner::{ParsedStatement, Statement};

use super::copy::{CopyIn, CopyOut};
use super::rows::{Reply, Rows};
use super::{Session, TransactionStatus, epoch_us};
use crate::config::KeyId;
use crate::pg::{Bind, Column, Parse, Target};

/// A statement that may be bound and executed many times.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// `None` for an empty query, which is a statement as well.
    pub(super) statement: Option<ParsedStatement>,
    pub(super) parameter_types: Vec<PgType>,
    /// Columns of the result, formats aside; `None` when it has no rows.
    pub(super) columns: Option<Vec<(String, PgType)>>,
    /// What the planner found out, for statements that are planned.
    pub(super) plan: Option<planner::Prepared>,
}

impl Prepared {
    pub(super) fn columns_in(
        &self,
        formats: &[Format],
    ) -> Result<Option<Vec<Column>>, ErrorReport> {
        let Some(columns) = &self.columns else {
            return Ok(None);
        };
        let formats = column_formats(formats, columns.len()).map_err(TypeError::into_report)?;
        Ok(Some(
            columns
                .iter()
                .zip(formats)
                .map(|((name, pg_type), format)| Column::new(name, *pg_type, format))
                .collect(),
        ))
    }
}

/// A statement under a name.
#[derive(Debug, Clone)]
pub(super) struct NamedStatement {
    pub(super) prepared: Arc<Prepared>,
    /// As the client wrote it.
    pub(super) text: Arc<str>,
    pub(super) made: SystemTime,
    /// By PREPARE.
    pub(super) from_sql: bool,
}

/// A bound statement, on its way through its rows.
pub(crate) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    pub(super) parameters: Vec<ScalarValue>,
    pub(super) formats: Vec<Format>,
    pub(super) state: PortalState,
    /// WITH HOLD: it outlives its transaction, once that has committed.
    pub(super) hold: bool,
    /// Savepoints there were when it was made; rolling back to fewer ends it.
    pub(super) depth: usize,
    /// Its transaction has committed, so only a held portal gets here.
    pub(super) committed: bool,
    /// DECLARE BINARY: its rows are binary whoever fetches them.
    pub(super) binary: bool,
    /// DECLARE SCROLL or NO SCROLL, where either was said.
    pub(super) scroll: Option<bool>,
    /// As the client wrote it.
    pub(super) text: Arc<str>,
    pub(super) made: SystemTime,
}

pub(super) enum PortalState {
    /// Not run yet.
    Ready,
    /// Rows are waiting.
    Open(Rows),
    /// Its rows are with the connection, or were dropped with a cancelled Execute.
    Taken,
    /// All rows are out, or the command is done.
    Finished,
    /// Its transaction failed.
    Failed,
}

impl Portal {
    pub(super) fn survives_commit(&mut self) -> bool {
        self.committed = true;
        self.hold && !matches!(self.state, PortalState::Failed | PortalState::Taken)
    }

    pub(super) fn survives_rollback(&self) -> bool {
        self.hold && self.committed
    }

    pub(super) fn fail(&mut self) {
        if !self.committed {
            self.state = PortalState::Failed;
        }
    }
}

/// What an Execute found.
pub(crate) enum Executed {
    /// The connection takes rows, then gives them back or finishes the portal.
    Rows(Rows),
    CopyOut(Box<CopyOut>),
    CopyIn(Box<CopyIn>),
    Done(String),
    /// An empty query.
    Empty,
}

impl Session {
    /// A simple query forgets the unnamed statement and portal.
    pub(crate) fn forget_unnamed(&mut self) {
        self.remove_statement("");
        self.portals.remove("");
    }

    /// Parse.
    pub(crate) async fn parse(&mut self, message: Parse) -> Result<(), ErrorReport> {
        // The unnamed statement is gone even if its successor fails.
        if message.name.is_empty() {
            self.remove_statement("");
        } else {
            self.check_statement_name(&message.name)?;
        }
        self.handle().set_query(message.sql.as_str().into());
        let mut statements = planner::parse(&message.sql)?;
        let statement = statements.pop();
        if !statements.is_empty() {
            return Err(ErrorReport::new(
                SqlState::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        if let Some(statement) = &statement {
            self.check_usable(statement)?;
        }
        self.enter_transaction();
        let types = parameter_types(&message.parameter_types)?;
        let prepared = self.prepare(statement, Some(&types)).await?;
        self.name_statement(message.name, prepared, &message.sql, false);
        Ok(())
    }

    pub(super) fn name_statement(
        &mut self,
        name: String,
        prepared: Prepared,
        text: &str,
        from_sql: bool,
    ) {
        let named = NamedStatement {
            prepared: Arc::new(prepared),
            text: text.into(),
            made: SystemTime::now(),
            from_sql,
        };
        Arc::make_mut(&mut self.statements).insert(name, named);
    }

    pub(super) fn remove_statement(&mut self, name: &str) {
        if self.statements.contains_key(name) {
            Arc::make_mut(&mut self.statements).remove(name);
        }
    }

    /// Refuses a taken name, and one statement too many.
    pub(super) fn check_statement_name(&self, name: &str) -> Result<(), ErrorReport> {
        if self.statements.contains_key(name) {
            return Err(ErrorReport::new(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        let limit = self.services.config.size(KeyId::StatementsMax);
        if self.statements.len() >= limit {
            return Err(ErrorReport::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a session cannot hold more than {limit} prepared statements"),
            )
            .with_hint("DEALLOCATE some, or raise connections.prepared_statements_max."));
        }
        Ok(())
    }

    pub(super) fn check_portal_limit(&self) -> Result<(), ErrorReport> {
        let limit = self.services.config.size(KeyId::PortalsMax);
        if self.portals.len() >= limit {
            return Err(ErrorReport::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a session cannot hold more than {limit} open portals"),
            )
            .with_hint("Close some, or raise connections.portals_max."));
        }
        Ok(())
    }

    pub(super) fn find_statement(&self, name: &str) -> Result<&Arc<Prepared>, ErrorReport> {
        let named = self.statements.get(name).map(|named| &named.prepared);
        named.ok_or_else(|| {
            ErrorReport::new(
                SqlState::INVALID_SQL_STATEMENT_NAME,
                match name {
                    "" => "unnamed prepared statement does not exist".to_owned(),
                    name => format!("prepared statement \"{name}\" does not exist"),
                },
            )
        })
    }

    /// Bind.
    pub(crate) async fn bind(&mut self, message: Bind) -> Result<(), ErrorReport> {
        let prepared = Arc::clone(self.find_statement(&message.statement)?);
        let text = self.statements.get(&message.statement);
        let text = text.map_or_else(Arc::default, |named| Arc::clone(&named.text));
        if let Some(statement) = &prepared.statement {
            self.check_usable(statement)?;
        }
        let parameters = self.bind_parameters(&prepared, &message)?;
        // Counts are checked here, where PostgreSQL does it; encoders use the list as it is.
        prepared.columns_in(&message.result_formats)?;
        if message.portal.is_empty() {
            self.portals.remove("");
        } else if self.portals.contains_key(&message.portal) {
            return Err(ErrorReport::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{}\" already exists", message.portal),
            ));
        }
        self.check_portal_limit()?;
        self.enter_transaction();
        let portal = Portal {
            prepared,
            parameters,
            formats: message.result_formats,
            state: PortalState::Ready,
            hold: false,
            depth: self.transaction.depth(),
            committed: false,
            binary: false,
            scroll: None,
            text,
            made: SystemTime::now(),
        };
        self.portals.insert(message.portal, portal);
        Ok(())
    }

    fn bind_parameters(
        &self,
        prepared: &Prepared,
        message: &Bind,
    ) -> Result<Vec<ScalarValue>, ErrorReport> {
        let (given, wanted) = (message.parameters.len(), prepared.parameter_types.len());
        let formats = match (message.parameter_formats.as_slice(), given) {
            ([], _) => vec![Format::Text; given],
            ([all], _) => vec![*all; given],
            (each, given) if each.len() == given => each.to_vec(),
            (each, given) => {
                return Err(ErrorReport::new(
                    SqlState::PROTOCOL_VIOLATION,
                    format!(
                        "bind message has {} parameter formats but {given} parameters",
                        each.len()
                    ),
                ));
            }
        };
        if given != wanted {
            return Err(ErrorReport::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {given} parameters, but prepared statement \"{}\" requires {wanted}",
                    message.statement
                ),
            ));
        }
        let settings = self.format_settings();
        let context = InputContext {
            settings: &settings,
            now: Now::At(epoch_us(self.transaction_started())),
        };
        message
            .parameters
            .iter()
            .zip(formats)
            .zip(&prepared.parameter_types)
            .map(|((value, format), pg_type)| {
                let value = value.as_ref().map(|bytes| &bytes[..]);
                decode(*pg_type, format, value, context).map_err(TypeError::into_report)
            })
            .collect()
    }

    /// Describe of a statement: its parameters' OIDs and its columns, all in text.
    #[expect(clippy::type_complexity, reason = "two lists for two messages")]
    pub(crate) fn describe_statement(
        &self,
        name: &str,
    ) -> Result<(Vec<u32>, Option<Vec<Column>>), ErrorReport> {
        let prepared = self.find_statement(name)?;
        self.check_describable(prepared)?;
        let parameters = prepared.parameter_types.iter().map(|t| t.oid()).collect();
        Ok((parameters, prepared.columns_in(&[])?))
    }

    /// Describe of a portal: its columns in the formats they were bound with.
    pub(crate) fn describe_portal(&self, name: &str) -> Result<Option<Vec<Column>>, ErrorReport> {
        let portal = self.find_portal(name)?;
        self.check_describable(&portal.prepared)?;
        portal.prepared.columns_in(&portal.formats)
    }

    /// In a failed block only statements without rows may be described, as in PostgreSQL.
    fn check_describable(&self, prepared: &Prepared) -> Result<(), ErrorReport> {
        match (&prepared.columns, self.status()) {
            (Some(_), TransactionStatus::Failed) => self.transaction.check_usable(),
            (Some(_), TransactionStatus::Idle | TransactionStatus::InTransaction) | (None, _) => {
                Ok(())
            }
        }
    }

    fn find_portal(&self, name: &str) -> Result<&Portal, ErrorReport> {
        self.portals
            .get(name)
            .ok_or_else(|| undefined_portal("portal", name))
    }

    /// Close. Closing what is not there is no error.
    pub(crate) fn close_target(&mut self, target: Target, name: &str) {
        match target {
            Target::Statement => {
                self.remove_statement(name);
            }
            Target::Portal => {
                self.portals.remove(name);
            }
        }
    }

    /// Execute: starts the portal's statement, or goes on with its rows.
    pub(crate) async fn execute_portal(&mut self, name: &str) -> Result<Executed, ErrorReport> {
        let portal = self
            .portals
            .get_mut(name)
            .ok_or_else(|| undefined_portal("portal", name))?;
        let prepared = Arc::clone(&portal.prepared);
        let Some(statement) = &prepared.statement else {
            return Ok(Executed::Empty);
        };
        if self.transaction.check_usable().is_err() && !ends_transaction(statement) {
            self.transaction.check_usable()?;
        }
        match std::mem::replace(&mut portal.state, PortalState::Taken) {
            PortalState::Ready => {}
            PortalState::Open(rows) => return Ok(Executed::Rows(rows)),
            PortalState::Finished if prepared.columns.is_some() => {
                portal.state = PortalState::Finished;
                return Ok(Executed::Done("SELECT 0".to_owned()));
            }
            state @ (PortalState::Finished | PortalState::Failed | PortalState::Taken) => {
                portal.state = match state {
                    PortalState::Taken => PortalState::Failed,
                    state => state,
                };
                return Err(ErrorReport::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("portal \"{name}\" cannot be run"),
                ));
            }
        }
        let parameters = portal.parameters.clone();
        let formats = portal.formats.clone();
        self.enter_transaction();
        let reply = self
            .run(statement, &prepared, &parameters, &formats, false)
            .await?;
        Ok(match reply {
            Reply::Rows(rows) => Executed::Rows(rows),
            // However far they get, they are not run again.
            Reply::CopyOut(copy) => {
                self.finish_portal(name);
                Executed::CopyOut(copy)
            }
            Reply::CopyIn(copy) => {
                self.finish_portal(name);
                Executed::CopyIn(copy)
            }
            Reply::Done(tag) => {
                self.finish_portal(name);
                Executed::Done(tag)
            }
        })
    }

    /// The client has had as many rows as it wanted for now.
    pub(crate) fn suspend_portal(&mut self, name: &str, rows: Rows) {
        if let Some(portal) = self.portals.get_mut(name) {
            portal.state = PortalState::Open(rows);
        }
    }

    /// Whether a suspended portal may hold slots of executors.
    pub(crate) fn holds_slots(&self) -> bool {
        self.portals.values().any(|portal| match &portal.state {
            PortalState::Open(rows) => rows.cursor.has_job(),
            PortalState::Ready
            | PortalState::Taken
            | PortalState::Finished
            | PortalState::Failed => false,
        })
    }

    /// Takes the rows of suspended portals off their jobs, so that the slots are free for others
    /// and for this session's next statement. Cancel safe.
    pub(crate) async fn set_portals_aside(&mut self) {
        let config = &self.services.config;
        let dir = Path::new(config.text(KeyId::DataDir));
        let bytes_max = config.size(KeyId::SpillQuota) as u64;
        for portal in self.portals.values_mut() {
            if let PortalState::Open(rows) = &mut portal.state {
                rows.cursor.set_aside(dir, bytes_max).await;
            }
        }
    }

    /// A FETCH has had its rows: the rest goes back to the cursor.
    pub(crate) fn give_back(&mut self, mut rows: Rows) {
        if let Some((cursor, _)) = rows.fetch.take() {
            self.suspend_portal(&cursor, rows);
        }
    }

    /// All rows are out.
    pub(crate) fn finish_portal(&mut self, name: &str) {
        if let Some(portal) = self.portals.get_mut(name) {
            portal.state = PortalState::Finished;
        }
    }
}

pub(super) fn undefined_portal(what: &str, name: &str) -> ErrorReport {
    ErrorReport::new(
        SqlState::INVALID_CURSOR_NAME,
        format!("{what} \"{name}\" does not exist"),
    )
}

/// May it run in a failed block?
pub(super) fn ends_transaction(statement: &ParsedStatement) -> bool {
    matches!(
        statement.statement(),
        Statement::Commit { .. } | Statement::Rollback { .. } | Statement::RollbackToSavepoint(_)
    )
}

/// OID 0 leaves the type to the planner.
fn parameter_types(oids: &[u32]) -> Result<Vec<Option<PgType>>, ErrorReport> {
    oids.iter()
        .map(|&oid| match (oid, PgType::from_oid(oid)) {
            (0, _) | (_, Some(PgType::UNKNOWN)) => Ok(None),
            (_, Some(pg_type)) => Ok(Some(pg_type)),
            (oid, None) => Err(ErrorReport::new(
                SqlState::UNDEFINED_OBJECT,
                format!("type with OID {oid} does not exist"),
            )),
        })
        .collect()
}

//! The transaction status of a session: which statements may run, and what the client is told.
//! Pure; what commit and rollback undo is the business of [`super::gucs`] and the session.
//!
//! ```text
//!            BEGIN                      error
//!   idle -----------> in transaction ----------> failed
//!    ^                  |        ^                 |  |
//!    |  COMMIT/ROLLBACK |        +-----------------+  |
//!    +------------------+        ROLLBACK TO          |
//!    +------------------------------------------------+
//!       ROLLBACK (and COMMIT, which then rolls back)
//! ```
//!
//! Outside of a block, statements run in an *implicit* transaction: one statement, the statements
//! of one simple query, or all extended messages up to a Sync.

use job::{ErrorReport, SqlState};

/// What ReadyForQuery reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction block.
    Idle,
    /// In a block.
    InTransaction,
    /// In a block that failed: everything but its end is refused.
    Failed,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Committed,
    RolledBack,
}

/// A savepoint, by the number of savepoints below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavepointDepth(pub usize);

/// Savepoints one transaction may hold; PostgreSQL has no fixed number, but memory ends.
const SAVEPOINTS_MAX: usize = 10_000;

/// `invalid_savepoint_specification`
const INVALID_SAVEPOINT: SqlState = SqlState(*b"3B001");

#[derive(Debug, Default)]
pub struct Transaction {
    block: Block,
    /// Names from the outermost; a name may recur and then means the innermost.
    savepoints: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Block {
    #[default]
    None,
    Open,
    Failed,
}

impl Transaction {
    pub fn status(&self) -> TransactionStatus {
        match self.block {
            Block::None => TransactionStatus::Idle,
            Block::Open => TransactionStatus::InTransaction,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    pub fn in_block(&self) -> bool {
        self.block != Block::None
    }

    /// Savepoints there are.
    pub fn depth(&self) -> usize {
        self.savepoints.len()
    }

    /// Refuses a statement in a failed block. Statements that end it are not asked about.
    pub fn check_usable(&self) -> Result<(), ErrorReport> {
        match self.block {
            Block::None | Block::Open => Ok(()),
            Block::Failed => Err(ErrorReport::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
        }
    }

    /// Refuses what can't be rolled back where it might have to be.
    pub fn check_no_block(&self, command: &str) -> Result<(), ErrorReport> {
        if self.in_block() {
            return Err(ErrorReport::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                format!("{command} cannot run inside a transaction block"),
            ));
        }
        Ok(())
    }

    /// BEGIN. The warning is for the client.
    pub fn begin(&mut self) -> Option<ErrorReport> {
        match self.block {
            Block::None => {
                self.block = Block::Open;
                None
            }
            Block::Open | Block::Failed => Some(ErrorReport::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "there is already a transaction in progress",
            )),
        }
    }

    /// COMMIT, which rolls back a failed block. The warning is for the client.
    pub fn commit(&mut self) -> (Ended, Option<ErrorReport>) {
        let ended = match self.block {
            Block::None | Block::Open => Ended::Committed,
            Block::Failed => Ended::RolledBack,
        };
        (ended, self.end())
    }

    /// ROLLBACK. The warning is for the client.
    pub fn rollback(&mut self) -> Option<ErrorReport> {
        self.end()
    }

    fn end(&mut self) -> Option<ErrorReport> {
        self.savepoints.clear();
        match std::mem::take(&mut self.block) {
            Block::None => Some(ErrorReport::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "there is no transaction in progress",
            )),
            Block::Open | Block::Failed => None,
        }
    }

    /// A statement failed.
    pub fn fail(&mut self) {
        if self.block == Block::Open {
            self.block = Block::Failed;
        }
    }

    pub fn savepoint(&mut self, name: String) -> Result<(), ErrorReport> {
        self.need_block("SAVEPOINT")?;
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(ErrorReport::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a transaction cannot have more than {SAVEPOINTS_MAX} savepoints"),
            ));
        }
        self.savepoints.push(name);
        Ok(())
    }

    /// RELEASE: forgets the savepoint and those inside it.
    pub fn release(&mut self, name: &str) -> Result<SavepointDepth, ErrorReport> {
        self.need_block("RELEASE SAVEPOINT")?;
        let depth = self.find(name)?;
        self.savepoints.truncate(depth.0);
        Ok(depth)
    }

    /// ROLLBACK TO: back to how things were at the savepoint, which stays.
    pub fn rollback_to(&mut self, name: &str) -> Result<SavepointDepth, ErrorReport> {
        self.need_block("ROLLBACK TO SAVEPOINT")?;
        let depth = self.find(name)?;
        self.savepoints.truncate(depth.0 + 1);
        self.block = Block::Open;
        Ok(depth)
    }

    fn need_block(&self, command: &str) -> Result<(), ErrorReport> {
        if self.in_block() {
            return Ok(());
        }
        Err(ErrorReport::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            format!("{command} can only be used in transaction blocks"),
        ))
    }

    fn find(&self, name: &str) -> Result<SavepointDepth, ErrorReport> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint == name)
            .map(SavepointDepth)
            .ok_or_else(|| {
                ErrorReport::new(
                    INVALID_SAVEPOINT,
                    format!("savepoint \"{name}\" does not exist"),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_block_refuses_all_but_its_end() {
        let mut tx = Transaction::default();
        assert_eq!(tx.begin(), None);
        assert_eq!(tx.status(), TransactionStatus::InTransaction);
        tx.fail();
        assert_eq!(tx.status(), TransactionStatus::Failed);
        let error = tx.check_usable().expect_err("failed");
        assert_eq!(error.sqlstate, SqlState::IN_FAILED_SQL_TRANSACTION);
        assert_eq!(tx.commit(), (Ended::RolledBack, None));
        assert_eq!(tx.status(), TransactionStatus::Idle);
    }

    #[test]
    fn errors_outside_of_a_block_leave_it_idle() {
        let mut tx = Transaction::default();
        tx.fail();
        assert_eq!(tx.status(), TransactionStatus::Idle);
    }

    #[test]
    fn misplaced_commands_warn() {
        let mut tx = Transaction::default();
        let (ended, warning) = tx.commit();
        assert_eq!(ended, Ended::Committed);
        assert_eq!(
            warning.map(|w| w.sqlstate),
            Some(SqlState::NO_ACTIVE_SQL_TRANSACTION)
        );
        assert!(tx.rollback().is_some());
        tx.begin();
        assert_eq!(
            tx.begin().map(|w| w.sqlstate),
            Some(SqlState::ACTIVE_SQL_TRANSACTION)
        );
    }

    #[test]
    fn savepoints_nest_and_revive_a_failed_block() {
        let mut tx = Transaction::default();
        assert!(tx.savepoint("a".into()).is_err());
        tx.begin();
        for name in ["a", "b", "a"] {
            tx.savepoint(name.into()).expect("in a block");
        }
        tx.fail();
        assert_eq!(tx.rollback_to("a"), Ok(SavepointDepth(2)));
        assert_eq!(tx.status(), TransactionStatus::InTransaction);
        assert_eq!(tx.release("a"), Ok(SavepointDepth(2)));
        assert_eq!(tx.release("a"), Ok(SavepointDepth(0)));
        let error = tx.release("b").expect_err("released with the outer one");
        assert_eq!(error.sqlstate, INVALID_SAVEPOINT);
        tx.rollback();
        assert!(tx.rollback_to("a").is_err());
    }
}

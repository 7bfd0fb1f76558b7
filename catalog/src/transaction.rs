//! DDL in a transaction block.
//!
//! A block gets a catalog of its own at its first DDL statement: the same store behind it (OIDs are
//! never used twice), but a snapshot of its own, and changes that are noted instead of stored.
//!
//! ```text
//!   everybody's   v7 ------------------------- v7 --commit--> v8
//!                  \ begin                    /
//!   the block's     v7 --> +schema --> +view -
//! ```
//!
//! COMMIT stores all of them at once, or none: when others have changed the catalog since the block
//! began to, what was decided on the older version may not hold any more, and the block fails with
//! 40001 as any transaction that lost a race does. ROLLBACK is dropping it.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use job::{ErrorReport, SqlState};

use crate::catalog::Catalog;
use crate::error::{CatalogError, Result};
use crate::snapshot::{CatalogSnapshot, Change};

/// `serialization_failure`
const SERIALIZATION_FAILURE: SqlState = SqlState(*b"40001");

/// What a transaction block has changed and not committed.
pub(crate) struct Pending {
    /// The version its first change was decided on.
    base: u64,
    changes: Mutex<Vec<Change>>,
}

impl Pending {
    pub(crate) fn note(&self, changes: Vec<Change>) {
        self.lock().extend(changes);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a transaction's DDL had come at a savepoint.
#[derive(Debug, Clone)]
pub struct DdlSavepoint {
    snapshot: Arc<CatalogSnapshot>,
    changes: usize,
}

impl Catalog {
    /// The catalog of a transaction block, as of now.
    pub fn begin(self: &Arc<Self>) -> Arc<Catalog> {
        let snapshot = self.snapshot();
        let pending = Pending {
            base: snapshot.version(),
            changes: Mutex::default(),
        };
        Arc::new(self.derived(RwLock::new(snapshot), pending))
    }

    /// Of a transaction block's catalog: where a savepoint may go back to.
    pub fn savepoint(&self) -> DdlSavepoint {
        DdlSavepoint {
            snapshot: self.snapshot(),
            changes: self.pending().map_or(0, |pending| pending.lock().len()),
        }
    }

    /// Of a transaction block's catalog: forgets what came after the savepoint.
    pub fn rollback_to(&self, savepoint: &DdlSavepoint) {
        if let Some(pending) = self.pending() {
            pending.lock().truncate(savepoint.changes);
            self.set_snapshot(Arc::clone(&savepoint.snapshot));
        }
    }

    /// Makes a transaction block's changes everybody's, on disk before anyone sees them.
    pub async fn commit(self: &Arc<Self>, block: &Arc<Catalog>) -> Result<()> {
        let Some(pending) = block.pending() else {
            return Ok(());
        };
        let (base, changes) = (pending.base, std::mem::take(&mut *pending.lock()));
        if changes.is_empty() {
            return Ok(());
        }
        self.blocking(move |catalog| {
            let mut store = catalog.writer();
            let snapshot = catalog.snapshot();
            if snapshot.version() != base {
                return Err(CatalogError::Reported(
                    ErrorReport::new(
                        SERIALIZATION_FAILURE,
                        "could not commit changes of the catalog due to concurrent changes",
                    )
                    .with_hint("Retry the transaction."),
                ));
            }
            store.commit(&changes)?;
            catalog.set_snapshot(Arc::new(snapshot.apply(&changes)));
            Ok(())
        })
        .await
    }
}

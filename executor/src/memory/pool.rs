//! DataFusion's way to the ledger: one `MemoryPool` per attempt, all over the same budget.
//!
//! A pool of its own tells whose memory it is, and lets the task runner wait until an attempt's
//! operators have really let go of everything before it reports that the attempt is over.

use std::fmt;
use std::sync::Arc;

use datafusion::common::human_readable_size;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use job::{AttemptId, Protection};
use tokio::sync::watch;

use super::ledger::ConsumerId;
use crate::blocks::{BlockManager, Refusal};
use crate::error::ExecutorError;

/// How many of the largest holders an out-of-memory error names.
const HOLDERS_NAMED: usize = 3;

pub(crate) struct AttemptPool {
    blocks: Arc<BlockManager>,
    attempt: AttemptId,
    consumers: watch::Sender<usize>,
    /// Says why when the attempt has taken so much without asking that it has to end.
    overdrawn: watch::Sender<Option<String>>,
}

impl AttemptPool {
    pub(crate) fn new(blocks: Arc<BlockManager>, attempt: AttemptId) -> Arc<Self> {
        Arc::new(Self {
            blocks,
            attempt,
            consumers: watch::Sender::new(0),
            overdrawn: watch::Sender::new(None),
        })
    }

    /// Waits until no operator of the attempt is registered.
    pub(crate) async fn released(&self) {
        // The sender is ours, so the channel can't close.
        let _ = self.consumers.subscribe().wait_for(|n| *n == 0).await;
    }

    /// Waits until the attempt has to end because one of its operators took what was not there.
    pub(crate) async fn overdrawn(&self) -> DataFusionError {
        let mut overdrawn = self.overdrawn.subscribe();
        let why = overdrawn.wait_for(Option::is_some).await;
        // The sender is ours, so the channel can't close.
        let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
        ExecutorError::HeldRows(why).into()
    }

    /// Operators take without asking what they already have: a sort-merge join the rows of one
    /// key that were on disk, to join them. One that holds most of the budget when it is exceeded
    /// would go on until the kernel ends the process, so its attempt ends instead.
    fn note_overdraft(&self, consumer: &MemoryConsumer) {
        let ledger = self.blocks.ledger();
        let id = ConsumerId(consumer.id());
        let (held, budget) = (ledger.reserved(id), ledger.totals().budget);
        let is_overdrawn = ledger.is_overdrawn_by(id);
        drop(ledger);
        if is_overdrawn {
            self.overdrawn.send_if_modified(|why| {
                let size = |bytes: u64| human_readable_size(bytes as usize);
                let first = why.is_none();
                why.get_or_insert_with(|| {
                    format!(
                        "{} holds {} of rows that it needs at once, and the executor has {} (many rows with the same join key?).",
                        consumer.name(),
                        size(held),
                        size(budget),
                    )
                });
                first
            });
        }
    }

    fn refused(
        &self,
        consumer: &MemoryConsumer,
        asked: usize,
        refusal: Refusal,
    ) -> DataFusionError {
        let ledger = self.blocks.ledger();
        let totals = ledger.totals();
        let budget = totals.budget;
        let held = ledger.reserved(ConsumerId(consumer.id()));
        let largest = ledger.largest_consumers(HOLDERS_NAMED);
        drop(ledger);
        let size = |bytes: u64| human_readable_size(bytes as usize);
        if let Some(error) = refusal.disk
            && !consumer.can_spill()
        {
            return DataFusionError::IoError(error);
        }
        let holders: Vec<String> = largest
            .iter()
            .map(|share| format!("{} {}", share.name, size(share.reserved)))
            .collect();
        let beside = match totals.unaccounted {
            bytes if bytes == 0 || !consumer.can_spill() => String::new(),
            bytes => format!(
                "; {} are taken by buffers that no operator accounts for",
                size(bytes)
            ),
        };
        DataFusionError::ResourcesExhausted(format!(
            "{} holds {} and asked for {} more, but only {} of the executor's {} is available (largest: {}{beside})",
            consumer.name(),
            size(held),
            size(asked as u64),
            size(refusal.available),
            size(budget),
            holders.join(", "),
        ))
    }
}

fn id(reservation: &MemoryReservation) -> ConsumerId {
    ConsumerId(reservation.consumer().id())
}

impl MemoryPool for AttemptPool {
    fn name(&self) -> &str {
        "firesteel"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.blocks.ledger().register(
            ConsumerId(consumer.id()),
            consumer.name(),
            self.attempt,
            consumer.can_spill(),
        );
        self.consumers.send_modify(|n| *n += 1);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.blocks
            .release(|ledger| ledger.unregister(ConsumerId(consumer.id())));
        self.consumers.send_modify(|n| *n -= 1);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let (consumer, bytes) = (id(reservation), additional as u64);
        // So that blocks give way first.
        let asked = self
            .blocks
            .acquire(|ledger| ledger.try_grow(consumer, bytes));
        if asked.is_err() {
            self.blocks.ledger().grow(consumer, bytes);
        }
        if asked.is_err() && Protection::Memory.is_on() {
            self.note_overdraft(reservation.consumer());
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.blocks
            .release(|ledger| ledger.shrink(id(reservation), shrink as u64));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = id(reservation);
        if !Protection::Memory.is_on() {
            self.blocks.ledger().grow(consumer, additional as u64);
            return Ok(());
        }
        self.blocks
            .acquire(|ledger| ledger.try_grow(consumer, additional as u64))
            .map_err(|refusal| self.refused(reservation.consumer(), additional, refusal))
    }

    fn reserved(&self) -> usize {
        self.blocks.ledger().totals().execution as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.blocks.ledger().totals().budget as usize)
    }
}

impl fmt::Debug for AttemptPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptPool")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AttemptPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self.blocks.ledger().totals();
        write!(
            f,
            "{}(used: {}, budget: {})",
            self.name(),
            human_readable_size(totals.used() as usize),
            human_readable_size(totals.budget as usize)
        )
    }
}

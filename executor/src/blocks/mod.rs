//! The block manager: everything an executor keeps, and the ledger that pays for it.
//!
//! [`BlockManager`] holds the ledger behind a short mutex and does what it decides: a request
//! for memory is charged at once in the common case; under pressure the requesting thread
//! writes map outputs to disk, or waits for a thread that already does, and asks again. A move
//! needs no memory from the ledger, so waiting for one always ends.
//!
//! Blocks are map outputs and cached column chunks. Results wait in `crate::results` and are only
//! charged here.
//!
//! Reading order: `map_output` (what a block is), `writer` and `reader` (its two ends), `disk`,
//! `frame` and `spill` (what reaches the disk), `compact` (what a stored batch may hold on to),
//! `chunks` (cached columns of tables), `forms` (how their pieces are kept), `disk_chunks` (where they
//! go when memory gets short).

mod chunks;
mod compact;
mod disk;
mod disk_chunks;
mod forms;
pub(crate) mod frame;
mod map_output;
mod reader;
mod spill;
mod writer;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use catalog::CachedFiles;
use job::{AttemptId, JobId};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

pub(crate) use chunks::CachedBlocks;
pub(crate) use disk::{DiskFile, DiskStore};
pub(crate) use disk_chunks::DiskChunks;
pub(crate) use map_output::{End, SegmentSizes};
pub(crate) use reader::{LocalReader, StoredPart, lost};
pub(crate) use spill::SpillFactory;
pub(crate) use writer::{MapOutputHandle, SegmentWriter};

use crate::memory::cached::CacheLimits;
use crate::memory::ledger::{Grant, Ledger, MoveOrder};
use crate::memory::resident::{Resident, anonymous_bytes};
use map_output::{MapOutput, MoveObserver};

/// Cached chunks take no more than this part of the disk quota.
const DISK_CACHE_PART: u64 = 2;

pub(crate) struct BlockManager {
    ledger: Mutex<Ledger>,
    /// What the process holds beside the ledger, if that is watched. Its lock comes before the ledger's.
    resident: Option<Mutex<Resident>>,
    /// Signalled when a move ends.
    freed: Condvar,
    /// Signalled when nothing is charged to jobs any more.
    empty: Notify,
    outputs: Mutex<BTreeMap<AttemptId, Arc<MapOutput>>>,
    disk: Arc<DiskStore>,
    disk_chunks: DiskChunks,
    moved_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
}

/// What is here of a map output of another executor.
pub(crate) enum Copy {
    /// All of it.
    Here,
    /// Somebody fetches it.
    Coming(Arc<MapOutput>),
    /// Nothing: the caller is to fetch it.
    Wanted(MapOutputHandle),
}

/// Why memory was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) available: u64,
    /// A move was tried and the disk would not take it.
    pub(crate) disk: Option<io::Error>,
}

impl BlockManager {
    /// `process_bytes` is what the process may hold, if that is to be watched.
    pub(crate) fn new(
        budget: u64,
        process_bytes: Option<u64>,
        cache: CacheLimits,
        disk: Arc<DiskStore>,
    ) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(budget, cache)),
            resident: process_bytes.map(|bytes| Mutex::new(Resident::new(bytes, budget))),
            freed: Condvar::new(),
            empty: Notify::new(),
            outputs: Mutex::new(BTreeMap::new()),
            disk_chunks: DiskChunks::new(Arc::clone(&disk), disk.bytes_max() / DISK_CACHE_PART),
            disk,
            moved_bytes: AtomicU64::new(0),
            fetched_bytes: AtomicU64::new(0),
        })
    }

    /// For registrations, releases and views: nothing in here may block.
    pub(crate) fn ledger(&self) -> LedgerGuard<'_> {
        LedgerGuard(self.ledger.lock())
    }

    pub(crate) fn disk_chunks(&self) -> &DiskChunks {
        &self.disk_chunks
    }

    pub(crate) fn disk(&self) -> &Arc<DiskStore> {
        &self.disk
    }

    /// Bytes of exchange data ever moved to disk, as they were in memory.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Ordering::Relaxed)
    }

    /// Bytes ever read from other executors, as they came over the network.
    pub(crate) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn count_fetched(&self, bytes: u64) {
        self.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives memory back, and tells who waits for an empty ledger.
    pub(crate) fn release(&self, give_back: impl FnOnce(&mut Ledger)) {
        let mut ledger = self.ledger();
        give_back(&mut ledger);
        self.note_if_empty(&ledger);
    }

    fn note_if_empty(&self, ledger: &Ledger) {
        let totals = ledger.totals();
        if totals.used_by_jobs() == 0 && totals.consumers == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Waits until nothing is charged to jobs and no operator is registered.
    pub(crate) async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            let totals = self.ledger.lock().totals();
            if totals.used_by_jobs() == 0 && totals.consumers == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Asks the ledger until it grants or refuses, moving blocks as it orders.
    pub(crate) fn acquire(&self, mut ask: impl FnMut(&mut Ledger) -> Grant) -> Result<(), Refusal> {
        let mut disk = None;
        let mut looked_again = false;
        let mut ledger = self.ledger();
        loop {
            match ask(&mut ledger) {
                Grant::Granted => return Ok(()),
                Grant::MoveFirst(orders) => {
                    let evicted = ledger.take_evicted();
                    let moved = MutexGuard::unlocked(&mut ledger.0, || {
                        drop(evicted);
                        self.carry_out(orders)
                    });
                    if let Err(error) = moved {
                        disk = Some(error);
                    }
                }
                Grant::Wait => self.freed.wait(&mut ledger.0),
                Grant::Refused { .. } if !looked_again && ledger.totals().unaccounted > 0 => {
                    looked_again = true;
                    drop(ledger);
                    self.look_again();
                    ledger = self.ledger();
                }
                Grant::Refused { available } => return Err(Refusal { available, disk }),
            }
        }
    }

    /// Tells the ledger what the process holds beside it: for regular times. `false` if that is not watched, or
    /// the system does not say.
    pub(crate) fn sample_resident(&self) -> bool {
        let Some(mut resident) = self.resident.as_ref().map(Mutex::lock) else {
            return false;
        };
        let Some(bytes) = anonymous_bytes() else {
            return false;
        };
        let mut ledger = self.ledger();
        let unaccounted = resident.sample(bytes, ledger.totals().used());
        ledger.note_unaccounted(unaccounted);
        true
    }

    /// Nothing that was refused should be so for memory that went back to the system since the last look.
    fn look_again(&self) {
        let Some(mut resident) = self.resident.as_ref().map(Mutex::lock) else {
            return;
        };
        if let Some(bytes) = anonymous_bytes() {
            let mut ledger = self.ledger();
            let totals = ledger.totals();
            let less = resident.look_again(bytes, totals.used(), totals.unaccounted);
            ledger.note_unaccounted(less);
        }
    }

    /// Nothing runs: what is kept for a while longer is in nobody's way.
    pub(crate) fn forget_resident(&self) {
        if let Some(resident) = &self.resident {
            resident.lock().forget();
            self.ledger().note_unaccounted(0);
        }
    }

    /// Forgets cached chunks. What scans hold goes when they release it.
    pub(crate) fn forget_chunks(&self, files: &CachedFiles) {
        self.ledger().forget_chunks(files);
        self.disk_chunks.forget(files);
    }

    /// Forgets at which level the tables are cached that chunks are of.
    pub(crate) fn forget_level(&self, files: &CachedFiles) {
        self.ledger().forget_level(files);
    }

    /// Performs all orders, whatever becomes of each. Returns the last disk error.
    fn carry_out(&self, orders: Vec<MoveOrder>) -> io::Result<()> {
        let mut outcome = Ok(());
        // All orders are held from the start: should one of them panic, the others end too.
        let moves: Vec<Move<'_>> = orders
            .into_iter()
            .map(|order| Move {
                manager: self,
                order,
                failed: true,
            })
            .collect();
        for mut one in moves {
            let output = self.outputs.lock().get(&one.order.block).cloned();
            let result = match output {
                Some(output) => output.move_out(one.order.bytes, &self.disk, &mut one),
                None => Ok(()),
            };
            one.failed = result.is_err();
            if let Err(error) = result {
                tracing::warn!(block = %one.order.block, %error, "could not move a map output to disk");
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Moves all of one block: its writer found no room.
    pub(crate) fn move_whole(&self, block: AttemptId) -> io::Result<()> {
        let order = self.ledger.lock().order_whole(block);
        self.carry_out(order.into_iter().collect())
    }

    /// Starts a map output with no rows.
    pub(crate) fn begin_output(
        self: &Arc<Self>,
        attempt: AttemptId,
        segments: u32,
    ) -> MapOutputHandle {
        let output = Arc::new(MapOutput::new(attempt, segments));
        let before = self.outputs.lock().insert(attempt, Arc::clone(&output));
        debug_assert!(before.is_none(), "attempt {attempt} runs twice");
        MapOutputHandle::new(Arc::clone(self), output)
    }

    /// Looks for a copy of another executor's map output, and starts one if there is none. It is
    /// kept as our own outputs are: charged for, moved to disk, dropped with its job.
    pub(crate) fn copy_of(self: &Arc<Self>, attempt: AttemptId, segments: u32) -> Copy {
        let mut outputs = self.outputs.lock();
        match outputs.get(&attempt) {
            Some(output) if output.is_sealed() => Copy::Here,
            Some(output) => Copy::Coming(Arc::clone(output)),
            None => {
                let output = Arc::new(MapOutput::new(attempt, segments));
                outputs.insert(attempt, Arc::clone(&output));
                Copy::Wanted(MapOutputHandle::new(Arc::clone(self), output))
            }
        }
    }

    /// A finished map output of this executor.
    fn sealed_output(&self, attempt: AttemptId) -> Option<Arc<MapOutput>> {
        let output = self.outputs.lock().get(&attempt).cloned()?;
        output.is_sealed().then_some(output)
    }

    /// Map outputs that are readable or being written.
    pub(crate) fn output_count(&self) -> usize {
        self.outputs.lock().len()
    }

    /// Frees one map output, if it is still there.
    fn drop_output(&self, output: &Arc<MapOutput>) {
        let mut outputs = self.outputs.lock();
        // A copy may have been started again since.
        if let Entry::Occupied(entry) = outputs.entry(output.attempt())
            && Arc::ptr_eq(entry.get(), output)
        {
            entry.remove();
        }
        drop(outputs);
        self.free(output);
    }

    /// Takes every map output of a job out, to be freed.
    pub(crate) fn remove_job(&self, job: JobId) -> Vec<Arc<MapOutput>> {
        let mut outputs = self.outputs.lock();
        let ids: Vec<AttemptId> = outputs
            .keys()
            .filter(|attempt| attempt.task.job == job)
            .copied()
            .collect();
        ids.iter().filter_map(|id| outputs.remove(id)).collect()
    }

    /// Memory and files of an output that was taken out.
    pub(crate) fn free(&self, output: &MapOutput) {
        let attempt = output.attempt();
        output.drop_parts(|| self.release(|ledger| ledger.drop_block(attempt)));
    }

    /// Frees every map output and every cached chunk.
    pub(crate) fn drop_all(&self) {
        self.forget_chunks(&CachedFiles::All);
        let outputs = std::mem::take(&mut *self.outputs.lock());
        for output in outputs.values() {
            self.free(output);
        }
    }
}

/// The ledger, locked. What was evicted meanwhile is freed after that: it takes time.
pub(crate) struct LedgerGuard<'a>(MutexGuard<'a, Ledger>);

impl Deref for LedgerGuard<'_> {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.0
    }
}

impl DerefMut for LedgerGuard<'_> {
    fn deref_mut(&mut self) -> &mut Ledger {
        &mut self.0
    }
}

impl Drop for LedgerGuard<'_> {
    fn drop(&mut self) {
        let evicted = self.0.take_evicted();
        if !evicted.is_empty() {
            MutexGuard::unlocked(&mut self.0, || drop(evicted));
        }
    }
}

/// One order while it is carried out; dropping it ends it.
struct Move<'a> {
    manager: &'a BlockManager,
    order: MoveOrder,
    failed: bool,
}

impl MoveObserver for Move<'_> {
    fn selected(&mut self, bytes: u64) {
        self.manager
            .ledger
            .lock()
            .begin_move(&mut self.order, bytes);
    }

    fn moved(&mut self, bytes: u64) {
        self.manager.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.manager.ledger.lock().moved(&mut self.order, bytes);
        // A waiter may need no more than this.
        self.manager.freed.notify_all();
    }
}

impl Drop for Move<'_> {
    fn drop(&mut self) {
        let mut ledger = self.manager.ledger.lock();
        ledger.end_move(self.order, self.failed);
        self.manager.note_if_empty(&ledger);
        self.manager.freed.notify_all();
    }
}

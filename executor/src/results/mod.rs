//! Result rows on their way from a task to their reader.
//!
//! Each job has a budget of memory, shared by its result attempts: what a task is ahead of its
//! reader by more goes to disk ([`spool`]), up to a quota, and only then the task waits. So a slow
//! reader holds no slots, unless the result is larger than the quota. The first chunk is there for the reader as soon as it is encoded.
//! Writer and reader may come in either order. A stream ends cleanly only after the task said
//! that it is done; whatever else ends it is an error, so that a cut-off result can never be
//! taken for a whole one. Dropping the stream stops the task.

mod spool;

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use job::{AttemptId, ErrorReport, JobId, SqlError, SqlState};
use operators::rows::RowChunk;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::RowStream;
use crate::blocks::BlockManager;
use crate::error::ExecutorError;
use spool::{Spool, Spooled};

/// Budgets are counted in units of this many bytes.
const UNIT_BYTES: u64 = 1 << 10;

/// How long a task waits for its reader before its rows go to disk. A reader that takes rows at
/// all takes some in this time, and rows that never see the disk are cheaper.
const SPOOL_AFTER: Duration = Duration::from_millis(200);

/// What bytes take of a budget. More than the whole budget takes all of it.
fn units_of(bytes: u64, budget: u32) -> u32 {
    bytes
        .div_ceil(UNIT_BYTES)
        .clamp(1, u64::from(budget.max(1))) as u32
}

pub(crate) struct Results {
    blocks: Arc<BlockManager>,
    units: u32,
    spool_bytes_max: u64,
    jobs: Mutex<BTreeMap<JobId, JobResults>>,
}

struct JobResults {
    share: JobShare,
    attempts: BTreeMap<AttemptId, Ends>,
}

/// What a job's attempts share.
struct JobShare {
    /// In memory.
    room: Arc<Semaphore>,
    spool: Arc<Spool>,
}

/// The two ends of an attempt's queue until they are taken.
struct Ends {
    sender: Option<UnboundedSender<Item>>,
    receiver: Option<UnboundedReceiver<Item>>,
    stop: CancellationToken,
}

/// The queue is unbounded as a channel: each chunk in it holds its share of the job's room.
enum Item {
    Rows(RowChunk, Room),
    Spooled(Spooled),
    Done,
    Failed(ErrorReport),
}

/// Room in the job's budget, given back when the chunk is taken.
struct Room {
    _permit: OwnedSemaphorePermit,
    blocks: Arc<BlockManager>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let bytes = self.bytes;
        self.blocks.release(|ledger| ledger.shrink_results(bytes));
    }
}

/// Nobody will read the rows any more.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl Results {
    /// `bytes_max` is the budget of one job in memory, `spool_bytes_max` on disk.
    pub(crate) fn new(blocks: Arc<BlockManager>, bytes_max: u64, spool_bytes_max: u64) -> Self {
        let units = (bytes_max / UNIT_BYTES).clamp(1, u64::from(u32::MAX >> 4));
        Self {
            blocks,
            units: units as u32,
            spool_bytes_max,
            jobs: Mutex::new(BTreeMap::new()),
        }
    }

    /// The writing end, once per attempt, and the token that a dropped reader cancels.
    pub(crate) fn start(&self, attempt: AttemptId) -> Option<(ResultWriter, CancellationToken)> {
        self.with_ends(attempt, |job, ends| {
            let writer = ResultWriter {
                room: Arc::clone(&job.room),
                spool: Arc::clone(&job.spool),
                units: self.units,
                sender: ends.sender.take()?,
                blocks: Arc::clone(&self.blocks),
            };
            Some((writer, ends.stop.clone()))
        })
    }

    /// The reading end, once per attempt.
    pub(crate) fn open(&self, attempt: AttemptId) -> RowStream {
        let rows = self.with_ends(attempt, |_, ends| {
            Some(Rows {
                receiver: ends.receiver.take()?,
                reading: None,
                stop: ends.stop.clone(),
                ended: false,
            })
        });
        match rows {
            Some(rows) => rows.boxed(),
            None => {
                let error = ErrorReport::new(
                    job::SqlState::INTERNAL_ERROR,
                    format!("the rows of attempt {attempt} were opened twice"),
                );
                futures::stream::iter([Err(error)]).boxed()
            }
        }
    }

    /// Unread rows go, writers that wait for room give up.
    pub(crate) fn drop_job(&self, job: JobId) {
        let dropped = self.jobs.lock().remove(&job);
        if let Some(dropped) = dropped {
            dropped.share.room.close();
            dropped.share.spool.close();
        }
    }

    /// Jobs with open or unread results.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.lock().len()
    }

    fn with_ends<T>(&self, attempt: AttemptId, take: impl FnOnce(&JobShare, &mut Ends) -> T) -> T {
        let mut jobs = self.jobs.lock();
        let job = jobs.entry(attempt.task.job).or_insert_with(|| JobResults {
            share: JobShare {
                room: Arc::new(Semaphore::new(self.units as usize)),
                spool: Arc::new(Spool::new(
                    Arc::clone(self.blocks.disk()),
                    self.spool_bytes_max,
                )),
            },
            attempts: BTreeMap::new(),
        });
        let ends = job.attempts.entry(attempt).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            Ends {
                sender: Some(sender),
                receiver: Some(receiver),
                stop: CancellationToken::new(),
            }
        });
        take(&job.share, ends)
    }
}

/// A task's end of the queue; its partitions share it.
#[derive(Clone)]
pub(crate) struct ResultWriter {
    room: Arc<Semaphore>,
    spool: Arc<Spool>,
    units: u32,
    sender: UnboundedSender<Item>,
    blocks: Arc<BlockManager>,
}

impl ResultWriter {
    /// Waits for room in memory, for a moment; then takes some on disk, if there is.
    pub(crate) async fn send(&self, chunk: RowChunk) -> Result<(), ReaderGone> {
        let bytes = chunk.bytes.len() as u64;
        let units = units_of(bytes, self.units);
        let permit = match self.room_soon(units).await? {
            Some(permit) => permit,
            None => {
                if let Some(spooled) = self.spool.write(&chunk).await {
                    let item = Item::Spooled(spooled);
                    return self.sender.send(item).map_err(|_| ReaderGone);
                }
                let room = Arc::clone(&self.room).acquire_many_owned(units).await;
                room.map_err(|_| ReaderGone)?
            }
        };
        self.blocks.ledger().grow_results(bytes);
        let room = Room {
            _permit: permit,
            blocks: Arc::clone(&self.blocks),
            bytes,
        };
        self.sender
            .send(Item::Rows(chunk, room))
            .map_err(|_| ReaderGone)
    }

    /// `None` if there is no room and the reader is slow.
    async fn room_soon(&self, units: u32) -> Result<Option<OwnedSemaphorePermit>, ReaderGone> {
        match Arc::clone(&self.room).try_acquire_many_owned(units) {
            Ok(permit) => {
                self.spool.set_active(false);
                return Ok(Some(permit));
            }
            Err(TryAcquireError::Closed) => return Err(ReaderGone),
            Err(TryAcquireError::NoPermits) => {}
        }
        if self.spool.is_active() {
            return Ok(None);
        }
        let room = Arc::clone(&self.room).acquire_many_owned(units);
        match tokio::time::timeout(SPOOL_AFTER, room).await {
            Ok(permit) => permit.map(Some).map_err(|_| ReaderGone),
            Err(_) => {
                self.spool.set_active(true);
                Ok(None)
            }
        }
    }

    /// All rows were sent.
    pub(crate) fn done(self) {
        self.spool.close();
        // A reader that is gone needs no ending.
        let _ = self.sender.send(Item::Done);
    }

    pub(crate) fn failed(self, error: ErrorReport) {
        self.spool.close();
        let _ = self.sender.send(Item::Failed(error));
    }
}

/// The reader's end.
struct Rows {
    receiver: UnboundedReceiver<Item>,
    /// The next chunk, on its way from disk.
    reading: Option<JoinHandle<io::Result<RowChunk>>>,
    stop: CancellationToken,
    ended: bool,
}

impl Stream for Rows {
    type Item = Result<RowChunk, ErrorReport>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(reading.poll_unpin(cx));
                self.reading = None;
                match read.map_err(io::Error::other).flatten() {
                    Ok(chunk) => return Poll::Ready(Some(Ok(chunk))),
                    Err(error) => break Some(Err(unreadable(&error))),
                }
            }
            match ready!(self.receiver.poll_recv(cx)) {
                Some(Item::Rows(chunk, _room)) => return Poll::Ready(Some(Ok(chunk))),
                Some(Item::Spooled(spooled)) => {
                    let read = tokio::task::spawn_blocking(move || spooled.read());
                    self.reading = Some(read);
                }
                Some(Item::Done) => break None,
                Some(Item::Failed(error)) => break Some(Err(error)),
                None => break Some(Err(ExecutorError::ShuttingDown.report())),
            }
        };
        self.ended = true;
        Poll::Ready(item)
    }
}

fn unreadable(error: &io::Error) -> ErrorReport {
    ErrorReport::new(
        SqlState::IO_ERROR,
        format!("could not read spooled rows of the result: {error}"),
    )
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !self.ended {
            self.stop.cancel();
        }
    }
}

//! Result rows on their way from a task to their reader.
//!
//! Each job has a budget of bytes, shared by its result attempts: a task that is ahead of its
//! reader by that much waits. The first chunk is there for the reader as soon as it is encoded.
//! Writer and reader may come in either order. A stream ends cleanly only after the task said
//! that it is done; whatever else ends it is an error, so that a cut-off result can never be
//! taken for a whole one. Dropping the stream stops the task.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt};
use job::{AttemptId, ErrorReport, JobId, SqlError};
use operators::rows::RowChunk;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::RowStream;
use crate::blocks::BlockManager;
use crate::error::ExecutorError;

/// The budget is counted in units of this many bytes.
const UNIT_BYTES: u64 = 1 << 10;

pub(crate) struct Results {
    blocks: Arc<BlockManager>,
    units: u32,
    jobs: Mutex<BTreeMap<JobId, JobResults>>,
}

struct JobResults {
    room: Arc<Semaphore>,
    attempts: BTreeMap<AttemptId, Ends>,
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
    /// `bytes_max` is the budget of one job.
    pub(crate) fn new(blocks: Arc<BlockManager>, bytes_max: u64) -> Self {
        let units = (bytes_max / UNIT_BYTES).clamp(1, u64::from(u32::MAX >> 4));
        Self {
            blocks,
            units: units as u32,
            jobs: Mutex::new(BTreeMap::new()),
        }
    }

    /// The writing end, once per attempt, and the token that a dropped reader cancels.
    pub(crate) fn start(&self, attempt: AttemptId) -> Option<(ResultWriter, CancellationToken)> {
        self.with_ends(attempt, |room, ends| {
            let writer = ResultWriter {
                room: Arc::clone(room),
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
            dropped.room.close();
        }
    }

    /// Jobs with open or unread results.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.lock().len()
    }

    fn with_ends<T>(
        &self,
        attempt: AttemptId,
        take: impl FnOnce(&Arc<Semaphore>, &mut Ends) -> T,
    ) -> T {
        let mut jobs = self.jobs.lock();
        let job = jobs.entry(attempt.task.job).or_insert_with(|| JobResults {
            room: Arc::new(Semaphore::new(self.units as usize)),
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
        take(&job.room, ends)
    }
}

/// A task's end of the queue; its partitions share it.
#[derive(Clone)]
pub(crate) struct ResultWriter {
    room: Arc<Semaphore>,
    units: u32,
    sender: UnboundedSender<Item>,
    blocks: Arc<BlockManager>,
}

impl ResultWriter {
    /// Waits for room. A chunk larger than the whole budget takes all of it.
    pub(crate) async fn send(&self, chunk: RowChunk) -> Result<(), ReaderGone> {
        let bytes = chunk.bytes.len() as u64;
        let units = (bytes.div_ceil(UNIT_BYTES)).clamp(1, u64::from(self.units)) as u32;
        let permit = Arc::clone(&self.room)
            .acquire_many_owned(units)
            .await
            .map_err(|_| ReaderGone)?;
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

    /// All rows were sent.
    pub(crate) fn done(self) {
        // A reader that is gone needs no ending.
        let _ = self.sender.send(Item::Done);
    }

    pub(crate) fn failed(self, error: ErrorReport) {
        let _ = self.sender.send(Item::Failed(error));
    }
}

/// The reader's end.
struct Rows {
    receiver: UnboundedReceiver<Item>,
    stop: CancellationToken,
    ended: bool,
}

impl Stream for Rows {
    type Item = Result<RowChunk, ErrorReport>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = match ready!(self.receiver.poll_recv(cx)) {
            Some(Item::Rows(chunk, _room)) => return Poll::Ready(Some(Ok(chunk))),
            Some(Item::Done) => None,
            Some(Item::Failed(error)) => Some(Err(error)),
            None => Some(Err(ExecutorError::ShuttingDown.report())),
        };
        self.ended = true;
        Poll::Ready(item)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !self.ended {
            self.stop.cancel();
        }
    }
}

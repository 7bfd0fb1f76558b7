//! A map output: what one task attempt left behind for an exchange.
//!
//! ```text
//!   segment 0:  [memory] [memory] [frame 0] [memory]
//!   segment 1:  [frame 1] [frame 2] [memory]               file: | f1 | f2 | f0 | ...
//!   segment 2:  [memory]
//! ```
//!
//! A segment is a list of parts in the order they were written; a part is one batch, in memory
//! or as a frame in the map output's file. Moving a part replaces it in place, so a reader that
//! follows the list by index never notices. The file is append-only: each move adds one run,
//! ordered by segment; the parts themselves are the index.
//!
//! The lock of a map output may be held while the ledger's is taken, never the other way round:
//! that keeps "what the ledger charges" and "what is here" the same thing at every instant.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use job::AttemptId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::disk::{DiskFile, DiskStore};
use super::frame::{self, Frame};

#[derive(Debug)]
pub(crate) struct MapOutput {
    attempt: AttemptId,
    state: Mutex<State>,
    /// Signalled when it is sealed or dropped.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    segments: Vec<Segment>,
    /// Created by the first move.
    file: Option<Arc<DiskFile>>,
    /// Its writers are done: readers may open it.
    sealed: bool,
    /// Its job is over or its attempt failed: no parts any more.
    dropped: bool,
    /// It is a copy of what another executor no longer has, and why.
    lost: Option<String>,
}

#[derive(Debug, Default)]
struct Segment {
    parts: Vec<Part>,
    rows: u64,
    /// As batches in memory, wherever the parts are now.
    bytes: u64,
    /// A reader has reached its end.
    read: bool,
}

#[derive(Debug)]
enum Part {
    Memory {
        batch: RecordBatch,
        bytes: u64,
    },
    /// Being written by a mover; readers still take it from memory.
    Moving {
        batch: RecordBatch,
        bytes: u64,
    },
    Disk(Frame),
}

/// A part that a mover writes.
struct Chosen {
    segment: usize,
    index: usize,
    batch: RecordBatch,
}

/// A part as a reader gets it.
pub(crate) enum PartRead {
    Batch(RecordBatch),
    Frame(Arc<DiskFile>, Frame),
    /// The segment has no more parts.
    End,
    /// The map output was dropped.
    Gone,
}

/// The map output was dropped while somebody still used it.
#[derive(Debug)]
pub(crate) struct Dropped;

/// What became of a map output that somebody else writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It can be read.
    Sealed,
    /// It is gone; another may try.
    Dropped,
    /// It can't be had.
    Lost(String),
}

/// Rows and in-memory bytes of each segment, and what is on disk already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SegmentSizes {
    pub(crate) rows: Vec<u64>,
    pub(crate) bytes: Vec<u64>,
    pub(crate) file_bytes: u64,
}

/// What a mover wants to know and tells: all calls happen under the map output's lock.
pub(crate) trait MoveObserver {
    /// So many bytes were chosen.
    fn selected(&mut self, bytes: u64);
    /// One part's memory is free.
    fn moved(&mut self, bytes: u64);
}

impl MapOutput {
    pub(crate) fn new(attempt: AttemptId, segments: u32) -> Self {
        Self {
            attempt,
            state: Mutex::new(State {
                segments: (0..segments).map(|_| Segment::default()).collect(),
                file: None,
                sealed: false,
                dropped: false,
                lost: None,
            }),
            ended: Notify::new(),
        }
    }

    pub(crate) fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// Adds a part; `charge` hands its bytes over to the ledger under our lock.
    pub(crate) fn push(
        &self,
        segment: u32,
        batch: RecordBatch,
        bytes: u64,
        charge: impl FnOnce(),
    ) -> Result<(), Dropped> {
        let mut state = self.state.lock();
        if state.dropped {
            return Err(Dropped);
        }
        let segment = state
            .segments
            .get_mut(segment as usize)
            .unwrap_or_else(|| unreachable!("segment {segment} of {}", self.attempt));
        segment.rows += batch.num_rows() as u64;
        segment.bytes += bytes;
        segment.parts.push(Part::Memory { batch, bytes });
        charge();
        Ok(())
    }

    /// No more parts will come.
    pub(crate) fn seal(&self) -> Result<SegmentSizes, Dropped> {
        let mut state = self.state.lock();
        if state.dropped {
            return Err(Dropped);
        }
        state.sealed = true;
        self.ended.notify_waiters();
        Ok(SegmentSizes {
            rows: state.segments.iter().map(|segment| segment.rows).collect(),
            bytes: state.segments.iter().map(|segment| segment.bytes).collect(),
            file_bytes: state.file.as_ref().map_or(0, |file| file.len()),
        })
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.state.lock().sealed
    }

    /// For those who wait for it, before it is dropped.
    pub(crate) fn set_lost(&self, reason: String) {
        self.state.lock().lost = Some(reason);
    }

    /// Waits until its writer is done with it.
    pub(crate) async fn ended(&self) -> End {
        loop {
            let mut notified = pin!(self.ended.notified());
            notified.as_mut().enable();
            {
                let state = self.state.lock();
                if state.dropped {
                    return match &state.lost {
                        Some(reason) => End::Lost(reason.clone()),
                        None => End::Dropped,
                    };
                }
                if state.sealed {
                    return End::Sealed;
                }
            }
            notified.await;
        }
    }

    pub(crate) fn segments(&self) -> u32 {
        self.state.lock().segments.len() as u32
    }

    pub(crate) fn part(&self, segment: u32, index: usize) -> PartRead {
        let state = self.state.lock();
        if state.dropped {
            return PartRead::Gone;
        }
        let part = state
            .segments
            .get(segment as usize)
            .and_then(|segment| segment.parts.get(index));
        match (part, &state.file) {
            (None, _) => PartRead::End,
            (Some(Part::Memory { batch, .. } | Part::Moving { batch, .. }), _) => {
                PartRead::Batch(batch.clone())
            }
            (Some(Part::Disk(frame)), Some(file)) => PartRead::Frame(Arc::clone(file), *frame),
            // The file goes only together with all parts.
            (Some(Part::Disk(_)), None) => PartRead::Gone,
        }
    }

    /// A reader is through with a segment. Returns the bytes it holds in memory.
    pub(crate) fn mark_read(&self, segment: u32) -> u64 {
        let mut state = self.state.lock();
        let Some(segment) = state.segments.get_mut(segment as usize) else {
            return 0;
        };
        if std::mem::replace(&mut segment.read, true) {
            return 0;
        }
        segment
            .parts
            .iter()
            .map(|part| match part {
                Part::Memory { bytes, .. } => *bytes,
                Part::Moving { .. } | Part::Disk(_) => 0,
            })
            .sum()
    }

    /// Writes parts of at least `wanted` bytes to disk (all there are if fewer) and frees them:
    /// first segments that were read, then those that will be read last.
    pub(crate) fn move_out(
        &self,
        wanted: u64,
        disk: &Arc<DiskStore>,
        observer: &mut impl MoveObserver,
    ) -> io::Result<()> {
        let Some((file, mut chosen)) = self.select(wanted, disk, observer)? else {
            return Ok(());
        };
        while let Some(Chosen {
            segment,
            index,
            batch,
        }) = chosen.pop_front()
        {
            let written = frame::write(&file, &batch);
            // The part's own copy is the last one unless a reader has it too.
            drop(batch);
            let mut state = self.state.lock();
            if state.dropped {
                return Ok(());
            }
            let part = &mut state.segments[segment].parts[index];
            match written {
                Ok(frame) => {
                    if let Part::Moving { bytes, .. } = *part {
                        *part = Part::Disk(frame);
                        observer.moved(bytes);
                    }
                }
                Err(error) => {
                    part.keep_in_memory();
                    for Chosen { segment, index, .. } in chosen {
                        state.segments[segment].parts[index].keep_in_memory();
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Marks parts as moving. Nothing if the map output was dropped.
    fn select(
        &self,
        wanted: u64,
        disk: &Arc<DiskStore>,
        observer: &mut impl MoveObserver,
    ) -> io::Result<Option<(Arc<DiskFile>, VecDeque<Chosen>)>> {
        let mut state = self.state.lock();
        if state.dropped {
            observer.selected(0);
            return Ok(None);
        }
        let mut chosen = VecDeque::new();
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => {
                let id = self.attempt;
                let created = disk.create(&format!(
                    "map-{}-{}-{}-{}",
                    id.task.job, id.task.stage, id.task.task, id.attempt
                ))?;
                Arc::clone(state.file.insert(Arc::new(created)))
            }
        };
        let mut order: Vec<usize> = (0..state.segments.len()).rev().collect();
        order.sort_by_key(|segment| !state.segments[*segment].read);
        let mut selected = 0;
        'segments: for segment in order {
            for (index, part) in state.segments[segment].parts.iter_mut().enumerate() {
                if selected >= wanted {
                    break 'segments;
                }
                if let Part::Memory { batch, bytes } = part {
                    let (batch, bytes) = (batch.clone(), *bytes);
                    selected += bytes;
                    chosen.push_back(Chosen {
                        segment,
                        index,
                        batch: batch.clone(),
                    });
                    *part = Part::Moving { batch, bytes };
                }
            }
        }
        observer.selected(selected);
        Ok(Some((file, chosen)))
    }

    /// Frees everything at once; `release` settles it with the ledger under our lock.
    pub(crate) fn drop_parts(&self, release: impl FnOnce()) {
        let mut state = self.state.lock();
        state.dropped = true;
        for segment in &mut state.segments {
            segment.parts = Vec::new();
        }
        if let Some(file) = state.file.take() {
            file.remove();
        }
        self.ended.notify_waiters();
        release();
    }
}

impl Part {
    fn keep_in_memory(&mut self) {
        if let Part::Moving { batch, bytes } = self {
            *self = Part::Memory {
                batch: batch.clone(),
                bytes: *bytes,
            };
        }
    }
}

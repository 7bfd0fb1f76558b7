//! Segments that other executors hold.
//!
//! All segments that a partition wants of one executor come in one call, one after the other. A
//! call that breaks (a reset, a damaged batch, an end without its end mark) is made again from
//! the batch it broke at; segments never change once they are sealed. When that was tried often
//! enough, when the holder says that it does not have the output, or when the driver has given the
//! holder up, it is `LostInput`: its producer runs again somewhere.
//!
//! What is broadcast goes to every task, so the first one that wants it here fetches a copy, kept
//! like a map output of our own ([`crate::blocks`]), and all of them read that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use job::{AttemptId, ExchangeKind, ExecutorId};
use operators::exchange::{ExchangeReader, SegmentId};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use wire::proto;

use crate::blocks::{BlockManager, Copy, End, LocalReader, MapOutputHandle, frame, lost};
use crate::checksum;
use crate::config::Membership;
use crate::error::ExecutorError;

/// Calls for one segment's next batch before it counts as lost.
const CALLS_MAX: u32 = 5;
/// The pause before the second call; doubles with each one.
const CALL_BACKOFF: Duration = Duration::from_millis(50);
/// A batch's bytes on the wire; a frame on disk has the same limit.
const BATCH_BYTES_MAX: u64 = 4 << 30;

/// Reads from here what is here, and the rest from where it is.
pub(crate) struct ClusterReader {
    pub(crate) executor: ExecutorId,
    pub(crate) local: LocalReader,
    /// Without one it is alone, and reads from nowhere else.
    pub(crate) membership: Option<Membership>,
}

impl ExchangeReader for ClusterReader {
    fn read_segments(
        &self,
        wanted: Vec<SegmentId>,
        kind: ExchangeKind,
        schema: &SchemaRef,
        memory: &Arc<dyn MemoryPool>,
    ) -> Vec<SendableRecordBatchStream> {
        let mut streams = Vec::new();
        // In order of the first segment wanted of each holder, of which there are few.
        let mut remote: Vec<(ExecutorId, Vec<Wanted>)> = Vec::new();
        for SegmentId { output, segment } in wanted {
            if output.executor == self.executor {
                streams.push(self.local.batches(output.attempt, segment, schema));
                continue;
            }
            let wanted = Wanted {
                output: output.attempt,
                segment,
                batches: 0,
            };
            match remote
                .iter_mut()
                .find(|(holder, _)| *holder == output.executor)
            {
                Some((_, segments)) => segments.push(wanted),
                None => remote.push((output.executor, vec![wanted])),
            }
        }
        streams.extend(remote.into_iter().map(|(holder, wanted)| {
            let from = Holder {
                executor: holder,
                membership: self.membership.clone(),
                blocks: Arc::clone(self.local.blocks()),
                memory: Arc::clone(memory),
            };
            if kind == ExchangeKind::Broadcast {
                return self.copied(from, wanted, schema);
            }
            let batches = futures::stream::try_unfold(from.fetch(wanted), |mut fetch| async move {
                let next = fetch.next().await.map_err(DataFusionError::from)?;
                Ok(next.map(|(_, batch)| (batch, fetch)))
            });
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), batches))
                as SendableRecordBatchStream
        }));
        streams
    }
}

impl ClusterReader {
    /// Reads copies, once they are here.
    fn copied(
        &self,
        from: Holder,
        wanted: Vec<Wanted>,
        schema: &SchemaRef,
    ) -> SendableRecordBatchStream {
        let segments: Vec<_> = wanted.iter().map(|w| (w.output, w.segment)).collect();
        let (local, columns) = (self.local.clone(), Arc::clone(schema));
        let batches = futures::stream::once(async move {
            // Others wait for it too: it goes on while nobody polls this task's stream.
            let copying = SpawnedTask::spawn(async move { from.copy(wanted).await });
            copying
                .join_unwind()
                .await
                .map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
            let opened = segments
                .into_iter()
                .map(move |(output, segment)| local.batches(output, segment, &columns));
            Ok::<_, DataFusionError>(futures::stream::iter(opened).flatten())
        })
        .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), batches))
    }
}

/// Where segments are, and what it takes to have them here.
struct Holder {
    executor: ExecutorId,
    membership: Option<Membership>,
    blocks: Arc<BlockManager>,
    /// Charged for batches on their way.
    memory: Arc<dyn MemoryPool>,
}

impl Holder {
    fn fetch(&self, wanted: Vec<Wanted>) -> Fetch {
        Fetch {
            holder: self.executor,
            membership: self.membership.clone(),
            blocks: Arc::clone(&self.blocks),
            wanted: wanted.into(),
            lost: match &self.membership {
                Some(membership) => membership.peers.loss_of(self.executor),
                None => CancellationToken::new(),
            },
            call: None,
            calls: 0,
            reservation: MemoryConsumer::new("ExchangeFetch").register(&self.memory),
        }
    }

    /// Returns when whole map outputs, all of whose segments are wanted, are here. Those that
    /// nobody fetches yet come in one call. Who fetches never waits for others before that is done,
    /// so that two tasks that each fetch some of them don't wait for each other.
    async fn copy(&self, mut wanted: Vec<Wanted>) -> Result<(), DataFusionError> {
        while !wanted.is_empty() {
            let mut mine: Vec<MapOutputHandle> = Vec::new();
            let mut coming: Vec<(AttemptId, _)> = Vec::new();
            for of in wanted.chunk_by(|a, b| a.output == b.output) {
                let [first, ..] = of else { continue };
                let segments = of.iter().map(|w| w.segment + 1).max().unwrap_or(0);
                match self.blocks.copy_of(first.output, segments) {
                    Copy::Here => {}
                    Copy::Coming(output) => coming.push((first.output, output)),
                    Copy::Wanted(handle) => mine.push(handle),
                }
            }
            if !mine.is_empty() {
                let of_mine = |w: &&Wanted| mine.iter().any(|handle| handle.attempt() == w.output);
                let fetch = self.fetch(wanted.iter().filter(of_mine).cloned().collect());
                fetch_into(fetch, mine).await?;
            }
            let mut again = Vec::new();
            for (attempt, output) in coming {
                match output.ended().await {
                    End::Sealed => {}
                    // Its task was cancelled, or failed by itself.
                    End::Dropped => again.push(attempt),
                    End::Lost(reason) => return Err(lost(attempt, reason).into()),
                }
            }
            wanted.retain(|w| again.contains(&w.output));
        }
        Ok(())
    }
}

/// Stores all that comes. Copies that are not complete go when this is dropped.
async fn fetch_into(
    mut fetch: Fetch,
    mut copies: Vec<MapOutputHandle>,
) -> Result<(), DataFusionError> {
    let mut writers: Vec<_> = copies
        .iter()
        .map(|copy| (copy.attempt(), copy.writer()))
        .collect();
    loop {
        match fetch.next().await {
            Ok(Some(((output, segment), batch))) => {
                let mut writers = writers.iter_mut();
                if let Some((_, writer)) = writers.find(|(of, _)| *of == output) {
                    writer.append(segment, batch)?;
                }
            }
            Ok(None) => break,
            Err(error) => {
                if let ExecutorError::LostInput { output, reason } = &error
                    && let Some(at) = copies.iter().position(|copy| copy.attempt() == *output)
                {
                    copies.swap_remove(at).lose(reason.clone());
                }
                return Err(error.into());
            }
        }
    }
    drop(writers);
    for copy in copies {
        copy.seal()?;
    }
    Ok(())
}

/// A segment that is not read to its end yet.
#[derive(Clone)]
struct Wanted {
    output: AttemptId,
    segment: u32,
    /// Batches of it that were received.
    batches: u32,
}

/// What one partition reads from one other executor.
struct Fetch {
    holder: ExecutorId,
    membership: Option<Membership>,
    /// Counts what comes.
    blocks: Arc<BlockManager>,
    wanted: VecDeque<Wanted>,
    /// The driver gave the holder up.
    lost: CancellationToken,
    call: Option<Streaming<proto::SegmentPart>>,
    /// Calls made since a batch was last received.
    calls: u32,
    /// For the batch that is being received or was handed out last.
    reservation: MemoryReservation,
}

/// Why a call gave no batch.
enum Broken {
    /// Worth another call.
    Call(String),
    /// The holder does not have this output.
    Lost(AttemptId, String),
}

impl Fetch {
    /// The next batch and its segment; `None` when all segments were read.
    async fn next(&mut self) -> Result<Option<((AttemptId, u32), RecordBatch)>, ExecutorError> {
        loop {
            let Some(front) = self.wanted.front() else {
                return Ok(None);
            };
            let (output, segment) = (front.output, front.segment);
            let loss = self.lost.clone();
            let step = tokio::select! {
                biased;
                () = loss.cancelled() => {
                    Err(Broken::Lost(output, format!("executor {} is lost", self.holder)))
                }
                step = self.step() => step,
            };
            let reason = match step {
                Ok(Some(batch)) => {
                    self.calls = 0;
                    return Ok(Some(((output, segment), batch)));
                }
                Ok(None) => continue,
                Err(Broken::Lost(output, reason)) => return Err(lost(output, reason)),
                Err(Broken::Call(reason)) => reason,
            };
            self.call = None;
            if self.calls >= CALLS_MAX {
                let reason = format!("executor {}: {reason}", self.holder);
                return Err(lost(output, reason));
            }
            tracing::debug!(holder = %self.holder, %output, reason, "fetching again");
            tokio::time::sleep(CALL_BACKOFF * (1 << self.calls.saturating_sub(1))).await;
        }
    }

    /// One batch, or the end of a segment.
    async fn step(&mut self) -> Result<Option<RecordBatch>, Broken> {
        if self.call.is_none() {
            self.calls += 1;
            self.call = Some(self.open().await?);
        }
        let Some(bytes) = self.receive().await? else {
            return Ok(None);
        };
        let batch = frame::decode(bytes).map_err(|error| Broken::Call(error.to_string()))?;
        if let Some(segment) = self.wanted.front_mut() {
            segment.batches += 1;
        }
        Ok(Some(batch))
    }

    async fn open(&self) -> Result<Streaming<proto::SegmentPart>, Broken> {
        let nowhere = || {
            let output = self.wanted.front().map(|wanted| wanted.output);
            let reason = format!("there is no way to executor {}", self.holder);
            match output {
                Some(output) => Broken::Lost(output, reason),
                None => Broken::Call(reason),
            }
        };
        let membership = self.membership.as_ref().ok_or_else(nowhere)?;
        let client = membership
            .peers
            .client(self.holder)
            .map_err(|error| Broken::Call(error.to_string()))?;
        let mut client = client.ok_or_else(nowhere)?;
        let request = proto::SegmentsRequest {
            incarnation: membership.incarnation,
            segments: self
                .wanted
                .iter()
                .map(|wanted| proto::Segment {
                    output: Some(wanted.output.into()),
                    segment: wanted.segment,
                    skip_batches: wanted.batches,
                })
                .collect(),
        };
        let response = client.read_segments(request).await.map_err(broken)?;
        Ok(response.into_inner())
    }

    /// The checked bytes of a batch; `None` at the end of a segment.
    async fn receive(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let Some(call) = &mut self.call else {
            return Err(Broken::Call("there is no call".to_owned()));
        };
        let mut bytes: Option<Vec<u8>> = None;
        loop {
            let part = call
                .message()
                .await
                .map_err(broken)?
                .ok_or_else(|| Broken::Call("the call was cut off".to_owned()))?;
            if let Some(lost) = part.lost {
                let output = lost.output.map(AttemptId::from);
                let front = self.wanted.front().map(|wanted| wanted.output);
                return Err(match output.or(front) {
                    Some(output) => Broken::Lost(output, lost.reason),
                    None => Broken::Call(lost.reason),
                });
            }
            if part.end_of_segment {
                if bytes.is_some() {
                    return Err(Broken::Call("a batch was cut off".to_owned()));
                }
                self.wanted.pop_front();
                return Ok(None);
            }
            let bytes = match &mut bytes {
                Some(bytes) => bytes,
                None => {
                    let expected = part.batch_bytes;
                    if expected > BATCH_BYTES_MAX {
                        return Err(Broken::Call(format!("a batch of {expected} bytes")));
                    }
                    // The bytes, and the batch that will share them.
                    self.reservation.resize(expected as usize);
                    bytes.insert(Vec::with_capacity(expected as usize))
                }
            };
            if bytes.len() + part.data.len() > bytes.capacity() {
                return Err(Broken::Call("a batch is longer than it said".to_owned()));
            }
            bytes.extend_from_slice(&part.data);
            if let Some(crc) = part.crc32 {
                if !checksum::matches(bytes, crc) {
                    return Err(Broken::Call("a batch was damaged on the way".to_owned()));
                }
                self.blocks.count_fetched(bytes.len() as u64);
                return Ok(Some(std::mem::take(bytes)));
            }
        }
    }
}

fn broken(status: tonic::Status) -> Broken {
    Broken::Call(status.to_string())
}

impl From<wire::TransportError> for ExecutorError {
    fn from(error: wire::TransportError) -> Self {
        Self::Start {
            what: "cluster transport",
            source: std::io::Error::other(error),
        }
    }
}

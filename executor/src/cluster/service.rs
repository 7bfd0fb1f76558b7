//! What this executor serves to others: segments of its map outputs, and rows of its results.
//!
//! A call names the life of the driver it belongs to, since jobs are numbered anew in each: what
//! was stored for an earlier driver is never mistaken for what a later one asks for.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use job::{AttemptId, SqlError};
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};
use wire::proto::blocks_server::BlocksServer;
use wire::{Guard, Security, proto};

use super::rows::{WaitingRows, rows_parts};
use crate::blocks::{StoredPart, frame};
use crate::error::ExecutorError;
use crate::executor::Executor;

/// Bytes of a batch that go in one message.
const PART_BYTES: usize = 1 << 20;

/// The executor of the present registration; none while there is no driver.
#[derive(Clone)]
pub struct CurrentExecutor(Arc<watch::Sender<Option<Registered>>>);

struct Registered {
    incarnation: u64,
    executor: Arc<Executor>,
    rows: WaitingRows,
}

impl Default for CurrentExecutor {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl CurrentExecutor {
    /// Returns where rows wait to be read from here.
    pub fn set(&self, incarnation: u64, executor: Arc<Executor>) -> WaitingRows {
        let rows = WaitingRows::default();
        self.0.send_replace(Some(Registered {
            incarnation,
            executor,
            rows: rows.clone(),
        }));
        rows
    }

    pub(crate) fn clear(&self) {
        self.0.send_replace(None);
    }

    pub(crate) async fn is_set(&self) {
        // The sender is ours, so the channel can't close.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// The registered executor, whichever driver it is registered with.
    pub fn get(&self) -> Option<Arc<Executor>> {
        let registered = self.0.borrow();
        Some(Arc::clone(&registered.as_ref()?.executor))
    }

    fn of(&self, incarnation: u64) -> Option<Arc<Executor>> {
        let registered = self.0.borrow();
        let registered = registered.as_ref()?;
        (registered.incarnation == incarnation).then(|| Arc::clone(&registered.executor))
    }

    fn rows(&self, incarnation: u64) -> Option<WaitingRows> {
        let registered = self.0.borrow();
        let registered = registered.as_ref()?;
        (registered.incarnation == incarnation).then(|| registered.rows.clone())
    }
}

/// The `Blocks` service for those who know the secret.
pub fn blocks_server(
    current: CurrentExecutor,
    security: &Security,
) -> InterceptedService<BlocksServer<BlocksService>, Guard> {
    let server = BlocksServer::new(BlocksService { current })
        .max_decoding_message_size(wire::message_bytes_max())
        .max_encoding_message_size(wire::message_bytes_max());
    InterceptedService::new(server, security.guard())
}

/// What [`blocks_server`] serves.
pub struct BlocksService {
    current: CurrentExecutor,
}

type Parts<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl proto::blocks_server::Blocks for BlocksService {
    type ReadSegmentsStream = Parts<proto::SegmentPart>;
    type ReadRowsStream = Parts<proto::RowsPart>;

    async fn read_segments(
        &self,
        request: Request<proto::SegmentsRequest>,
    ) -> Result<Response<Self::ReadSegmentsStream>, Status> {
        let request = request.into_inner();
        let executor = self.current.of(request.incarnation);
        let parts = futures::stream::iter(request.segments)
            .then(move |segment| {
                let executor = executor.clone();
                async move { segment_parts(executor.as_deref(), segment) }
            })
            .try_flatten();
        Ok(Response::new(parts.boxed()))
    }

    async fn read_rows(
        &self,
        request: Request<proto::RowsRequest>,
    ) -> Result<Response<Self::ReadRowsStream>, Status> {
        let request = request.into_inner();
        let attempt: AttemptId = request
            .attempt
            .ok_or_else(|| Status::invalid_argument("rows of no attempt"))?
            .into();
        let waiting = self.current.rows(request.incarnation);
        match waiting.and_then(|waiting| waiting.take(attempt)) {
            Some(rows) => Ok(Response::new(rows_parts(rows).boxed())),
            None => Err(Status::not_found("no rows of the attempt wait here")),
        }
    }
}

/// A segment from the batch on that its reader lacks, and its end.
fn segment_parts(
    executor: Option<&Executor>,
    segment: proto::Segment,
) -> Result<Parts<proto::SegmentPart>, Status> {
    let output: AttemptId = segment
        .output
        .ok_or_else(|| Status::invalid_argument("a segment of no map output"))?
        .into();
    let Some(executor) = executor else {
        let part = lost_part(output, "its executor has registered anew since");
        return Ok(futures::stream::iter([Ok(part)]).boxed());
    };
    let end = proto::SegmentPart {
        end_of_segment: true,
        ..Default::default()
    };
    let mut skip = segment.skip_batches;
    let parts = executor
        .reader()
        .parts(output, segment.segment)
        .filter(move |part| {
            // An error is never skipped: the segment's end after it would be a lie.
            let is_known = part.is_ok() && skip > 0;
            skip -= u32::from(is_known);
            std::future::ready(!is_known)
        })
        .flat_map(move |part| futures::stream::iter(batch_parts(output, part)))
        .map(Ok)
        .chain(futures::stream::iter([Ok(end)]));
    Ok(parts.boxed())
}

/// A batch cut into messages, or the message that it is lost.
fn batch_parts(
    output: AttemptId,
    part: Result<StoredPart, ExecutorError>,
) -> Vec<proto::SegmentPart> {
    let bytes = match part {
        Ok(StoredPart::Disk(bytes)) => Ok(bytes),
        // The network of one machine is faster than any compression.
        Ok(StoredPart::Memory(batch)) => {
            frame::encode(&batch, None).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let bytes = match bytes {
        Ok(bytes) => Bytes::from(bytes),
        Err(reason) => return vec![lost_part(output, reason)],
    };
    let crc = crc32fast::hash(&bytes);
    let parts = bytes.len().div_ceil(PART_BYTES).max(1);
    (0..parts)
        .map(|index| {
            let start = index * PART_BYTES;
            let end = (start + PART_BYTES).min(bytes.len());
            proto::SegmentPart {
                data: bytes.slice(start..end),
                crc32: (index + 1 == parts).then_some(crc),
                batch_bytes: bytes.len() as u64,
                ..Default::default()
            }
        })
        .collect()
}

fn lost_part(output: AttemptId, reason: impl Into<String>) -> proto::SegmentPart {
    proto::SegmentPart {
        lost: Some(proto::LostOutput {
            output: Some(output.into()),
            reason: reason.into(),
        }),
        ..Default::default()
    }
}

impl From<ExecutorError> for Status {
    fn from(error: ExecutorError) -> Self {
        Self::internal(error.report().message)
    }
}

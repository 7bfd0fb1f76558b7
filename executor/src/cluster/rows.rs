//! Rows of result tasks on their way to the driver.
//!
//! Where a result is small, which is soon seen, all of it goes over the control stream beside the
//! reports: a call of its own would cost more than the rows. Where it is not, the driver is told
//! to read them with such a call, which stops the task when it is closed.
//!
//! ```text
//!   task --rows--> WaitingRows::first --few: all of them--> control stream ==> remote_rows
//!                        |                                                        |
//!                        +--more: they wait <================== ReadRows =========+
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use job::{AttemptId, ErrorReport, JobId, SqlState};
use operators::rows::RowChunk;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};
use wire::proto;

use crate::checksum;
use crate::link::RowStream;

/// A result with more bytes is read with a call.
const FEW_BYTES: usize = 32 << 10;

/// How long a task may go on after its first rows before they are to be read with a call.
const PATIENCE: Duration = Duration::from_millis(2);

/// Rows that wait for the driver to read them, from their launch on.
#[derive(Clone, Default)]
pub struct WaitingRows(Arc<Mutex<BTreeMap<AttemptId, Option<RowStream>>>>);

impl WaitingRows {
    /// Sees whether the rows of an attempt are few. The answer is for the driver.
    pub fn first(
        &self,
        attempt: AttemptId,
        rows: RowStream,
    ) -> impl Future<Output = proto::Rows> + use<> {
        self.0.lock().insert(attempt, None);
        let waiting = self.clone();
        async move {
            let parts = match first(rows).await {
                First::All(parts) => {
                    waiting.0.lock().remove(&attempt);
                    parts
                }
                First::Some(rows) => {
                    // The job may be gone by now, and its rows with it.
                    if let Some(place) = waiting.0.lock().get_mut(&attempt) {
                        *place = Some(rows);
                    }
                    Vec::new()
                }
            };
            proto::Rows {
                attempt: Some(attempt.into()),
                parts,
            }
        }
    }

    /// The rows of an attempt, once, if they are there.
    pub(super) fn take(&self, attempt: AttemptId) -> Option<RowStream> {
        self.0.lock().remove(&attempt).flatten()
    }

    /// Nobody will read them.
    pub fn drop_job(&self, job: JobId) {
        self.0.lock().retain(|attempt, _| attempt.task.job != job);
    }
}

/// What a result begins with.
enum First {
    /// It has ended.
    All(Vec<proto::RowsPart>),
    /// Also those that were seen.
    Some(RowStream),
}

async fn first(mut rows: RowStream) -> First {
    let mut seen = Vec::new();
    let mut bytes = 0;
    let mut next = rows.next().await;
    let patience = Instant::now() + PATIENCE;
    loop {
        match next {
            Some(Ok(chunk)) => {
                bytes += chunk.bytes.len();
                seen.push(chunk);
            }
            end => {
                let parts = seen.into_iter().map(rows_part).chain([last_part(end)]);
                return First::All(parts.collect());
            }
        }
        if bytes > FEW_BYTES {
            break;
        }
        match timeout_at(patience, rows.next()).await {
            Ok(item) => next = item,
            Err(_) => break,
        }
    }
    First::Some(futures::stream::iter(seen).map(Ok).chain(rows).boxed())
}

/// Rows as messages.
pub(super) fn rows_parts(
    rows: RowStream,
) -> impl Stream<Item = Result<proto::RowsPart, Status>> + Send {
    futures::stream::unfold(Some(rows), |rows| async move {
        let mut rows = rows?;
        Some(match rows.next().await {
            Some(Ok(chunk)) => (Ok(rows_part(chunk)), Some(rows)),
            end => (Ok(last_part(end)), None),
        })
    })
}

fn rows_part(chunk: RowChunk) -> proto::RowsPart {
    proto::RowsPart {
        crc32: crc32fast::hash(&chunk.bytes),
        rows: chunk.bytes,
        row_ends: chunk.row_ends,
        ..Default::default()
    }
}

/// The stream's end, or the error that it ends with.
fn last_part(end: Option<Result<RowChunk, ErrorReport>>) -> proto::RowsPart {
    let error = end.and_then(Result::err);
    proto::RowsPart {
        done: error.is_none(),
        error: error.map(Into::into),
        ..Default::default()
    }
}

/// The rows of a result task on another machine, as its link gives them out: those that are
/// `told`, or those that `call` reads if none are. A told part that will not come is dropped.
pub fn remote_rows(
    told: oneshot::Receiver<Vec<proto::RowsPart>>,
    call: impl Future<Output = Result<Streaming<proto::RowsPart>, Status>> + Send + 'static,
) -> RowStream {
    let parts = async {
        let told = told
            .await
            .map_err(|_| Status::unavailable("its registration has ended"))?;
        let parts: BoxStream<'static, _> = if told.is_empty() {
            call.await?.boxed()
        } else {
            futures::stream::iter(told).map(Ok).boxed()
        };
        Ok(parts)
    };
    futures::stream::once(parts)
        .map_err(cut_off)
        .map_ok(|parts| {
            futures::stream::try_unfold(parts, |mut parts| async move {
                let part = parts.try_next().await.map_err(cut_off)?;
                Ok(read_rows_part(part)?.map(|chunk| (chunk, parts)))
            })
        })
        .try_flatten()
        .boxed()
}

/// `None` after the last row.
fn read_rows_part(part: Option<proto::RowsPart>) -> Result<Option<RowChunk>, ErrorReport> {
    let damaged = |what: &str| ErrorReport::new(SqlState::CONNECTION_FAILURE, what);
    let Some(part) = part else {
        return Err(damaged("the rows of an executor were cut off"));
    };
    if let Some(error) = part.error {
        return Err(error.into());
    }
    if part.done {
        return Ok(None);
    }
    let ends_fit = part.row_ends.is_sorted()
        && part
            .row_ends
            .last()
            .is_none_or(|end| *end as usize == part.rows.len());
    if !checksum::matches(&part.rows, part.crc32) || !ends_fit {
        return Err(damaged("the rows of an executor were damaged on the way"));
    }
    Ok(Some(RowChunk {
        bytes: part.rows,
        row_ends: part.row_ends,
    }))
}

fn cut_off(status: Status) -> ErrorReport {
    ErrorReport::new(
        SqlState::CONNECTION_FAILURE,
        format!("could not read rows from an executor: {}", status.message()),
    )
}

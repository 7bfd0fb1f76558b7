//! A job as its session sees it: encoded rows in the order they come, then the end.
//!
//! Rows are pulled: nothing is taken from an executor before the session asks, so a slow client
//! holds the executor's bounded result buffer and no driver memory.
//!
//! The driver is told when the rows of an attempt have been read to their end, or can't be: a job is
//! finished when all are, and rows that were lost before one of them went out are computed again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use executor::RowStream;
use futures::stream::{SelectAll, Stream};
use futures::{FutureExt, StreamExt};
use job::{AttemptId, ErrorReport, JobId, Protection, SqlState};
use operators::rows::RowChunk;
use scheduler::JobEnd;
use tokio::sync::{mpsc, oneshot};

use super::event_loop::Message;
use super::result_gate::ResultGate;
use super::{JobSummary, Waits, driver_gone};

/// Rows of one launched result attempt.
pub(super) struct ResultPart {
    pub(super) attempt: AttemptId,
    pub(super) rows: RowStream,
}

/// A submitted job. Dropping it cancels the job if it still runs, and frees its blocks.
pub struct JobHandle {
    job: JobId,
    gate: Arc<ResultGate>,
    waits: Arc<Waits>,
    parts: mpsc::UnboundedReceiver<ResultPart>,
    /// No part will come any more.
    parts_done: bool,
    open: SelectAll<PartStream>,
    end: End,
    driver: mpsc::UnboundedSender<Message>,
}

/// How far the job's end is known.
enum End {
    /// Still running.
    Awaited(oneshot::Receiver<(JobEnd, JobSummary)>),
    /// Told to the caller already.
    Told,
}

impl JobHandle {
    pub(super) fn new(
        job: JobId,
        gate: Arc<ResultGate>,
        waits: Arc<Waits>,
        parts: mpsc::UnboundedReceiver<ResultPart>,
        end: oneshot::Receiver<(JobEnd, JobSummary)>,
        driver: mpsc::UnboundedSender<Message>,
    ) -> Self {
        Self {
            job,
            gate,
            waits,
            parts,
            parts_done: false,
            open: SelectAll::new(),
            end: End::Awaited(end),
            driver,
        }
    }

    pub fn job(&self) -> JobId {
        self.job
    }

    /// What it waits for before it starts.
    pub fn waits(&self) -> Arc<Waits> {
        Arc::clone(&self.waits)
    }

    /// Stops the job: its end becomes `reason`. Harmless after the end.
    pub fn cancel(&self, reason: ErrorReport) {
        let _ = self.driver.send(Message::Cancel {
            job: self.job,
            reason,
        });
    }

    /// The next rows; `None` when the job finished and all its rows were given out. An error
    /// is the job's end and comes once.
    pub async fn next_rows(&mut self) -> Option<Result<RowChunk, ErrorReport>> {
        std::future::poll_fn(|cx| self.poll_rows(cx)).await
    }

    /// Waits for the end, dropping any rows, and tells what the job did.
    pub async fn finish(mut self) -> Result<JobSummary, ErrorReport> {
        loop {
            match std::future::poll_fn(|cx| self.poll_event(cx)).await {
                Progress::Rows(_) => {}
                Progress::Finished(summary) => return Ok(summary),
                Progress::Failed(error) => return Err(error),
            }
        }
    }

    /// [`Self::next_rows`] as a poll function.
    pub fn poll_rows(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<RowChunk, ErrorReport>>> {
        if matches!(self.end, End::Told) {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.poll_event(cx)) {
            Progress::Rows(chunk) => Some(Ok(chunk)),
            Progress::Finished(_) => None,
            Progress::Failed(error) => Some(Err(error)),
        })
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        loop {
            while !self.parts_done {
                match self.parts.poll_recv(cx) {
                    Poll::Ready(Some(part)) => self.open.push(PartStream(Some(part))),
                    Poll::Ready(None) => self.parts_done = true,
                    Poll::Pending => break,
                }
            }
            if !self.open.is_empty() {
                match self.open.poll_next_unpin(cx) {
                    Poll::Ready(Some((attempt, PartItem::Rows(chunk)))) => {
                        if self.gate.admit(attempt) {
                            return Poll::Ready(Progress::Rows(chunk));
                        }
                        continue;
                    }
                    Poll::Ready(Some((attempt, PartItem::Done))) => {
                        if self.gate.delivered(attempt) {
                            let _ = self.driver.send(Message::Delivered { attempt });
                        }
                        continue;
                    }
                    // The scheduler hears of a failure too, and its verdict (retry or fail) counts.
                    Poll::Ready(Some((attempt, PartItem::Broken(error)))) => {
                        let _ = self.driver.send(Message::RowsLost { attempt, error });
                        continue;
                    }
                    Poll::Ready(None) | Poll::Pending => {}
                }
            }
            match &mut self.end {
                End::Awaited(receiver) => match ready!(receiver.poll_unpin(cx)) {
                    // All rows have been given out, or there are none.
                    Ok((JobEnd::Finished, summary)) => {
                        self.end = End::Told;
                        return Poll::Ready(Progress::Finished(summary));
                    }
                    Ok((JobEnd::Failed(error) | JobEnd::Cancelled(error), _)) => {
                        return self.fail(error);
                    }
                    Err(_) => return self.fail(driver_gone()),
                },
                End::Told => {
                    return Poll::Ready(Progress::Failed(ErrorReport::new(
                        SqlState::INTERNAL_ERROR,
                        "job was read past its end",
                    )));
                }
            }
        }
    }

    fn fail(&mut self, error: ErrorReport) -> Poll<Progress> {
        self.end = End::Told;
        self.open.clear();
        Poll::Ready(Progress::Failed(error))
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if !Protection::Cancels.is_on() {
            return;
        }
        if matches!(self.end, End::Awaited(_)) {
            self.cancel(ErrorReport::new(
                SqlState::QUERY_CANCELED,
                "canceling statement because its client is gone",
            ));
        }
        let _ = self.driver.send(Message::Release { job: self.job });
    }
}

enum Progress {
    Rows(RowChunk),
    Finished(JobSummary),
    Failed(ErrorReport),
}

/// Tags what comes with the attempt it is from. Ends with `Done` or `Broken`.
struct PartStream(Option<ResultPart>);

enum PartItem {
    Rows(RowChunk),
    Done,
    Broken(ErrorReport),
}

impl Stream for PartStream {
    type Item = (AttemptId, PartItem);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(part) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let attempt = part.attempt;
        let item = match ready!(part.rows.poll_next_unpin(cx)) {
            Some(Ok(chunk)) => PartItem::Rows(chunk),
            Some(Err(error)) => PartItem::Broken(error),
            None => PartItem::Done,
        };
        if !matches!(item, PartItem::Rows(_)) {
            self.0 = None;
        }
        Poll::Ready(Some((attempt, item)))
    }
}

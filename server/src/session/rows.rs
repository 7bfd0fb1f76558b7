//! A result on its way to the client: encoded rows, taken as many at a time as are wanted.
//!
//! Rows stay in the chunks they were encoded in. A cursor that was stopped in the middle of a
//! chunk goes on from there: the rest is a slice of the same bytes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use executor::RowStream;
use functions::pg_type::TypeError;
use futures::StreamExt;
use job::ErrorReport;
use operators::rows::RowChunk;
use operators::rows::copy::begin_with;
use planner::ResultTaker;

use super::copy::{CopyIn, CopyOut};
use super::spool::Spool;
use super::statement_job::StatementJob;
use crate::pg::Column;

/// Where rows come from.
pub(crate) enum RowSource {
    /// A running job. Dropping it cancels the job.
    Job(Box<StatementJob>),
    /// A job whose rows have been set aside, all or up to a limit.
    Aside {
        spool: Box<Spool>,
        /// The job while it has more, or why it failed.
        rest: Rest,
        /// The spool took all it may; the job waits for the client after all.
        full: bool,
    },
    /// A plan computed here as it is read.
    Stream(RowStream),
    /// Rows the driver had already.
    Chunks(VecDeque<RowChunk>),
}

/// What follows the rows set aside.
pub(crate) enum Rest {
    Job(Box<StatementJob>),
    Failed(ErrorReport),
    Nothing,
}

impl RowSource {
    async fn next(&mut self) -> Option<Result<RowChunk, ErrorReport>> {
        match self {
            RowSource::Job(job) => job.next_rows().await,
            RowSource::Aside { spool, rest, .. } => match spool.pop() {
                Ok(Some(chunk)) => Some(Ok(chunk)),
                Err(error) => Some(Err(error)),
                Ok(None) => match rest {
                    Rest::Job(job) => job.next_rows().await,
                    Rest::Failed(error) => Some(Err(error.clone())),
                    Rest::Nothing => None,
                },
            },
            RowSource::Stream(rows) => rows.next().await,
            RowSource::Chunks(chunks) => chunks.pop_front().map(Ok),
        }
    }
}

impl RowSource {
    /// Whether a job is behind it whose rows can be set aside.
    fn has_job(&self) -> bool {
        match self {
            RowSource::Job(_)
            | RowSource::Aside {
                rest: Rest::Job(_),
                full: false,
                ..
            } => true,
            RowSource::Aside { .. } | RowSource::Stream(_) | RowSource::Chunks(_) => false,
        }
    }

    /// Takes the rows off the job, up to `bytes_max` on disk. Cancel safe: a row is with the job,
    /// or in the spool.
    async fn set_aside(&mut self, dir: &Path, bytes_max: u64) {
        if let RowSource::Job(_) = self
            && let RowSource::Job(job) = std::mem::replace(self, RowSource::Chunks([].into()))
        {
            *self = RowSource::Aside {
                spool: Box::default(),
                rest: Rest::Job(job),
                full: false,
            };
        }
        let RowSource::Aside { spool, rest, full } = self else {
            return;
        };
        while let Rest::Job(job) = rest
            && spool.file_bytes() < bytes_max
        {
            match job.next_rows().await {
                Some(Ok(chunk)) => {
                    // The chunk is lost with the write, so the result ends there.
                    if let Err(error) = spool.push(chunk, dir) {
                        *rest = Rest::Failed(error);
                    }
                }
                Some(Err(error)) => *rest = Rest::Failed(error),
                None => *rest = Rest::Nothing,
            }
        }
        *full = matches!(rest, Rest::Job(_));
    }
}

/// Rows not taken yet.
pub(crate) struct RowCursor {
    /// Never contended: the lock only makes sessions, which hold cursors, shareable by reference.
    source: Mutex<RowSource>,
    /// What is left of a chunk, and the row it goes on with.
    rest: Option<(RowChunk, usize)>,
    exhausted: bool,
    /// What the contents of the first message begin with.
    head: Option<Bytes>,
    /// The last row given out, until the end is met.
    current: Option<Bytes>,
    /// Sees all rows; dropped when they fail.
    taker: Option<ResultTaker>,
}

/// Some rows, ready for the socket.
pub(crate) struct RowSlice {
    pub(crate) bytes: Bytes,
    pub(crate) rows: u64,
}

impl RowCursor {
    pub(crate) fn new(source: RowSource) -> Self {
        Self {
            source: Mutex::new(source),
            rest: None,
            exhausted: false,
            head: None,
            current: None,
            taker: None,
        }
    }

    /// Lets the rows be kept.
    pub(super) fn show_to(&mut self, taker: ResultTaker) {
        self.taker = Some(taker);
    }

    /// The row it is on: the last one given out, unless it has gone beyond the end.
    pub(super) fn current(&self) -> Option<RowChunk> {
        let bytes = self.current.clone()?;
        let end = u32::try_from(bytes.len()).ok()?;
        Some(RowChunk {
            bytes,
            row_ends: vec![end],
        })
    }

    /// Puts bytes before the contents of the first row's message, as binary COPY wants it.
    pub(super) fn begin_with(&mut self, head: Bytes) {
        self.head = Some(head);
    }

    /// What no row has taken.
    pub(super) fn take_head(&mut self) -> Option<Bytes> {
        self.head.take()
    }

    pub(crate) fn has_job(&self) -> bool {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.has_job()
    }

    /// Frees the slots of the job behind it, as far as `bytes_max` on disk allow.
    pub(crate) async fn set_aside(&mut self, dir: &Path, bytes_max: u64) {
        let source = self
            .source
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        source.set_aside(dir, bytes_max).await;
    }

    /// At most `limit` rows (which must not be 0), at least one; `None` at the end.
    ///
    /// Cancel safe: a future dropped before it is ready has taken nothing.
    pub(crate) async fn next(&mut self, limit: u64) -> Result<Option<RowSlice>, ErrorReport> {
        while !self.exhausted {
            if let Some((chunk, from)) = self.rest.take() {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let to = from.saturating_add(limit).min(chunk.rows());
                let offset = |row: usize| match row {
                    0 => 0,
                    row => chunk.row_ends[row - 1] as usize,
                };
                if to > from {
                    self.current = Some(chunk.bytes.slice(offset(to - 1)..offset(to)));
                }
                let mut slice = RowSlice {
                    bytes: chunk.bytes.slice(offset(from)..offset(to)),
                    rows: (to - from) as u64,
                };
                if to < chunk.rows() {
                    self.rest = Some((chunk, to));
                }
                if slice.rows > 0 {
                    if let Some(head) = self.head.take() {
                        slice.bytes =
                            begin_with(&head, &slice.bytes).map_err(TypeError::into_report)?;
                    }
                    return Ok(Some(slice));
                }
                continue;
            }
            let source = self
                .source
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            match source.next().await {
                Some(Ok(chunk)) => {
                    if let Some(taker) = &mut self.taker {
                        taker.push(&chunk);
                    }
                    self.rest = Some((chunk, 0));
                }
                Some(Err(error)) => {
                    self.exhausted = true;
                    self.taker = None;
                    return Err(error);
                }
                None => {
                    self.exhausted = true;
                    if let Some(taker) = self.taker.take() {
                        taker.finish();
                    }
                }
            }
        }
        self.current = None;
        Ok(None)
    }
}

/// A result: its shape, its rows, and the word its command tag starts with.
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    pub(crate) cursor: RowCursor,
    command: &'static str,
    /// The tag ends in the number of rows.
    counted: bool,
    /// A FETCH: the cursor it takes from, and how many rows.
    pub(crate) fetch: Option<(String, u64)>,
}

impl Rows {
    pub(crate) fn new(columns: Vec<Column>, source: RowSource, command: &'static str) -> Self {
        Self {
            columns,
            cursor: RowCursor::new(source),
            command,
            counted: matches!(command, "SELECT" | "FETCH"),
            fetch: None,
        }
    }

    pub(crate) fn tag(&self, rows: u64) -> String {
        match &self.fetch {
            Some(_) => format!("FETCH {rows}"),
            None if self.counted => format!("{} {rows}", self.command),
            None => self.command.to_owned(),
        }
    }
}

/// What a statement answers.
pub(crate) enum Reply {
    Rows(Rows),
    CopyOut(Box<CopyOut>),
    /// The client's data comes next.
    CopyIn(Box<CopyIn>),
    /// The command tag.
    Done(String),
}

/// Rows of text cells, as SHOW and its like answer. Text looks the same in both formats.
pub(crate) fn text_rows(rows: &[Vec<Option<String>>]) -> RowSource {
    let mut bytes = Vec::new();
    let mut row_ends = Vec::with_capacity(rows.len());
    for row in rows {
        bytes.push(b'D');
        let start = bytes.len();
        bytes.extend([0; 4]);
        bytes.extend(u16::try_from(row.len()).unwrap_or(u16::MAX).to_be_bytes());
        for cell in row {
            match cell {
                Some(text) => {
                    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
                None => bytes.extend((-1_i32).to_be_bytes()),
            }
        }
        let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        row_ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    RowSource::Chunks(VecDeque::from([RowChunk {
        bytes: bytes.into(),
        row_ends,
    }]))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn chunk(rows: &[&'static str]) -> RowChunk {
        let bytes = rows.concat();
        let mut end = 0;
        let row_ends = rows
            .iter()
            .map(|row| {
                end += row.len() as u32;
                end
            })
            .collect();
        RowChunk {
            bytes: bytes.into(),
            row_ends,
        }
    }

    fn take(cursor: &mut RowCursor, limit: u64) -> Option<(Bytes, u64)> {
        let next = cursor.next(limit).now_or_never().expect("ready");
        next.expect("no error")
            .map(|slice| (slice.bytes, slice.rows))
    }

    #[test]
    fn chunks_are_split_at_rows() {
        let chunks = [chunk(&["aa", "b", "ccc"]), chunk(&[]), chunk(&["d"])];
        let mut cursor = RowCursor::new(RowSource::Chunks(chunks.into()));
        assert_eq!(take(&mut cursor, 2), Some(("aab".into(), 2)));
        assert_eq!(take(&mut cursor, 2), Some(("ccc".into(), 1)));
        assert_eq!(take(&mut cursor, u64::MAX), Some(("d".into(), 1)));
        assert_eq!(take(&mut cursor, 1), None);
        assert_eq!(take(&mut cursor, 1), None);
    }

    #[test]
    fn text_rows_are_data_rows() {
        let RowSource::Chunks(chunks) = text_rows(&[vec![Some("on".into()), None]]) else {
            panic!("chunks")
        };
        assert_eq!(
            chunks[0].bytes,
            &b"D\0\0\0\x10\0\x02\0\0\0\x02on\xff\xff\xff\xff"[..]
        );
        assert_eq!(chunks[0].row_ends, [17]);
    }
}

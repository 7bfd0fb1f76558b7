//! COPY TO STDOUT and COPY FROM STDIN.
//!
//! Out is a query whose rows tasks encode as `CopyData`; only what stands before and after them is
//! made here. In is cut into pieces of whole rows as it comes; each is written by a job of its own,
//! so that no slot waits for the client, and the files of all become the table's at once, when
//! the client says that it is done.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use functions::pg_type::{Format, FormatSettings, TypeError};
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use job::{ErrorReport, SqlError, SqlState, WrittenFile};
use operators::rows::copy::{
    CopyDirection, CopyEncoder, CopyOptions, CopyPrelude, CopySplitter, begin_with,
};
use planner::{CopyStatement, ParsedStatement};

use super::Session;
use super::prepared::Prepared;
use super::query::written_files;
use super::rows::{Reply, RowCursor, RowSource};
use crate::driver::JobSummary;

/// So much of a client's data is a piece: enough that a job's price does not matter.
const PIECE_BYTES: usize = 8 << 20;
/// Pieces being written while the next one comes. More wait in the socket.
const PIECES_MAX: usize = 2;

/// A COPY TO STDOUT on its way.
pub(crate) struct CopyOut {
    pub(crate) format: Format,
    pub(crate) columns: usize,
    /// A message before the rows.
    pub(crate) header: Option<Bytes>,
    pub(crate) cursor: RowCursor,
    /// A message after them.
    trailer: Option<Bytes>,
}

impl CopyOut {
    pub(super) fn new(
        schema: &SchemaRef,
        options: CopyOptions,
        settings: FormatSettings,
        source: RowSource,
    ) -> Result<Self, TypeError> {
        let format = options.cell_format();
        let fields = schema.fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let encoder = CopyEncoder::new(schema, &names, options, settings)?;
        let mut cursor = RowCursor::new(source);
        let header = match encoder.header()? {
            CopyPrelude::None => None,
            CopyPrelude::Message(header) => Some(header),
            CopyPrelude::InFirst(head) => {
                cursor.begin_with(head);
                None
            }
        };
        Ok(Self {
            format,
            columns: fields.len(),
            header,
            cursor,
            trailer: encoder.trailer()?,
        })
    }

    /// What follows when all rows are out.
    pub(crate) fn trailer(&mut self) -> Result<Option<Bytes>, ErrorReport> {
        let Some(trailer) = self.trailer.take() else {
            return Ok(None);
        };
        Ok(Some(match self.cursor.take_head() {
            Some(head) => begin_with(&head, &trailer).map_err(TypeError::into_report)?,
            None => trailer,
        }))
    }
}

/// A COPY FROM STDIN that waits for the client's data. Dropped before its end it leaves nothing.
pub(crate) struct CopyIn {
    plan: planner::CopyIn,
    splitter: CopySplitter,
    /// Pieces being written, in their order.
    writing: FuturesOrdered<BoxFuture<'static, Result<JobSummary, ErrorReport>>>,
    files: Vec<WrittenFile>,
}

impl CopyIn {
    pub(crate) fn format(&self) -> Format {
        self.plan.options().cell_format()
    }

    pub(crate) fn columns(&self) -> usize {
        self.plan.column_count()
    }

    /// How far the data has been read, for errors that are not about it.
    pub(crate) fn context(&self) -> String {
        self.splitter.context()
    }

    fn written(&mut self, piece: Result<JobSummary, ErrorReport>) -> Result<(), ErrorReport> {
        self.files.extend(written_files(piece?));
        Ok(())
    }
}

impl Session {
    pub(super) async fn run_copy(
        &mut self,
        parsed: &ParsedStatement,
        copy: &CopyStatement,
        prepared: &Arc<Prepared>,
        at_once: bool,
    ) -> Result<Reply, ErrorReport> {
        match copy.direction {
            CopyDirection::Out => self.run_planned(parsed, prepared, &[], &[], at_once).await,
            CopyDirection::In => {
                self.set_portals_aside().await;
                let context = self.statement_context();
                let planner = &self.services.planner;
                let plan = planner.begin_copy(&self.view(&context), parsed).await?;
                Ok(Reply::CopyIn(Box::new(CopyIn {
                    splitter: plan.splitter(),
                    plan,
                    writing: FuturesOrdered::new(),
                    files: Vec::new(),
                })))
            }
        }
    }

    /// Takes some of the client's data. Waits when it comes faster than it is written.
    pub(crate) async fn copy_data(
        &self,
        copy: &mut CopyIn,
        bytes: &[u8],
    ) -> Result<(), ErrorReport> {
        if let Err(error) = copy.splitter.push(bytes) {
            // What is wrong in the rows before it was wrong earlier.
            self.write_rest(copy).await?;
            return Err(error);
        }
        while let Some(Some(piece)) = copy.writing.next().now_or_never() {
            copy.written(piece)?;
        }
        if copy.splitter.whole() >= PIECE_BYTES {
            self.write_piece(copy).await?;
        }
        Ok(())
    }

    /// The client has sent all: the rows become the table's. Answers the command tag.
    pub(crate) async fn copy_done(&self, mut copy: CopyIn) -> Result<String, ErrorReport> {
        let ended = copy.splitter.finish();
        self.write_rest(&mut copy).await?;
        ended?;
        let rows: u64 = copy.files.iter().map(|file| file.rows).sum();
        self.critical();
        let committed = copy.plan.write.commit(copy.files, false).await;
        committed.map_err(|error| error.report())?;
        Ok(format!("COPY {rows}"))
    }

    async fn write_piece(&self, copy: &mut CopyIn) -> Result<(), ErrorReport> {
        while copy.writing.len() >= PIECES_MAX
            && let Some(piece) = copy.writing.next().await
        {
            copy.written(piece)?;
        }
        let piece = copy.splitter.take();
        let context = self.statement_context();
        let planner = &self.services.planner;
        let job = planner
            .plan_copy_piece(&self.view(&context), &copy.plan, piece)
            .await?;
        copy.writing.push_back(self.submit(job).finish().boxed());
        Ok(())
    }

    /// Writes the whole rows there are, and waits for all that is being written.
    async fn write_rest(&self, copy: &mut CopyIn) -> Result<(), ErrorReport> {
        if copy.splitter.whole() > 0 {
            self.write_piece(copy).await?;
        }
        while let Some(piece) = copy.writing.next().await {
            copy.written(piece)?;
        }
        Ok(())
    }
}

/// The client gave up.
pub(crate) fn copy_failed(copy: &CopyIn, why: &str) -> ErrorReport {
    ErrorReport::new(
        SqlState::QUERY_CANCELED,
        format!("COPY from stdin failed: {why}"),
    )
    .with_context(copy.context())
}

//! COPY FROM: a piece of whole rows, read by a task.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use functions::pg_type::{Format, FormatSettings, InputContext, Now, PgType, TypeError, decode};
use job::{ErrorReport, SqlState};

use super::fields::{Field, binary_fields, split};
use super::framing::{CopyPiece, Frame, Framer, Stage, bad_format};
use super::options::{CopyFormat, CopyOptions};
use super::values::Values;

/// PostgreSQL shows so many bytes of a line or field in an error's context.
const SHOWN_BYTES_MAX: usize = 100;

/// A column that the data has.
#[derive(Debug, Clone)]
pub struct CopyColumn {
    /// The column as it leaves here. Nullable; its length or precision is the plan's to apply.
    pub field: FieldRef,
    /// As declared, for what is refused here because its line is known here.
    pub pg_type: PgType,
    pub not_null: bool,
}

/// What a COPY FROM fills, the same for all its pieces.
#[derive(Debug, Clone)]
pub struct CopyTarget {
    pub relation: String,
    pub columns: Vec<CopyColumn>,
    pub options: CopyOptions,
    pub settings: FormatSettings,
    /// `now`, for dates that say so: microseconds since 1970.
    pub now_us: i64,
}

/// The rows of a piece, as the leaf of a plan. May be read any number of times.
pub struct CopySourceExec {
    target: Arc<CopyTarget>,
    piece: CopyPiece,
    properties: Arc<PlanProperties>,
}

impl CopySourceExec {
    pub fn new(target: Arc<CopyTarget>, piece: CopyPiece) -> Self {
        let fields: Vec<FieldRef> = target
            .columns
            .iter()
            .map(|column| Arc::clone(&column.field))
            .collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            target,
            piece,
            properties: Arc::new(properties),
        }
    }

    pub fn target(&self) -> &Arc<CopyTarget> {
        &self.target
    }

    pub fn piece(&self) -> &CopyPiece {
        &self.piece
    }
}

impl fmt::Debug for CopySourceExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (relation, bytes) = (&self.target.relation, self.piece.bytes.len());
        write!(f, "CopySourceExec({relation}, {bytes} bytes)")
    }
}

impl DisplayAs for CopySourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let (relation, bytes) = (&self.target.relation, self.piece.bytes.len());
        write!(f, "CopySourceExec: relation={relation}, bytes={bytes}")
    }
}

impl ExecutionPlan for CopySourceExec {
    fn name(&self) -> &'static str {
        "CopySourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let format = self.target.options.cell_format();
        let framer = Framer::new(self.target.options.clone(), Stage::Rows);
        let framer = if self.piece.lines_before > 0 {
            framer.continued(&self.piece.bytes)
        } else {
            framer
        };
        let batches = Batches {
            columns: self
                .target
                .columns
                .iter()
                .map(|column| Values::new(column.pg_type, column.field.data_type(), format))
                .collect(),
            framer,
            target: Arc::clone(&self.target),
            piece: self.piece.clone(),
            schema: self.schema(),
            rows_max: context.session_config().batch_size(),
            at: 0,
            done: false,
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            futures::stream::iter(batches),
        )))
    }
}

/// Reads rows, a batch at a time.
struct Batches {
    target: Arc<CopyTarget>,
    piece: CopyPiece,
    schema: SchemaRef,
    rows_max: usize,
    framer: Framer,
    columns: Vec<Values>,
    at: usize,
    done: bool,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let batch = self
            .batch()
            .map_err(|error| DataFusionError::External(Box::new(error)));
        self.done |= batch.is_err();
        batch.transpose()
    }
}

impl Batches {
    fn batch(&mut self) -> Result<Option<RecordBatch>, ErrorReport> {
        let piece = self.piece.bytes.clone();
        let mut rows = 0;
        while rows < self.rows_max {
            let frame = self
                .framer
                .next(&piece, self.at)
                .map_err(TypeError::into_report)?;
            let Frame::Row(extent) = frame else {
                self.done = true;
                break;
            };
            let row = Row {
                target: &self.target,
                // A line's number is that of its end.
                line: self.piece.lines_before + self.framer.line,
                bytes: &piece[extent.start..extent.end],
            };
            row.read(&mut self.columns)?;
            self.at = extent.next;
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let arrays = self
            .columns
            .iter_mut()
            .map(Values::finish)
            .collect::<Result<Vec<_>, _>>()
            .map_err(TypeError::into_report)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map(Some)
            .map_err(|error| TypeError::internal(error.to_string()).into_report())
    }
}

/// A row and where it is.
struct Row<'a> {
    target: &'a CopyTarget,
    line: u64,
    bytes: &'a [u8],
}

impl Row<'_> {
    /// Appends the fields, checked in the order PostgreSQL checks them.
    fn read(&self, columns: &mut [Values]) -> Result<(), ErrorReport> {
        let target = self.target;
        let settings = InputContext {
            settings: &target.settings,
            now: Now::At(target.now_us),
        };
        let fields = self.fields(settings)?;
        for (index, (column, values)) in target.columns.iter().zip(columns).enumerate() {
            let name = column.field.name();
            let Some(field) = fields.get(index) else {
                return Err(
                    self.refused(bad_format(&format!("missing data for column \"{name}\"")))
                );
            };
            let value = self.forced(name, field);
            values.append(value, settings).map_err(|error| {
                let context = self.at_column(name, value);
                error.into_report().with_context(context)
            })?;
        }
        for (column, field) in target.columns.iter().zip(&fields) {
            let name = column.field.name();
            if column.not_null && self.forced(name, field).is_none() {
                return Err(self.refused(TypeError::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!(
                        "null value in column \"{name}\" of relation \"{}\" violates not-null constraint",
                        target.relation
                    ),
                )));
            }
        }
        Ok(())
    }

    fn fields(&self, settings: InputContext<'_>) -> Result<Vec<Field<'_>>, ErrorReport> {
        let wanted = self.target.columns.len();
        if self.target.options.format == CopyFormat::Binary {
            let found = self
                .bytes
                .first_chunk()
                .map_or(0, |n| i16::from_be_bytes(*n));
            if usize::try_from(found) != Ok(wanted) {
                return Err(self.refused(bad_format(&format!(
                    "row field count is {found}, expected {wanted}"
                ))));
            }
            return binary_fields(self.bytes).map_err(|error| self.refused(error));
        }
        if std::str::from_utf8(self.bytes).is_err()
            && let Err(error) = decode(PgType::TEXT, Format::Text, Some(self.bytes), settings)
        {
            return Err(error.into_report().with_context(self.at_line()));
        }
        let fields =
            split(self.bytes, &self.target.options).map_err(|error| self.refused(error))?;
        if fields.len() > wanted {
            // A table without columns has empty lines.
            if wanted == 0 && self.bytes.is_empty() {
                return Ok(Vec::new());
            }
            return Err(self.refused(bad_format("extra data after last expected column")));
        }
        Ok(fields)
    }

    /// The field's value after FORCE_NULL and FORCE_NOT_NULL.
    fn forced<'f>(&'f self, column: &str, field: &'f Field<'_>) -> Option<&'f [u8]> {
        let options = &self.target.options;
        match field.value.as_deref() {
            None if options.force_not_null.contains(column) => Some(options.null.as_bytes()),
            Some(text)
                if text == options.null.as_bytes() && options.force_null.contains(column) =>
            {
                None
            }
            value => value,
        }
    }

    fn at_line(&self) -> String {
        format!("COPY {}, line {}", self.target.relation, self.line)
    }

    fn at_column(&self, column: &str, value: Option<&[u8]>) -> String {
        let place = format!("{}, column {column}", self.at_line());
        match (self.target.options.format, value) {
            (CopyFormat::Binary, _) => place,
            (CopyFormat::Text | CopyFormat::Csv, Some(value)) => {
                format!("{place}: \"{}\"", shown(value))
            }
            (CopyFormat::Text | CopyFormat::Csv, None) => format!("{place}: null input"),
        }
    }

    /// An error of the row as a whole.
    #[cold]
    fn refused(&self, error: TypeError) -> ErrorReport {
        let place = self.at_line();
        error
            .into_report()
            .with_context(match self.target.options.format {
                CopyFormat::Binary => place,
                CopyFormat::Text | CopyFormat::Csv => format!("{place}: \"{}\"", shown(self.bytes)),
            })
    }
}

/// The beginning of what the client sent.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.len() <= SHOWN_BYTES_MAX {
        return text.into_owned();
    }
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    format!("{}...", &text[..end])
}

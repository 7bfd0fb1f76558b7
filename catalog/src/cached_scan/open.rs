//! A file up to its row groups: version, footer, this file's expressions, pruning.
//!
//! The same steps in the same order as DataFusion's opener; the expressions of the scan come out in
//! terms of the file's own columns and types, which is also what chunks are kept in.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatchOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    PagePruningAccessPlanFilter, ParquetAccessPlan, RowGroupAccess, RowGroupAccessPlanFilter,
    apply_file_schema_type_coercions,
};
use datafusion::physical_expr::projection::{ProjectionExprs, Projector};
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr_adapter::replace_columns_with_literals;
use datafusion::physical_expr_adapter::rewrite::rewrite_input_file_name_in_projection;
use datafusion::physical_optimizer::pruning::FilePruner;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::parquet_column;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};

use super::Scan;
use super::estimate::Estimate;
use super::filter::RowFilter;
use super::prune::{Pruner, uncounted};
use crate::chunks::{ChunkKey, FileIdentity, Prospect, Wanted};
use job::StorageLevel;

/// What became of a file.
pub(super) enum Opened {
    /// No row can pass the filters.
    Pruned,
    /// DataFusion's reader is the better one for it.
    Elsewhere(Box<PartitionedFile>),
    Here(Box<OpenFile>),
}

/// A file of which some columns are in memory, or may come there.
pub(super) struct OpenFile {
    pub(super) scan: Arc<Scan>,
    pub(super) file: PartitionedFile,
    identity: Arc<FileIdentity>,
    /// The table's, if it was told to be cached.
    pub(super) level: Option<StorageLevel>,
    pub(super) reading: ArrowReaderMetadata,
    /// By row group.
    pub(super) access: Vec<RowGroupAccess>,
    /// What the survey found, by row group: a prospect for each of `columns`.
    prospects: HashMap<usize, Vec<Prospect>>,
    /// The columns that the scan needs of this file, in its order.
    pub(super) columns: Vec<Column>,
    pub(super) output: Output,
    pub(super) pruner: Option<Pruner>,
    pub(super) filter: Option<RowFilter>,
}

/// A column of the file.
pub(super) struct Column {
    pub(super) leaf: usize,
    pub(super) field: FieldRef,
    /// Was wanted before, so it may be loaded.
    warm: bool,
}

/// From columns of the file to the columns of the scan.
pub(super) struct Output {
    /// Of [`OpenFile::columns`].
    pub(super) input: SchemaRef,
    projector: Projector,
    pub(super) schema: SchemaRef,
}

impl Output {
    /// A batch of these columns, as the scan puts it out.
    pub(super) fn project(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let projected = self.projector.project_batch(batch)?;
        if self.projector.output_schema() == &self.schema {
            return Ok(projected);
        }
        // The file's fields may differ from the scan's in metadata and nullability.
        let (_, arrays, rows) = projected.into_parts();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            arrays,
            &options,
        )?)
    }
}

pub(super) async fn open(
    scan: Arc<Scan>,
    file: PartitionedFile,
    identity: Arc<FileIdentity>,
    level: Option<StorageLevel>,
    warm: &[String],
) -> Result<Opened> {
    // What is in memory is only served while the file is there, and is what the snapshot lists.
    scan.store.check(&file.object_meta.location).await?;

    let literals: HashMap<String, ScalarValue> = scan
        .table
        .table_partition_cols()
        .iter()
        .zip(&file.partition_values)
        .map(|(field, value)| (field.name().clone(), value.clone()))
        .collect();
    let literal = |expr| replace_columns_with_literals(expr, &literals);
    let projection = scan.projection.clone().try_map_exprs(literal)?;
    let projection =
        rewrite_input_file_name_in_projection(projection, file.object_meta.location.as_ref())?;
    let predicate = scan.predicate.clone().map(literal).transpose()?;
    if let Some(predicate) = &predicate
        && let Some(mut pruner) = FilePruner::try_new(
            Arc::clone(predicate),
            scan.table.file_schema(),
            &file,
            Count::new(),
        )
        && pruner.should_prune()?
    {
        return Ok(Opened::Pruned);
    }

    let mut options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    if let Some(schema) = &file.arrow_schema {
        options = options.with_schema(Arc::clone(schema));
    }
    let mut reader = reader(&scan, &file)?;
    let mut reading = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await?;
    let mut schema = Arc::clone(reading.schema());
    if let Some(merged) = apply_file_schema_type_coercions(scan.table.file_schema(), &schema) {
        schema = Arc::new(merged);
        options = options.with_schema(Arc::clone(&schema));
        reading = ArrowReaderMetadata::try_new(Arc::clone(reading.metadata()), options.clone())?;
    }
    let adapter = scan
        .adapters
        .create(Arc::clone(scan.table.file_schema()), Arc::clone(&schema))?;
    let simplifier = PhysicalExprSimplifier::new(&schema);
    let adapt = |expr| simplifier.simplify(adapter.rewrite(expr)?);
    let predicate = predicate.map(adapt).transpose()?;
    let projection = projection.try_map_exprs(adapt)?;

    let Some(columns) = columns(&projection, &schema, &reading, warm) else {
        return Ok(Opened::Elsewhere(Box::new(file)));
    };
    let page_filter = predicate
        .as_ref()
        .filter(|_| scan.prunes_pages)
        .map(|predicate| PagePruningAccessPlanFilter::new(predicate, Arc::clone(&schema)))
        .filter(|filter| filter.filter_number() > 0);
    if page_filter.is_some() && lacks_page_index(reading.metadata()) {
        options = options.with_page_index_policy(PageIndexPolicy::Optional);
        reading = ArrowReaderMetadata::load_async(&mut reader, options).await?;
    }
    let pruner = predicate
        .filter(|_| scan.prunes_row_groups)
        .map(|predicate| Pruner::new(predicate, Arc::clone(&schema), scan.max_in_list_size));
    let access = prune(&file, &reading, &schema, pruner.as_ref(), page_filter);
    if access.row_group_indexes().is_empty() {
        return Ok(Opened::Pruned);
    }

    let output = new_output(&scan, &projection, &columns)?;
    // Files of a table are about the same.
    let row_groups = access.row_group_indexes().into_iter();
    let rows = row_groups.map(|group| reading.metadata().row_group(group).num_rows());
    let rows = rows.sum::<i64>().cast_unsigned().saturating_mul(scan.files);
    let filter = RowFilter::new(&scan, &columns, rows, |conjunct| adapt(literal(conjunct)?))?;
    let mut open = OpenFile {
        scan,
        file,
        identity,
        level,
        reading,
        access: access.into_inner(),
        prospects: HashMap::new(),
        columns,
        output,
        pruner,
        filter,
    };
    if open.survey() {
        Ok(Opened::Here(Box::new(open)))
    } else {
        Ok(Opened::Elsewhere(Box::new(open.file)))
    }
}

/// A reader of the file's bytes. What it counts nobody looks at.
pub(super) fn reader(scan: &Scan, file: &PartitionedFile) -> Result<Box<dyn AsyncFileReader>> {
    let metrics = ExecutionPlanMetricsSet::new();
    let reader = scan
        .readers
        .create_reader(scan.partition, file.clone(), None, &metrics)?;
    Ok(reader)
}

/// The file's columns in the projection. `None`: there is one that chunks can't hold.
fn columns(
    projection: &ProjectionExprs,
    schema: &Schema,
    reading: &ArrowReaderMetadata,
    warm: &[String],
) -> Option<Vec<Column>> {
    let wanted: BTreeSet<usize> = projection
        .expr_iter()
        .flat_map(|expr| collect_columns(&expr))
        .map(|column| column.index())
        .collect();
    let mut columns = Vec::with_capacity(wanted.len());
    for index in wanted {
        let field = schema.fields().get(index)?;
        let (leaf, _) = parquet_column(reading.parquet_schema(), schema, field.name())?;
        if !can_keep(field.data_type()) {
            return None;
        }
        columns.push(Column {
            leaf,
            field: Arc::clone(field),
            warm: warm.contains(field.name()),
        });
    }
    // Leaves come in the schema's order, and so do the columns of what is read.
    let ascending = columns.windows(2).all(|pair| pair[0].leaf < pair[1].leaf);
    (ascending && !columns.is_empty()).then_some(columns)
}

fn can_keep(data_type: &DataType) -> bool {
    data_type.primitive_width().is_some()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8View
                | DataType::BinaryView
                | DataType::Utf8
                | DataType::Binary
                | DataType::LargeUtf8
                | DataType::LargeBinary
        )
}

fn lacks_page_index(metadata: &ParquetMetaData) -> bool {
    let written = |group: &RowGroupMetaData| {
        let mut columns = group.columns().iter();
        columns.any(|column| column.column_index_offset().is_some())
    };
    (metadata.column_index().is_none() || metadata.offset_index().is_none())
        && metadata.row_groups().iter().any(written)
}

/// The row groups, and rows of them, that may pass.
fn prune(
    file: &PartitionedFile,
    reading: &ArrowReaderMetadata,
    schema: &SchemaRef,
    pruner: Option<&Pruner>,
    page_filter: Option<PagePruningAccessPlanFilter>,
) -> ParquetAccessPlan {
    let groups = reading.metadata().row_groups();
    let mut filter = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(groups.len()));
    if let Some(range) = &file.range {
        filter.prune_by_range(groups, range);
    }
    if let Some(pruner) = pruner {
        pruner.prune_row_groups(&mut filter, reading, file);
    }
    let access = filter.build();
    match page_filter {
        Some(pages) if !access.row_group_indexes().is_empty() => pages.prune_plan_with_page_index(
            access,
            schema,
            reading.parquet_schema(),
            reading.metadata(),
            &uncounted(file),
        ),
        _ => access,
    }
}

fn new_output(scan: &Scan, projection: &ProjectionExprs, columns: &[Column]) -> Result<Output> {
    let fields: Vec<FieldRef> = columns
        .iter()
        .map(|column| Arc::clone(&column.field))
        .collect();
    let input = Arc::new(Schema::new(fields));
    let projection = projection
        .clone()
        .try_map_exprs(|expr| reassign_expr_columns(expr, &input))?;
    Ok(Output {
        projector: projection.make_projector(&input)?,
        input,
        schema: Arc::new(scan.projection.project_schema(scan.table.table_schema())?),
    })
}

impl OpenFile {
    pub(super) fn row_group(&self, row_group: usize) -> &RowGroupMetaData {
        self.reading.metadata().row_group(row_group)
    }

    pub(super) fn rows(&self, row_group: usize) -> usize {
        usize::try_from(self.row_group(row_group).num_rows()).unwrap_or(0)
    }

    pub(super) fn key(&self, row_group: usize, column: usize) -> ChunkKey {
        ChunkKey {
            file: Arc::clone(&self.identity),
            row_group: row_group as u32,
            column: self.columns[column].leaf as u32,
        }
    }

    /// A chunk as the cache is asked for it.
    pub(super) fn wanted(&self, row_group: usize, column: usize) -> Wanted {
        let Column { leaf, field, .. } = &self.columns[column];
        let metadata = self.row_group(row_group).column(*leaf);
        let estimate = Estimate::of(field.data_type(), self.rows(row_group), metadata);
        Wanted {
            key: self.key(row_group, column),
            bytes: estimate.bytes,
            cost: estimate.cost,
        }
    }

    /// What the survey found of a chunk.
    pub(super) fn prospect(&self, row_group: usize, column: usize) -> Prospect {
        let prospects = self.prospects.get(&row_group);
        prospects.map_or(Prospect::Elsewhere, |prospects| prospects[column])
    }

    /// Did the survey find such a chunk of this row group?
    pub(super) fn has_any(&self, row_group: usize, wanted: &[Prospect]) -> bool {
        let mut prospects = self.prospects.get(&row_group).into_iter().flatten();
        prospects.any(|prospect| wanted.contains(prospect))
    }

    /// Asks the cache about all chunks that the scan will want; is there anything to gain?
    fn survey(&mut self) -> bool {
        let row_groups: Vec<usize> = (0..self.access.len())
            .filter(|row_group| self.access[*row_group].should_scan())
            .collect();
        let wanted: Vec<Wanted> = row_groups
            .iter()
            .flat_map(|row_group| {
                (0..self.columns.len()).map(|column| self.wanted(*row_group, column))
            })
            .collect();
        let mut found = self
            .scan
            .cache
            .chunks
            .survey(&wanted, self.level)
            .into_iter();
        // What had no room when the file was opened may have some when its turn comes.
        let only_loads = self.scan.cache.only_loads;
        let mut gain = only_loads;
        for row_group in row_groups {
            let mut prospects: Vec<Prospect> = found.by_ref().take(self.columns.len()).collect();
            for (prospect, column) in prospects.iter_mut().zip(&self.columns) {
                if *prospect == Prospect::Elsewhere && only_loads {
                    *prospect = Prospect::Welcome;
                }
                // A statement that wants only a few rows should not pay for decoding whole chunks.
                if *prospect == Prospect::Welcome && (!column.warm || self.scan.limit.is_some()) {
                    *prospect = Prospect::Elsewhere;
                }
            }
            gain |= prospects
                .iter()
                .any(|prospect| *prospect != Prospect::Elsewhere);
            self.prospects.insert(row_group, prospects);
        }
        gain
    }
}

//! Scans one table snapshot: DataFusion's readers over a fixed list of files.
//!
//! Does what DataFusion's `ListingTable` does for a scan, without its listing and caches: prunes
//! files by partition values and by limit, groups them, sums their statistics, and hands them to
//! the format's reader, guarded ([`crate::guard`]).

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics, project_schema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion_datasource::compute_all_files_statistics;

use crate::formats::file_format;
use crate::guard::guard_scan;
use crate::table_snapshot::TableSnapshot;
use job::FileCaching;

/// A table provider over one [`TableSnapshot`].
#[derive(Debug)]
pub struct SnapshotTable {
    snapshot: Arc<TableSnapshot>,
}

impl SnapshotTable {
    pub fn new(snapshot: Arc<TableSnapshot>) -> Self {
        Self { snapshot }
    }

    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.snapshot
    }

    /// Can this filter be decided from a file's directory names alone?
    fn is_partition_filter(&self, filter: &Expr) -> bool {
        let columns = filter.column_refs();
        !columns.is_empty()
            && columns.iter().all(|column| {
                self.snapshot
                    .partition_fields
                    .iter()
                    .any(|field| field.name() == &column.name)
            })
            && !filter.is_volatile()
            && !filter.contains_outer()
            && !filter
                .exists(|part| {
                    Ok(matches!(
                        part,
                        Expr::ScalarSubquery(_)
                            | Expr::Exists(_)
                            | Expr::InSubquery(_)
                            | Expr::SetComparison(_)
                            | Expr::Placeholder(_)
                            | Expr::ScalarVariable(_, _)
                    ))
                })
                .unwrap_or(true)
    }

    /// The files whose partition values pass the filters.
    fn files_passing(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let files = &self.snapshot.files;
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(files.clone());
        };
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let schema = Arc::new(Schema::new(self.snapshot.partition_fields.clone()));
        let columns = (0..schema.fields().len())
            .map(|column| {
                ScalarValue::iter_to_array(
                    files
                        .iter()
                        .map(|file| file.partition_values[column].clone()),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new_with_options(
            Arc::clone(&schema),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(files.len())),
        )?;
        let filter = unqualified(filter)?;
        let filter = state.create_physical_expr(filter, &DFSchema::try_from(schema)?)?;
        let passes = filter.evaluate(&batch)?.into_array(files.len())?;
        let passes = passes.as_boolean_opt().ok_or_else(|| {
            DataFusionError::Internal("a partition filter is not Boolean".to_owned())
        })?;
        Ok(files
            .iter()
            .enumerate()
            .filter(|(row, _)| passes.is_valid(*row) && passes.value(*row))
            .map(|(_, file)| file.clone())
            .collect())
    }

    /// Orders the scan may promise: the declared one, or what all files' footers agree on.
    fn output_ordering(&self, files: &[PartitionedFile]) -> Vec<LexOrdering> {
        let declared = self.snapshot.ordering.iter().map_while(|sort| {
            let index = self.snapshot.schema.index_of(&sort.column).ok()?;
            Some(PhysicalSortExpr::new(
                Arc::new(Column::new(&sort.column, index)),
                arrow::compute::SortOptions {
                    descending: sort.descending,
                    nulls_first: sort.nulls_first,
                },
            ))
        });
        let ordering = if self.snapshot.ordering.is_empty() {
            common_ordering(files)
        } else {
            LexOrdering::new(declared)
        };
        ordering.into_iter().collect()
    }
}

/// Partition filters are evaluated on a batch that has no table name.
fn unqualified(filter: Expr) -> Result<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TransformedResult};
    filter
        .transform(|part| {
            Ok(match part {
                Expr::Column(column) if column.relation.is_some() => {
                    Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
                }
                other => Transformed::no(other),
            })
        })
        .data()
}

/// The longest order every file has.
fn common_ordering(files: &[PartitionedFile]) -> Option<LexOrdering> {
    let mut files = files.iter();
    let mut common: Vec<PhysicalSortExpr> = files.next()?.ordering.clone()?.into_iter().collect();
    for file in files {
        let ordering = file.ordering.as_ref()?;
        let agreed = common
            .iter()
            .zip(ordering.iter())
            .take_while(|(a, b)| a == b)
            .count();
        common.truncate(agreed);
    }
    LexOrdering::new(common)
}

/// The first files that surely hold more than `limit` rows, and whether any were left out.
fn enough_for(limit: Option<usize>, files: Vec<PartitionedFile>) -> (Vec<PartitionedFile>, bool) {
    let Some(limit) = limit else {
        return (files, false);
    };
    let mut rows = 0usize;
    let mut enough = files.len();
    for (index, file) in files.iter().enumerate() {
        let Some(Precision::Exact(more)) = file.statistics.as_ref().map(|stats| stats.num_rows)
        else {
            break;
        };
        rows = rows.saturating_add(more);
        if rows > limit {
            enough = index + 1;
            break;
        }
    }
    let left_out = enough < files.len();
    let mut files = files;
    files.truncate(enough);
    (files, left_out)
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.snapshot.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = &self.snapshot;
        let (partition_filters, other_filters): (Vec<_>, Vec<_>) = filters
            .iter()
            .cloned()
            .partition(|filter| self.is_partition_filter(filter));
        let files = self.files_passing(state, &partition_filters)?;
        // Rows a filter drops do not count towards the limit.
        let limit_files = if other_filters.is_empty() {
            limit
        } else {
            None
        };
        let (mut files, left_out) = enough_for(limit_files, files);
        if snapshot.caching != FileCaching::default() {
            let cached = |file: PartitionedFile| file.with_extension(snapshot.caching);
            files = files.into_iter().map(cached).collect();
        }
        if files.is_empty() {
            let projected = project_schema(&snapshot.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(projected)));
        }
        let ordering = self.output_ordering(&files);
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        let (groups, statistics) =
            compute_all_files_statistics(groups, Arc::clone(&snapshot.schema), true, left_out)?;
        let format = file_format(snapshot.kind, &snapshot.options, state);
        let source = format.file_source(
            TableSchema::builder(Arc::clone(&snapshot.file_schema))
                .with_table_partition_cols(snapshot.partition_fields.clone())
                .build(),
        );
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_output_ordering(ordering)
            .build();
        // The format sets on the source what only it knows: compression, IPC layout, options.
        let plan = format.create_physical_plan(state, scan).await?;
        let scan = plan
            .downcast_ref::<DataSourceExec>()
            .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>())
            .ok_or_else(|| {
                DataFusionError::Internal(format!("{} did not plan a file scan", snapshot.kind))
            })?;
        Ok(DataSourceExec::from_data_source(guard_scan(
            scan.clone(),
            &snapshot.store,
            snapshot.kind,
            state.runtime_env(),
        )))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if self.is_partition_filter(filter) {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Inexact
                }
            })
            .collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let group = FileGroup::new(self.snapshot.files.clone());
        compute_all_files_statistics(vec![group], Arc::clone(&self.snapshot.schema), true, false)
            .ok()
            .map(|(_, statistics)| statistics)
    }
}

//! What statistics rule out: row groups by the file's footer, pieces by the chunks' own; again whenever a
//! filter of a join or TopK above the scan has tightened.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileMetrics;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccessPlanFilter};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, DynamicFilterTracking, lit};
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::chunk_statistics::ChunkStatistics;

/// A file's predicate, asked what can't pass it.
pub(super) struct Pruner {
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    max_in_list_size: usize,
    tracking: DynamicFilterTracking,
    pruning: Option<Arc<PruningPredicate>>,
    version: u64,
}

impl Pruner {
    pub(super) fn new(
        predicate: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        max_in_list_size: usize,
    ) -> Self {
        // Before it is looked at: what changes from now on is seen.
        let tracking = DynamicFilterTracking::classify(&predicate);
        let mut pruner = Self {
            predicate,
            schema,
            max_in_list_size,
            tracking,
            pruning: None,
            version: 0,
        };
        pruner.pruning = pruner.look();
        pruner
    }

    /// What the predicate says now.
    fn look(&self) -> Option<Arc<PruningPredicate>> {
        let predicate = snapshot_physical_expr(Arc::clone(&self.predicate)).ok()?;
        // A filter that came just now may be about constants of this file.
        let simplifier = PhysicalExprSimplifier::new(&self.schema);
        let predicate = simplifier
            .simplify(without_cases(&predicate, usize::MAX))
            .ok()?;
        PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .with_max_in_list_size(self.max_in_list_size)
            .build(predicate)
    }

    /// Changes whenever the predicate has.
    pub(super) fn version(&mut self) -> u64 {
        if self.tracking.watcher().is_some_and(|w| w.changed()) {
            self.pruning = self.look();
            self.version += 1;
        }
        self.version
    }

    /// Row groups of `access` that the footer does not rule out.
    pub(super) fn prune_row_groups(
        &self,
        filter: &mut RowGroupAccessPlanFilter,
        reading: &ArrowReaderMetadata,
        file: &PartitionedFile,
    ) {
        if let Some(predicate) = &self.pruning {
            filter.prune_by_statistics(
                &self.schema,
                reading.parquet_schema(),
                reading.metadata().row_groups(),
                predicate,
                &uncounted(file),
            );
        }
    }

    /// Can no row of the row group pass any more?
    pub(super) fn prunes(
        &mut self,
        reading: &ArrowReaderMetadata,
        file: &PartitionedFile,
        row_group: usize,
    ) -> bool {
        // What was known from the start has been used.
        if self.version() == 0 {
            return false;
        }
        let mut access = ParquetAccessPlan::new_none(reading.metadata().num_row_groups());
        access.scan(row_group);
        let mut filter = RowGroupAccessPlanFilter::new(access);
        self.prune_row_groups(&mut filter, reading, file);
        filter.is_empty()
    }

    /// Which pieces may have rows that pass; `None`: all.
    pub(super) fn passing(&self, pieces: &PieceStatistics<'_>) -> Option<Vec<bool>> {
        // What can't be evaluated rules nothing out.
        self.pruning.as_ref()?.prune(pieces).ok()
    }
}

/// Counters that nobody looks at: copies of a scan share those of their source.
pub(super) fn uncounted(file: &PartitionedFile) -> ParquetFileMetrics {
    let name = file.object_meta.location.as_ref();
    ParquetFileMetrics::new(0, name, &ExecutionPlanMetricsSet::new())
}

/// A join of several partitions has a filter for each, `CASE hash % n WHEN 0 THEN .. END`. Where that is true
/// one of them is, which statistics can tell something about, and which is found out sooner for few partitions.
/// (The other way round, keys that are equal are in the same partition.)
pub(super) fn without_cases(
    expr: &Arc<dyn PhysicalExpr>,
    branches_max: usize,
) -> Arc<dyn PhysicalExpr> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
        && matches!(binary.op(), Operator::And | Operator::Or)
    {
        let left = without_cases(binary.left(), branches_max);
        let right = without_cases(binary.right(), branches_max);
        return Arc::new(BinaryExpr::new(left, *binary.op(), right));
    }
    let Some(case) = expr.downcast_ref::<CaseExpr>() else {
        return Arc::clone(expr);
    };
    let outcomes = case.when_then_expr().iter().map(|(_, then)| then);
    let never = lit(false);
    let outcomes: Vec<_> = outcomes
        .chain(case.else_expr())
        .filter(|outcome| outcome.as_ref() != never.as_ref())
        .map(|outcome| without_cases(outcome, branches_max))
        .collect();
    if outcomes.len() > branches_max {
        return Arc::clone(expr);
    }
    outcomes
        .into_iter()
        .reduce(|one, other| Arc::new(BinaryExpr::new(one, Operator::Or, other)))
        .unwrap_or(never)
}

/// What is known of the pieces of a row group.
pub(super) struct PieceStatistics<'a> {
    /// By name of a column in the file.
    pub(super) columns: Vec<(&'a str, &'a ChunkStatistics)>,
    /// Rows of each piece.
    pub(super) rows: Vec<u64>,
}

impl PieceStatistics<'_> {
    fn of(&self, column: &Column) -> Option<&ChunkStatistics> {
        let mut columns = self.columns.iter();
        let found = columns.find(|(name, _)| *name == column.name);
        found.map(|(_, statistics)| *statistics)
    }
}

impl PruningStatistics for PieceStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column)?.smallest().cloned()
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column)?.largest().cloned()
    }

    fn num_containers(&self) -> usize {
        self.rows.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        Some(ArrayRef::clone(self.of(column)?.nulls()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from(self.rows.clone())))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

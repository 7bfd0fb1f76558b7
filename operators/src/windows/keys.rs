//! Where partitions, or groups of rows that are equal in order, begin in rows that come sorted by them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{SortColumn, concat};
use datafusion::common::Result;
use datafusion::common::utils::evaluate_partition_ranges;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::WindowExpr;

/// What tells a window's partitions or groups apart, and that of the last row so far.
pub(super) struct Keys {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// One row each.
    last: Option<Vec<ArrayRef>>,
}

impl Keys {
    /// Of the partitions of windows that all have the same.
    pub(super) fn of_partitions(windows: &[Arc<dyn WindowExpr>]) -> Self {
        let keys = windows.first().map(|window| window.partition_by().to_vec());
        Self {
            keys: keys.unwrap_or_default(),
            last: None,
        }
    }

    /// Of rows that are equal in order, which all windows have the same of.
    pub(super) fn of_equals(windows: &[Arc<dyn WindowExpr>]) -> Self {
        let mut keys = Self::of_partitions(windows);
        let order = windows.first().map(|window| window.order_by());
        let order = order.unwrap_or_default().iter();
        keys.keys.extend(order.map(|key| Arc::clone(&key.expr)));
        keys
    }

    /// The same keys before any rows.
    pub(super) fn anew(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            last: None,
        }
    }

    /// The rows of the next batch, which has some, with which a partition or group begins.
    pub(super) fn beginnings(&mut self, batch: &RecordBatch) -> Result<Vec<usize>> {
        let keys = self.evaluate(batch)?;
        let ranges = evaluate_partition_ranges(batch.num_rows(), &columns(&keys))?;
        let goes_on = self.goes_on(&keys)?;
        let end = batch.num_rows() - 1;
        self.last = Some(keys.iter().map(|key| key.slice(end, 1)).collect());
        let starts = ranges.into_iter().map(|range| range.start);
        Ok(starts.skip(usize::from(goes_on)).collect())
    }

    /// Whether rows with these keys begin with what the row before was in.
    fn goes_on(&self, keys: &[ArrayRef]) -> Result<bool> {
        let Some(last) = &self.last else {
            return Ok(false);
        };
        let pairs = last.iter().zip(keys);
        let pairs = pairs
            .map(|(last, key)| Ok(concat(&[last.as_ref(), key.slice(0, 1).as_ref()])?))
            .collect::<Result<Vec<_>>>()?;
        Ok(evaluate_partition_ranges(2, &columns(&pairs))?.len() == 1)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let keys = self.keys.iter();
        keys.map(|key| key.evaluate(batch)?.into_array(batch.num_rows()))
            .collect()
    }
}

fn columns(keys: &[ArrayRef]) -> Vec<SortColumn> {
    let column = |key: &ArrayRef| SortColumn {
        values: Arc::clone(key),
        options: None,
    };
    keys.iter().map(column).collect()
}

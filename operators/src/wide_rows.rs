//! Stages whose rows may weigh kilobytes each.
//!
//! Lists and what `string_agg` collects come from exchanges: as partial states, and as results that are sorted or
//! joined later. A batch of 8,192 such rows is easily a hundred megabytes. Spilled runs are read and merged
//! a batch of each at a time, so large batches mean few runs at once, more passes, and much memory.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::physical_plan::ExecutionPlan;

use crate::exchange::ExchangeSourceExec;

/// Rows of a batch in a stage with [`has_wide_rows`], at most.
pub const WIDE_BATCH_ROWS: usize = 1024;

/// Whether a stage takes lists or collected texts from another one.
pub fn has_wide_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| Ok(node.is::<ExchangeSourceExec>() && is_wide(&node.schema())))
}

fn is_wide(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| {
        matches!(
            field.data_type(),
            DataType::List(_)
                | DataType::LargeList(_)
                | DataType::ListView(_)
                | DataType::LargeListView(_)
                | DataType::LargeUtf8
                | DataType::LargeBinary
        )
    })
}

//! What is in the expressions of a plan's node.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Whether an expression of the node has such a part.
pub(crate) fn any_part(node: &LogicalPlan, is_such: impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found = expr.exists(|part| Ok(is_such(part)))?;
        Ok(go_on_unless(found))
    })?;
    Ok(found)
}

/// For visitors that look for one thing.
pub(crate) fn go_on_unless(found: bool) -> TreeNodeRecursion {
    if found {
        TreeNodeRecursion::Stop
    } else {
        TreeNodeRecursion::Continue
    }
}

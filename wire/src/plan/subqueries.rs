//! Our node for scalar subqueries travels as DataFusion's, which knows how to tie the
//! expressions below it to its values when it is decoded.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::scalar_subquery::{ScalarSubqueryExec, ScalarSubqueryLink};
use operators::ScalarSubqueriesExec;

pub(super) fn to_stock(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(ours) = node.downcast_ref::<ScalarSubqueriesExec>() else {
            return Ok(Transformed::no(node));
        };
        let mut links: Vec<ScalarSubqueryLink> = ours
            .subqueries()
            .iter()
            .map(|(index, plan)| ScalarSubqueryLink {
                plan: Arc::clone(plan),
                index: *index,
            })
            .collect();
        links.sort_by_key(|link| link.index.as_usize());
        // The receiver numbers them by position.
        if links
            .iter()
            .enumerate()
            .any(|(position, link)| link.index.as_usize() != position)
        {
            return internal_err!("the scalar subqueries of a node are not numbered from 0");
        }
        let stock =
            ScalarSubqueryExec::new(Arc::clone(ours.input()), links, ours.results().clone());
        Ok(Transformed::yes(Arc::new(stock) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

pub(super) fn from_stock(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(stock) = node.downcast_ref::<ScalarSubqueryExec>() else {
            return Ok(Transformed::no(node));
        };
        let subqueries = stock
            .subqueries()
            .iter()
            .map(|link| (link.index, Arc::clone(&link.plan)))
            .collect();
        let ours = ScalarSubqueriesExec::try_new(
            Arc::clone(stock.input()),
            subqueries,
            stock.results().clone(),
        )?;
        Ok(Transformed::yes(Arc::new(ours) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

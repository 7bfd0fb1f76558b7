//! Dynamic filters: which of them a plan may keep, and how a copy of a plan gets its own.
//!
//! DataFusion's joins, TopK sorts and min/max aggregates (the *producers*) share a filter object
//! with scans below them (the *consumers*) and tighten it while they run. Two things go wrong
//! when plans are cut and copied:
//!
//! - A consumer whose producer is in another stage waits for, or reads, a filter nobody updates.
//!   [`strip_foreign_filters`] takes such filters out of the scans.
//! - Two copies of a plan (two slices, or two attempts at one slice) would share the object. A
//!   join of one slice would then filter the rows of the other by its own keys; a TopK or min/max
//!   bound reached by an attempt that was thrown away would hide rows from its successor. So a
//!   copy gets new filter objects ([`Renewal`]), never the old ones.
//!
//! Whoever makes plans may have put sources of their own around DataFusion's, so they say where
//! Parquet's is ([`ChangeParquet`]): a filter that is not found there is never filled.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{DynamicFilterPhysicalExpr, lit};
use datafusion::physical_expr::utils::{conjunction, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;

type Expr = Arc<dyn PhysicalExpr>;

/// A scan's source with the Parquet source in it changed; `None` if there is none in it.
pub type ChangeParquet = fn(
    &Arc<dyn FileSource>,
    &dyn Fn(&ParquetSource) -> ParquetSource,
) -> Option<Arc<dyn FileSource>>;

/// Takes out of the plan's scans the dynamic filters that no node of the plan produces.
pub fn strip_foreign_filters(
    plan: Arc<dyn ExecutionPlan>,
    change: ChangeParquet,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut produced = Vec::new();
    plan.apply(|node| {
        produced.extend(
            node.dynamic_expressions_produced()
                .iter()
                .filter_map(|e| e.expression_id()),
        );
        Ok(TreeNodeRecursion::Continue)
    })?;
    plan.transform_up(|node| {
        let Some(config) = file_scan(&node) else {
            return Ok(Transformed::no(node));
        };
        let rewritten = rewrite_filters(config, change, &mut |filter| {
            let known = filter
                .expression_id()
                .is_some_and(|id| produced.contains(&id));
            Ok(known.then(|| Arc::clone(filter)))
        })?;
        Ok(match rewritten {
            Some(config) => Transformed::yes(DataSourceExec::from_data_source(config) as _),
            None => Transformed::no(node),
        })
    })
    .data()
}

/// The new filters of one copy of a plan, by the id of the filter they replace.
pub(crate) struct Renewal {
    change: ChangeParquet,
    renewed: HashMap<u64, Arc<DynamicFilterPhysicalExpr>>,
}

impl Renewal {
    pub(crate) fn new(change: ChangeParquet) -> Self {
        Self {
            change,
            renewed: HashMap::new(),
        }
    }

    /// The copy's filter for a producer: new, and still letting every row pass.
    pub(crate) fn renew(
        &mut self,
        produced: &Arc<dyn PhysicalExpr>,
    ) -> Option<Arc<DynamicFilterPhysicalExpr>> {
        let id = produced.expression_id()?;
        let children = produced.children().into_iter().cloned().collect();
        let filter = Arc::new(DynamicFilterPhysicalExpr::new(children, lit(true)));
        self.renewed.insert(id, Arc::clone(&filter));
        Some(filter)
    }

    /// The scan with its filters replaced by the copy's own; filters of producers that the copy
    /// does not have are dropped. `None`: it has none.
    pub(crate) fn scan(&self, config: &FileScanConfig) -> Result<Option<FileScanConfig>> {
        rewrite_filters(config, self.change, &mut |old| {
            let Some(new) = old.expression_id().and_then(|id| self.renewed.get(&id)) else {
                return Ok(None);
            };
            let children = old.children().into_iter().cloned().collect();
            let new = Arc::clone(new) as Arc<dyn PhysicalExpr>;
            Ok(Some(new.with_new_children(children)?))
        })
    }
}

pub(crate) fn file_scan(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?
        .data_source()
        .downcast_ref::<FileScanConfig>()
}

/// Replaces each dynamic filter in a Parquet scan's predicate; `None` from `replace` drops it.
/// Other formats take no predicates. Returns `None` when there was nothing to replace.
fn rewrite_filters(
    config: &FileScanConfig,
    change: ChangeParquet,
    replace: &mut dyn FnMut(&Expr) -> Result<Option<Expr>>,
) -> Result<Option<FileScanConfig>> {
    let Some(predicate) = config.file_source().filter() else {
        return Ok(None);
    };
    let mut found = false;
    let mut kept = Vec::new();
    for conjunct in split_conjunction(&predicate) {
        let rewritten = Arc::clone(conjunct).transform_down(|expr| {
            if expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_none() {
                return Ok(Transformed::no(expr));
            }
            found = true;
            let new = replace(&expr)?.unwrap_or_else(|| lit(true));
            // A filter's children are columns; there is nothing to replace below it.
            Ok(Transformed::new(new, true, TreeNodeRecursion::Jump))
        })?;
        if !rewritten.transformed || !rewritten.data.eq(&lit(true)) {
            kept.push(rewritten.data);
        }
    }
    if !found {
        return Ok(None);
    }
    let predicate = conjunction(kept);
    let source = change(config.file_source(), &|parquet| {
        parquet.with_predicate(Arc::clone(&predicate))
    });
    Ok(source.map(|source| {
        FileScanConfigBuilder::from(config.clone())
            .with_source(source)
            .build()
    }))
}

//! What a grouped relation's columns depend on: all of what it is grouped by.
//!
//! DataFusion passes on the dependencies of the input too, and gets them wrong above joins: of `SELECT
//! c, o … GROUP BY c, o`, where `o` is unique in one of the joined relations, it takes `o` alone for
//! the key. An aggregation above then lost `c` from its GROUP BY when nothing else used it, and
//! gave fewer groups.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Dependency, FunctionalDependence, FunctionalDependencies, Result};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};

/// The rules that read dependencies: one leaves out joins with what is unique, one leaves out what
/// depends on other columns of GROUP BY.
const USERS: [&str; 2] = ["eliminate_join", "optimize_projections"];

#[derive(Debug)]
pub(crate) struct TrueDependencies;

impl TrueDependencies {
    /// Before each of them.
    pub(crate) fn install(optimizer: &mut Optimizer) {
        for user in USERS {
            if let Some(place) = optimizer.rules.iter().position(|rule| rule.name() == user) {
                optimizer.rules.insert(place, Arc::new(Self));
            }
        }
    }
}

impl OptimizerRule for TrueDependencies {
    fn name(&self) -> &str {
        "true_dependencies"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let is_wrong = |node: &LogicalPlan| {
            Ok(
                matches!(node, LogicalPlan::Aggregate(aggregate) if dependencies(aggregate).is_some()),
            )
        };
        if !plan.exists(is_wrong)? {
            return Ok(Transformed::no(plan));
        }
        corrected(plan)
    }
}

fn corrected(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.map_children(corrected)?;
    let plan = if plan.transformed {
        plan.map_data(LogicalPlan::recompute_schema)?
    } else {
        plan
    };
    plan.transform_data(|plan| match plan {
        LogicalPlan::Aggregate(mut aggregate) => {
            let Some(dependencies) = dependencies(&aggregate) else {
                return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
            };
            let schema = aggregate.schema.as_ref().clone();
            aggregate.schema = Arc::new(schema.with_functional_dependencies(dependencies)?);
            Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// The true dependencies of an aggregate that has others.
fn dependencies(aggregate: &Aggregate) -> Option<FunctionalDependencies> {
    if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
        return None;
    }
    let groups = aggregate.group_expr_len().ok()?;
    let is_true = |dependence: &FunctionalDependence| dependence.source_indices.len() >= groups;
    let schema = &aggregate.schema;
    if schema.functional_dependencies().iter().all(is_true) {
        return None;
    }
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let nullable = schema
        .fields()
        .iter()
        .take(groups)
        .any(|field| field.is_nullable());
    let dependence = FunctionalDependence::new((0..groups).collect(), all, nullable)
        .with_mode(Dependency::Single);
    Some(FunctionalDependencies::new(vec![dependence]))
}

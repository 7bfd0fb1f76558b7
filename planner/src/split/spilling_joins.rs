//! A physical optimizer rule: hash joins whose build side does not fit become sort-merge joins.
//!
//! DataFusion's hash join keeps its whole build side in memory. A sort-merge join sorts both sides
//! instead, and sorts spill; beyond that it holds the rows of one key of one side, of which those
//! that do not fit go to disk as well. It is the slower one wherever the build fits, so the rule
//! changes only what is estimated not to ([`Builds::Over`]), or all but the surely small where the
//! estimates proved wrong ([`Builds::All`]).
//!
//! What stays a hash join: `NOT IN`, which must know of a null anywhere; keys whose order is not
//! their equality ([`merge_order`]); joins without keys are none of these, and have their own ways.
//!
//! The rule runs where joins have been chosen, and before what they need of their inputs (order,
//! partitioning) is added.
//!
//! What DataFusion 55 gets wrong is kept from it: a sort-merge join reads the columns of its condition
//! left ones first, whatever order they have there, and shows it nulls ([`left_first`]); a projection that is pushed below
//! one leaves its condition as it was ([`KeepAboveConditions`]); semi, anti and mark joins know fewer
//! types of keys, and panic at NaN ([`is_simple`]).

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinSide, JoinType, Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::estimate;
use super::options::HeldSide;
use super::partition_joins::JOINS_ARE_CHOSEN;
use super::rules::{Rule, insert_after, replacing};

/// Which builds the rule takes for too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builds {
    /// Those estimated at more bytes than that.
    Over(u64),
    /// All that may have more bytes than that, whatever the estimates of filters and joins say.
    All { but: u64 },
}

/// Adds the rule, after those that choose joins.
pub(super) fn add_rule(rules: &mut Vec<Rule>, builds: Builds, held: HeldSide) {
    let spilling = replacing("spilling_joins", move |node| {
        match node.downcast_ref::<HashJoinExec>() {
            Some(join) if builds.are_too_large(join) => sort_merge(join, held),
            Some(_) | None => Ok(None),
        }
    });
    insert_after(rules, &JOINS_ARE_CHOSEN, spilling);
    for rule in rules {
        if rule.name() == "ProjectionPushdown" {
            *rule = Arc::new(KeepAboveConditions(Arc::clone(rule)));
        }
    }
}

/// Whether a sort-merge join of `plan` could hold the rows of its other side.
pub(super) fn could_hold_others(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        let merge = node.downcast_ref::<SortMergeJoinExec>();
        Ok(merge.is_some_and(|merge| has_choice(merge.join_type())))
    })
}

/// Whether either side may be the one of which the rows of one key are held.
fn has_choice(join_type: JoinType) -> bool {
    matches!(join_type, JoinType::Inner | JoinType::Full)
}

/// A rule that pushes projections down, where no sort-merge join has a condition.
#[derive(Debug)]
struct KeepAboveConditions(Rule);

impl PhysicalOptimizerRule for KeepAboveConditions {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let conditional = plan.exists(|node| {
            let merge = node.downcast_ref::<SortMergeJoinExec>();
            Ok(merge.is_some_and(|merge| merge.filter().is_some()))
        })?;
        if conditional {
            return Ok(plan);
        }
        self.0.optimize(plan, config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

impl Builds {
    fn are_too_large(self, join: &HashJoinExec) -> bool {
        match self {
            Self::Over(bytes) => estimate::build_bytes(join) > bytes,
            Self::All { but } => estimate::most_bytes(join.left()).is_none_or(|most| most > but),
        }
    }
}

/// The same join by sorting; `None` where it has to stay as it is.
fn sort_merge(join: &HashJoinExec, held: HeldSide) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if join.null_aware || join.fetch().is_some() {
        return Ok(None);
    }
    let Some(on) = merge_order(join)? else {
        return Ok(None);
    };
    // The side whose rows of one key are held is the right one. The left one was chosen to be held
    // because it is the smaller.
    let swaps = has_choice(*join.join_type()) && held == HeldSide::Smaller;
    let condition = match join.filter() {
        Some(filter) if swaps => Some(left_first(&filter.swap())?.swap()),
        Some(filter) => Some(left_first(filter)?),
        None => None,
    };
    let orders = vec![SortOptions::default(); on.len()];
    let merge = SortMergeJoinExec::try_new(
        Arc::clone(join.left()),
        Arc::clone(join.right()),
        on,
        condition,
        *join.join_type(),
        orders,
        join.null_equality(),
    )?;
    let merge = if swaps {
        merge.swap_inputs()?
    } else {
        Arc::new(merge)
    };
    let Some(kept) = &join.projection else {
        return Ok(Some(merge));
    };
    let schema = merge.schema();
    let columns = kept.iter().map(|&index| {
        let name = schema.field(index).name();
        ProjectionExpr {
            expr: Arc::new(Column::new(name, index)),
            alias: name.clone(),
        }
    });
    Ok(Some(Arc::new(ProjectionExec::try_new(columns, merge)?)))
}

/// The same condition with the columns of the left side before those of the right one, any of which
/// may be null: rows without a match are shown to it, too.
fn left_first(condition: &JoinFilter) -> Result<JoinFilter> {
    let columns = condition.column_indices();
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|&at| columns[at].side == JoinSide::Right);
    let place = |old: usize| order.iter().position(|&at| at == old);
    let expression = Arc::clone(condition.expression()).transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else {
            return Ok(Transformed::no(expr));
        };
        let Some(index) = place(column.index()) else {
            return internal_err!("a join's condition has no column {column}");
        };
        Ok(Transformed::yes(
            Arc::new(Column::new(column.name(), index)) as _,
        ))
    });
    let fields = order.iter().map(|&at| {
        let field = condition.schema().field(at);
        field.clone().with_nullable(true)
    });
    Ok(JoinFilter::new(
        expression.data()?,
        order.iter().map(|&at| columns[at].clone()).collect(),
        Arc::new(Schema::new(fields.collect::<Vec<_>>())),
    ))
}

type Keys = Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>;

/// The keys in an order in which both sides can be sorted so that equal rows meet; `None` if there is
/// no such order. Floats sort `-0` before `0` although they are equal, which puts later keys out of
/// order: there may be one, and it comes last.
fn merge_order(join: &HashJoinExec) -> Result<Option<Keys>> {
    let (left, right) = (join.left().schema(), join.right().schema());
    let gives_pairs = matches!(
        join.join_type(),
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    );
    let (mut keys, mut floats) = (Keys::new(), Keys::new());
    for (l, r) in join.on() {
        let data_type = l.data_type(&left)?;
        let comparable = is_ordered(&data_type) && (gives_pairs || is_simple(&data_type));
        if data_type != r.data_type(&right)? || !comparable {
            return Ok(None);
        }
        let key = (Arc::clone(l), Arc::clone(r));
        if data_type.is_floating() {
            floats.push(key);
        } else {
            keys.push(key);
        }
    }
    if floats.len() > 1 {
        return Ok(None);
    }
    keys.extend(floats);
    Ok(Some(keys))
}

/// Whether values that sort as the same are equal, and the other way round.
fn is_ordered(data_type: &DataType) -> bool {
    data_type.is_primitive()
        || data_type.is_string()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        )
}

/// Types that semi, anti and mark joins compare at the ends of batches.
fn is_simple(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, zone) => zone.is_none(),
        DataType::Decimal128(_, _) | DataType::Date32 | DataType::Date64 => true,
        other => other.is_integer() || !other.is_primitive(),
    }
}

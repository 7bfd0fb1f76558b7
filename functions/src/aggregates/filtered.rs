//! `aggregate(…) FILTER (WHERE …) OVER (…)`, with the condition as one more argument.
//!
//! DataFusion keeps the condition of a window's aggregate where neither its bytes nor anybody else
//! can read it, so that a task on another machine would count every row. [`FilterIsArgument`] makes
//! it an argument of [`Filtered`], which goes wherever arguments go.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::{filter, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::internal_err;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionDefinition};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, ReversedUDAF, SetMonotonicity,
    Signature, Volatility, Window,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;

/// Makes the conditions of windows' aggregates arguments. Runs last: the other rules know FILTER.
#[derive(Debug, Default)]
pub(crate) struct FilterIsArgument;

impl OptimizerRule for FilterIsArgument {
    fn name(&self) -> &str {
        "filter_is_argument"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Window(window) = plan else {
            return Ok(Transformed::no(plan));
        };
        if !window
            .window_expr
            .iter()
            .any(|expr| filter_of(expr).is_some())
        {
            return Ok(Transformed::no(LogicalPlan::Window(window)));
        }
        // What a column is called shows its FILTER, and others name it so.
        let names = window.schema.fields().iter();
        let names = names.skip(window.input.schema().fields().len());
        let window_expr = window
            .window_expr
            .into_iter()
            .zip(names)
            .map(|(expr, field)| with_argument(expr, field.name()))
            .collect();
        Ok(Transformed::yes(LogicalPlan::Window(Window {
            window_expr,
            ..window
        })))
    }
}

fn filter_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Alias(alias) => filter_of(&alias.expr),
        Expr::WindowFunction(function) => match function.fun {
            WindowFunctionDefinition::AggregateUDF(_) => function.params.filter.as_deref(),
            WindowFunctionDefinition::WindowUDF(_) => None,
        },
        _ => None,
    }
}

fn with_argument(expr: Expr, name: &str) -> Expr {
    match expr {
        Expr::Alias(mut alias) => {
            *alias.expr = with_argument(*alias.expr, name);
            // One alias is enough, and all that is looked through elsewhere.
            if let Expr::Alias(inner) = *alias.expr {
                alias.expr = inner.expr;
            }
            Expr::Alias(alias)
        }
        Expr::WindowFunction(function) => {
            let WindowFunction { fun, mut params } = *function;
            match (fun, params.filter.take()) {
                (WindowFunctionDefinition::AggregateUDF(inner), Some(condition)) => {
                    params.args.push(*condition);
                    let fun = WindowFunctionDefinition::AggregateUDF(Arc::new(filtered(inner)));
                    Expr::WindowFunction(Box::new(WindowFunction { fun, params })).alias(name)
                }
                (fun, filter) => {
                    params.filter = filter;
                    Expr::WindowFunction(Box::new(WindowFunction { fun, params }))
                }
            }
        }
        expr => expr,
    }
}

/// The aggregate of those rows for which its last argument, a condition, is true.
pub fn filtered(inner: Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::new_from_impl(Filtered {
        name: format!("filtered_{}", inner.name()),
        inner,
        signature: Signature::variadic_any(Volatility::Immutable),
    })
}

/// What [`filtered`] was made of.
pub fn unfiltered(function: &AggregateUDF) -> Option<&Arc<AggregateUDF>> {
    let filtered = function.inner().downcast_ref::<Filtered>()?;
    Some(&filtered.inner)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Filtered {
    name: String,
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

/// The arguments of the aggregate itself.
fn inner_args(args: AccumulatorArgs<'_>) -> Result<AccumulatorArgs<'_>> {
    let (Some((_, exprs)), Some((_, expr_fields))) =
        (args.exprs.split_last(), args.expr_fields.split_last())
    else {
        return internal_err!("a filtered aggregate without its condition");
    };
    Ok(AccumulatorArgs {
        exprs,
        expr_fields,
        ..args
    })
}

fn without_last<T>(arguments: &[T]) -> &[T] {
    arguments.split_last().map_or(&[], |(_, rest)| rest)
}

impl AggregateUDFImpl for Filtered {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(without_last(types))
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(without_last(arguments))
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let inner = self.inner.accumulator(inner_args(args)?)?;
        Ok(Box::new(FilteredAccumulator { inner }))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        let inner = self.inner.create_sliding_accumulator(inner_args(args)?)?;
        Ok(Box::new(FilteredAccumulator { inner }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(StateFieldsArgs {
            input_fields: without_last(args.input_fields),
            ..args
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Identical => ReversedUDAF::Identical,
            // The reverse would not have the condition.
            ReversedUDAF::NotSupported | ReversedUDAF::Reversed(_) => ReversedUDAF::NotSupported,
        }
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }
}

#[derive(Debug)]
struct FilteredAccumulator {
    inner: Box<dyn Accumulator>,
}

/// The aggregate's arguments where the condition is true; `None` if that is nowhere.
fn kept(values: &[ArrayRef]) -> Result<Option<Vec<ArrayRef>>> {
    let Some((condition, values)) = values.split_last() else {
        return internal_err!("a filtered aggregate without its condition");
    };
    let Some(condition) = condition.as_boolean_opt() else {
        return internal_err!("a condition of type {}", condition.data_type());
    };
    let prepared: BooleanArray;
    let mask = if condition.null_count() > 0 {
        prepared = prep_null_mask_filter(condition);
        &prepared
    } else {
        condition
    };
    match mask.true_count() {
        0 => Ok(None),
        count if count == mask.len() => Ok(Some(values.to_vec())),
        _ => {
            let kept = values.iter().map(|array| Ok(filter(array, mask)?));
            kept.collect::<Result<_>>().map(Some)
        }
    }
}

impl Accumulator for FilteredAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match kept(values)? {
            Some(values) => self.inner.update_batch(&values),
            None => Ok(()),
        }
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match kept(values)? {
            Some(values) => self.inner.retract_batch(&values),
            None => Ok(()),
        }
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }
}

//! A scalar subquery's value: NULL where it has no row, 21000 where it has several.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Subquery, Volatility,
};
use datafusion::scalar::ScalarValue;
use functions::error::PgError;
use job::SqlState;

/// `value` where `rows` is at most one. It fails only for rows it is computed for, as PostgreSQL
/// runs a subquery only where it needs it.
pub(super) fn single(value: Expr, rows: Expr) -> Expr {
    call(Single::new("firesteel_single", 2), vec![value, rows])
}

/// DataFusion takes a scalar subquery's column for NOT NULL where the subquery's is, although a
/// subquery without rows is NULL.
pub(super) fn nullable_scalar(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = expr else {
        return Ok(Transformed::no(expr));
    };
    let (qualifier, field) = subquery.subquery.schema().qualified_field(0);
    if field.is_nullable()
        || !subquery.outer_ref_columns.is_empty()
        || has_a_row(&subquery.subquery)
    {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let name = field.name().clone();
    let value = Expr::Column(Column::from((qualifier, field)));
    let value = call(Single::new("firesteel_nullable", 1), vec![value]).alias(name);
    let plan = Projection::try_new(vec![value], Arc::clone(&subquery.subquery))?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(LogicalPlan::Projection(plan)),
        ..subquery
    })))
}

fn has_a_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_a_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_a_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

fn call(function: Single, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(
        Arc::new(ScalarUDF::from(function)),
        args,
    ))
}

/// Its first argument, nullable; with a second, which counts rows, an error where that is more
/// than one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Single {
    name: &'static str,
    signature: Signature,
}

impl Single {
    fn new(name: &'static str, arguments: usize) -> Self {
        Self {
            name,
            // Volatile, so that nothing computes it ahead of time: it may fail, and of a constant
            // it would be a constant again, which is not NULL.
            signature: Signature::any(arguments, Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Single {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = args.arg_fields.first().map_or_else(
            || Field::new(self.name, DataType::Null, true),
            |field| field.as_ref().clone(),
        );
        Ok(Arc::new(field.with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut values = args.args.into_iter();
        let value = values.next().ok_or_else(|| {
            PgError::new(
                SqlState::INTERNAL_ERROR,
                "a scalar subquery without a value",
            )
        })?;
        let several = match values.next() {
            Some(ColumnarValue::Array(rows)) => rows
                .as_primitive::<Int64Type>()
                .iter()
                .flatten()
                .any(is_several),
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(rows)))) => is_several(rows),
            _ => false,
        };
        if several {
            return Err(PgError::new(
                SqlState::CARDINALITY_VIOLATION,
                "more than one row returned by a subquery used as an expression",
            )
            .into());
        }
        Ok(value)
    }
}

fn is_several(rows: i64) -> bool {
    rows > 1
}

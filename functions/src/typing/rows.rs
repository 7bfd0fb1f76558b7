//! VALUES and UNION: columns whose rows meet in one type.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union, Values};

use super::alternatives::{self, Alternative};
use super::literals;
use super::rule::Typing;
use crate::pg_type::pg_type_of;

/// A value of a row without what DataFusion made of it: a cast to the type it found for the
/// column, a NULL of that type. Casts that were written have a name.
fn as_written(expr: Expr) -> Expr {
    match expr {
        Expr::Cast(cast) if cast.field.name().is_empty() => *cast.expr,
        Expr::Literal(value, None) if value.is_null() => Expr::Literal(ScalarValue::Null, None),
        other => other,
    }
}

/// `VALUES`: each column has the type in which its rows meet.
pub(super) fn values(values: Values, typing: &Typing<'_>) -> Result<LogicalPlan> {
    let mut rows = values
        .values
        .into_iter()
        .map(|row| {
            row.into_iter()
                .map(|expr| {
                    let expr = as_written(expr);
                    Ok(expr.transform_up(|expr| typing.one(expr))?.data)
                })
                .collect::<Result<Vec<_>>>()
        })
        .collect::<Result<Vec<_>>>()?;
    let mut fields = Vec::with_capacity(values.schema.fields().len());
    for (column, field) in values.schema.fields().iter().enumerate() {
        let taken = rows
            .iter_mut()
            .map(|row| {
                let null = Expr::Literal(ScalarValue::Null, None);
                std::mem::replace(&mut row[column], null)
            })
            .collect();
        let (unified, common) = typing.unified(taken, "VALUES")?;
        let common = common.unwrap_or_else(|| Field::new("", DataType::Utf8, true));
        for (row, expr) in rows.iter_mut().zip(unified) {
            let value = alternatives::converted(expr, typing.schema, &common)?;
            row[column] = typing
                .folded(value)?
                .transform_up(|expr| Ok(Transformed::yes(literals::unmarked(expr))))?
                .data;
        }
        fields.push((None, Arc::new(common.with_name(field.name()))));
    }
    Ok(LogicalPlan::Values(Values {
        schema: Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?),
        values: rows,
    }))
}

/// The branches of a union in the types in which their columns meet.
pub(super) fn union(union: Union) -> Result<Union> {
    let columns = union.schema.fields().len();
    let mut common = Vec::with_capacity(columns);
    for column in 0..columns {
        let found = union
            .inputs
            .iter()
            .filter_map(|input| alternative(input, column).transpose())
            .collect::<Result<Vec<_>>>()?;
        common.push(
            alternatives::common_type(&found, "UNION")?
                .unwrap_or_else(|| Field::new("", DataType::Utf8, true)),
        );
    }
    let inputs = union
        .inputs
        .into_iter()
        .map(|input| converted_branch(input, &common))
        .collect::<Result<Vec<_>>>()?;
    // The schema was made before the branches had their types.
    let fields = union
        .schema
        .iter()
        .zip(common)
        .map(|((qualifier, field), common)| {
            let field = common
                .with_name(field.name())
                .with_nullable(field.is_nullable());
            (qualifier.cloned(), Arc::new(field))
        })
        .collect();
    Ok(Union {
        inputs,
        schema: Arc::new(DFSchema::new_with_metadata(
            fields,
            union.schema.metadata().clone(),
        )?),
    })
}

/// A branch's column, if it has that many: DataFusion refuses the others with a better message.
fn alternative(input: &LogicalPlan, column: usize) -> Result<Option<Alternative>> {
    if let LogicalPlan::Projection(projection) = input
        && let Some(expr) = projection.expr.get(column)
    {
        return Alternative::of(expr, projection.input.schema()).map(Some);
    }
    Ok(input.schema().fields().get(column).map(Alternative::column))
}

fn converted_branch(input: Arc<LogicalPlan>, common: &[Field]) -> Result<Arc<LogicalPlan>> {
    let fits = input.schema().fields().len() == common.len()
        && input
            .schema()
            .fields()
            .iter()
            .zip(common)
            .all(|(field, common)| {
                field.data_type() == common.data_type() && pg_type_of(field) == pg_type_of(common)
            });
    if fits || input.schema().fields().len() != common.len() {
        return Ok(input);
    }
    // Into the projection that is there: its literals are still untyped.
    let (exprs, below) = match input.as_ref() {
        LogicalPlan::Projection(projection) => {
            (projection.expr.clone(), Arc::clone(&projection.input))
        }
        _ => (
            input
                .schema()
                .columns()
                .into_iter()
                .map(Expr::Column)
                .collect(),
            Arc::clone(&input),
        ),
    };
    let schema = Arc::clone(below.schema());
    let exprs = exprs
        .into_iter()
        .zip(common)
        .zip(input.schema().iter())
        .map(|((expr, common), (qualifier, field))| {
            let value = alternatives::converted(expr.unalias(), &schema, common)?;
            let value = alternatives::annotated(value, &schema, common)?;
            Ok(value.alias_qualified(qualifier.cloned(), field.name()))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(
        exprs, below,
    )?)))
}

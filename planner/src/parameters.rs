//! A statement's parameters while it is bound: first their types are found, later their values are
//! put in.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Query;
use functions::pg_type::PgType;

use crate::bind::relations::Relations;
use crate::bind::{Binder, params, plan_error};
use crate::engine;
use crate::error::Result;
use crate::parse::Source;

/// What is known about a statement's parameters.
#[derive(Clone, Copy)]
pub(crate) enum Params<'a> {
    /// A text that has none: a simple query, a view.
    None,
    /// Preparing: the types the client declared.
    Declared(&'a [Option<PgType>]),
    /// Executing.
    Values {
        types: &'a [PgType],
        values: &'a [ScalarValue],
    },
}

/// Types of all parameters: declared, told by the text, found by binding, else text.
pub(crate) fn infer(
    binder: &Binder<'_>,
    query: &Query,
    source: &Source,
    relations: &Relations,
    declared: &[Option<PgType>],
) -> Result<Vec<PgType>> {
    let mut types = params::from_text(query, source, declared)?;
    if types.iter().any(Option::is_none) {
        let fields = params::fields(&types)?;
        // An operator may refuse an operand without a type; then text has to do, as it does in
        // PostgreSQL for unknown operands.
        if let Ok(plan) = binder.bind(query, source, relations, &fields) {
            params::from_plan(&plan, &mut types).map_err(|error| plan_error(&error, source))?;
        }
    }
    Ok(types
        .into_iter()
        .map(|pg_type| pg_type.unwrap_or(PgType::TEXT))
        .collect())
}

/// Fields of parameters with values: the value's own Arrow type, which may have another scale
/// than the default of its PostgreSQL type.
pub(crate) fn value_fields(
    types: &[PgType],
    values: &[ScalarValue],
) -> Result<Vec<Option<FieldRef>>> {
    types
        .iter()
        .zip(values)
        .enumerate()
        .map(|(index, (pg_type, value))| {
            let declared = params::field(index, *pg_type)?;
            let data_type = value.data_type();
            if data_type == *declared.data_type() || data_type == DataType::Null {
                return Ok(Some(declared));
            }
            let field = declared.as_ref().clone().with_data_type(data_type);
            Ok(Some(Arc::new(field)))
        })
        .collect()
}

/// Puts the values of parameters into a plan whose types are not settled yet.
pub(crate) fn with_values(
    plan: LogicalPlan,
    values: &[ScalarValue],
    source: &Source,
) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan);
    }
    let values = values.iter().cloned().map(engine::parameter).collect();
    params::with_values(plan, values).map_err(|error| plan_error(&error, source))
}

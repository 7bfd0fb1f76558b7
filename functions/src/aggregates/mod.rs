//! Aggregates and window functions whose result PostgreSQL types or checks differently.
//!
//! | call | DataFusion | here |
//! | --- | --- | --- |
//! | sum(int2, int4) | wraps in int8 | int8, or `bigint out of range` |
//! | sum(int8) | wraps in int8 | exact numeric |
//! | avg(int), avg(numeric) | double; scale + 4 | numeric with 16 digits behind the point |
//! | stddev, variance of integers and numerics | double | numeric |
//! | row_number, rank, ntile … | unsigned | int8 (ntile: int4) |
//! | string_agg | constant delimiters; memory uncounted | any delimiter without ORDER BY and DISTINCT |
//!
//! sum and avg of floats, and sum of numerics that cannot outgrow 128 bits, stay DataFusion's.
//!
//! - [`exact`]: sums and averages in 128 or 256 bits, of rows and of groups
//! - [`variance`]: variances and standard deviations, exact likewise
//! - [`arrays`]: `array_agg` that keeps its element's type
//! - [`filtered`]: FILTER before OVER
//! - [`ordered_set`]: mode and percentiles
//! - [`single_distinct`]: an optimizer rule of DataFusion's, kept from changing types
//! - [`strings`]: `string_agg`
//! - [`windows`]: signed window functions

mod arrays;
mod exact;
pub(crate) mod filtered;
mod ordered_set;
pub(crate) mod single_distinct;
mod strings;
mod variance;
mod windows;

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::AggregateUDF;

pub(crate) use windows::window_udfs;

pub(crate) fn aggregate_udfs() -> Vec<Arc<AggregateUDF>> {
    let mut functions = vec![
        Arc::new(AggregateUDF::new_from_impl(exact::ExactAggregate::sum())),
        Arc::new(AggregateUDF::new_from_impl(exact::ExactAggregate::avg())),
        Arc::new(AggregateUDF::new_from_impl(ordered_set::OrderedSet::mode())),
        Arc::new(AggregateUDF::new_from_impl(
            ordered_set::OrderedSet::percentile_disc(),
        )),
        Arc::new(AggregateUDF::new_from_impl(
            ordered_set::OrderedSet::percentile_cont(),
        )),
    ];
    functions.extend(
        variance::Spread::ALL
            .map(|spread| Arc::new(AggregateUDF::new_from_impl(variance::Variance::new(spread)))),
    );
    // Names that PostgreSQL has beside DataFusion's.
    for function in SessionStateDefaults::default_aggregate_functions() {
        if function.name() == "array_agg" {
            let typed = arrays::ArrayAgg(function.as_ref().clone());
            functions.push(Arc::new(AggregateUDF::new_from_impl(typed)));
            continue;
        }
        if function.name() == "string_agg" {
            let ours = strings::StringAgg(function.as_ref().clone());
            functions.push(Arc::new(AggregateUDF::new_from_impl(ours)));
            continue;
        }
        let alias = match function.name() {
            "bool_and" => "every",
            _ => continue,
        };
        functions.push(Arc::new(function.as_ref().clone().with_aliases([alias])));
    }
    functions
}

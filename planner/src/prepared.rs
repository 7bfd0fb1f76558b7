//! A statement whose names and types are known, before it has parameters.

use std::sync::{Mutex, PoisonError};

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use functions::pg_type::{PgType, pg_type_of};

use crate::normalize::names::visible_names;
use crate::parse::ParsedStatement;
use crate::plan::Bound;

/// What [`crate::Planner::prepare`] learnt. Valid for as long as the session likes: planning it
/// again looks everything up again.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) statement: ParsedStatement,
    pub(crate) param_types: Vec<PgType>,
    /// The result's columns as the client sees them; no columns for statements without rows.
    pub(crate) schema: SchemaRef,
    /// The plan as bound, for the execution that follows at once. Taken once: a later execution
    /// must see the tables as they are then.
    pub(crate) bound: Mutex<Option<Bound>>,
}

impl Prepared {
    pub fn statement(&self) -> &ParsedStatement {
        &self.statement
    }

    /// One per parameter, `$1` first.
    pub fn param_types(&self) -> &[PgType] {
        &self.param_types
    }

    /// The result's columns; their names may repeat.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Does the statement give rows? Utilities that do (SHOW, FETCH, EXECUTE) are the server's.
    pub fn returns_rows(&self) -> bool {
        !self.schema.fields().is_empty()
    }

    /// Types of the result's columns, as a row description has them.
    pub fn column_types(&self) -> impl Iterator<Item = (&str, PgType)> {
        self.schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), pg_type_of(field)))
    }

    pub(crate) fn take_bound(&self) -> Option<Bound> {
        self.bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A plan's output as the client sees it: names unmarked, NULL as text.
pub(crate) fn visible_schema(schema: &DFSchema) -> SchemaRef {
    let names = visible_names(schema.fields().iter().map(|field| field.name().as_str()));
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(names)
        .map(|(field, name)| field.as_ref().clone().with_name(name))
        .collect();
    std::sync::Arc::new(Schema::new(fields))
}

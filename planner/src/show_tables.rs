//! `SHOW TABLES`: the tables and views a session sees.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{PlanError, Result};
use crate::planned::Planned;
use crate::view::SessionView;

pub(crate) fn show_tables_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("table_schema", DataType::Utf8, false),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("table_type", DataType::Utf8, false),
    ]))
}

/// The tables and views there are, in order of schema and name.
pub(crate) fn show_tables(view: &SessionView<'_>) -> Result<Planned> {
    use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
    let mut rows: Vec<(String, String, &str)> = view
        .session_tables
        .tables()
        .iter()
        .map(|table| {
            (
                view.session_tables.schema_name(),
                table.name.clone(),
                "LOCAL TEMPORARY",
            )
        })
        .collect();
    rows.extend(view.session_tables.views().iter().map(|temporary| {
        let schema = view.session_tables.schema_name();
        (schema, temporary.name.clone(), "VIEW")
    }));
    rows.extend(view.snapshot.relations().map(|relation| {
        let kind = match relation.kind() {
            catalog::RelationKind::Table => "FOREIGN",
            catalog::RelationKind::View => "VIEW",
        };
        (relation.schema.clone(), relation.name.clone(), kind)
    }));
    rows.sort();
    let column = |get: fn(&(String, String, &str)) -> String| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(get(row)))
                .collect::<StringArray>(),
        )
    };
    let schema = show_tables_schema();
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            column(|row| row.0.clone()),
            column(|row| row.1.clone()),
            column(|row| row.2.to_owned()),
        ],
    )
    .map_err(|error| PlanError::internal(error.to_string()))?;
    Ok(Planned::Rows {
        schema,
        batches: vec![batch],
    })
}

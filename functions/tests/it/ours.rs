//! Statements run by a session of ours.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::Schema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use functions::pg_type::{FormatSettings, pg_type_of, text_value};
use functions::session::{Moment, Noted, Session, SessionFacts};
use futures::FutureExt;
use job::SqlState;

use super::Answer;

/// 2024-05-06 07:08:09.123456 UTC.
const NOW_US: i64 = 1_714_979_289_123_456;

static CONTEXT: LazyLock<SessionContext> = LazyLock::new(|| {
    let mut config = SessionConfig::new().with_target_partitions(2);
    config
        .options_mut()
        .extensions
        .insert(Session::new(SessionFacts {
            moment: Noted::new(Moment {
                transaction_time_us: NOW_US,
                statement_time_us: NOW_US,
                ..Moment::default()
            }),
            ..SessionFacts::default()
        }));
    let builder = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features();
    SessionContext::new_with_state(functions::install(builder).build())
});

/// Scalar functions by the names SQL calls them by.
pub(crate) fn scalar_function_names() -> Vec<String> {
    let state = CONTEXT.state();
    // The planner does not let SQL name checks.
    let names = state.scalar_functions().keys();
    let mut names: Vec<String> = names
        .filter(|name| !name.starts_with("firesteel_"))
        .cloned()
        .collect();
    names.sort();
    names
}

/// Aggregates by the names SQL calls them by.
pub(crate) fn aggregate_function_names() -> Vec<String> {
    let state = CONTEXT.state();
    let mut names: Vec<String> = state.aggregate_functions().keys().cloned().collect();
    names.sort();
    names
}

/// DataFusion may panic on what it does not expect; that is a difference like any other.
pub(crate) async fn answer(sql: &str) -> Answer {
    let outcome = AssertUnwindSafe(rows(sql)).catch_unwind().await;
    match outcome {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => {
            let report = functions::error::report(&error);
            Answer::Error {
                sqlstate: report.sqlstate.to_string(),
                message: report.message,
            }
        }
        Err(_) => Answer::Error {
            sqlstate: SqlState::INTERNAL_ERROR.to_string(),
            message: "panic".to_owned(),
        },
    }
}

async fn rows(sql: &str) -> Result<Answer> {
    let mut statement = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .build()?
        .parse_statement()?;
    if let Statement::Statement(statement) = &mut statement {
        functions::syntax::lower(statement.as_mut())?;
    }
    let state = CONTEXT.state();
    let plan = state.statement_to_plan(statement).await?;
    let physical = state.create_physical_plan(&plan).await?;
    let schema: Arc<Schema> = physical.schema();
    let batches = collect(physical, CONTEXT.task_ctx()).await?;
    let settings = FormatSettings::default();
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let mut cells = Vec::new();
            for (column, field) in batch.columns().iter().zip(schema.fields()) {
                let text = text_value(column.as_ref(), row, pg_type_of(field), &settings)
                    .map_err(|error| DataFusionError::External(Box::new(error)))?;
                cells.push(text);
            }
            rows.push(cells);
        }
    }
    let types = schema
        .fields()
        .iter()
        .map(|field| pg_type_of(field).oid())
        .collect();
    Ok(Answer::Rows { rows, types })
}

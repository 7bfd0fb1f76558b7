//! What CREATE TEMP TABLE and CREATE VIEW define: columns, defaults, a view's query.

use std::sync::Arc;

use catalog::ViewDefinition;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};

use job::SqlState;

use crate::error::{PlanError, Result};
use crate::parameters::Params;
use crate::parse::{ParsedStatement, Source};
use crate::planner::{Planner, on_deep_stack};
use crate::statement::{CreateTempTable, CreateView, TempTableSource, ViewPersistence};
use crate::targets::{check_distinct, named_columns, table_columns};
use crate::view::SessionView;

/// What CREATE VIEW makes.
#[derive(Debug, Clone)]
pub struct PlannedView {
    pub definition: ViewDefinition,
    pub columns: SchemaRef,
    pub place: ViewPlace,
}

/// Whose view it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewPlace {
    Permanent,
    /// The session's, as it was asked for.
    Temporary,
    /// The session's, because it reads what only the session has.
    BecomesTemporary,
}

impl Planner {
    /// Columns and defaults of a CREATE TEMP TABLE, as [`catalog::SessionTables::create`] takes
    /// them.
    pub async fn temp_table_columns(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        create: &CreateTempTable,
    ) -> Result<(SchemaRef, Vec<Option<String>>)> {
        match &create.source {
            TempTableSource::Columns(columns) => {
                let source = statement.source();
                let options = self.options(view);
                let binder = self.binder(view, &options);
                for column in columns {
                    if let Some(default) = &column.default {
                        binder.bind_expr(default, source)?;
                    }
                }
                let fields: Vec<FieldRef> = columns
                    .iter()
                    .map(|column| Arc::clone(&column.field))
                    .collect();
                let defaults = columns
                    .iter()
                    .map(|column| column.default.as_ref().map(ToString::to_string))
                    .collect();
                Ok((Arc::new(Schema::new(fields)), defaults))
            }
            TempTableSource::Query { query, .. } => {
                let binding =
                    on_deep_stack(self.bind(view, query, statement.source(), Params::None)).await?;
                let schema = table_columns(create, &binding)?;
                let defaults = vec![None; schema.fields().len()];
                Ok((schema, defaults))
            }
        }
    }

    /// What a catalog keeps of a CREATE VIEW, and which.
    pub async fn plan_view(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        create: &CreateView,
    ) -> Result<PlannedView> {
        on_deep_stack(self.view_definition(view, create, statement.source())).await
    }

    pub(crate) async fn view_definition(
        &self,
        view: &SessionView<'_>,
        create: &CreateView,
        source: &Source,
    ) -> Result<PlannedView> {
        let binding = self.bind(view, &create.query, source, Params::None).await?;
        let asked = create.persistence == ViewPersistence::Temporary;
        let schema = create.name.schema.as_deref();
        let in_temporary = schema.is_some_and(|schema| view.session_tables.is_schema(schema));
        let place = match (asked || in_temporary, binding.reads_temporary) {
            (true, _) => ViewPlace::Temporary,
            (false, true) => ViewPlace::BecomesTemporary,
            (false, false) => ViewPlace::Permanent,
        };
        if place != ViewPlace::Permanent && schema.is_some() && !in_temporary {
            return Err(PlanError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                "cannot create temporary relation in non-temporary schema",
            ));
        }
        let columns = named_columns(
            &create.columns,
            &binding.schema,
            "CREATE VIEW specifies more column names than columns",
        )?;
        check_distinct(&columns)?;
        Ok(PlannedView {
            definition: ViewDefinition {
                sql: create.sql.clone(),
                depends_on: binding.depends_on,
                search_path: view.search_path().to_vec(),
            },
            columns,
            place,
        })
    }
}

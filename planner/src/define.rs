//! What CREATE TEMP TABLE and CREATE VIEW define: columns, defaults, a view's query.

use std::sync::Arc;

use catalog::ViewDefinition;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};

use crate::error::{PlanError, Result};
use crate::parameters::{Params, refuse_params};
use crate::parse::{ParsedStatement, Source};
use crate::planner::{Planner, on_deep_stack};
use crate::statement::{CreateTempTable, CreateView, TempTableSource, ViewPersistence};
use crate::targets::{check_distinct, named_columns, table_columns};
use crate::view::SessionView;

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
                let binding = on_deep_stack(self.bind(
                    view,
                    query,
                    statement.source(),
                    Params::Declared(&[]),
                ))
                .await?;
                let schema = table_columns(create, &binding.schema)?;
                let defaults = vec![None; schema.fields().len()];
                Ok((schema, defaults))
            }
        }
    }

    /// What the catalog keeps of a CREATE VIEW: its definition and columns.
    pub async fn plan_view(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        create: &CreateView,
    ) -> Result<(ViewDefinition, SchemaRef)> {
        on_deep_stack(self.view_definition(view, create, statement.source())).await
    }

    pub(crate) async fn view_definition(
        &self,
        view: &SessionView<'_>,
        create: &CreateView,
        source: &Source,
    ) -> Result<(ViewDefinition, SchemaRef)> {
        if create.persistence == ViewPersistence::Temporary {
            return Err(PlanError::unsupported("temporary views are"));
        }
        let binding = self
            .bind(view, &create.query, source, Params::Declared(&[]))
            .await?;
        refuse_params(&binding.param_types)?;
        if binding.reads_temporary {
            return Err(PlanError::unsupported("views on temporary tables are"));
        }
        let schema = named_columns(
            &create.columns,
            &binding.schema,
            "CREATE VIEW specifies more column names than columns",
        )?;
        check_distinct(&schema)?;
        Ok((
            ViewDefinition {
                sql: create.sql.clone(),
                depends_on: binding.depends_on,
                search_path: view.search_path().to_vec(),
            },
            schema,
        ))
    }
}

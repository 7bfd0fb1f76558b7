//! CACHE TABLE's job: reads all of a table that can be cached, and drops the rows.

use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use operators::Sink;

use crate::bind::plan_error;
use crate::copy::whole_table;
use crate::error::Result;
use crate::parameters::Params;
use crate::parse::ParsedStatement;
use crate::planned::PlannedJob;
use crate::planner::{Planner, empty_schema, on_deep_stack};
use crate::statement::Name;
use crate::view::SessionView;

impl Planner {
    /// Plans to read a table's columns, each once; `None` if it has none that can be cached.
    /// `statement` is the one that asks for it.
    ///
    /// # Errors
    /// Those of any query that reads the table.
    pub async fn plan_load(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        table: &Name,
    ) -> Result<Option<PlannedJob>> {
        on_deep_stack(self.plan_load_inner(view, statement, table)).await
    }

    async fn plan_load_inner(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        table: &Name,
    ) -> Result<Option<PlannedJob>> {
        let source = statement.source();
        let query = whole_table(table);
        let mut bound = self.bind(view, &query, source, Params::None).await?.bound;
        let columns = bound.plan.schema().iter();
        let flat: Vec<Expr> = columns
            .filter(|(_, field)| !field.data_type().is_nested())
            .map(Expr::from)
            .collect();
        if flat.is_empty() {
            return Ok(None);
        }
        bound.plan = LogicalPlanBuilder::from(bound.plan)
            .project(flat)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| plan_error(&error, source))?;
        let job = self
            .job(view, bound, empty_schema(), Sink::Cache, source)
            .await?;
        Ok(Some(job))
    }
}

//! A system table as a `TableProvider`: rows made at scan time, columns only if asked for.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatchOptions;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::names::{FIRESTEEL, INFORMATION_SCHEMA, PG_CATALOG};

use super::cells::{Cell, array};
use super::context::SystemContext;
use super::layout::{Layout, layout};
use super::{firesteel, information_schema, pg_catalog};

/// A relation of a system schema. Its rows live in the driver: a plan over
/// it must run there. Find out with `provider.is::<SystemTable>()`.
#[derive(Debug)]
pub struct SystemTable {
    layout: Arc<Layout>,
    context: SystemContext,
}

/// The system table of a name; none if there is none.
pub fn system_table(
    schema: &str,
    name: &str,
    context: &SystemContext,
) -> Option<Arc<dyn TableProvider>> {
    let layout = layout(schema, name)?;
    Some(Arc::new(SystemTable {
        layout: Arc::clone(layout),
        context: context.clone(),
    }))
}

impl SystemTable {
    /// The rows as they are now, with the columns of the projection.
    pub async fn batch(&self, projection: Option<&[usize]>) -> Result<RecordBatch> {
        let all: Vec<usize>;
        let columns = match projection {
            Some(columns) => columns,
            None => {
                all = (0..self.layout.columns.len()).collect();
                &all
            }
        };
        let target = Columns {
            layout: &self.layout,
            columns,
        };
        let batch = match self.layout.schema_name {
            PG_CATALOG => pg_catalog::rows(self.layout.name, &self.context, &target),
            INFORMATION_SCHEMA => {
                information_schema::rows(self.layout.name, &self.context, &target)
            }
            FIRESTEEL => firesteel::rows(self.layout.name, &self.context, &target).await,
            _ => None,
        };
        batch.unwrap_or_else(|| target.build::<()>(&[], |(), _| Cell::Null))
    }
}

/// The columns a scan asks for, to be filled.
pub(crate) struct Columns<'a> {
    layout: &'a Layout,
    columns: &'a [usize],
}

impl Columns<'_> {
    /// Names of the columns in the relation's order, asked for or not.
    pub(crate) fn layout(&self) -> &Layout {
        self.layout
    }

    /// Builds a batch from rows: `cell` gives a row's value of a column by name, null for columns
    /// it knows nothing of. A null in a NOT NULL column becomes the type's zero, which is what
    /// PostgreSQL puts in columns that do not apply.
    pub(crate) fn build<'r, R: 'r>(
        &self,
        rows: &'r [R],
        cell: impl Fn(&'r R, &'static str) -> Cell<'r>,
    ) -> Result<RecordBatch> {
        let schema = Arc::new(self.layout.arrow.project(self.columns)?);
        let arrays = self
            .columns
            .iter()
            .map(|index| {
                let column = &self.layout.columns[*index];
                let data_type = self.layout.arrow.field(*index).data_type();
                let cells = rows.iter().map(|row| match cell(row, column.name) {
                    Cell::Null if column.not_null => zero(data_type),
                    cell => cell,
                });
                array(data_type, cells)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(
            schema,
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(rows.len())),
        )?)
    }
}

fn zero(data_type: &arrow::datatypes::DataType) -> Cell<'static> {
    use arrow::datatypes::DataType;
    match data_type {
        DataType::Boolean => Cell::Bool(false),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => Cell::Int(0),
        DataType::Float32 | DataType::Float64 => Cell::Float(0.0),
        DataType::Timestamp(_, _) => Cell::Time(0),
        DataType::List(item) => match item.data_type() {
            DataType::Utf8 => Cell::Texts(Vec::new()),
            _ => Cell::Ints(Vec::new()),
        },
        _ => Cell::text(""),
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.layout.arrow)
    }

    fn table_type(&self) -> TableType {
        if self.layout.is_view {
            TableType::View
        } else {
            TableType::Base
        }
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = self.batch(projection.map(Vec::as_slice)).await?;
        let schema = batch.schema();
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![batch]],
            schema,
            None,
        )?)
    }
}

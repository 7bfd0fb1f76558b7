//! COPY: a query whose rows leave as COPY data, and a temporary table filled from a client's.
//!
//! COPY FROM is not one job. The data comes for as long as the client likes, and a job holds slots
//! while it runs; so what has come is cut into pieces of whole rows, each of which is written by a
//! job of its own, and the files of all of them join the table at once.

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{RelationKind, TempTable, TempWrite};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UNNAMED_TABLE};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, SetExpr};
use functions::pg_type::pg_type_of;
use job::{SqlError, SqlState};
use operators::rows::copy::{
    CopyColumn, CopyColumns, CopyDirection, CopyOptions, CopyPiece, CopySourceExec, CopySplitter,
    CopyTarget,
};
use operators::{FileSpec, RowForm, RowSpec, Sink};

use crate::bind::plan_error;
use crate::error::{PlanError, Result};
use crate::insert::{self, Targets};
use crate::normalize::{empty_query, select_star};
use crate::parameters::Params;
use crate::parse::{ParsedStatement, Source};
use crate::plan::Bound;
use crate::planned::{Planned, PlannedJob};
use crate::planner::{Binding, Planner, empty_schema, objects_by_name, on_deep_stack};
use crate::prepared::{Prepared, visible_schema};
use crate::statement::{CopyEndpoint, CopyStatement, Insert, Name, Statement};
use crate::stored;
use crate::targets::{relation_kind, written_table};
use crate::view::SessionView;

/// A COPY FROM STDIN that may begin.
#[derive(Debug)]
pub struct CopyIn {
    target: Arc<CopyTarget>,
    table: Arc<TempTable>,
    /// The table and columns, as INSERT names them.
    insert: Insert,
    targets: Targets,
    statement: ParsedStatement,
    /// Takes the files of all pieces.
    pub write: TempWrite,
}

impl CopyIn {
    pub fn options(&self) -> &CopyOptions {
        &self.target.options
    }

    /// Columns of the data.
    pub fn column_count(&self) -> usize {
        self.target.columns.len()
    }

    pub fn splitter(&self) -> CopySplitter {
        let columns = &self.target.columns;
        CopySplitter::new(
            &self.target.relation,
            &self.target.options,
            columns
                .iter()
                .map(|column| column.field.name().clone())
                .collect(),
        )
    }
}

impl Planner {
    /// The query of a COPY TO, with the columns it copies.
    pub(crate) async fn bind_copy_out(
        &self,
        view: &SessionView<'_>,
        copy: &CopyStatement,
        source: &Source,
    ) -> Result<Binding> {
        let options = CopyOptions::parse(&copy.options, CopyDirection::Out)?;
        let (binding, all, relation) = match &copy.source {
            CopyEndpoint::Query(query) => {
                let binding = self.bind(view, query, source, Params::None).await?;
                let all = Arc::clone(&binding.schema);
                (binding, all, None)
            }
            CopyEndpoint::Table { name, columns } => {
                if relation_kind(view, name) == Some(RelationKind::View) {
                    return Err(PlanError::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("cannot copy from view \"{}\"", name.name),
                    )
                    .with_hint("Try the COPY (SELECT ...) TO variant."));
                }
                let query = whole_table(name);
                let mut binding = self.bind(view, &query, source, Params::None).await?;
                let all = Arc::clone(&binding.schema);
                if !columns.is_empty() {
                    binding = columns_of(binding, columns, &name.name)?;
                }
                (binding, all, Some(name.name.as_str()))
            }
        };
        check_columns(
            &options.force_quote,
            "FORCE_QUOTE",
            &names_of(binding.schema.fields().iter()),
            &names_of(all.fields().iter()),
            relation,
        )?;
        Ok(binding)
    }

    pub(crate) async fn plan_copy_out(
        &self,
        view: &SessionView<'_>,
        prepared: &Prepared,
        copy: &CopyStatement,
        bound: Option<Bound>,
    ) -> Result<Planned> {
        let source = prepared.statement.source();
        let options = CopyOptions::parse(&copy.options, CopyDirection::Out)?;
        let bound = match bound {
            Some(bound) => bound,
            None => self.bind_copy_out(view, copy, source).await?.bound,
        };
        let formats = vec![options.cell_format(); bound.plan.schema().fields().len()];
        let bound = objects_by_name(bound, &formats).map_err(|error| plan_error(&error, source))?;
        let schema = Arc::clone(&prepared.schema);
        let names = schema.fields().iter().map(|field| field.name().clone());
        let sink = Sink::Rows(RowSpec {
            form: RowForm::Copy {
                options: options.clone(),
                names: names.collect(),
            },
            settings: view.format.clone(),
        });
        let job = self.job(view, bound, schema, sink, source).await?;
        Ok(Planned::CopyOut { job, options })
    }

    /// Begins a COPY FROM STDIN: everything that can be refused before the data comes is.
    pub async fn begin_copy(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
    ) -> Result<CopyIn> {
        let Statement::Copy(copy) = statement.statement() else {
            return Err(PlanError::internal("no COPY to begin"));
        };
        let CopyEndpoint::Table { name, columns } = &copy.source else {
            return Err(PlanError::internal("COPY FROM into a query"));
        };
        let options = CopyOptions::parse(&copy.options, CopyDirection::In)?;
        let table = copy_target(view, name)?;
        let insert = Insert {
            table: name.clone(),
            columns: columns.clone(),
            source: None,
        };
        let targets = insert::targets(&insert, &table)?;
        let columns = targets
            .wanted
            .iter()
            .map(|&index| copy_column(&table.columns.fields()[index]))
            .collect::<Result<Vec<_>>>()?;
        let all: Vec<&str> = names_of(table.columns.fields().iter());
        let listed: Vec<&str> = names_of(columns.iter().map(|column| &column.field));
        let relation = Some(table.name.as_str());
        check_columns(
            &options.force_not_null,
            "FORCE_NOT_NULL",
            &listed,
            &all,
            relation,
        )?;
        check_columns(&options.force_null, "FORCE_NULL", &listed, &all, relation)?;
        let write = view
            .session_tables
            .begin_write(&table.name)
            .await
            .map_err(|error| PlanError::from(error.report()))?;
        Ok(CopyIn {
            target: Arc::new(CopyTarget {
                relation: table.name.clone(),
                columns,
                options,
                settings: view.format.clone(),
                now_us: view.session.facts.moment.peek().transaction_time_us,
            }),
            table,
            insert,
            targets,
            statement: statement.clone(),
            write,
        })
    }

    /// The job that writes one piece of the data.
    pub async fn plan_copy_piece(
        &self,
        view: &SessionView<'_>,
        copy: &CopyIn,
        piece: CopyPiece,
    ) -> Result<PlannedJob> {
        on_deep_stack(self.copy_piece(view, copy, piece)).await
    }

    async fn copy_piece(
        &self,
        view: &SessionView<'_>,
        copy: &CopyIn,
        piece: CopyPiece,
    ) -> Result<PlannedJob> {
        let source = copy.statement.source();
        let error = |error| plan_error(&error, source);
        let options = self.options(view);
        let binder = self.binder(view, &options);
        let rows: Arc<dyn ExecutionPlan> =
            Arc::new(CopySourceExec::new(Arc::clone(&copy.target), piece));
        let rows = provider_as_source(Arc::new(PieceTable(rows)));
        let scan = LogicalPlanBuilder::scan(UNNAMED_TABLE, rows, None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(error)?;
        let defaults = insert::defaults(&copy.table, &binder, source)?;
        let plan = insert::project(scan, &copy.insert, &copy.targets, &copy.table, &defaults)?;
        let bound = Bound {
            plan: binder
                .analyze(plan)
                .and_then(|plan| stored::pieces_to_files(plan, &copy.table.columns))
                .map_err(error)?,
            system: Vec::new(),
            reads: None,
        };
        let sink = Sink::Files(FileSpec {
            directory: copy.write.dir().display().to_string(),
        });
        self.job(view, bound, empty_schema(), sink, source).await
    }
}

/// `SELECT * FROM name`
pub(crate) fn whole_table(name: &Name) -> Query {
    let parts = name.schema.iter().chain([&name.name]);
    let name = ObjectName::from(
        parts
            .map(|part| Ident::with_quote('"', part))
            .collect::<Vec<_>>(),
    );
    Query {
        body: Box::new(SetExpr::Select(Box::new(select_star(name)))),
        ..empty_query()
    }
}

/// The columns a COPY names, in its order.
fn columns_of(mut binding: Binding, names: &[String], relation: &str) -> Result<Binding> {
    let plan = std::mem::take(&mut binding.bound.plan);
    let visible = visible_schema(plan.schema());
    let columns = plan.schema().columns();
    let mut exprs: Vec<Expr> = Vec::with_capacity(names.len());
    for (position, name) in names.iter().enumerate() {
        let found = visible
            .fields()
            .iter()
            .position(|field| field.name() == name)
            .and_then(|index| columns.get(index));
        let Some(column) = found else {
            return Err(undefined_column(name, Some(relation)));
        };
        if names[..position].contains(name) {
            return Err(PlanError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        exprs.push(Expr::Column(column.clone()));
    }
    let plan: LogicalPlan = LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| PlanError::from(functions::error::report(&error)))?;
    binding.schema = visible_schema(plan.schema());
    binding.bound.plan = plan;
    Ok(binding)
}

/// Options that name columns may name those that are copied.
fn check_columns(
    columns: &CopyColumns,
    option: &str,
    copied: &[&str],
    all: &[&str],
    relation: Option<&str>,
) -> Result<()> {
    let CopyColumns::These(names) = columns else {
        return Ok(());
    };
    for (position, name) in names.iter().enumerate() {
        if !all.contains(&name.as_str()) {
            return Err(undefined_column(name, relation));
        }
        if names[..position].contains(name) {
            return Err(PlanError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
    }
    match names.iter().find(|name| !copied.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(PlanError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("{option} column \"{name}\" not referenced by COPY"),
        )),
    }
}

fn undefined_column(name: &str, relation: Option<&str>) -> PlanError {
    PlanError::new(
        SqlState::UNDEFINED_COLUMN,
        match relation {
            Some(relation) => {
                format!("column \"{name}\" of relation \"{relation}\" does not exist")
            }
            None => format!("column \"{name}\" does not exist"),
        },
    )
}

fn names_of<'a>(fields: impl Iterator<Item = &'a FieldRef>) -> Vec<&'a str> {
    fields.map(|field| field.name().as_str()).collect()
}

/// How a column's fields are read: as the column's type, whose length the assignment checks as
/// for any other value.
fn copy_column(field: &FieldRef) -> Result<CopyColumn> {
    let pg_type = pg_type_of(field);
    let read = if field.data_type().is_decimal() {
        field.as_ref().clone().with_nullable(true)
    } else {
        pg_type
            .without_typmod()
            .arrow_field(field.name(), true)
            .ok_or_else(|| {
                PlanError::unsupported(format!("COPY into columns of type {pg_type} is"))
            })?
    };
    Ok(CopyColumn {
        field: Arc::new(read),
        pg_type,
        not_null: !field.is_nullable(),
    })
}

/// The temporary table a COPY FROM means, or why it is none.
fn copy_target(view: &SessionView<'_>, name: &Name) -> Result<Arc<TempTable>> {
    written_table(view, name, |name, kind| match kind {
        RelationKind::View => PlanError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("cannot copy to view \"{name}\""),
        )
        .with_hint("Copy into a temporary table."),
        _ => PlanError::unsupported("COPY into external tables is")
            .with_hint("Temporary tables take COPY."),
    })
}

/// A piece as a table, for the plan above it.
#[derive(Debug)]
struct PieceTable(Arc<dyn ExecutionPlan>);

#[async_trait]
impl TableProvider for PieceTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let rows = Arc::clone(&self.0);
        let Some(projection) = projection else {
            return Ok(rows);
        };
        let schema = rows.schema();
        let columns = projection.iter().map(|index| {
            let name = schema.field(*index).name();
            ProjectionExpr::new(Arc::new(Column::new(name, *index)), name.clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(
            columns.collect::<Vec<_>>(),
            rows,
        )?))
    }
}

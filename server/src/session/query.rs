//! Statements that are planned: queries, INSERT, CREATE TEMP TABLE, EXPLAIN.
//!
//! ```text
//!   prepare: names and types    plan: parameters, formats, snapshot    run: driver or inline
//! ```
//!
//! Writes are jobs whose files join a table when the job has ended well; from there to the end of
//! the statement nothing interrupts it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use catalog::{CatalogSnapshot, IfExists};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Expr;
use functions::pg_type::{Format, FormatSettings, PgType, TypeError};
use functions::session::{Moment, Noted, Session as FunctionSession, SessionFacts};
use job::{ErrorReport, SqlError, SqlState, WrittenFile};
use operators::Sink;
use operators::rows::RowEncoder;
use operators::rows::copy::CopyDirection;
use planner::explain::{Measured, lines};
use planner::split::{Joins, SplitOptions};
use planner::{
    CreateTempTable, CreateView, Name, OnCommit, ParsedStatement, Placement, Planned, PlannedJob,
    PlannedView, PlannedWrite, PlannerSettings, SessionView, Statement, TempTableSource,
};
use scheduler::Replica;

use super::copy::CopyOut;
use super::prepared::Prepared;
use super::registry::lock;
use super::rows::{Reply, RowSource, Rows, text_rows};
use super::settings::{SharedRegistry, SharedSettings};
use super::statement_job::{StatementJob, Submitter};
use super::system::StatementTables;
use super::{Session, epoch_us};
use crate::config::KeyId;
use crate::driver::{ClusterShape, JobSummary};
use crate::pg::{Column, Severity};

/// What `version()` answers.
const VERSION: &str = concat!(
    "PostgreSQL 16.4 (Firesteel ",
    env!("CARGO_PKG_VERSION"),
    ") on ",
    "a distributed engine, 64-bit"
);

/// What a statement is planned against, settled once for it.
pub(super) struct StatementContext {
    snapshot: Arc<CatalogSnapshot>,
    settings: PlannerSettings,
    format: FormatSettings,
    session: FunctionSession,
    system_tables: StatementTables,
}

/// What splitting a plan depends on besides the session.
fn split_options(shape: ClusterShape) -> SplitOptions {
    let defaults = SplitOptions::default();
    if shape.executors == 0 {
        // The statement waits for the first; how large that is remains to be seen.
        return SplitOptions {
            executors: 2,
            ..defaults
        };
    }
    SplitOptions {
        slots: shape.slots,
        memory_bytes: shape.memory_bytes,
        executors: u32::try_from(shape.executors).unwrap_or(u32::MAX),
        ..defaults
    }
}

impl Session {
    pub(super) fn format_settings(&self) -> FormatSettings {
        lock(&self.gucs).format_settings()
    }

    pub(super) fn statement_context(&self) -> StatementContext {
        let handle = self.handle();
        let snapshot = self.catalog().snapshot();
        let path = self.search_path();
        let (format, settings) = {
            let mut gucs = lock(&self.gucs);
            let partitions = u32::try_from(gucs.int(KeyId::Partitions)).unwrap_or(0);
            let split = SplitOptions {
                force_exchange: gucs.flag(KeyId::ForceExchange),
                partitions: (partitions > 0).then_some(partitions),
                joins: match gucs.text(KeyId::Joins) {
                    "sort_merge" => Joins::SortMerge,
                    _ => Joins::Auto,
                },
                ..split_options(self.services.driver.shape())
            };
            let settings = PlannerSettings {
                split,
                plan_cache: gucs.flag(KeyId::PlanCache),
                result_cache: gucs.flag(KeyId::ResultCache),
                ..PlannerSettings::default()
            };
            (gucs.format_settings(), settings)
        };
        let facts = SessionFacts {
            database: handle.database.clone(),
            user: handle.user.clone(),
            session_user: handle.user.clone(),
            search_path: path
                .0
                .iter()
                .filter(|schema| {
                    snapshot.schema(schema).is_some()
                        || catalog::is_system_schema(schema)
                        || self.tables.is_schema(schema)
                })
                .cloned()
                .collect(),
            version: VERSION.to_owned(),
            moment: Noted::new(Moment {
                backend_pid: handle.pid,
                transaction_time_us: epoch_us(self.transaction_started()),
                statement_time_us: epoch_us(SystemTime::now()),
                transaction_id: self.transaction_id(),
            }),
            format: format.clone(),
        };
        let system_tables = StatementTables::new(
            &snapshot,
            &self.tables,
            handle,
            &self.gucs,
            &self.services.registry,
            &self.services.driver,
        )
        .with_caches(&self.services)
        .with_objects(&self.statements, self.cursor_rows());
        let names = Arc::new(system_tables.names(path));
        StatementContext {
            system_tables,
            snapshot,
            settings,
            format,
            session: FunctionSession::new(facts)
                .with_settings(Arc::new(SharedSettings(Arc::clone(&self.gucs))))
                .with_names(names)
                .with_backends(Arc::new(SharedRegistry(Arc::clone(
                    &self.services.registry,
                )))),
        }
    }

    pub(super) fn view<'a>(&'a self, context: &'a StatementContext) -> SessionView<'a> {
        SessionView {
            snapshot: &context.snapshot,
            session_tables: &self.tables,
            system_tables: &context.system_tables,
            settings: &context.settings,
            format: &context.format,
            session: &context.session,
        }
    }

    /// Finds out a statement's parameters and columns. `types` are what the client says of
    /// parameters, if there may be any.
    pub(super) async fn prepare(
        &self,
        statement: Option<ParsedStatement>,
        types: Option<&[Option<PgType>]>,
    ) -> Result<Prepared, ErrorReport> {
        let mut prepared = Prepared {
            statement,
            parameter_types: Vec::new(),
            columns: None,
            plan: None,
        };
        let Some(parsed) = &prepared.statement else {
            return Ok(prepared);
        };
        match parsed.statement() {
            Statement::Execute { name, .. } => {
                prepared.columns = self.find_statement(name)?.columns.clone();
            }
            Statement::Fetch(fetch) => prepared.columns = self.cursor_columns(&fetch.cursor),
            Statement::Show(_) | Statement::ShowAll => {
                let names = self.show_columns(parsed.statement());
                prepared.columns =
                    Some(names.into_iter().map(|name| (name, PgType::TEXT)).collect());
            }
            statement if is_planned(statement) => {
                let context = self.statement_context();
                let view = self.view(&context);
                let plan = self.services.planner.prepare(&view, parsed, types).await?;
                prepared.parameter_types = plan.param_types().to_vec();
                prepared.columns = parsed.returns_rows().then(|| {
                    plan.column_types()
                        .map(|(name, pg_type)| (name.to_owned(), pg_type))
                        .collect()
                });
                prepared.plan = Some(plan);
            }
            _ => {}
        }
        Ok(prepared)
    }

    /// Runs a statement the planner plans. `at_once` when it was prepared for this execution.
    pub(super) async fn run_planned(
        &mut self,
        parsed: &ParsedStatement,
        prepared: &Arc<Prepared>,
        parameters: &[ScalarValue],
        formats: &[Format],
        at_once: bool,
    ) -> Result<Reply, ErrorReport> {
        let created = match parsed.statement() {
            Statement::CreateTempTable(create) => match self.create_table(parsed, create).await? {
                CreatedTable::Existed => return Ok(Reply::Done(create_tag(create).to_owned())),
                CreatedTable::Fresh => Some(create),
            },
            _ => None,
        };
        if let Some(create) = created
            && !has_rows(create)
        {
            return Ok(Reply::Done(create_tag(create).to_owned()));
        }
        let Some(plan) = &prepared.plan else {
            return Err(ErrorReport::new(
                SqlState::INTERNAL_ERROR,
                "statement was not prepared",
            ));
        };
        // Else this statement might wait for slots that the session itself holds.
        self.set_portals_aside().await;
        let started = Instant::now();
        let context = self.statement_context();
        let view = self.view(&context);
        let planner = &self.services.planner;
        let planned = if at_once {
            planner.plan_at_once(&view, plan, formats).await
        } else {
            planner.plan(&view, plan, parameters, formats).await
        }?;
        let columns = prepared.columns_in(formats)?.unwrap_or_default();
        match planned {
            Planned::Query(job) => Ok(Reply::Rows(self.rows_of(job, columns))),
            Planned::CopyOut { job, options } => {
                let schema = Arc::clone(&job.schema);
                let copy = CopyOut::new(&schema, options, context.format.clone(), self.start(job))
                    .map_err(TypeError::into_report)?;
                Ok(Reply::CopyOut(Box::new(copy)))
            }
            Planned::Rows { schema, batches } => {
                let command = match parsed.statement() {
                    Statement::ShowTables => "SHOW",
                    _ => "EXPLAIN",
                };
                let source = encode(&schema, &batches, formats, &context.format)?;
                Ok(Reply::Rows(Rows::new(columns, source, command)))
            }
            Planned::ExplainAnalyze { job, options } => {
                let planning = started.elapsed();
                let lines = self.analyze(job, options, planning).await?;
                let rows: Vec<_> = lines.into_iter().map(|line| vec![Some(line)]).collect();
                Ok(Reply::Rows(Rows::new(columns, text_rows(&rows), "EXPLAIN")))
            }
            Planned::Write(write) => {
                let rows = self.write(write).await?;
                if let Some(create) = created {
                    self.cache_created(parsed, create).await?;
                }
                Ok(Reply::Done(match created {
                    Some(_) => format!("SELECT {rows}"),
                    None => format!("INSERT 0 {rows}"),
                }))
            }
        }
    }

    /// Runs a job for its measurements, and prints its plan with them.
    async fn analyze(
        &self,
        job: PlannedJob,
        options: planner::ExplainOptions,
        planning: Duration,
    ) -> Result<Vec<String>, ErrorReport> {
        let first = (job.graph.clone(), job.plans.clone());
        let started = Instant::now();
        let mut running = self.submit(job);
        let mut summary = running.run_to_end().await?;
        let other = running.other_plan();
        let (graph, plans) = other.map_or((&first.0, &first.1), |it| (&it.graph, &it.plans));
        let milliseconds = |time: Duration| Some(time.as_secs_f64() * 1e3);
        let measured = Measured {
            stages: graph
                .stages
                .iter()
                .map(|stage| summary.stages.remove(&stage.id).unwrap_or_default())
                .collect(),
            planning_ms: milliseconds(planning),
            execution_ms: milliseconds(started.elapsed()),
            replanned: other.is_some(),
        };
        Ok(lines(graph, plans, options, Some(&measured)))
    }

    pub(super) fn submit(&self, job: PlannedJob) -> StatementJob {
        self.submit_replica(job, None)
    }

    /// As [`Self::submit`], of a job that loads the executors' caches.
    pub(super) fn submit_replica(&self, job: PlannedJob, replica: Option<Replica>) -> StatementJob {
        let gucs = lock(&self.gucs);
        let pool = gucs.text(KeyId::Pool);
        let sink = job.plans.last().map(|plan| &plan.sink);
        // What a second attempt has written is not fenced.
        let writes = matches!(sink, Some(Sink::Files(_)));
        let submitter = Submitter {
            services: Arc::clone(&self.services),
            session: Arc::clone(&self.registration.handle),
            pool: (!pool.is_empty()).then(|| pool.to_owned()),
            reserve_memory: gucs.flag(KeyId::ReserveMemory),
            speculation: !writes && replica.is_none() && gucs.flag(KeyId::Speculation),
            replica,
        };
        drop(gucs);
        StatementJob::submit(submitter, job)
    }

    /// The rows of a query: kept ones, or those of its job, which may be kept as they pass.
    fn rows_of(&self, mut job: PlannedJob, columns: Vec<Column>) -> Rows {
        let Some(slot) = job.results.take() else {
            return Rows::new(columns, self.start(job), "SELECT");
        };
        if let Some(rows) = slot.rows() {
            let rows = RowSource::Chunks(rows.iter().cloned().collect());
            return Rows::new(columns, rows, "SELECT");
        }
        let mut rows = Rows::new(columns, self.start(job), "SELECT");
        rows.cursor.show_to(slot.taker());
        rows
    }

    /// Constants and catalog tables are computed here and now; the rest is for executors.
    fn start(&self, job: PlannedJob) -> RowSource {
        match (job.placement, job.plans.as_slice()) {
            (Placement::Driver, [plan]) => {
                RowSource::Stream(self.services.inline.run(plan, &job.session_config))
            }
            (Placement::Driver | Placement::Executors, _) => {
                RowSource::Job(Box::new(self.submit(job)))
            }
        }
    }

    /// Runs a writing job and makes its files the table's. Answers how many rows there were.
    async fn write(&self, planned: PlannedWrite) -> Result<u64, ErrorReport> {
        let PlannedWrite { job, write } = planned;
        let summary = self.submit(job).finish().await?;
        let files = written_files(summary);
        let rows = files.iter().map(|file| file.rows).sum();
        self.critical();
        write
            .commit(files, false)
            .await
            .map_err(|error| error.report())?;
        Ok(rows)
    }

    /// CREATE TEMP TABLE, up to its rows. A statement that fails later undoes it with the rest of
    /// its transaction.
    async fn create_table(
        &mut self,
        parsed: &ParsedStatement,
        create: &CreateTempTable,
    ) -> Result<CreatedTable, ErrorReport> {
        if create.on_commit != OnCommit::PreserveRows {
            return Err(ErrorReport::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "ON COMMIT DELETE ROWS and ON COMMIT DROP are not supported yet",
            ));
        }
        let existed = self.tables.get(&create.name).is_some();
        let if_exists = if create.if_not_exists {
            IfExists::Skip
        } else {
            IfExists::Fail
        };
        let context = self.statement_context();
        let (columns, defaults) = self
            .services
            .planner
            .temp_table_columns(&self.view(&context), parsed, create)
            .await?;
        let outcome = self
            .tables
            .create(&create.name, columns, defaults, if_exists)
            .await
            .map_err(|error| error.report())?;
        for notice in outcome.notices {
            self.notice(Severity::Notice, notice);
        }
        if existed {
            return Ok(CreatedTable::Existed);
        }
        for warning in &create.warnings {
            self.notice(Severity::Warning, warning.clone());
        }
        Ok(CreatedTable::Fresh)
    }

    /// CACHE TABLE … AS: the new table is cached as its statement says.
    async fn cache_created(
        &mut self,
        parsed: &ParsedStatement,
        create: &CreateTempTable,
    ) -> Result<(), ErrorReport> {
        let Some(caching) = create.caching else {
            return Ok(());
        };
        let name = Name {
            schema: Some(self.tables.schema_name()),
            name: create.name.clone(),
        };
        self.cache_at(parsed, &name, caching).await
    }

    pub(super) async fn plan_view(
        &self,
        parsed: &ParsedStatement,
        create: &CreateView,
    ) -> Result<PlannedView, ErrorReport> {
        let context = self.statement_context();
        let planner = &self.services.planner;
        Ok(planner
            .plan_view(&self.view(&context), parsed, create)
            .await?)
    }

    /// EXECUTE: a prepared statement with constants for parameters.
    pub(super) async fn run_execute(
        &mut self,
        parsed: &ParsedStatement,
        name: &str,
        arguments: &[Expr],
        formats: &[Format],
    ) -> Result<Reply, ErrorReport> {
        let prepared = Arc::clone(self.find_statement(name)?);
        let (given, wanted) = (arguments.len(), prepared.parameter_types.len());
        if given != wanted {
            return Err(ErrorReport::new(
                SqlState::SYNTAX_ERROR,
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .with_detail(format!("Expected {wanted} parameters but got {given}.")));
        }
        let Some(statement) = prepared.statement.clone() else {
            return Err(ErrorReport::new(
                SqlState::INVALID_SQL_STATEMENT_NAME,
                format!("prepared statement \"{name}\" is empty"),
            ));
        };
        let context = self.statement_context();
        let parameters = self.services.planner.constants(
            &self.view(&context),
            parsed,
            arguments,
            &prepared.parameter_types,
        )?;
        Box::pin(self.run(&statement, &prepared, &parameters, formats, false)).await
    }
}

/// Whether a new table is there to be filled.
enum CreatedTable {
    /// IF NOT EXISTS found one of the name: nothing is done.
    Existed,
    Fresh,
}

/// Statements that need the planner before they can run.
fn is_planned(statement: &Statement) -> bool {
    match statement {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Explain(_)
        | Statement::ShowTables => true,
        Statement::CreateTempTable(create) => has_rows(create),
        Statement::Copy(copy) => copy.direction == CopyDirection::Out,
        _ => false,
    }
}

/// CREATE TABLE AS, unless WITH NO DATA.
fn has_rows(create: &CreateTempTable) -> bool {
    match create.source {
        TempTableSource::Columns(_) => false,
        TempTableSource::Query { with_data, .. } => with_data,
    }
}

/// The tag when no rows were written.
fn create_tag(create: &CreateTempTable) -> &'static str {
    match create.source {
        TempTableSource::Columns(_) => "CREATE TABLE",
        TempTableSource::Query { .. } => "CREATE TABLE AS",
    }
}

pub(super) fn written_files(summary: JobSummary) -> Vec<WrittenFile> {
    summary
        .stages
        .into_values()
        .flatten()
        .flat_map(|stats| stats.files)
        .collect()
}

fn encode(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    formats: &[Format],
    settings: &FormatSettings,
) -> Result<RowSource, ErrorReport> {
    let mut encoder =
        RowEncoder::new(schema, formats, settings.clone()).map_err(TypeError::into_report)?;
    let mut chunks = VecDeque::new();
    for batch in batches {
        chunks.extend(encoder.encode(batch).map_err(TypeError::into_report)?);
    }
    Ok(RowSource::Chunks(chunks))
}

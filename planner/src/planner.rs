//! The planner: prepares statements and plans them.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use catalog::{Catalog, TempTable};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, DataFusionError};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, Query};
use functions::WRITTEN_CAST;
use functions::pg_type::{Format, PgType, TypeError};
use job::{SqlError, SqlState};
use operators::rows::column_formats;
use operators::rows::copy::CopyDirection;
use operators::{FileSpec, RowForm, RowSpec, Sink};

use crate::bind::reads::Reads;
use crate::bind::relations::{self, Relations};
use crate::bind::{Binder, params, plan_error};
use crate::error::{PlanError, Result};
use crate::insert;
use crate::parameters::{Params, infer, value_fields, with_values};
use crate::parse::{ParsedStatement, Source};
use crate::plan::{self, Bound};
use crate::plan_cache::{CacheCounts, Key, PlanCache, is_same_result};
use crate::planned::{Planned, PlannedJob, PlannedWrite};
use crate::prepared::{Prepared, visible_schema};
use crate::show_tables::{show_tables, show_tables_schema};
use crate::state::{States, statement_config};
use crate::statement::{Explain, Insert, Statement, TempTableSource};
use crate::stored;
use crate::targets::{fit, insert_target, table_columns, temp_table};
use crate::view::SessionView;

/// Stack that planning asks for when less than [`STACK_MIN_BYTES`] of it are left: statements at
/// the nesting bound need some megabytes.
const STACK_BYTES: usize = 16 << 20;
const STACK_MIN_BYTES: usize = 768 << 10;

/// Plans statements for every session of a driver. Shared; holds no session state.
#[derive(Debug)]
pub struct Planner {
    catalog: Arc<Catalog>,
    states: States,
    plans: Arc<PlanCache>,
}

/// A bound statement and what its parameters and result are.
pub(crate) struct Binding {
    pub(crate) bound: Bound,
    pub(crate) param_types: Vec<PgType>,
    pub(crate) schema: SchemaRef,
    pub(crate) depends_on: Vec<catalog::Oid>,
    pub(crate) reads_temporary: bool,
}

impl Binding {
    /// Settles types. Once per plan: what it has decided about literals it would not know again.
    fn analyze(&mut self, binder: &Binder<'_>, source: &Source) -> Result<()> {
        let plan = std::mem::take(&mut self.bound.plan);
        self.bound.plan = binder
            .analyze(plan)
            .map_err(|error| plan_error(&error, source))?;
        self.schema = visible_schema(self.bound.plan.schema());
        Ok(())
    }
}

impl Planner {
    /// `result_bytes_max` is what kept results may take together.
    pub fn new(catalog: Arc<Catalog>, runtime: Arc<RuntimeEnv>, result_bytes_max: u64) -> Self {
        Self {
            catalog,
            states: States::new(runtime),
            plans: PlanCache::new(result_bytes_max),
        }
    }

    /// How well keeping plans does, and keeping results.
    pub fn cache_counts(&self) -> [CacheCounts; 2] {
        self.plans.counts()
    }

    /// DataFusion's state with our functions: for DDL that reads files.
    pub fn session_state(&self) -> &Arc<datafusion::execution::session_state::SessionState> {
        self.states.base()
    }

    /// Names and types of a statement; nothing runs. `declared` are the parameter types the
    /// client gave, `None` where it gave none; they may be fewer than the parameters. Without
    /// a list there may be no parameters, as in a simple query.
    ///
    /// Utilities have no parameters and no columns here; those that return rows (SHOW, FETCH,
    /// EXECUTE) are the server's to describe.
    pub async fn prepare(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        declared: Option<&[Option<PgType>]>,
    ) -> Result<Prepared> {
        // A simple query is run at once, when the files of its tables are looked at.
        if declared.is_none()
            && let Some(key) = Key::of(view, statement, &[], &[], &[])
            && let Some(kept) = self.plans.find(&key, view)
        {
            return Ok(Prepared {
                statement: statement.clone(),
                param_types: Vec::new(),
                schema: Arc::clone(&kept.schema),
                bound: Mutex::new(None),
            });
        }
        on_deep_stack(self.prepare_inner(view, statement, declared)).await
    }

    async fn prepare_inner(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        declared: Option<&[Option<PgType>]>,
    ) -> Result<Prepared> {
        let source = statement.source();
        let prepared = |param_types, schema, bound| Prepared {
            statement: statement.clone(),
            param_types,
            schema,
            bound: Mutex::new(bound),
        };
        match statement.statement() {
            Statement::Query(query) => {
                let binding = self
                    .bind(
                        view,
                        query,
                        source,
                        declared.map_or(Params::None, Params::Declared),
                    )
                    .await?;
                Ok(prepared(
                    binding.param_types,
                    binding.schema,
                    Some(binding.bound),
                ))
            }
            Statement::Insert(insert) => {
                let binding = self
                    .bind_insert(
                        view,
                        insert,
                        source,
                        declared.map_or(Params::None, Params::Declared),
                    )
                    .await?;
                Ok(prepared(
                    binding.param_types,
                    empty_schema(),
                    Some(binding.bound),
                ))
            }
            Statement::CreateTempTable(create) => {
                if let TempTableSource::Query { query, .. } = &create.source {
                    let binding = self.bind(view, query, source, Params::None).await?;
                    table_columns(create, &binding)?;
                    return Ok(prepared(Vec::new(), empty_schema(), Some(binding.bound)));
                }
                Ok(prepared(Vec::new(), empty_schema(), None))
            }
            Statement::CreateView(create) => {
                self.view_definition(view, create, source).await?;
                Ok(prepared(Vec::new(), empty_schema(), None))
            }
            Statement::Explain(explain) => {
                let inner =
                    Box::pin(self.prepare_inner(view, &explain.statement, declared)).await?;
                Ok(prepared(
                    inner.param_types.clone(),
                    explain_schema(),
                    inner.take_bound(),
                ))
            }
            Statement::DeclareCursor(declare) => {
                let inner = Box::pin(self.prepare_inner(view, &declare.query, declared)).await?;
                Ok(prepared(inner.param_types.clone(), empty_schema(), None))
            }
            Statement::Copy(copy) if copy.direction == CopyDirection::Out => {
                let binding = self.bind_copy_out(view, copy, source).await?;
                Ok(prepared(Vec::new(), binding.schema, Some(binding.bound)))
            }
            Statement::Unsupported(error) => Err(error.clone()),
            Statement::ShowTables => Ok(prepared(Vec::new(), show_tables_schema(), None)),
            Statement::CreateExternalTable(_)
            | Statement::CreateSchema { .. }
            | Statement::Drop(_)
            | Statement::Comment { .. }
            | Statement::CacheTable(_)
            | Statement::UncacheTable { .. }
            | Statement::ClearCache
            | Statement::RefreshTable(_)
            | Statement::Set(_)
            | Statement::SetTransaction { .. }
            | Statement::SetRole { .. }
            | Statement::SetSessionAuthorization { .. }
            | Statement::SetConstraints
            | Statement::Show(_)
            | Statement::ShowAll
            | Statement::Reset(_)
            | Statement::ResetAll
            | Statement::Begin(_)
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint(_)
            | Statement::ReleaseSavepoint(_)
            | Statement::RollbackToSavepoint(_)
            | Statement::Prepare(_)
            | Statement::Execute { .. }
            | Statement::Deallocate(_)
            | Statement::Fetch(_)
            | Statement::Move(_)
            | Statement::CloseCursor(_)
            | Statement::Discard(_)
            | Statement::Listen(_)
            | Statement::Unlisten(_)
            | Statement::Notify { .. }
            | Statement::Copy(_)
            | Statement::Nothing { .. } => Ok(prepared(Vec::new(), empty_schema(), None)),
        }
    }

    /// Plans an execution of a prepared statement: its tables are looked up as they are now.
    /// `formats` are as in a Bind message: none is text throughout, one is for all columns.
    pub async fn plan(
        &self,
        view: &SessionView<'_>,
        prepared: &Prepared,
        params: &[ScalarValue],
        formats: &[Format],
    ) -> Result<Planned> {
        self.plan_or_reuse(view, prepared, None, params, formats)
            .await
    }

    /// As [`Planner::plan`], for a statement prepared a moment ago as part of the same execution
    /// (the simple protocol): what `prepare` has looked up is used, once.
    pub async fn plan_at_once(
        &self,
        view: &SessionView<'_>,
        prepared: &Prepared,
        formats: &[Format],
    ) -> Result<Planned> {
        let bound = prepared
            .take_bound()
            .filter(|_| prepared.param_types.is_empty());
        self.plan_or_reuse(view, prepared, bound, &[], formats)
            .await
    }

    async fn plan_or_reuse(
        &self,
        view: &SessionView<'_>,
        prepared: &Prepared,
        bound: Option<Bound>,
        values: &[ScalarValue],
        formats: &[Format],
    ) -> Result<Planned> {
        let types = &prepared.param_types;
        let key = Key::of(view, &prepared.statement, types, values, formats);
        if bound.is_none()
            && let Some(key) = &key
            && let Some(job) = self.plans.job(key, view, &prepared.schema).await
        {
            return Ok(Planned::Query(job));
        }
        let planned = self.plan_inner(view, prepared, bound, values, formats);
        let mut planned = on_deep_stack(planned).await?;
        if let (Some(key), Planned::Query(job)) = (key, &mut planned) {
            self.plans.keep(key, view, job);
        }
        Ok(planned)
    }

    async fn plan_inner(
        &self,
        view: &SessionView<'_>,
        prepared: &Prepared,
        bound: Option<Bound>,
        values: &[ScalarValue],
        formats: &[Format],
    ) -> Result<Planned> {
        let statement = &prepared.statement;
        let source = statement.source();
        if values.len() != prepared.param_types.len() {
            return Err(PlanError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "{} parameters were given, but the statement takes {}",
                    values.len(),
                    prepared.param_types.len()
                ),
            ));
        }
        let params = Params::Values {
            types: &prepared.param_types,
            values,
        };
        match statement.statement() {
            Statement::Query(query) => {
                let bound = match bound {
                    Some(bound) => bound,
                    None => {
                        let binding = self.bind(view, query, source, params).await?;
                        if !is_same_result(&binding.schema, &prepared.schema) {
                            return Err(PlanError::new(
                                SqlState::FEATURE_NOT_SUPPORTED,
                                "cached plan must not change result type",
                            ));
                        }
                        binding.bound
                    }
                };
                let columns = bound.plan.schema().fields().len();
                let formats = column_formats(formats, columns).map_err(TypeError::into_report)?;
                let bound =
                    objects_by_name(bound, &formats).map_err(|error| plan_error(&error, source))?;
                let sink = Sink::Rows(RowSpec {
                    form: RowForm::Data(formats),
                    settings: view.format.clone(),
                });
                let schema = Arc::clone(&prepared.schema);
                Ok(Planned::Query(
                    self.job(view, bound, schema, sink, source).await?,
                ))
            }
            Statement::Insert(insert) => {
                let bound = match bound {
                    Some(bound) => bound,
                    None => self.bind_insert(view, insert, source, params).await?.bound,
                };
                let table = insert_target(view, insert)?;
                self.write(view, &table, bound, source).await
            }
            Statement::CreateTempTable(create) => {
                let TempTableSource::Query { query, .. } = &create.source else {
                    return Err(not_planned());
                };
                let bound = match bound {
                    Some(bound) => bound,
                    None => self.bind(view, query, source, params).await?.bound,
                };
                let table = temp_table(view, &create.name)?;
                let bound = fit(bound, &table)?;
                self.write(view, &table, bound, source).await
            }
            Statement::Explain(explain) => self.explain(view, explain, bound, params).await,
            Statement::DeclareCursor(declare) => {
                let inner = Box::pin(self.prepare_inner(view, &declare.query, None)).await?;
                let bound = inner.take_bound();
                Box::pin(self.plan_inner(view, &inner, bound, values, formats)).await
            }
            Statement::Copy(copy) if copy.direction == CopyDirection::Out => {
                self.plan_copy_out(view, prepared, copy, bound).await
            }
            Statement::ShowTables => show_tables(view),
            _ => Err(not_planned()),
        }
    }

    /// Values of expressions without columns: the arguments of EXECUTE, each as its parameter's
    /// type.
    pub fn constants(
        &self,
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        exprs: &[ast::Expr],
        types: &[PgType],
    ) -> Result<Vec<ScalarValue>> {
        let source = statement.source();
        let options = self.options(view);
        let binder = self.binder(view, &options);
        exprs
            .iter()
            .zip(types)
            .enumerate()
            .map(|(index, (expr, pg_type))| {
                let expr = binder.bind_expr(expr, source)?;
                let field = params::field(index, *pg_type)?;
                let field = match *pg_type {
                    // As a written cast: the value keeps its scale.
                    PgType::NUMERIC => Arc::new(field.as_ref().clone().with_name(WRITTEN_CAST)),
                    _ => field,
                };
                self.constant(&binder, view, expr, field, source)
            })
            .collect()
    }

    fn constant(
        &self,
        binder: &Binder<'_>,
        view: &SessionView<'_>,
        expr: Expr,
        field: FieldRef,
        source: &Source,
    ) -> Result<ScalarValue> {
        let error = |error| plan_error(&error, source);
        let cast = Expr::Cast(datafusion::logical_expr::Cast::new_from_field(
            Box::new(expr),
            field,
        ));
        // A plan around it, so that the rules for plans apply to it too.
        let plan = LogicalPlanBuilder::empty(true)
            .project(vec![cast])
            .and_then(LogicalPlanBuilder::build)
            .map_err(error)?;
        let plan = binder.analyze(plan).map_err(error)?;
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(&binder.options))
            .with_query_execution_start_time(chrono::DateTime::from_timestamp_micros(
                view.session.facts.moment.peek().transaction_time_us,
            ))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expr = plan
            .expressions()
            .into_iter()
            .next()
            .ok_or_else(|| PlanError::internal("a projection lost its expression"))?;
        let mut value = simplifier.simplify(expr).map_err(error)?;
        while let Expr::Alias(alias) = value {
            value = *alias.expr;
        }
        match value {
            Expr::Literal(value, _) => Ok(value),
            _ => Err(PlanError::unsupported(
                "EXECUTE arguments that are not constant are",
            )),
        }
    }

    pub(crate) fn options(&self, view: &SessionView<'_>) -> Arc<ConfigOptions> {
        Arc::clone(statement_config(self.states.base(), view.session).options())
    }

    pub(crate) fn binder<'a>(
        &'a self,
        view: &'a SessionView<'a>,
        options: &Arc<ConfigOptions>,
    ) -> Binder<'a> {
        Binder {
            state: self.states.base(),
            options: Arc::clone(options),
            type_planner: Arc::clone(self.states.type_planner()),
            view,
            reads: Arc::new(Mutex::new(Reads {
                catalog: Arc::downgrade(view.snapshot),
                started_us: view.session.facts.moment.peek().statement_time_us,
                ..Reads::default()
            })),
        }
    }

    pub(crate) async fn bind(
        &self,
        view: &SessionView<'_>,
        query: &Query,
        source: &Source,
        params: Params<'_>,
    ) -> Result<Binding> {
        let options = self.options(view);
        let binder = self.binder(view, &options);
        let relations =
            relations::resolve(&self.catalog, self.states.base(), &binder, query, source).await?;
        let mut binding = self.bind_resolved(&binder, query, source, &relations, params)?;
        binding.analyze(&binder, source)?;
        if !view.session.is_asked() {
            binding.bound.reads = Some(Arc::new(binder.reads().clone()));
        }
        Ok(binding)
    }

    fn bind_resolved(
        &self,
        binder: &Binder<'_>,
        query: &Query,
        source: &Source,
        relations: &Relations,
        params: Params<'_>,
    ) -> Result<Binding> {
        let (plan, param_types) = match params {
            Params::None => match params::first_in(query, source) {
                Some(error) => return Err(error),
                None => (binder.bind(query, source, relations, &[])?, Vec::new()),
            },
            Params::Declared(declared) => {
                let param_types = infer(binder, query, source, relations, declared)?;
                let known: Vec<_> = param_types.iter().copied().map(Some).collect();
                let fields = params::fields(&known)?;
                (binder.bind(query, source, relations, &fields)?, param_types)
            }
            Params::Values { types, values } => {
                let fields = value_fields(types, values)?;
                let plan = binder.bind(query, source, relations, &fields)?;
                (with_values(plan, values, source)?, types.to_vec())
            }
        };
        Ok(Binding {
            schema: visible_schema(plan.schema()),
            bound: Bound {
                plan,
                system: relations.system.clone(),
                reads: None,
            },
            param_types,
            depends_on: relations.depends_on.iter().copied().collect(),
            reads_temporary: relations.reads_temporary,
        })
    }

    async fn bind_insert(
        &self,
        view: &SessionView<'_>,
        insert: &Insert,
        source: &Source,
        params: Params<'_>,
    ) -> Result<Binding> {
        let table = insert_target(view, insert)?;
        let options = self.options(view);
        let binder = self.binder(view, &options);
        let targets = insert::targets(insert, &table)?;
        let defaults = insert::defaults(&table, &binder, source)?;
        let mut binding = match &insert.source {
            Some(query) => {
                let mut query = query.clone();
                insert::type_values(&mut query, &targets, &table)?;
                let relations =
                    relations::resolve(&self.catalog, self.states.base(), &binder, &query, source)
                        .await?;
                self.bind_resolved(&binder, &query, source, &relations, params)?
            }
            None => Binding {
                bound: Bound {
                    plan: LogicalPlanBuilder::empty(true)
                        .build()
                        .map_err(|error| plan_error(&error, source))?,
                    system: Vec::new(),
                    reads: None,
                },
                param_types: Vec::new(),
                schema: empty_schema(),
                depends_on: Vec::new(),
                reads_temporary: false,
            },
        };
        let is_values = insert
            .source
            .as_ref()
            .is_none_or(|query| matches!(query.body.as_ref(), ast::SetExpr::Values(_)));
        if !is_values {
            let types = binder
                .analyze(binding.bound.plan.clone())
                .map_err(|error| plan_error(&error, source))?;
            insert::check_types(&types, &binding.bound.plan, &targets, &table)?;
        }
        let plan = std::mem::take(&mut binding.bound.plan);
        binding.bound.plan = insert::project(plan, insert, &targets, &table, &defaults)?;
        binding.analyze(&binder, source)?;
        Ok(binding)
    }

    pub(crate) async fn job(
        &self,
        view: &SessionView<'_>,
        bound: Bound,
        schema: SchemaRef,
        sink: Sink,
        source: &Source,
    ) -> Result<PlannedJob> {
        let options = self.options(view);
        plan::job(&self.states, view, &options, bound, schema, sink, source).await
    }

    async fn write(
        &self,
        view: &SessionView<'_>,
        table: &TempTable,
        bound: Bound,
        source: &Source,
    ) -> Result<Planned> {
        let write = view
            .session_tables
            .begin_write(&table.name)
            .await
            .map_err(|error| PlanError::from(error.report()))?;
        let sink = Sink::Files(FileSpec {
            directory: write.dir().display().to_string(),
        });
        let stored = stored::to_files(bound.plan, &table.columns)
            .map_err(|error| plan_error(&error, source))?;
        let bound = Bound {
            plan: stored.plan,
            ..bound
        };
        let write = write.of_columns(Arc::new(stored.columns));
        let job = self.job(view, bound, empty_schema(), sink, source).await?;
        Ok(Planned::Write(PlannedWrite { job, write }))
    }

    async fn explain(
        &self,
        view: &SessionView<'_>,
        explain: &Explain,
        bound: Option<Bound>,
        params: Params<'_>,
    ) -> Result<Planned> {
        let source = explain.statement.source();
        let bound = match bound {
            Some(bound) => bound,
            None => match explain.statement.statement() {
                Statement::Query(query) => self.bind(view, query, source, params).await?.bound,
                Statement::Insert(insert) => {
                    self.bind_insert(view, insert, source, params).await?.bound
                }
                Statement::CreateTempTable(create) => match &create.source {
                    TempTableSource::Query { query, .. } => {
                        self.bind(view, query, source, params).await?.bound
                    }
                    TempTableSource::Columns(_) => return Err(not_planned()),
                },
                Statement::DeclareCursor(declare) => match declare.query.statement() {
                    Statement::Query(query) => self.bind(view, query, source, params).await?.bound,
                    _ => return Err(not_planned()),
                },
                _ => return Err(PlanError::unsupported("EXPLAIN of this statement is")),
            },
        };
        let schema = visible_schema(bound.plan.schema());
        let job = self.job(view, bound, schema, Sink::Discard, source).await?;
        if explain.options.analyze {
            return Ok(Planned::ExplainAnalyze {
                job,
                options: explain.options,
            });
        }
        crate::explain_rows::render(&job, explain.options)
    }
}

/// Columns of a reg type (regclass, regtype …) leave in text format as the names of objects, which
/// only the catalog knows, and so only the plan. There is a format for each column.
pub(crate) fn objects_by_name(
    bound: Bound,
    formats: &[Format],
) -> std::result::Result<Bound, DataFusionError> {
    let mut changed = false;
    let exprs: Vec<Expr> = bound
        .plan
        .schema()
        .iter()
        .zip(formats)
        .map(|((qualifier, field), format)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            if *format != Format::Text {
                return column;
            }
            match functions::printed_object(column.clone(), field) {
                Some(name) => {
                    changed = true;
                    name.alias_qualified(qualifier.cloned(), field.name())
                }
                None => column,
            }
        })
        .collect();
    if !changed {
        return Ok(bound);
    }
    Ok(Bound {
        plan: LogicalPlanBuilder::from(bound.plan)
            .project(exprs)?
            .build()?,
        ..bound
    })
}

fn not_planned() -> PlanError {
    PlanError::internal("a utility statement was given to the planner")
}

pub(crate) fn empty_schema() -> SchemaRef {
    Arc::new(Schema::empty())
}

fn explain_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(
        "QUERY PLAN",
        DataType::Utf8,
        false,
    )]))
}

/// Polls a future where there is enough stack for statements at the nesting bound.
pub(crate) async fn on_deep_stack<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        stacker::maybe_grow(STACK_MIN_BYTES, STACK_BYTES, || {
            future.as_mut().poll(context)
        })
    })
    .await
}

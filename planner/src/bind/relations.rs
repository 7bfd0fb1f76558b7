//! The tables a statement reads, each resolved once.
//!
//! Before a statement is bound, every relation its text names is looked up along the search path
//! and fixed to a snapshot of its files; binding then only reads this map. So a statement sees
//! one version of a table however often it names it, and binding does no I/O. Views are bound
//! here, on the way, with the search path they were created under.
//!
//! A name that a CTE also has may or may not mean a table (`WITH t AS (SELECT * FROM t) …`); it
//! is looked up too, and its absence only matters when the binder asks for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use catalog::{Catalog, Definition, Oid, Relation, ViewDefinition, is_system_schema};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableSource};
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, SetExpr, TableFactor, Visit, Visitor,
};
use futures::future::BoxFuture;
use job::{SqlError, SqlState};

use crate::error::{PlanError, Result};
use crate::parse::{self, Source, fold};
use crate::statement::Statement;
use crate::stored;
use crate::view::SessionView;

use super::Binder;
use super::reads::ReadTable;

/// Views in views in views; more is a mistake that would exhaust the stack.
const VIEW_DEPTH_MAX: usize = 32;

/// How a statement names a relation: schema and name, folded.
type Key = (Option<String>, String);

/// Everything a statement's names stand for.
#[derive(Default)]
pub(crate) struct Relations {
    sources: HashMap<Key, Arc<dyn TableSource>>,
    /// Why a name that may be a CTE's is no table's.
    missing: HashMap<Key, PlanError>,
    /// Relations named directly, in OID order: what a view depends on.
    pub(crate) depends_on: BTreeSet<Oid>,
    /// Reads a temporary table, directly or not.
    pub(crate) reads_temporary: bool,
    /// Tables computed in the driver.
    pub(crate) system: Vec<Arc<dyn TableSource>>,
}

impl Relations {
    pub(crate) fn get(&self, schema: Option<&str>, name: &str) -> Result<Arc<dyn TableSource>> {
        let key = (schema.map(ToOwned::to_owned), name.to_owned());
        if let Some(source) = self.sources.get(&key) {
            return Ok(Arc::clone(source));
        }
        Err(match self.missing.get(&key) {
            Some(error) => error.clone(),
            None => undefined(schema, name),
        })
    }
}

fn undefined(schema: Option<&str>, name: &str) -> PlanError {
    let name = match schema {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_owned(),
    };
    PlanError::new(
        SqlState::UNDEFINED_TABLE,
        format!("relation \"{name}\" does not exist"),
    )
}

/// A reserved word that the parser has taken for a table's name: `SELECT 1 FROM WHERE`.
fn misread(name: &ObjectName) -> Option<&str> {
    const RESERVED: [&str; 24] = [
        "all",
        "and",
        "as",
        "case",
        "cast",
        "distinct",
        "else",
        "end",
        "except",
        "fetch",
        "for",
        "from",
        "group",
        "having",
        "intersect",
        "limit",
        "not",
        "offset",
        "on",
        "order",
        "select",
        "union",
        "where",
        "with",
    ];
    let ident = name.0.first().and_then(|part| part.as_ident())?;
    let is_reserved = RESERVED
        .iter()
        .any(|word| word.eq_ignore_ascii_case(&ident.value));
    (ident.quote_style.is_none() && is_reserved).then_some(ident.value.as_str())
}

/// A relation as the catalogs know it, before its files are listed.
enum Found {
    Catalog(Arc<Relation>),
    Temporary(Arc<catalog::TempTable>),
    TemporaryView(Arc<Relation>),
    System(Arc<dyn TableProvider>),
}

/// Where names are looked up: the statement's session, or a view's.
#[derive(Clone, Copy)]
struct Scope<'a> {
    path: &'a [String],
    temporary: Temporary<'a>,
    depth: usize,
}

/// Which of the session's temporary relations names may mean.
#[derive(Clone, Copy)]
enum Temporary<'a> {
    All,
    /// A temporary view's: those it was made of, not others that came later.
    These(&'a [Oid]),
    /// Permanent views do not see the temporary relations of whoever reads them.
    None,
}

impl Temporary<'_> {
    fn includes(self, oid: Oid) -> bool {
        match self {
            Self::All => true,
            Self::These(oids) => oids.contains(&oid),
            Self::None => false,
        }
    }
}

/// Resolves everything `query` names.
pub(crate) async fn resolve(
    catalog: &Catalog,
    state: &SessionState,
    binder: &Binder<'_>,
    query: &Query,
    source: &Source,
) -> Result<Relations> {
    let scope = Scope {
        path: binder.view.search_path(),
        temporary: Temporary::All,
        depth: 0,
    };
    resolve_in(catalog, state, binder, query, source, scope).await
}

fn resolve_in<'a>(
    catalog: &'a Catalog,
    state: &'a SessionState,
    binder: &'a Binder<'_>,
    query: &'a Query,
    source: &'a Source,
    scope: Scope<'a>,
) -> BoxFuture<'a, Result<Relations>> {
    Box::pin(async move {
        let mut names = Names::default();
        let _ = Visit::visit(query, &mut names);
        let mut relations = Relations::default();
        if scope.depth == 0 {
            let bare = names.relations.keys();
            let bare = bare.filter_map(|(schema, name)| schema.is_none().then(|| name.clone()));
            binder.reads().bare_names.extend(bare);
        }
        for (key, name) in names.relations {
            let resolved =
                resolve_one(catalog, state, binder, &name, &key, scope, &mut relations).await;
            match resolved {
                Ok(table) => {
                    relations.sources.insert(key, table);
                }
                Err(error) if key.0.is_none() && names.ctes.contains(&key.1) => {
                    relations.missing.insert(key, error);
                }
                Err(error) => {
                    let position = name
                        .0
                        .first()
                        .and_then(|part| part.as_ident())
                        .and_then(|ident| source.position(ident.span.start));
                    // A view's text is not the client's.
                    return Err(if scope.depth == 0 {
                        error.with_position(position)
                    } else {
                        error
                    });
                }
            }
        }
        Ok(relations)
    })
}

async fn resolve_one(
    catalog: &Catalog,
    state: &SessionState,
    binder: &Binder<'_>,
    name: &ObjectName,
    (schema, table): &Key,
    scope: Scope<'_>,
    relations: &mut Relations,
) -> Result<Arc<dyn TableSource>> {
    if let [only] = name.0.as_slice()
        && let Some(ident) = only.as_ident()
        && ident.quote_style == Some('\'')
    {
        binder.reads().others = true;
        let provider = catalog
            .path_table(&ident.value, state)
            .await
            .map_err(|error| PlanError::from(error.report()))?;
        return Ok(provider_as_source(provider));
    }
    check_database(name, binder.view)?;
    let found =
        lookup(binder.view, schema.as_deref(), table, scope).ok_or_else(|| {
            match misread(name) {
                Some(word) => PlanError::syntax(format!("syntax error at or near \"{word}\"")),
                None => undefined(schema.as_deref(), table),
            }
        })?;
    let provider: Arc<dyn TableProvider> = match found {
        Found::System(provider) => {
            binder.reads().others = true;
            let source = provider_as_source(provider);
            relations.system.push(Arc::clone(&source));
            return Ok(source);
        }
        Found::TemporaryView(relation) => {
            let Definition::View(view) = &relation.definition else {
                return Err(PlanError::internal("a temporary view without a query"));
            };
            relations.reads_temporary = true;
            binder.reads().others = true;
            relations.depends_on.insert(relation.oid);
            let scope = Scope {
                path: &view.search_path,
                temporary: Temporary::These(&view.depends_on),
                depth: scope.depth + 1,
            };
            let (plan, inner) = bind_view(catalog, state, binder, &relation, view, scope).await?;
            relations.system.extend(inner.system);
            Arc::new(ViewTable::new(plan, Some(view.sql.clone())))
        }
        Found::Temporary(temporary) => {
            relations.reads_temporary = true;
            binder.reads().others = true;
            relations.depends_on.insert(temporary.oid);
            let files = temporary
                .resolve(state)
                .await
                .map_err(|error| PlanError::from(error.report()))?;
            stored::from_files(files.provider(), &temporary.read_columns())
                .map_err(|error| PlanError::from(functions::error::report(&error)))?
        }
        Found::Catalog(relation) => {
            relations.depends_on.insert(relation.oid);
            match &relation.definition {
                Definition::External(_) => {
                    // Under another name, or in a view, it may have been listed already.
                    if let Some(provider) = binder.listed(relation.oid) {
                        return Ok(provider_as_source(provider));
                    }
                    let snapshot = catalog
                        .resolve(&relation, state)
                        .await
                        .map_err(|error| PlanError::from(error.report()))?;
                    let provider = snapshot.provider();
                    let read = ReadTable {
                        relation: Arc::clone(&relation),
                        snapshot,
                        provider: Arc::clone(&provider),
                    };
                    binder.reads().tables.insert(relation.oid, read);
                    provider
                }
                Definition::View(view) => {
                    let scope = Scope {
                        path: &view.search_path,
                        temporary: Temporary::None,
                        depth: scope.depth + 1,
                    };
                    let (plan, inner) =
                        bind_view(catalog, state, binder, &relation, view, scope).await?;
                    relations.system.extend(inner.system);
                    Arc::new(ViewTable::new(plan, Some(view.sql.clone())))
                }
            }
        }
    };
    Ok(provider_as_source(provider))
}

/// `db.schema.table` is PostgreSQL's only for the database one is connected to.
fn check_database(name: &ObjectName, view: &SessionView<'_>) -> Result<()> {
    let [database, _, _] = name.0.as_slice() else {
        if name.0.len() > 3 {
            return Err(PlanError::syntax(format!(
                "improper qualified name (too many dotted names): {name}"
            )));
        }
        return Ok(());
    };
    let database = database.as_ident().map(fold).unwrap_or_default();
    if database == view.session.facts.database {
        return Ok(());
    }
    Err(PlanError::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("cross-database references are not implemented: \"{name}\""),
    ))
}

/// PostgreSQL's rules: the session's temporary schema and `pg_catalog` come first in any search
/// path that does not place them elsewhere.
fn lookup(
    view: &SessionView<'_>,
    schema: Option<&str>,
    name: &str,
    scope: Scope<'_>,
) -> Option<Found> {
    if let Some(schema) = schema {
        return in_schema(view, schema, name, scope);
    }
    let named = |wanted: &str| scope.path.iter().any(|schema| schema == wanted);
    if !scope
        .path
        .iter()
        .any(|schema| view.session_tables.is_schema(schema))
        && let Some(found) = in_schema(view, "pg_temp", name, scope)
    {
        return Some(found);
    }
    if !named(catalog::PG_CATALOG)
        && let Some(found) = in_schema(view, catalog::PG_CATALOG, name, scope)
    {
        return Some(found);
    }
    scope
        .path
        .iter()
        .find_map(|schema| in_schema(view, schema, name, scope))
}

fn in_schema(view: &SessionView<'_>, schema: &str, name: &str, scope: Scope<'_>) -> Option<Found> {
    if view.session_tables.is_schema(schema) {
        let tables = view.session_tables;
        let table = tables
            .get(name)
            .filter(|table| scope.temporary.includes(table.oid));
        return table.map(Found::Temporary).or_else(|| {
            tables
                .view(name)
                .filter(|view| scope.temporary.includes(view.oid))
                .map(Found::TemporaryView)
        });
    }
    if is_system_schema(schema) {
        return view.system_tables.table(schema, name).map(Found::System);
    }
    view.snapshot
        .relation(schema, name)
        .map(|relation| Found::Catalog(Arc::clone(relation)))
}

/// Plans a view's query and gives its columns the view's names.
async fn bind_view(
    catalog: &Catalog,
    state: &SessionState,
    binder: &Binder<'_>,
    relation: &Relation,
    view: &ViewDefinition,
    scope: Scope<'_>,
) -> Result<(LogicalPlan, Relations)> {
    if scope.depth > VIEW_DEPTH_MAX {
        return Err(PlanError::too_complex());
    }
    let damaged = |why: String| {
        PlanError::new(
            SqlState::INVALID_OBJECT_DEFINITION,
            format!("view \"{}\" cannot be read: {why}", relation.name),
        )
    };
    let statements = parse::parse(&view.sql).map_err(|error| damaged(error.to_string()))?;
    let [statement] = statements.as_slice() else {
        return Err(damaged("it is not one query".to_owned()));
    };
    let Statement::Query(query) = statement.statement() else {
        return Err(damaged("it is not a query".to_owned()));
    };
    let relations = resolve_in(catalog, state, binder, query, statement.source(), scope).await?;
    let plan = binder
        .bind(query, statement.source(), &relations, &[])
        .map_err(|error| {
            // Positions in the view's text would point nowhere in the client's.
            let mut report = error.into_report();
            report.position = None;
            PlanError::from(report)
        })?;
    Ok((rename(plan, relation)?, relations))
}

fn rename(plan: LogicalPlan, relation: &Relation) -> Result<LogicalPlan> {
    let columns = relation.columns.fields();
    let found = plan.schema().fields().len();
    if found != columns.len() {
        return Err(PlanError::new(
            SqlState::INVALID_OBJECT_DEFINITION,
            format!(
                "view \"{}\" has {} columns, but its query now has {found}",
                relation.name,
                columns.len()
            ),
        ));
    }
    let exprs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(columns)
        .map(|(column, field)| Expr::Column(column).alias(field.name()))
        .collect();
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| PlanError::from(functions::error::report(&error)))
}

/// The relations and CTEs a query names anywhere in it.
#[derive(Default)]
struct Names {
    relations: BTreeMap<Key, ObjectName>,
    ctes: BTreeSet<String>,
}

impl Names {
    /// `TABLE t` has no table factor.
    fn note_tables(&mut self, body: &SetExpr) {
        let mut body = body;
        loop {
            match body {
                SetExpr::SetOperation { left, right, .. } => {
                    self.note_tables(right);
                    body = left;
                }
                SetExpr::Table(table) => {
                    let parts: Vec<Ident> = [&table.schema_name, &table.table_name]
                        .into_iter()
                        .flatten()
                        .map(Ident::new)
                        .collect();
                    self.note(&ObjectName::from(parts));
                    return;
                }
                _ => return,
            }
        }
    }

    fn note(&mut self, name: &ObjectName) {
        let mut parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident().map(fold))
            .collect();
        if let Some(table) = parts.pop() {
            self.relations
                .entry((parts.pop(), table))
                .or_insert_with(|| name.clone());
        }
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.ctes
                .extend(with.cte_tables.iter().map(|cte| fold(&cte.alias.name)));
        }
        self.note_tables(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name, args: None, ..
        } = factor
        {
            self.note(name);
        }
        ControlFlow::Continue(())
    }
}

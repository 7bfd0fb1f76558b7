//! From PostgreSQL's syntax tree to one that means the same to DataFusion's binder.
//!
//! DataFusion binds names and types with hooks for functions, operators, types and relations
//! (`functions`, [`crate::bind`]), but not for everything that PostgreSQL does differently. What
//! no hook reaches is rewritten here, in the tree, before binding: output names ([`names`]),
//! integer literals (int4 where they fit), FETCH FIRST, TABLE t, row comparisons, keywords that
//! are functions, names of function columns. Nothing is looked up: the rewrites are syntax only,
//! and all of them keep spans, so that errors point into the client's text.

mod array_query;
mod from;
mod literals;
pub(crate) mod names;
mod operators;
mod order;
mod rows;
mod using;

pub(crate) use operators::binary as binary_operator;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Distinct, DuplicateTreatment, Expr, Fetch, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr,
    Ident, LimitClause, NamedWindowExpr, ObjectName, OrderBy, OrderByKind, Query, Select,
    SelectFlavor, SelectItem, SetExpr, SetOperator, SetQuantifier, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut,
    WildcardAdditionalOptions, WindowType, visit_expressions,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use job::{ErrorReport, SqlState};

use crate::bind::rows::{ALL, WITH_TIES};
use crate::error::{PlanError, Result};
use crate::parse::{Source, fold};
use crate::view::SessionView;

/// How a tree is rewritten.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Mark plain columns beside a wildcard, which may repeat them. Only needed where DataFusion
    /// has complained, because marked columns cannot be referred to from outside.
    pub(crate) unique_columns: bool,
}

/// Rewrites a query.
pub(crate) fn query(
    query: &mut Query,
    source: &Source,
    view: &SessionView<'_>,
    style: Style,
) -> Result<()> {
    run(
        |visitor| VisitMut::visit(query, visitor),
        source,
        view,
        style,
    )?;
    using::rewrite(query);
    lower(query)
}

/// Forms that PostgreSQL itself reads as function calls: after output names were taken.
fn lower(tree: &mut impl VisitMut) -> Result<()> {
    functions::syntax::lower(tree).map_err(|error| PlanError::from(ErrorReport::from(error)))
}

/// Rewrites an expression that stands alone: a default, an argument of EXECUTE.
pub(crate) fn expr(expr: &mut Expr, source: &Source, view: &SessionView<'_>) -> Result<()> {
    run(
        |visitor| VisitMut::visit(expr, visitor),
        source,
        view,
        Style::default(),
    )?;
    lower(expr)
}

fn run(
    visit: impl FnOnce(&mut Normalizer<'_>) -> ControlFlow<PlanError>,
    source: &Source,
    view: &SessionView<'_>,
    style: Style,
) -> Result<()> {
    let mut normalizer = Normalizer {
        source,
        view,
        style,
        depth: 0,
    };
    match visit(&mut normalizer) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Normalizer<'a> {
    source: &'a Source,
    view: &'a SessionView<'a>,
    style: Style,
    /// Queries around this place.
    depth: usize,
}

impl Normalizer<'_> {
    fn refuse(&self, what: &str, span: Span) -> ControlFlow<PlanError> {
        ControlFlow::Break(
            PlanError::unsupported(what).with_position(self.source.position(span.start)),
        )
    }
}

impl VisitorMut for Normalizer<'_> {
    type Break = PlanError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<PlanError> {
        match clauses(query).and_then(|()| order::input_names(query, self.source, self.depth == 0))
        {
            Ok(()) => {
                self.depth += 1;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<PlanError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<PlanError> {
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(|expr| {
                // GROUP BY () is one group of all rows.
                if matches!(expr, Expr::Tuple(members) if members.is_empty()) {
                    *expr = Expr::GroupingSets(vec![Vec::new()]);
                }
                literals::protect(expr);
            });
        }
        group_for_having(select);
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            exprs.iter_mut().for_each(literals::protect);
        }
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                literals::protect_frame(spec, true);
            }
        }
        if select.projection.is_empty() {
            select.projection = vec![SelectItem::ExprWithAlias {
                expr: Expr::Value(Value::Boolean(true).into()),
                alias: Ident::with_quote('"', names::NOTHING),
            }];
        }
        if let Some(table) = from::counted_outer_rows(select) {
            return self.refuse("count(table.*) beside an outer join is", table.span);
        }
        let own = match from::relation_names(&select.from, self.source) {
            Ok(names) => names,
            Err(error) => return ControlFlow::Break(error),
        };
        names::name_items(select, &own, self.style.unique_columns);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<PlanError> {
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                literals::protect_frame(spec, false);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<PlanError> {
        from::qualified_unnest(factor);
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                sample,
                ..
            } => {
                let span = name
                    .0
                    .first()
                    .and_then(|part| part.as_ident())
                    .map_or(Span::empty(), |ident| ident.span);
                if sample.is_some() {
                    return self.refuse("TABLESAMPLE is", span);
                }
                if let Some(args) = args {
                    literals::protect_long_series(&mut args.args);
                    fold_function(name);
                    if let Some(function) = names::last_part(name) {
                        name_function_column(&function, alias);
                    }
                }
            }
            TableFactor::Derived { sample, .. } if sample.is_some() => {
                return self.refuse("TABLESAMPLE is", Span::empty());
            }
            TableFactor::Function {
                name, args, alias, ..
            } => {
                literals::protect_long_series(args);
                fold_function(name);
                if let Some(function) = names::last_part(name) {
                    name_function_column(&function, alias);
                }
            }
            TableFactor::UNNEST {
                alias, array_exprs, ..
            } => {
                if array_exprs.len() == 1 {
                    name_function_column("unnest", alias);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PlanError> {
        match rewrite(expr, self.view) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PlanError> {
        if let Expr::Function(function) = expr
            && let Some(WindowType::WindowSpec(spec)) = &mut function.over
        {
            literals::protect_frame(spec, false);
        }
        ControlFlow::Continue(())
    }
}

/// HAVING makes one group of all rows even where nothing is aggregated. Where there may be an
/// aggregate, DataFusion does that itself.
fn group_for_having(select: &mut Select) {
    let calls = |expr: &Expr| {
        let mut found = false;
        let _ = visit_expressions(expr, |part| {
            found |= matches!(part, Expr::Function(_));
            ControlFlow::<()>::Continue(())
        });
        found
    };
    let items_call = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => calls(expr),
        _ => false,
    });
    if let Some(having) = &select.having
        && !items_call
        && !calls(having)
        && let GroupByExpr::Expressions(exprs, modifiers) = &mut select.group_by
        && exprs.is_empty()
        && modifiers.is_empty()
    {
        exprs.push(Expr::GroupingSets(vec![Vec::new()]));
    }
}

/// The clauses after a query's body.
fn clauses(query: &mut Query) -> Result<()> {
    if let Some(fetch) = query.fetch.take() {
        fetch_first(query, fetch)?;
    }
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, offset, .. }) => {
            if let Some(limit) = limit {
                literals::count(limit)?;
            }
            if let Some(offset) = offset {
                literals::count(&mut offset.value)?;
            }
        }
        Some(LimitClause::OffsetCommaLimit { .. }) => {
            return Err(PlanError::syntax("LIMIT #,# syntax is not supported")
                .with_hint("Use separate LIMIT and OFFSET clauses."));
        }
        None => {}
    }
    if let Some(OrderBy {
        kind: OrderByKind::Expressions(exprs),
        ..
    }) = &mut query.order_by
    {
        for order in exprs {
            literals::protect(&mut order.expr);
        }
    }
    replace_table(&mut query.body);
    Ok(())
}

/// One expression, before its children.
fn rewrite(expr: &mut Expr, view: &SessionView<'_>) -> Result<()> {
    operators::rewrite(expr, view)?;
    array_query::rewrite(expr)?;
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Number(digits, false),
            ..
        }) => {
            if let Some(typed) = literals::typed(digits, false) {
                *expr = typed;
            }
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: inner,
        } => {
            if let Expr::Value(ValueWithSpan {
                value: Value::Number(digits, false),
                ..
            }) = inner.as_ref()
                && let Some(typed) = literals::typed(digits, true)
            {
                *expr = typed;
            }
        }
        // DataFusion's ARRAY does not know the columns of outer queries.
        Expr::Array(array) if has_columns_alone(&array.elem) => {
            *expr = call("make_array", std::mem::take(&mut array.elem));
        }
        Expr::Collate {
            expr: inner,
            collation,
        } => {
            let name = names::last_part(collation).unwrap_or_default();
            let bytewise = ["c", "posix", "default", "ucs_basic"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&name));
            if !bytewise {
                return Err(PlanError::unsupported(format!("collation \"{name}\" is")));
            }
            *expr = std::mem::replace(inner.as_mut(), Expr::Identifier(Ident::new("")));
            return rewrite(expr, view);
        }
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            if let Some(function) = keyword_function(&ident.value) {
                *expr = call(function, Vec::new());
            }
        }
        Expr::Function(function) if is_expandarray(&function.name) => {
            function.name = ObjectName::from(vec![Ident::new("pg_expandarray_array")]);
            let array = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *expr = call("unnest", vec![array]);
        }
        Expr::Function(function) => {
            fold_function(&mut function.name);
            if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
                literals::protect_frame(spec, true);
            }
            count_rows(function);
            if function.over.is_none()
                && let Some(name) = names::last_part(&function.name)
                && WINDOW_FUNCTIONS.contains(&name.as_str())
                && function.within_group.is_empty()
            {
                return Err(PlanError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("window function {name} requires an OVER clause"),
                ));
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            // `(record).field`; without brackets it is `relation.column`.
            if matches!(root.as_ref(), Expr::Identifier(_)) {
                return Ok(());
            }
            let dots = access_chain
                .iter()
                .take_while(|access| matches!(access, AccessExpr::Dot(Expr::Identifier(_))))
                .count();
            if dots == 0 {
                return Ok(());
            }
            let rest = access_chain.split_off(dots);
            let mut record = std::mem::replace(root.as_mut(), Expr::Identifier(Ident::new("")));
            for access in access_chain.drain(..) {
                if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                    let name = Value::SingleQuotedString(fold(&name));
                    record = call("get_field", vec![record, Expr::Value(name.into())]);
                }
            }
            *expr = if rest.is_empty() {
                record
            } else {
                Expr::CompoundFieldAccess {
                    root: Box::new(record),
                    access_chain: rest,
                }
            };
        }
        Expr::Cast { data_type, .. } => {
            // `pg_catalog.int4` is `int4`.
            if let DataType::Custom(name, _) = data_type {
                strip_pg_catalog(name);
            }
        }
        Expr::BinaryOp { .. }
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. }
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..) => rows::rewrite(expr)?,
        _ => {}
    }
    Ok(())
}

/// `count(1)` is `count(*)`, under which name DataFusion knows both.
fn count_rows(function: &mut Function) {
    if names::last_part(&function.name).as_deref() != Some("count") {
        return;
    }
    if let FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment,
        args,
        ..
    }) = &mut function.args
        && *duplicate_treatment != Some(DuplicateTreatment::Distinct)
        && let [FunctionArg::Unnamed(arg)] = args.as_mut_slice()
        && let FunctionArgExpr::Expr(expr) = arg
        && literals::is_number(expr)
    {
        *duplicate_treatment = None;
        *arg = FunctionArgExpr::Wildcard;
    }
}

/// Functions that are nothing without OVER.
const WINDOW_FUNCTIONS: [&str; 11] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

/// FETCH FIRST n ROWS ONLY is LIMIT n.
fn fetch_first(query: &mut Query, fetch: Fetch) -> Result<()> {
    if fetch.percent {
        return Err(PlanError::syntax("syntax error at or near \"PERCENT\""));
    }
    let quantity = fetch
        .quantity
        .unwrap_or_else(|| Expr::Value(Value::Number("1".to_owned(), true).into()));
    let quantity = if fetch.with_ties {
        if query.order_by.is_none() {
            return Err(PlanError::syntax(
                "WITH TIES cannot be specified without ORDER BY clause",
            ));
        }
        let mut quantity = quantity;
        literals::protect(&mut quantity);
        call(WITH_TIES, vec![quantity])
    } else {
        quantity
    };
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(quantity),
                offset: None,
                limit_by: Vec::new(),
            });
            Ok(())
        }
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => {
            *limit = Some(quantity);
            Ok(())
        }
        Some(_) => Err(PlanError::syntax("multiple LIMIT clauses not allowed")),
    }
}

/// The right side of INTERSECT ALL or EXCEPT ALL as a relation whose name says so.
fn mark_all(right: &mut SetExpr) {
    let taken = std::mem::replace(right, SetExpr::Select(Box::new(empty_select())));
    let mut query = empty_query();
    query.body = Box::new(taken);
    let mut select = select_star(ObjectName(Vec::new()));
    if let Some(from) = select.from.first_mut() {
        from.relation = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', ALL),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        };
    }
    *right = SetExpr::Select(Box::new(select));
}

/// `TABLE t` is `SELECT * FROM t`, and ALL of INTERSECT and EXCEPT is marked.
fn replace_table(body: &mut SetExpr) {
    let mut body = body;
    loop {
        match body {
            SetExpr::SetOperation {
                left,
                right,
                op,
                set_quantifier,
            } => {
                replace_table(right);
                if matches!(op, SetOperator::Intersect | SetOperator::Except) {
                    names::name_right_side(right);
                }
                if *set_quantifier == SetQuantifier::All
                    && matches!(op, SetOperator::Intersect | SetOperator::Except)
                {
                    mark_all(right);
                }
                body = left;
            }
            SetExpr::Table(table) => {
                let mut parts = Vec::new();
                parts.extend(table.schema_name.take().map(Ident::new));
                parts.extend(table.table_name.take().map(Ident::new));
                *body = SetExpr::Select(Box::new(select_star(ObjectName::from(parts))));
                return;
            }
            _ => return,
        }
    }
}

/// A table's name and nothing else.
fn bare_table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

pub(crate) fn select_star(name: ObjectName) -> Select {
    let mut select = empty_select();
    select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    select.from = vec![TableWithJoins {
        relation: bare_table(name),
        joins: Vec::new(),
    }];
    select
}

/// `SELECT` of nothing from nothing, to fill in.
fn empty_select() -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: Vec::new(),
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

pub(crate) fn empty_query() -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(empty_select()))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

fn is_keyword_function(ident: &Ident) -> bool {
    ident.quote_style.is_none() && keyword_function(&ident.value).is_some()
}

/// Words that are functions without parentheses.
fn keyword_function(word: &str) -> Option<&'static str> {
    const WORDS: [&str; 9] = [
        "current_catalog",
        "current_role",
        "current_schema",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "system_user",
        "user",
    ];
    WORDS
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(word))
}

/// Whether there are columns among the elements, and no strings: the function would not take the
/// type of what stands beside them for theirs.
fn has_columns_alone(elements: &[Expr]) -> bool {
    let (mut columns, mut strings) = (false, false);
    for element in elements {
        let _ = visit_expressions(element, |part| {
            columns |= matches!(part, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            strings |= matches!(
                part,
                Expr::Value(ValueWithSpan {
                    value: Value::SingleQuotedString(_),
                    ..
                })
            );
            ControlFlow::<()>::Continue(())
        });
    }
    columns && !strings
}

fn call(function: &str, args: Vec<Expr>) -> Expr {
    call_with(function, args, Vec::new())
}

/// As [`call`], with what may follow the arguments: ORDER BY.
fn call_with(function: &str, args: Vec<Expr>, clauses: Vec<FunctionArgumentClause>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(function)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .into_iter()
                .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
                .collect(),
            clauses,
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `pg_catalog.Now()` is `now()`: all our functions are there, and DataFusion does not fold the
/// names of table functions.
fn fold_function(name: &mut ObjectName) {
    strip_pg_catalog(name);
    if let [only] = name.0.as_slice()
        && let Some(ident) = only.as_ident()
        && ident.quote_style.is_none()
        && ident.value.bytes().any(|b| b.is_ascii_uppercase())
    {
        let mut ident = ident.clone();
        ident.value = ident.value.to_ascii_lowercase();
        *name = ObjectName::from(vec![ident]);
    }
}

/// The one set-returning function outside of `pg_catalog`: an array's elements and positions.
fn is_expandarray(name: &ObjectName) -> bool {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident().map(fold))
        .collect();
    parts == ["information_schema", "_pg_expandarray"]
}

fn strip_pg_catalog(name: &mut ObjectName) {
    if let [schema, _] = name.0.as_slice()
        && schema
            .as_ident()
            .is_some_and(|ident| fold(ident) == "pg_catalog")
    {
        name.0.remove(0);
    }
}

/// A function in FROM that returns one column calls it as its alias or itself is called.
fn name_function_column(function: &str, alias: &mut Option<TableAlias>) {
    const ONE_COLUMN: [&str; 12] = [
        "generate_series",
        "generate_subscripts",
        "unnest",
        "regexp_split_to_table",
        "string_to_table",
        "regexp_matches",
        "json_array_elements",
        "json_array_elements_text",
        "jsonb_array_elements",
        "jsonb_array_elements_text",
        "json_object_keys",
        "jsonb_object_keys",
    ];
    if !ONE_COLUMN.contains(&function) {
        return;
    }
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new(function),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef {
            name: alias.name.clone(),
            data_type: None,
        });
    }
}

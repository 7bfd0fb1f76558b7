//! The names FROM makes: no two relations of one SELECT may share one.

use std::collections::BTreeSet;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join, JoinOperator, ObjectName,
    Select, TableFactor, TableWithJoins, visit_expressions,
};
use job::SqlState;

use super::names::last_part;
use crate::error::{PlanError, Result};
use crate::parse::{Source, fold};

/// 42712: an alias used twice.
const DUPLICATE_ALIAS: SqlState = SqlState(*b"42712");

/// The names of FROM's relations, none of which may come twice.
pub(super) fn relation_names(from: &[TableWithJoins], source: &Source) -> Result<BTreeSet<String>> {
    let mut names = Names {
        seen: BTreeSet::new(),
        source,
    };
    from.iter().try_for_each(|item| names.item(item))?;
    Ok(names.seen.into_iter().map(|(_, name)| name).collect())
}

/// `pg_catalog.unnest(…)` is `unnest(…)`, which the parser knows only by its bare name.
pub(super) fn qualified_unnest(factor: &mut TableFactor) {
    let (name, args, alias, with_ordinality) = match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            ..
        } => (name, &mut args.args, alias, *with_ordinality),
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality,
            ..
        } => (name, args, alias, *with_ordinality),
        _ => return,
    };
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident().map(fold))
        .collect();
    if parts != ["pg_catalog", "unnest"] && parts != ["unnest"] {
        return;
    }
    let arrays = args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect::<Option<Vec<_>>>();
    if let Some(array_exprs) = arrays {
        *factor = TableFactor::UNNEST {
            alias: alias.take(),
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality,
        };
    }
}

/// The table of a `count(t.*)` that an outer join may fill with NULLs: PostgreSQL leaves such rows
/// out, DataFusion counts them.
pub(super) fn counted_outer_rows(select: &Select) -> Option<Ident> {
    let is_outer = |join: &Join| {
        matches!(
            join.join_operator,
            JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::FullOuter(_)
        )
    };
    if !select
        .from
        .iter()
        .any(|item| item.joins.iter().any(is_outer))
    {
        return None;
    }
    visit_expressions(select, |expr| match counted_table(expr) {
        Some(table) => ControlFlow::Break(table.clone()),
        None => ControlFlow::Continue(()),
    })
    .break_value()
}

/// The `t` of `count(t.*)`.
fn counted_table(expr: &Expr) -> Option<&Ident> {
    if let Expr::Function(function) = expr
        && last_part(&function.name).as_deref() == Some("count")
        && let FunctionArguments::List(list) = &function.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(table))] =
            list.args.as_slice()
    {
        table.0.first()?.as_ident()
    } else {
        None
    }
}

struct Names<'a> {
    /// Qualified, so that `a.t` and `b.t` may stand side by side.
    seen: BTreeSet<(Option<String>, String)>,
    source: &'a Source,
}

impl Names<'_> {
    fn item(&mut self, item: &TableWithJoins) -> Result<()> {
        self.factor(&item.relation)?;
        item.joins
            .iter()
            .try_for_each(|join| self.factor(&join.relation))
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<()> {
        match factor {
            TableFactor::Table { name, alias, .. } => match alias {
                Some(alias) => self.add(None, &alias.name),
                None => self.table(name),
            },
            TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => match alias {
                Some(alias) => self.add(None, &alias.name),
                None => Ok(()),
            },
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => match alias {
                Some(alias) => self.add(None, &alias.name),
                None => self.item(table_with_joins),
            },
            _ => Ok(()),
        }
    }

    fn table(&mut self, name: &ObjectName) -> Result<()> {
        let mut parts = name.0.iter().rev().filter_map(|part| part.as_ident());
        match (parts.next(), parts.next()) {
            (Some(table), schema) => self.add(schema.map(fold), table),
            (None, _) => Ok(()),
        }
    }

    fn add(&mut self, schema: Option<String>, name: &Ident) -> Result<()> {
        let folded = fold(name);
        if self.seen.insert((schema, folded.clone())) {
            return Ok(());
        }
        Err(PlanError::new(
            DUPLICATE_ALIAS,
            format!("table name \"{folded}\" specified more than once"),
        )
        .with_position(self.source.position(name.span.start)))
    }
}

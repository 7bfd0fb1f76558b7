//! Output column names, as PostgreSQL figures them.
//!
//! DataFusion names columns after expressions and refuses two of the same name; PostgreSQL
//! names them by rule (`count`, `?column?`, the type of a cast) and does not mind twins. So every
//! select item that is not a plain column gets its PostgreSQL name as an alias, and a twin gets
//! the name plus a mark that no SQL text can contain. [`visible_name`] takes the mark off where
//! names leave the planner.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, TrimWhereField,
};

use super::calls::is_keyword_function;
use crate::parse::fold;
use crate::types;

/// Separates a column's name from what makes it unique. SQL text holds no NUL.
const MARK: char = '\0';

/// The column of a SELECT that has none, until it is bound.
pub(crate) const NOTHING: &str = "\0nothing";

/// What PostgreSQL calls a column it finds no name for.
const UNNAMED: &str = "?column?";

/// A column's name as the client sees it.
pub(crate) fn visible_name(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// The names of a result's columns. A column that had another's name where it came from a subquery
/// is called `name:1` by DataFusion.
pub(crate) fn visible_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut shown: Vec<&str> = Vec::new();
    for name in names {
        let name = visible_name(name);
        let twin = name
            .rsplit_once(':')
            .filter(|(twin, number)| number.parse::<usize>().is_ok() && shown.contains(twin));
        shown.push(twin.map_or(name, |(twin, _)| twin));
    }
    shown
}

/// A name that clients see as `name`.
pub(super) fn marked(name: &str, mark: &str) -> String {
    format!("{name}{MARK}{mark}")
}

/// Gives every item its PostgreSQL name. With `unique_columns`, plain columns that may also come
/// from a wildcard are marked too. `own` are the names of the relations in FROM.
///
/// Of twins that are the same expression the first keeps the bare name; other twins are all
/// marked, so that a reference to them finds none, as it is ambiguous in PostgreSQL.
pub(super) fn name_items(select: &mut Select, own: &BTreeSet<String>, unique_columns: bool) {
    let has_wildcard = select.projection.iter().any(|item| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    });
    let names: Vec<Option<(String, bool)>> = select
        .projection
        .iter()
        .map(|item| item_name(item, own))
        .collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut aliases = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let Some((name, is_column)) = name else {
            aliases.push(None);
            continue;
        };
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        let twins = || {
            names.iter().enumerate().filter(|(other, twin)| {
                *other != index && twin.as_ref().is_some_and(|(twin, _)| twin == name)
            })
        };
        let own = item_expr(&select.projection[index]);
        let differs = || twins().any(|(other, _)| item_expr(&select.projection[other]) != own);
        let is_marked = *count > 1 || (has_wildcard && unique_columns) || differs();
        aliases.push(if is_marked {
            Some(marked(name, &count.to_string()))
        } else if *is_column {
            None
        } else {
            Some(name.clone())
        });
    }
    for (item, alias) in select.projection.iter_mut().zip(aliases) {
        let Some(alias) = alias else {
            continue;
        };
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *item = SelectItem::ExprWithAlias {
                expr,
                alias: Ident::with_quote('"', alias),
            };
        }
    }
}

/// Names of its own for what the right side of INTERSECT and EXCEPT selects: nothing refers to
/// them, and the binder, which joins the sides by names, mistakes some for the left side's.
pub(super) fn name_right_side(right: &mut SetExpr) {
    let select = match right {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) if query.order_by.is_none() => {
            return name_right_side(&mut query.body);
        }
        _ => return,
    };
    for (index, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item {
            let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *item = SelectItem::ExprWithAlias {
                expr,
                alias: Ident::with_quote('"', format!(" right {index}")),
            };
        }
    }
}

/// An item's name, and whether it has it by being a column. Wildcards have none.
fn item_name(item: &SelectItem, own: &BTreeSet<String>) -> Option<(String, bool)> {
    match item {
        SelectItem::UnnamedExpr(expr) => {
            let expr = strip(expr);
            let is_column = match expr {
                Expr::Identifier(ident) => !is_keyword_function(ident),
                // Of an outer query, and then the binder would call it after where it is from.
                Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                    [table, _] => own.contains(&fold(table)),
                    _ => true,
                },
                _ => false,
            };
            Some((column_name(expr), is_column))
        }
        SelectItem::ExprWithAlias { alias, .. } => Some((fold(alias), false)),
        SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

fn item_expr(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

/// Was this column called `name` before it was marked?
pub(crate) fn is_marked(column: &str, name: &str) -> bool {
    column.len() > name.len() && column.contains(MARK) && visible_name(column) == name
}

fn strip(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// The name of an unaliased select item.
pub(crate) fn column_name(expr: &Expr) -> String {
    figure(expr).map_or_else(|| UNNAMED.to_owned(), |(name, _)| name)
}

/// How sure a name is: a cast keeps the name of a column or function below it, but not the name
/// another cast gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    Weak,
    Good,
}

fn figure(expr: &Expr) -> Option<(String, Strength)> {
    let good = |name: &str| Some((name.to_owned(), Strength::Good));
    match expr {
        Expr::Identifier(ident) => Some((fold(ident), Strength::Good)),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| (fold(ident), Strength::Good)),
        Expr::CompoundFieldAccess { root, access_chain } => access_chain
            .iter()
            .rev()
            .find_map(|access| match access {
                AccessExpr::Dot(inner) => figure(inner),
                AccessExpr::Subscript(_) => None,
            })
            .or_else(|| figure(root)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Function(function) => last_part(&function.name).map(|name| (name, Strength::Good)),
        Expr::Cast {
            expr, data_type, ..
        } => match figure(expr) {
            Some((name, Strength::Good)) => Some((name, Strength::Good)),
            _ => Some((type_name(data_type), Strength::Weak)),
        },
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), Strength::Weak)),
        Expr::Interval(_) => Some(("interval".to_owned(), Strength::Weak)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, Strength::Good)) => Some((name, Strength::Good)),
            _ => Some(("case".to_owned(), Strength::Weak)),
        },
        Expr::Exists { .. } => good("exists"),
        Expr::Subquery(query) => first_column(query).map(|name| (name, Strength::Good)),
        Expr::Array(_) => good("array"),
        Expr::Tuple(_) | Expr::Struct { .. } => good("row"),
        Expr::Extract { .. } => good("extract"),
        Expr::Ceil { .. } => good("ceil"),
        Expr::Floor { .. } => good("floor"),
        Expr::Position { .. } => good("position"),
        Expr::Substring { .. } => good("substring"),
        Expr::Overlay { .. } => good("overlay"),
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(TrimWhereField::Leading) => good("ltrim"),
            Some(TrimWhereField::Trailing) => good("rtrim"),
            Some(TrimWhereField::Both) | None => good("btrim"),
        },
        Expr::AtTimeZone { .. } => good("timezone"),
        Expr::IsNormalized { .. } => good("is_normalized"),
        _ => None,
    }
}

fn type_name(data_type: &datafusion::sql::sqlparser::ast::DataType) -> String {
    match types::pg_type(data_type) {
        Ok(pg_type) => pg_type.base.name().to_owned(),
        Err(_) => data_type.to_string().to_ascii_lowercase(),
    }
}

/// The last part of a qualified name, folded.
pub(crate) fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(fold)
}

/// The name of a scalar subquery is that of its column.
fn first_column(query: &Query) -> Option<String> {
    let mut body = query.body.as_ref();
    loop {
        match body {
            SetExpr::Select(select) => {
                return match select.projection.first()? {
                    SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
                    SelectItem::ExprWithAlias { alias, .. } => {
                        Some(visible_name(&fold(alias)).to_owned())
                    }
                    _ => None,
                };
            }
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(query) => body = query.body.as_ref(),
            SetExpr::Values(_) => return Some("column1".to_owned()),
            _ => return None,
        }
    }
}

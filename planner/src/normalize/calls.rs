//! Names of functions, and what a name alone says about a call.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TableAlias, TableAliasColumnDef,
};

use super::{literals, names};
use crate::parse::fold;

/// `count(1)` is `count(*)`, under which name DataFusion knows both.
pub(super) fn count_rows(function: &mut Function) {
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
pub(super) const WINDOW_FUNCTIONS: [&str; 11] = [
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

pub(super) fn is_keyword_function(ident: &Ident) -> bool {
    ident.quote_style.is_none() && keyword_function(&ident.value).is_some()
}

/// Words that are functions without parentheses.
pub(super) fn keyword_function(word: &str) -> Option<&'static str> {
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

/// `pg_catalog.Now()` is `now()`: all our functions are there, and DataFusion does not fold the
/// names of table functions.
pub(super) fn fold_function(name: &mut ObjectName) {
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
pub(super) fn is_expandarray(name: &ObjectName) -> bool {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident().map(fold))
        .collect();
    parts == ["information_schema", "_pg_expandarray"]
}

pub(super) fn strip_pg_catalog(name: &mut ObjectName) {
    if let [schema, _] = name.0.as_slice()
        && schema
            .as_ident()
            .is_some_and(|ident| fold(ident) == "pg_catalog")
    {
        name.0.remove(0);
    }
}

/// A function in FROM that returns one column calls it as its alias or itself is called.
pub(super) fn name_function_column(function: &str, alias: &mut Option<TableAlias>) {
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

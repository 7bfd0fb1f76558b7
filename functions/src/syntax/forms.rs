//! The forms that are lowered, one function each.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident,
    Interval, IntervalFields, ObjectName, ObjectNamePart, UnaryOperator, Value, ValueWithSpan,
};

use super::simple_name;
use crate::error::PgError;
use crate::typing::quantified;

/// Functions that give a set of rows, and those that give the same as an array. In a select list
/// each becomes `unnest(f(…))`.
pub(super) const SET_FUNCTIONS: [(&str, &str); 11] = [
    ("generate_series", "generate_series_array"),
    ("generate_subscripts", "generate_subscripts_array"),
    ("regexp_matches", "regexp_matches_array"),
    ("regexp_split_to_table", "regexp_split_to_array"),
    ("string_to_table", "string_to_array"),
    ("json_array_elements", "json_array_elements_array"),
    ("jsonb_array_elements", "jsonb_array_elements_array"),
    ("json_array_elements_text", "json_array_elements_text_array"),
    (
        "jsonb_array_elements_text",
        "jsonb_array_elements_text_array",
    ),
    ("json_object_keys", "json_object_keys_array"),
    ("jsonb_object_keys", "jsonb_object_keys_array"),
];

/// Aggregates of JSON: what makes one row's element, and what joins the array of them.
const JSON_AGGREGATES: [(&str, &str, &str); 4] = [
    ("json_agg", "to_json", "json_agg_array"),
    ("jsonb_agg", "to_jsonb", "jsonb_agg_array"),
    ("json_object_agg", "json_agg_pair", "json_agg_object"),
    ("jsonb_object_agg", "json_agg_pair", "jsonb_agg_object"),
];

/// Digits of a numeric.
const NUMBER_DIGITS_MAX: usize = 76;

/// Forms that must be seen before their parts are.
pub(super) fn lower_before(expr: &mut Expr) -> Result<(), PgError> {
    match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: operand,
        } if is_power(operand) => bind_minus_tighter(expr),
        Expr::Interval(interval) => {
            if let Some(typed) = interval_literal(interval) {
                *expr = typed;
            }
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: operand,
        } if matches!(operand.as_ref(), Expr::Interval(_)) => {
            // Minus is applied to the value, so that `- interval '1 day -1 hour'` is exact.
            let Expr::Interval(interval) = operand.as_mut() else {
                return Ok(());
            };
            if let Some(typed) = interval_literal(interval) {
                **operand = typed;
            }
        }
        Expr::Function(function) => {
            // `pg_catalog.f(…)` is `f(…)`.
            if function.name.0.len() == 2
                && let Some(name) = simple_name(&function.name)
            {
                function.name = object_name(&name);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Forms that are lowered after their parts were.
pub(super) fn lower_after(expr: &mut Expr) -> Result<(), PgError> {
    let taken = |expr: &mut Expr| std::mem::replace(expr, Expr::Value(Value::Null.into()));
    match expr {
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => {
            let (timestamp, zone) = (taken(timestamp), taken(time_zone));
            *expr = call("timezone", vec![zone, timestamp]);
        }
        Expr::Substring {
            expr: text,
            substring_from,
            substring_for,
            ..
        } => {
            let mut args = vec![taken(text)];
            match (substring_from, substring_for) {
                (Some(from), Some(length)) => args.extend([taken(from), taken(length)]),
                (Some(from), None) => args.push(taken(from)),
                (None, Some(length)) => args.extend([number("1"), taken(length)]),
                (None, None) => {}
            }
            *expr = call("substring", args);
        }
        Expr::Position { expr: part, r#in } => {
            let (part, whole) = (taken(part), taken(r#in));
            *expr = call("strpos", vec![whole, part]);
        }
        Expr::UnaryOp { op, expr: operand } => {
            let name = match op {
                UnaryOperator::PGAbs => "abs",
                UnaryOperator::PGSquareRoot => "sqrt",
                UnaryOperator::PGCubeRoot => "cbrt",
                UnaryOperator::BitwiseNot => "int_not",
                _ => return Ok(()),
            };
            *expr = call(name, vec![taken(operand)]);
        }
        Expr::BinaryOp { left, op, right } => {
            let name = match op {
                BinaryOperator::PGOverlap => "array_has_any",
                BinaryOperator::PGStartsWith => "starts_with",
                _ => return Ok(()),
            };
            *expr = call(name, vec![taken(left), taken(right)]);
        }
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } if !matches!(right.as_ref(), Expr::Subquery(_)) => {
            let args = vec![string(compare_op.to_string()), taken(left), taken(right)];
            *expr = call(quantified::ANY, args);
        }
        Expr::AllOp {
            left,
            compare_op,
            right,
        } if !matches!(right.as_ref(), Expr::Subquery(_)) => {
            let args = vec![string(compare_op.to_string()), taken(left), taken(right)];
            *expr = call(quantified::ALL, args);
        }
        Expr::Function(function)
            if simple_name(&function.name)
                .is_some_and(|name| JSON_AGGREGATES.iter().any(|(agg, _, _)| *agg == name)) =>
        {
            if let Some(join) = json_elements(function) {
                *expr = call(join, vec![taken(expr)]);
            }
        }
        Expr::Function(function) if function.over.is_none() => {
            if let Some(name) = simple_name(&function.name)
                && let Some((_, array)) = SET_FUNCTIONS.iter().find(|(set, _)| *set == name)
            {
                function.name = object_name(array);
                *expr = call("unnest", vec![taken(expr)]);
            }
        }
        // The parser has read its escapes already.
        Expr::Value(ValueWithSpan { value, .. })
            if matches!(value, Value::UnicodeStringLiteral(_)) =>
        {
            if let Value::UnicodeStringLiteral(text) = value {
                *value = Value::SingleQuotedString(std::mem::take(text));
            }
        }
        Expr::Value(ValueWithSpan {
            value: Value::Number(digits, _),
            ..
        }) if is_beyond_numeric(digits) => {
            // `1e300` is a number for doubles; digits written out are meant to count.
            if !digits.contains(['e', 'E']) {
                return Err(PgError::numeric_too_long());
            }
            let text = digits.replace('_', "");
            *expr = cast(string(text), DataType::DoublePrecision);
        }
        _ => {}
    }
    Ok(())
}

/// Makes `json_agg(x …)` the `array_agg(to_json(x) …)` it is; answers the function around it.
fn json_elements(function: &mut Function) -> Option<&'static str> {
    let name = simple_name(&function.name)?;
    let (_, element, join) = JSON_AGGREGATES.iter().find(|(agg, _, _)| *agg == name)?;
    let FunctionArguments::List(list) = &mut function.args else {
        return None;
    };
    let args = list
        .args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect::<Option<Vec<Expr>>>()?;
    list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(call(
        element, args,
    )))];
    function.name = object_name("array_agg");
    Some(join)
}

fn is_power(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryOp {
            op: BinaryOperator::PGExp,
            ..
        }
    )
}

/// `-(a ^ b)`, as the parser reads `-a ^ b`, becomes `(-a) ^ b`: in PostgreSQL unary minus binds
/// tighter than `^`. Brackets in the statement are a node of their own and are not touched.
fn bind_minus_tighter(expr: &mut Expr) {
    let whole = std::mem::replace(expr, Expr::Value(Value::Null.into()));
    let Expr::UnaryOp { op, expr: operand } = whole else {
        return;
    };
    let mut power = *operand;
    let mut leftmost = &mut power;
    while let Expr::BinaryOp {
        left,
        op: BinaryOperator::PGExp,
        ..
    } = leftmost
    {
        leftmost = left.as_mut();
    }
    let base = std::mem::replace(leftmost, Expr::Value(Value::Null.into()));
    *leftmost = Expr::UnaryOp {
        op,
        expr: Box::new(base),
    };
    *expr = power;
}

/// The literal as a cast to the interval type it names, or `None` when it is not a plain literal.
fn interval_literal(interval: &Interval) -> Option<Expr> {
    let Expr::Value(value) = interval.value.as_ref() else {
        return None;
    };
    let text = match &value.value {
        Value::SingleQuotedString(text) => text.clone(),
        Value::DollarQuotedString(text) => text.value.clone(),
        _ => return None,
    };
    Some(cast(
        string(text),
        DataType::Interval {
            fields: interval_fields(interval)?,
            precision: interval
                .fractional_seconds_precision
                .or(interval.leading_precision),
        },
    ))
}

/// The fields behind a literal; `None` for those that PostgreSQL has no interval of.
fn interval_fields(interval: &Interval) -> Option<Option<IntervalFields>> {
    use DateTimeField as Field;
    let Some(first) = &interval.leading_field else {
        return Some(None);
    };
    Some(Some(match (first, &interval.last_field) {
        (Field::Year, None) => IntervalFields::Year,
        (Field::Month, None) => IntervalFields::Month,
        (Field::Day, None) => IntervalFields::Day,
        (Field::Hour, None) => IntervalFields::Hour,
        (Field::Minute, None) => IntervalFields::Minute,
        (Field::Second, None) => IntervalFields::Second,
        (Field::Year, Some(Field::Month)) => IntervalFields::YearToMonth,
        (Field::Day, Some(Field::Hour)) => IntervalFields::DayToHour,
        (Field::Day, Some(Field::Minute)) => IntervalFields::DayToMinute,
        (Field::Day, Some(Field::Second)) => IntervalFields::DayToSecond,
        (Field::Hour, Some(Field::Minute)) => IntervalFields::HourToMinute,
        (Field::Hour, Some(Field::Second)) => IntervalFields::HourToSecond,
        (Field::Minute, Some(Field::Second)) => IntervalFields::MinuteToSecond,
        _ => return None,
    }))
}

fn is_beyond_numeric(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count() as u64;
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
    let (up, down) = (
        exponent.max(0).unsigned_abs(),
        exponent.min(0).unsigned_abs(),
    );
    let whole = digits(whole.trim_start_matches(['0', '_'])).saturating_add(up);
    let fraction = digits(fraction).saturating_add(down);
    whole.saturating_add(fraction) > NUMBER_DIGITS_MAX as u64
}

pub(super) fn string(text: String) -> Expr {
    Expr::Value(Value::SingleQuotedString(text).into())
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
}

pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        format: None,
        array: false,
    }
}

fn object_name(name: &str) -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))])
}

/// A function called by its name.
pub fn call(name: &str, args: Vec<Expr>) -> Expr {
    call_with(name, args, Vec::new())
}

/// As [`call`], with what may follow the arguments: ORDER BY.
pub fn call_with(name: &str, args: Vec<Expr>, clauses: Vec<FunctionArgumentClause>) -> Expr {
    Expr::Function(Function {
        name: object_name(name),
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

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn lowered(sql: &str) -> String {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        crate::syntax::lower(&mut statements[0]).unwrap();
        statements[0].to_string()
    }

    #[test]
    fn minus_binds_tighter_than_power() {
        assert_eq!(lowered("SELECT -2 ^ 2"), "SELECT -2 ^ 2");
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT -2 ^ 2").unwrap();
        let before = statements[0].clone();
        crate::syntax::lower(&mut statements[0]).unwrap();
        assert_ne!(statements[0], before);
        assert_eq!(lowered("SELECT -(2 ^ 2)"), "SELECT -(2 ^ 2)");
    }

    #[test]
    fn zones_intervals_and_sets_become_calls() {
        assert_eq!(
            lowered("SELECT a AT TIME ZONE 'UTC'"),
            "SELECT timezone('UTC', a)"
        );
        assert_eq!(
            lowered("SELECT interval '90' day"),
            "SELECT CAST('90' AS INTERVAL DAY)"
        );
        assert_eq!(
            lowered("SELECT generate_series(1, 3)"),
            "SELECT unnest(generate_series_array(1, 3))"
        );
        assert_eq!(
            lowered("SELECT substring(a FROM 2)"),
            "SELECT substring(a, 2)"
        );
        assert_eq!(
            lowered("SELECT 1e300"),
            "SELECT CAST('1e300' AS DOUBLE PRECISION)"
        );
    }
}

//! Values of keys: how they are read, checked and printed, as PostgreSQL does it for `SET` and
//! `SHOW`. The same rules serve the file, the environment and flags.

use functions::pg_type::{DateStyle, TimeZone, TypeError};
use job::{ErrorReport, SqlState};

use super::keys::{Kind, Special};
use special::{parse_client_encoding, parse_search_path};

mod special;

pub use special::split_identifiers;

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    /// Counts, bytes or milliseconds, as the kind says.
    Int(i64),
    /// Text, paths, addresses, and normalised spellings of enums and specials.
    Text(String),
}

/// A unit's spelling and how many base units it stands for, as a fraction so that `us` fits.
struct Unit {
    name: &'static str,
    numerator: i64,
    denominator: i64,
}

const fn unit(name: &'static str, numerator: i64, denominator: i64) -> Unit {
    Unit {
        name,
        numerator,
        denominator,
    }
}

/// Largest first: printing takes the first that divides the value.
const DURATION_UNITS: &[Unit] = &[
    unit("d", 86_400_000, 1),
    unit("h", 3_600_000, 1),
    unit("min", 60_000, 1),
    unit("s", 1_000, 1),
    unit("ms", 1, 1),
    unit("us", 1, 1_000),
];
const BYTE_UNITS: &[Unit] = &[
    unit("TB", 1 << 40, 1),
    unit("GB", 1 << 30, 1),
    unit("MB", 1 << 20, 1),
    unit("kB", 1 << 10, 1),
    unit("B", 1, 1),
    // Read, never printed: the units of the command line and of container tools.
    unit("TiB", 1 << 40, 1),
    unit("GiB", 1 << 30, 1),
    unit("MiB", 1 << 20, 1),
    unit("KiB", 1 << 10, 1),
];

impl Kind {
    /// Reads `text` as a value of this kind. `name` is only for the error.
    pub fn parse(&self, name: &str, text: &str) -> Result<Value, ErrorReport> {
        self.parse_over(name, text, None)
    }

    /// The same where the value may keep parts of the current one (`DateStyle`).
    pub fn parse_over(
        &self,
        name: &str,
        text: &str,
        current: Option<&Value>,
    ) -> Result<Value, ErrorReport> {
        match self {
            Kind::Bool => parse_bool(text).map(Value::Bool).ok_or_else(|| {
                ErrorReport::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("parameter \"{name}\" requires a Boolean value"),
                )
            }),
            Kind::Int { min, max } => parse_number(name, text, &[], *min, *max),
            Kind::Bytes { min, max } => parse_number(name, text, BYTE_UNITS, *min, *max),
            Kind::Duration { min, max } => parse_number(name, text, DURATION_UNITS, *min, *max),
            Kind::Text | Kind::Path => Ok(Value::Text(text.to_owned())),
            Kind::Enum(choices) => parse_enum(name, text, choices),
            Kind::Address => parse_address(name, text),
            Kind::Special(Special::DateStyle) => {
                let over = match current {
                    Some(Value::Text(text)) => DateStyle::default().parse(text),
                    Some(Value::Bool(_) | Value::Int(_)) | None => Ok(DateStyle::default()),
                };
                over.and_then(|over| over.parse(text))
                    .map(|style| Value::Text(style.to_string()))
                    .map_err(TypeError::into_report)
            }
            Kind::Special(Special::TimeZone) => TimeZone::parse(text)
                .map(|zone| Value::Text(zone.name().to_owned()))
                .map_err(TypeError::into_report),
            Kind::Special(Special::ClientEncoding) => {
                parse_client_encoding(name, text).map(Value::Text)
            }
            Kind::Special(Special::SearchPath) => parse_search_path(name, text).map(Value::Text),
        }
    }

    /// As `SHOW` prints it.
    pub fn show(&self, value: &Value) -> String {
        match (self, value) {
            (_, Value::Bool(true)) => "on".to_owned(),
            (_, Value::Bool(false)) => "off".to_owned(),
            (_, Value::Text(text)) => text.clone(),
            (Kind::Bytes { .. }, Value::Int(n)) => show_number(*n, BYTE_UNITS),
            (Kind::Duration { .. }, Value::Int(n)) => show_number(*n, DURATION_UNITS),
            (
                Kind::Bool
                | Kind::Int { .. }
                | Kind::Text
                | Kind::Enum(_)
                | Kind::Address
                | Kind::Path
                | Kind::Special(_),
                Value::Int(n),
            ) => n.to_string(),
        }
    }

    /// As `pg_settings.vartype` and the docs have it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int { .. } | Kind::Bytes { .. } | Kind::Duration { .. } => "integer",
            Kind::Enum(_) => "enum",
            Kind::Text | Kind::Address | Kind::Path | Kind::Special(_) => "string",
        }
    }
}

/// Any unambiguous prefix of true, false, yes, no, on, off; or 1, 0.
pub fn parse_bool(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let prefix_of = |word: &str, shortest: usize| text.len() >= shortest && word.starts_with(&text);
    if prefix_of("true", 1) || prefix_of("yes", 1) || prefix_of("on", 2) || text == "1" {
        Some(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

pub(super) fn invalid(name: &str, text: &str) -> ErrorReport {
    ErrorReport::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{name}\": \"{text}\""),
    )
}

fn parse_number(
    name: &str,
    text: &str,
    units: &[Unit],
    min: i64,
    max: i64,
) -> Result<Value, ErrorReport> {
    let trimmed = text.trim();
    let digits_end = number_end(trimmed);
    let (digits, unit_text) = trimmed.split_at(digits_end);
    let number: f64 = digits.parse().map_err(|_| invalid(name, text))?;
    let unit_text = unit_text.trim();
    let (numerator, denominator) = if unit_text.is_empty() {
        (1, 1)
    } else {
        match units.iter().find(|unit| unit.name == unit_text) {
            Some(unit) => (unit.numerator, unit.denominator),
            None if units.is_empty() => return Err(invalid(name, text)),
            None => {
                let names: Vec<_> = units
                    .iter()
                    .rev()
                    .map(|u| format!("\"{}\"", u.name))
                    .collect();
                return Err(invalid(name, text).with_hint(format!(
                    "Valid units for this parameter are {}.",
                    names.join(", ")
                )));
            }
        }
    };
    let scaled = (number * numerator as f64 / denominator as f64).round_ties_even();
    let out_of_range = || {
        ErrorReport::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!(
                "{trimmed} is outside the valid range for parameter \"{name}\" ({min} .. {max})"
            ),
        )
    };
    // Every range fits 53 bits, so the comparison in floating point is exact.
    if !scaled.is_finite() || scaled < min as f64 || scaled > max as f64 {
        return Err(out_of_range());
    }
    Ok(Value::Int(scaled as i64))
}

/// Where the leading number of `text` ends: sign, digits, point, exponent.
fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let sign_allowed = end == 0 || matches!(bytes[end - 1], b'e' | b'E');
        let exponent = matches!(bytes[end], b'e' | b'E')
            && end > 0
            && bytes
                .get(end + 1)
                .is_some_and(|next| next.is_ascii_digit() || matches!(next, b'+' | b'-'));
        match bytes[end] {
            b'0'..=b'9' | b'.' => end += 1,
            b'+' | b'-' if sign_allowed => end += 1,
            _ if exponent => end += 1,
            _ => break,
        }
    }
    end
}

fn show_number(n: i64, units: &[Unit]) -> String {
    if n == 0 {
        return "0".to_owned();
    }
    for unit in units {
        if unit.denominator == 1 && n % unit.numerator == 0 {
            return format!("{}{}", n / unit.numerator, unit.name);
        }
    }
    n.to_string()
}

fn parse_enum(name: &str, text: &str, choices: &[&str]) -> Result<Value, ErrorReport> {
    if let Some(choice) = choices.iter().find(|c| c.eq_ignore_ascii_case(text.trim())) {
        return Ok(Value::Text((*choice).to_owned()));
    }
    // `synchronous_commit` and its like take Booleans in every spelling.
    if let Some(flag) = parse_bool(text) {
        let word = if flag { "on" } else { "off" };
        if choices.contains(&word) {
            return Ok(Value::Text(word.to_owned()));
        }
    }
    Err(invalid(name, text).with_hint(format!("Available values: {}.", choices.join(", "))))
}

/// `host:port`; a host may be a name, an IPv4 address or an IPv6 address in brackets.
fn parse_address(name: &str, text: &str) -> Result<Value, ErrorReport> {
    let text = text.trim();
    if !text.is_empty() {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| {
            invalid(name, text)
                .with_hint("Write an address as host:port, for example 127.0.0.1:5432.")
        })?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(invalid(name, text)
                .with_hint("Write an address as host:port, for example 127.0.0.1:5432."));
        }
    }
    Ok(Value::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<Value, ErrorReport> {
        Kind::Bytes {
            min: 0,
            max: 1 << 50,
        }
        .parse("m", text)
    }

    fn duration(text: &str) -> Result<Value, ErrorReport> {
        Kind::Duration {
            min: 0,
            max: i32::MAX.into(),
        }
        .parse("statement_timeout", text)
    }

    #[test]
    fn byte_sizes_take_units_of_1024() {
        assert_eq!(bytes("4GiB"), Ok(Value::Int(4 << 30)));
        assert_eq!(bytes("4 GB"), Ok(Value::Int(4 << 30)));
        assert_eq!(bytes("1.5kB"), Ok(Value::Int(1536)));
        assert_eq!(bytes("77"), Ok(Value::Int(77)));
        let error = bytes("4 parsecs").expect_err("no such unit");
        assert!(error.hint.is_some_and(|hint| hint.contains("\"kB\"")));
    }

    #[test]
    fn durations_print_in_the_largest_exact_unit() {
        let kind = Kind::Duration {
            min: 0,
            max: i32::MAX.into(),
        };
        for (text, shown) in [
            ("5s", "5s"),
            ("5000", "5s"),
            ("90s", "90s"),
            ("120s", "2min"),
            ("1500us", "2ms"),
            ("0", "0"),
            ("24h", "1d"),
        ] {
            assert_eq!(
                duration(text).map(|v| kind.show(&v)),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_out_of_range_name_the_range() {
        let error = duration("-5").expect_err("negative");
        assert_eq!(
            error.message,
            "-5 is outside the valid range for parameter \"statement_timeout\" (0 .. 2147483647)"
        );
        assert!(duration("1e400").is_err());
        assert!(duration("nan").is_err());
        assert!(duration("").is_err());
        assert!(duration("--3").is_err());
    }

    #[test]
    fn booleans_take_unambiguous_prefixes() {
        for yes in ["on", "t", "TRUE", "y", "1", "tr"] {
            assert_eq!(parse_bool(yes), Some(true), "{yes}");
        }
        for no in ["off", "of", "f", "n", "0", "No"] {
            assert_eq!(parse_bool(no), Some(false), "{no}");
        }
        for neither in ["o", "", "2", "maybe"] {
            assert_eq!(parse_bool(neither), None, "{neither}");
        }
    }

    #[test]
    fn addresses_need_a_port() {
        assert!(Kind::Address.parse("a", "127.0.0.1:0").is_ok());
        assert!(Kind::Address.parse("a", "[::1]:5432").is_ok());
        assert!(Kind::Address.parse("a", "").is_ok());
        assert!(Kind::Address.parse("a", "localhost").is_err());
        assert!(Kind::Address.parse("a", "localhost:99999").is_err());
    }
}

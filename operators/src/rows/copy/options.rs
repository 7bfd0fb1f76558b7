//! The options of a COPY statement.

use functions::pg_type::{Format, Result, TypeError};
use job::{ErrorReport, SqlState};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyDirection {
    /// COPY TO
    Out,
    /// COPY FROM
    In,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Columns separated by tabs, specials behind backslashes.
    Text,
    /// Columns separated by commas, specials within quotes.
    Csv,
    /// Wire forms with lengths.
    Binary,
}

/// An option as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOption {
    /// Lower case.
    pub name: String,
    pub value: CopyValue,
    /// Of the option in the statement's text, for errors.
    pub position: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyValue {
    /// A name alone: `HEADER`.
    Absent,
    /// A string, a word or a number.
    Text(String),
    /// `*`
    All,
    /// Names in parentheses.
    List(Vec<String>),
}

/// Some columns of a COPY, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyColumns {
    These(Vec<String>),
    All,
}

impl CopyColumns {
    const NONE: Self = Self::These(Vec::new());

    pub fn contains(&self, column: &str) -> bool {
        match self {
            Self::These(names) => names.iter().any(|name| name == column),
            Self::All => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyHeader {
    None,
    /// The first line has the columns' names; on the way in it is skipped.
    Line,
    /// On the way in, the names must be those of the columns.
    Match,
}

/// A COPY statement's options. Every character among them is one byte, as in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    /// What stands for NULL in text and CSV.
    pub null: String,
    pub header: CopyHeader,
    pub quote: u8,
    /// What comes before a quote within quotes; the quote itself by default.
    pub escape: u8,
    /// Always quoted in CSV output.
    pub force_quote: CopyColumns,
    /// Never NULL in CSV input: what spells NULL is text.
    pub force_not_null: CopyColumns,
    /// NULL in CSV input even where what spells it is quoted.
    pub force_null: CopyColumns,
}

/// What has been written, before it is looked at as a whole.
#[derive(Default)]
struct Written {
    format: Option<CopyFormat>,
    freeze: Option<bool>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<CopyHeader>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<CopyColumns>,
    force_not_null: Option<CopyColumns>,
    force_null: Option<CopyColumns>,
    encoding: Option<()>,
}

impl CopyOptions {
    /// PostgreSQL's checks, in its order.
    pub fn parse(options: &[CopyOption], direction: CopyDirection) -> Result<Self, ErrorReport> {
        let mut written = Written::default();
        for option in options {
            written.take(option, direction).map_err(|error| {
                let mut report = error.into_report();
                report.position = option.position;
                report
            })?;
        }
        written.settle(direction).map_err(TypeError::into_report)
    }

    /// How values are written and read; also the format code of `CopyOutResponse`.
    pub fn cell_format(&self) -> Format {
        match self.format {
            CopyFormat::Text | CopyFormat::Csv => Format::Text,
            CopyFormat::Binary => Format::Binary,
        }
    }
}

impl Written {
    fn take(&mut self, option: &CopyOption, direction: CopyDirection) -> Result<()> {
        let name = option.name.as_str();
        match name {
            "format" => once(&mut self.format, || {
                Ok(match text(option)? {
                    "text" => CopyFormat::Text,
                    "csv" => CopyFormat::Csv,
                    "binary" => CopyFormat::Binary,
                    other => {
                        return Err(invalid(&format!("COPY format \"{other}\" not recognized")));
                    }
                })
            }),
            // Rows become visible at commit anyway.
            "freeze" => once(&mut self.freeze, || boolean(option)),
            "delimiter" => once(&mut self.delimiter, || text(option).map(str::to_owned)),
            "null" => once(&mut self.null, || text(option).map(str::to_owned)),
            "header" => once(&mut self.header, || header(option, direction)),
            "quote" => once(&mut self.quote, || text(option).map(str::to_owned)),
            "escape" => once(&mut self.escape, || text(option).map(str::to_owned)),
            "force_quote" => once(&mut self.force_quote, || columns(option, true)),
            "force_not_null" => once(&mut self.force_not_null, || columns(option, false)),
            "force_null" => once(&mut self.force_null, || columns(option, false)),
            "encoding" => once(&mut self.encoding, || check_encoding(text(option)?)),
            _ => Err(syntax(&format!("option \"{name}\" not recognized"))),
        }
    }

    fn settle(self, direction: CopyDirection) -> Result<CopyOptions> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let (csv, binary) = (format == CopyFormat::Csv, format == CopyFormat::Binary);
        if binary && self.delimiter.is_some() {
            return Err(syntax("cannot specify DELIMITER in BINARY mode"));
        }
        if binary && self.null.is_some() {
            return Err(syntax("cannot specify NULL in BINARY mode"));
        }
        let default_delimiter = if csv { "," } else { "\t" };
        let delimiter = self.delimiter.as_deref().unwrap_or(default_delimiter);
        let default_null = if csv { "" } else { "\\N" };
        let null = self.null.unwrap_or_else(|| default_null.to_owned());
        let delimiter = one_byte("delimiter", delimiter)?;
        if matches!(delimiter, b'\n' | b'\r') {
            return Err(invalid(
                "COPY delimiter cannot be newline or carriage return",
            ));
        }
        if null.contains(['\n', '\r']) {
            return Err(invalid(
                "COPY null representation cannot use newline or carriage return",
            ));
        }
        // What the text format reads as part of a number, a word or an escape.
        if !csv
            && (delimiter.is_ascii_lowercase()
                || delimiter.is_ascii_digit()
                || matches!(delimiter, b'\\' | b'.'))
        {
            return Err(invalid(&format!(
                "COPY delimiter cannot be \"{}\"",
                char::from(delimiter)
            )));
        }
        let header = self.header.unwrap_or(CopyHeader::None);
        if binary && header != CopyHeader::None {
            return Err(unsupported("cannot specify HEADER in BINARY mode"));
        }
        if !csv && self.quote.is_some() {
            return Err(unsupported("COPY quote available only in CSV mode"));
        }
        let quote = one_byte("quote", self.quote.as_deref().unwrap_or("\""))?;
        if csv && delimiter == quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        if !csv && self.escape.is_some() {
            return Err(unsupported("COPY escape available only in CSV mode"));
        }
        let escape = match self.escape.as_deref() {
            Some(escape) => one_byte("escape", escape)?,
            None => quote,
        };
        for (forced, what, only) in [
            (&self.force_quote, "force quote", CopyDirection::Out),
            (&self.force_not_null, "force not null", CopyDirection::In),
            (&self.force_null, "force null", CopyDirection::In),
        ] {
            if forced.is_none() {
                continue;
            }
            if !csv {
                return Err(unsupported(&format!(
                    "COPY {what} available only in CSV mode"
                )));
            }
            if direction != only {
                let using = match only {
                    CopyDirection::Out => "TO",
                    CopyDirection::In => "FROM",
                };
                return Err(unsupported(&format!(
                    "COPY {what} only available using COPY {using}"
                )));
            }
        }
        if null.as_bytes().contains(&delimiter) {
            return Err(unsupported(
                "COPY delimiter must not appear in the NULL specification",
            ));
        }
        if csv && null.as_bytes().contains(&quote) {
            return Err(unsupported(
                "CSV quote character must not appear in the NULL specification",
            ));
        }
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header,
            quote,
            escape,
            force_quote: self.force_quote.unwrap_or(CopyColumns::NONE),
            force_not_null: self.force_not_null.unwrap_or(CopyColumns::NONE),
            force_null: self.force_null.unwrap_or(CopyColumns::NONE),
        })
    }
}

fn once<T>(place: &mut Option<T>, value: impl FnOnce() -> Result<T>) -> Result<()> {
    if place.is_some() {
        return Err(syntax("conflicting or redundant options"));
    }
    *place = Some(value()?);
    Ok(())
}

fn text(option: &CopyOption) -> Result<&str> {
    match &option.value {
        CopyValue::Text(text) => Ok(text),
        CopyValue::All => Ok("*"),
        CopyValue::Absent | CopyValue::List(_) => {
            Err(syntax(&format!("{} requires a parameter", option.name)))
        }
    }
}

fn as_boolean(option: &CopyOption) -> Option<bool> {
    match &option.value {
        CopyValue::Absent => Some(true),
        CopyValue::Text(word) => match word.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Some(true),
            "false" | "off" | "0" => Some(false),
            _ => None,
        },
        CopyValue::All | CopyValue::List(_) => None,
    }
}

fn boolean(option: &CopyOption) -> Result<bool> {
    as_boolean(option).ok_or_else(|| syntax(&format!("{} requires a Boolean value", option.name)))
}

fn header(option: &CopyOption, direction: CopyDirection) -> Result<CopyHeader> {
    match as_boolean(option) {
        Some(true) => return Ok(CopyHeader::Line),
        Some(false) => return Ok(CopyHeader::None),
        None => {}
    }
    match &option.value {
        CopyValue::Text(word) if word.eq_ignore_ascii_case("match") => match direction {
            CopyDirection::In => Ok(CopyHeader::Match),
            CopyDirection::Out => Err(unsupported("cannot use \"match\" with HEADER in COPY TO")),
        },
        _ => Err(syntax(&format!(
            "{} requires a Boolean value or \"match\"",
            option.name
        ))),
    }
}

fn columns(option: &CopyOption, or_all: bool) -> Result<CopyColumns> {
    match &option.value {
        CopyValue::List(names) => Ok(CopyColumns::These(names.clone())),
        CopyValue::All if or_all => Ok(CopyColumns::All),
        CopyValue::Absent | CopyValue::Text(_) | CopyValue::All => Err(invalid(&format!(
            "argument to option \"{}\" must be a list of column names",
            option.name
        ))),
    }
}

fn one_byte(option: &str, value: &str) -> Result<u8> {
    match value.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(unsupported(&format!(
            "COPY {option} must be a single one-byte character"
        ))),
    }
}

/// All text is UTF-8 here; what PostgreSQL would convert is refused.
fn check_encoding(encoding: &str) -> Result<()> {
    const OTHERS: [&str; 8] = ["latin", "iso", "win", "euc", "sjis", "koi8", "big5", "gb"];
    let name: String = encoding
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if ["utf8", "unicode", "sqlascii"].contains(&name.as_str()) {
        return Ok(());
    }
    if OTHERS.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(
            unsupported(&format!("COPY encoding \"{encoding}\" is not supported"))
                .with_hint("Firesteel's clients and files are in UTF8."),
        );
    }
    Err(invalid(
        "argument to option \"encoding\" must be a valid encoding name",
    ))
}

fn syntax(message: &str) -> TypeError {
    TypeError::new(SqlState::SYNTAX_ERROR, message)
}

fn invalid(message: &str) -> TypeError {
    TypeError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn unsupported(message: &str) -> TypeError {
    TypeError::unsupported(message)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Options of text values; `*` is all columns, and names between commas are a list.
    pub(in crate::rows::copy) fn written(options: &[(&str, &str)]) -> Vec<CopyOption> {
        options
            .iter()
            .map(|(name, value)| CopyOption {
                name: (*name).to_owned(),
                value: match *value {
                    "*" => CopyValue::All,
                    list if name.starts_with("force") => {
                        CopyValue::List(list.split(',').map(str::to_owned).collect())
                    }
                    value => CopyValue::Text(value.to_owned()),
                },
                position: None,
            })
            .collect()
    }

    fn parse(options: &[(&str, &str)]) -> Result<CopyOptions, ErrorReport> {
        CopyOptions::parse(&written(options), CopyDirection::Out)
    }

    #[test]
    fn defaults_follow_the_format() {
        let text = parse(&[]).unwrap();
        assert_eq!((text.delimiter, text.null.as_str()), (b'\t', "\\N"));
        let csv = parse(&[("format", "csv"), ("header", "true")]).unwrap();
        assert_eq!(
            (csv.delimiter, csv.null.as_str(), csv.header),
            (b',', "", CopyHeader::Line)
        );
    }

    #[test]
    fn refusals_are_postgres() {
        for (options, message) in [
            (
                &[("format", "xml")][..],
                "COPY format \"xml\" not recognized",
            ),
            (
                &[("delimiter", "ab")],
                "COPY delimiter must be a single one-byte character",
            ),
            (&[("delimiter", "a")], "COPY delimiter cannot be \"a\""),
            (&[("quote", "'")], "COPY quote available only in CSV mode"),
            (
                &[("format", "binary"), ("null", "x")],
                "cannot specify NULL in BINARY mode",
            ),
            (&[("nonsense", "1")], "option \"nonsense\" not recognized"),
            (
                &[("null", "a\tb")],
                "COPY delimiter must not appear in the NULL specification",
            ),
            (
                &[("format", "csv"), ("force_null", "a")],
                "COPY force null only available using COPY FROM",
            ),
        ] {
            assert_eq!(parse(options).unwrap_err().to_string(), message);
        }
    }
}

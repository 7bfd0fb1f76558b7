//! The options of a COPY statement.

use functions::pg_type::{Format, Result, TypeError};
use job::SqlState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Columns separated by tabs, specials behind backslashes.
    Text,
    /// Columns separated by commas, specials within quotes.
    Csv,
    /// Wire forms with lengths.
    Binary,
}

/// Which columns are always quoted in CSV output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForceQuote {
    Columns(Vec<String>),
    All,
}

/// A COPY statement's options. Every character among them is one byte, as in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    /// What stands for NULL in text and CSV.
    pub null: String,
    /// Whether the first line has the columns' names.
    pub header: bool,
    pub quote: u8,
    /// What comes before a quote within quotes; the quote itself by default.
    pub escape: u8,
    pub force_quote: ForceQuote,
}

impl CopyOptions {
    /// The options as names and values, in any order. Lists are joined by commas.
    pub fn parse(options: &[(String, String)]) -> Result<Self> {
        let value = |wanted: &str| {
            options
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let format = match value("format").map(str::to_ascii_lowercase).as_deref() {
            None | Some("text") => CopyFormat::Text,
            Some("csv") => CopyFormat::Csv,
            Some("binary") => CopyFormat::Binary,
            Some(other) => {
                return Err(TypeError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("COPY format \"{other}\" not recognized"),
                ));
            }
        };
        for (index, (name, _)) in options.iter().enumerate() {
            if options[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(syntax("conflicting or redundant options"));
            }
            match name.as_str() {
                "format" => {}
                "delimiter" | "null" | "header" if format == CopyFormat::Binary => {
                    let word = name.to_ascii_uppercase();
                    return Err(syntax(&format!("cannot specify {word} in BINARY mode")));
                }
                "delimiter" | "null" | "header" => {}
                "quote" | "escape" | "force_quote" if format != CopyFormat::Csv => {
                    let word = name.replace('_', " ");
                    return Err(unsupported(&format!(
                        "COPY {word} available only in CSV mode"
                    )));
                }
                "quote" | "escape" | "force_quote" => {}
                "encoding" => check_encoding(value("encoding").unwrap_or_default())?,
                // Rows become visible at commit anyway.
                "freeze" => {}
                _ => return Err(syntax(&format!("option \"{name}\" not recognized"))),
            }
        }
        let csv = format == CopyFormat::Csv;
        let default_delimiter = if csv { "," } else { "\t" };
        let delimiter = one_byte("delimiter", value("delimiter").unwrap_or(default_delimiter))?;
        let quote = one_byte("quote", value("quote").unwrap_or("\""))?;
        let escape = match value("escape") {
            Some(escape) => one_byte("escape", escape)?,
            None => quote,
        };
        let null = value("null")
            .unwrap_or(if csv { "" } else { "\\N" })
            .to_owned();
        let header = match value("header") {
            None => false,
            Some(word) => match word.to_ascii_lowercase().as_str() {
                "" | "true" | "on" | "1" => true,
                "false" | "off" | "0" => false,
                "match" => return Err(unsupported("COPY HEADER MATCH is not supported")),
                _ => return Err(syntax("header requires a Boolean value or \"match\"")),
            },
        };
        let force_quote = match value("force_quote") {
            None => ForceQuote::Columns(Vec::new()),
            Some("*") => ForceQuote::All,
            Some(list) => {
                ForceQuote::Columns(list.split(',').map(|name| name.trim().to_owned()).collect())
            }
        };
        let options = Self {
            format,
            delimiter,
            null,
            header,
            quote,
            escape,
            force_quote,
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<()> {
        let invalid = |message: &str| {
            Err(TypeError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                message.to_owned(),
            ))
        };
        if matches!(self.delimiter, b'\n' | b'\r') {
            return invalid("COPY delimiter cannot be newline or carriage return");
        }
        if self.null.contains(['\n', '\r']) {
            return invalid("COPY null representation cannot use newline or carriage return");
        }
        // What the text format reads as part of a number, a word or an escape.
        if self.format == CopyFormat::Text
            && (self.delimiter.is_ascii_lowercase()
                || self.delimiter.is_ascii_digit()
                || matches!(self.delimiter, b'\\' | b'.'))
        {
            return invalid(&format!(
                "COPY delimiter cannot be \"{}\"",
                char::from(self.delimiter)
            ));
        }
        if self.format == CopyFormat::Csv && self.delimiter == self.quote {
            return invalid("COPY delimiter and quote must be different");
        }
        if self.null.as_bytes().contains(&self.delimiter) {
            return invalid("COPY delimiter must not appear in the NULL specification");
        }
        if self.format == CopyFormat::Csv && self.null.as_bytes().contains(&self.quote) {
            return invalid("CSV quote character must not appear in the NULL specification");
        }
        Ok(())
    }

    /// How values are written and read; also the format code of `CopyOutResponse`.
    pub fn cell_format(&self) -> Format {
        match self.format {
            CopyFormat::Text | CopyFormat::Csv => Format::Text,
            CopyFormat::Binary => Format::Binary,
        }
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

fn check_encoding(encoding: &str) -> Result<()> {
    let name: String = encoding
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    if ["utf8", "unicode", "sqlascii"].contains(&name.to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(unsupported(&format!(
            "COPY encoding \"{encoding}\" is not supported"
        )))
    }
}

fn syntax(message: &str) -> TypeError {
    TypeError::new(SqlState::SYNTAX_ERROR, message)
}

fn unsupported(message: &str) -> TypeError {
    TypeError::unsupported(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<CopyOptions> {
        let options: Vec<(String, String)> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        CopyOptions::parse(&options)
    }

    #[test]
    fn defaults_follow_the_format() {
        let text = parse(&[]).unwrap();
        assert_eq!((text.delimiter, text.null.as_str()), (b'\t', "\\N"));
        let csv = parse(&[("format", "csv"), ("header", "true")]).unwrap();
        assert_eq!(
            (csv.delimiter, csv.null.as_str(), csv.header),
            (b',', "", true)
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
        ] {
            assert_eq!(parse(options).unwrap_err().to_string(), message);
        }
    }
}

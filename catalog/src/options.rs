//! Options of external tables: which there are, how they are spelled, what values they take.
//!
//! Stored canonically, so that a definition means the same whatever the statement wrote:
//! `'format.has_header' 'TRUE'` and `HEADER 'on'` are both `header = true`.

use std::collections::BTreeMap;

use datafusion::common::parsers::CompressionTypeVariant;
use job::{ErrorReport, SqlState};

use crate::error::{CatalogError, INVALID_OPTION_NAME, Result};
use crate::external::FileKind;

pub(crate) const BINARY_AS_STRING: &str = "binary_as_string";
pub(crate) const COMMENT: &str = "comment";
pub(crate) const COMPRESSION: &str = "compression";
pub(crate) const DELIMITER: &str = "delimiter";
pub(crate) const ESCAPE: &str = "escape";
pub(crate) const HEADER: &str = "header";
pub(crate) const INFER_ROWS: &str = "schema_infer_max_rec";
pub(crate) const NEWLINE_DELIMITED: &str = "newline_delimited";
pub(crate) const NULL: &str = "null";
pub(crate) const QUOTE: &str = "quote";
pub(crate) const TERMINATOR: &str = "terminator";
pub(crate) const NEWLINES_IN_VALUES: &str = "newlines_in_values";
pub(crate) const TRUNCATED_ROWS: &str = "truncated_rows";

/// What an option's value must look like.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Bool,
    /// One byte; `\t`, `\n`, `\r` may be spelled so.
    Byte,
    Count,
    /// The reader takes an empty field for null and nothing else.
    Empty,
    Compression,
}

/// The options a format takes.
fn known(format: FileKind) -> &'static [(&'static str, Shape)] {
    match format {
        FileKind::Parquet => &[(BINARY_AS_STRING, Shape::Bool)],
        FileKind::Csv => &[
            (HEADER, Shape::Bool),
            (DELIMITER, Shape::Byte),
            (QUOTE, Shape::Byte),
            (ESCAPE, Shape::Byte),
            (NULL, Shape::Empty),
            (COMMENT, Shape::Byte),
            (TERMINATOR, Shape::Byte),
            (COMPRESSION, Shape::Compression),
            (INFER_ROWS, Shape::Count),
            (NEWLINES_IN_VALUES, Shape::Bool),
            (TRUNCATED_ROWS, Shape::Bool),
        ],
        FileKind::Json => &[
            (NEWLINE_DELIMITED, Shape::Bool),
            (COMPRESSION, Shape::Compression),
            (INFER_ROWS, Shape::Count),
        ],
        FileKind::Avro | FileKind::Arrow => &[],
    }
}

/// Other spellings of the same options: DataFusion's, PostgreSQL's COPY's, DuckDB's.
const ALIASES: &[(&str, &str)] = &[
    ("has_header", HEADER),
    ("delim", DELIMITER),
    ("sep", DELIMITER),
    ("separator", DELIMITER),
    ("null_value", NULL),
    ("nullstr", NULL),
    ("null_string", NULL),
    ("file_compression_type", COMPRESSION),
    ("schema_infer_max_records", INFER_ROWS),
    ("sample_size", INFER_ROWS),
];

/// Checks the options of a statement and spells them canonically.
pub(crate) fn canonical(
    format: FileKind,
    written: &[(String, String)],
) -> Result<BTreeMap<String, String>> {
    let mut canonical = BTreeMap::new();
    for (name, value) in written {
        let lower = name.to_ascii_lowercase();
        let bare = lower
            .strip_prefix("format.")
            .or_else(|| lower.strip_prefix(&format!("{}.", format.to_string().to_lowercase())))
            .unwrap_or(&lower);
        let bare = ALIASES
            .iter()
            .find(|(alias, _)| *alias == bare)
            .map_or(bare, |(_, option)| option);
        let Some((option, shape)) = known(format).iter().find(|(option, _)| *option == bare) else {
            return Err(unknown_option(format, name, bare));
        };
        let value = check_value(option, *shape, value)?;
        if canonical.insert((*option).to_owned(), value).is_some() {
            return Err(CatalogError::report(
                SqlState::SYNTAX_ERROR,
                format!("option \"{option}\" provided more than once"),
            ));
        }
    }
    Ok(canonical)
}

fn unknown_option(format: FileKind, written: &str, bare: &str) -> CatalogError {
    let options = known(format);
    let nearest = options
        .iter()
        .map(|(option, _)| (distance(option, bare), option))
        .min()
        .filter(|(distance, option)| *distance <= option.len() / 2 + 1);
    let hint = match (nearest, options) {
        (Some((_, option)), _) => format!("Perhaps you meant the option \"{option}\"."),
        (None, []) => "There are no valid options for this format.".to_owned(),
        (None, options) => {
            let names: Vec<_> = options.iter().map(|(option, _)| *option).collect();
            format!("Valid options for this format are: {}.", names.join(", "))
        }
    };
    CatalogError::Reported(
        ErrorReport::new(
            INVALID_OPTION_NAME,
            format!("invalid option \"{written}\" for format {format}"),
        )
        .with_hint(hint),
    )
}

fn check_value(option: &str, shape: Shape, value: &str) -> Result<String> {
    let invalid = |wanted: &str| {
        CatalogError::report(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for option \"{option}\": \"{value}\" (must be {wanted})"),
        )
    };
    match shape {
        Shape::Bool => match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" | "t" => Ok("true".to_owned()),
            "false" | "off" | "no" | "0" | "f" => Ok("false".to_owned()),
            _ => Err(invalid("a Boolean")),
        },
        Shape::Byte => {
            let byte = match value {
                "\\t" => "\t",
                "\\n" => "\n",
                "\\r" => "\r",
                other => other,
            };
            if byte.len() == 1 && byte.is_ascii() {
                Ok(byte.to_owned())
            } else {
                Err(invalid("a single one-byte character"))
            }
        }
        Shape::Count => value
            .parse::<u32>()
            .map(|count| count.to_string())
            .map_err(|_| invalid("a count of rows")),
        Shape::Empty if value.is_empty() => Ok(String::new()),
        Shape::Empty => Err(CatalogError::report(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("option \"{option}\" is not supported with a value that is not empty"),
        )),
        Shape::Compression => compression(value)
            .map(|variant| compression_name(variant).to_owned())
            .ok_or_else(|| invalid("none, gzip, bzip2, xz or zstd")),
    }
}

/// The compression a name means.
pub(crate) fn compression(name: &str) -> Option<CompressionTypeVariant> {
    match name.to_ascii_lowercase().as_str() {
        "none" | "uncompressed" | "" => Some(CompressionTypeVariant::UNCOMPRESSED),
        "gzip" | "gz" => Some(CompressionTypeVariant::GZIP),
        "bzip2" | "bz2" => Some(CompressionTypeVariant::BZIP2),
        "xz" => Some(CompressionTypeVariant::XZ),
        "zstd" | "zst" => Some(CompressionTypeVariant::ZSTD),
        _ => None,
    }
}

fn compression_name(variant: CompressionTypeVariant) -> &'static str {
    match variant {
        CompressionTypeVariant::UNCOMPRESSED => "none",
        CompressionTypeVariant::GZIP => "gzip",
        CompressionTypeVariant::BZIP2 => "bzip2",
        CompressionTypeVariant::XZ => "xz",
        CompressionTypeVariant::ZSTD => "zstd",
    }
}

/// Levenshtein distance; names are short, so the simple table does.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::SqlError;

    fn one(format: FileKind, name: &str, value: &str) -> Result<BTreeMap<String, String>> {
        canonical(format, &[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn spellings_are_made_canonical() {
        for name in [
            "header",
            "HEADER",
            "has_header",
            "format.has_header",
            "csv.header",
        ] {
            let options = one(FileKind::Csv, name, "ON").unwrap();
            assert_eq!(options["header"], "true", "{name}");
        }
        assert_eq!(
            one(FileKind::Csv, "delim", "\\t").unwrap()["delimiter"],
            "\t"
        );
        assert_eq!(
            one(FileKind::Json, "compression", "GZ").unwrap()["compression"],
            "gzip"
        );
    }

    #[test]
    fn unknown_options_suggest_the_nearest() {
        let error = one(FileKind::Csv, "delimeter", ";").unwrap_err();
        assert_eq!(error.sqlstate(), INVALID_OPTION_NAME);
        assert_eq!(
            error.hint().unwrap(),
            "Perhaps you meant the option \"delimiter\"."
        );
        let error = one(FileKind::Avro, "header", "true").unwrap_err();
        assert_eq!(
            error.hint().unwrap(),
            "There are no valid options for this format."
        );
    }

    #[test]
    fn values_are_checked() {
        for (name, value) in [
            ("header", "maybe"),
            ("delimiter", "ab"),
            ("delimiter", "é"),
            ("compression", "rar"),
            ("schema_infer_max_rec", "-1"),
        ] {
            assert_eq!(
                one(FileKind::Csv, name, value).unwrap_err().sqlstate(),
                SqlState::INVALID_PARAMETER_VALUE,
                "{name}={value}"
            );
        }
        let twice = [
            ("header".to_owned(), "on".to_owned()),
            ("has_header".to_owned(), "on".to_owned()),
        ];
        assert_eq!(
            canonical(FileKind::Csv, &twice).unwrap_err().sqlstate(),
            SqlState::SYNTAX_ERROR
        );
    }
}

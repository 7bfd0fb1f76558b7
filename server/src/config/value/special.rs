//! Values with a grammar of their own that no other room needs: client_encoding, search_path.
//! (DateStyle and TimeZone are `functions::pg_type`'s.)

use job::{ErrorReport, SqlState};

use super::invalid;

/// Encodings of PostgreSQL that need a conversion we don't have.
const OTHER_ENCODINGS: &[&str] = &[
    "BIG5",
    "EUC_CN",
    "EUC_JP",
    "EUC_KR",
    "EUC_TW",
    "GB18030",
    "GBK",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "JOHAB",
    "KOI8R",
    "KOI8U",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "MULE_INTERNAL",
    "SJIS",
    "SHIFT_JIS_2004",
    "UHC",
    "WIN866",
    "WIN874",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
];

pub(super) fn parse_client_encoding(name: &str, text: &str) -> Result<String, ErrorReport> {
    // PostgreSQL compares encoding names by their letters and digits.
    let squeeze = |s: &str| -> String {
        s.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    match squeeze(text).as_str() {
        "utf8" | "unicode" => return Ok("UTF8".to_owned()),
        "sqlascii" => return Ok("SQL_ASCII".to_owned()),
        wanted => {
            if let Some(known) = OTHER_ENCODINGS.iter().find(|e| squeeze(e) == wanted) {
                return Err(ErrorReport::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("conversion between {known} and UTF8 is not supported"),
                )
                .with_hint("Firesteel speaks UTF8 only; let the client convert."));
            }
        }
    }
    Err(invalid(name, text))
}

pub(super) fn parse_search_path(name: &str, text: &str) -> Result<String, ErrorReport> {
    match split_identifiers(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(invalid(name, text).with_detail("List syntax is invalid.")),
    }
}

/// The identifiers of a comma-separated list: lower case unless quoted. `None` when malformed.
pub fn split_identifiers(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let name = if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next()? {
                    (i, '"') if quoted[i + 1..].starts_with('"') => {
                        name.push('"');
                        chars.next();
                    }
                    (i, '"') => break i + 1,
                    (_, c) => name.push(c),
                }
            };
            rest = &quoted[end..];
            name
        } else {
            let end = rest
                .find(|c: char| c == ',' || c.is_ascii_whitespace())
                .unwrap_or(rest.len());
            if end == 0 || rest[..end].contains('"') {
                return None;
            }
            let name = rest[..end].to_lowercase();
            rest = &rest[end..];
            name
        };
        names.push(name);
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => return Some(names),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_other_than_utf8_are_declined() {
        let parse = |text| parse_client_encoding("client_encoding", text);
        assert_eq!(parse("utf-8").as_deref(), Ok("UTF8"));
        assert_eq!(parse("'UNICODE'").as_deref(), Ok("UTF8"));
        assert_eq!(parse("sql_ascii").as_deref(), Ok("SQL_ASCII"));
        let latin = parse("latin1").expect_err("no conversion");
        assert_eq!(latin.sqlstate, SqlState::FEATURE_NOT_SUPPORTED);
        let unknown = parse("klingon").expect_err("no such encoding");
        assert_eq!(unknown.sqlstate, SqlState::INVALID_PARAMETER_VALUE);
    }

    #[test]
    fn search_paths_are_lists_of_identifiers() {
        let names = |text| split_identifiers(text);
        assert_eq!(
            names("\"$user\", public"),
            Some(vec!["$user".into(), "public".into()])
        );
        assert_eq!(
            names("A, \"B\"\"c\""),
            Some(vec!["a".into(), "B\"c".into()])
        );
        assert_eq!(names(""), Some(vec![]));
        for bad in ["a,", "a b", "\"a", ",a", "a\"b"] {
            assert_eq!(names(bad), None, "{bad}");
        }
    }
}

//! The session settings that decide how values look: plain data, settled before a statement runs.

use std::fmt;

use job::SqlState;

use super::error::{Result, TypeError};
use super::time_zone::TimeZone;

/// Everything a value's text depends on besides the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatSettings {
    pub time_zone: TimeZone,
    pub date_style: DateStyle,
    pub interval_style: IntervalStyle,
    pub bytea_output: ByteaOutput,
    /// -15 to 3; above 0 means the shortest text that reads back as the same float.
    pub extra_float_digits: i32,
}

impl Default for FormatSettings {
    /// PostgreSQL's defaults, in UTC.
    fn default() -> Self {
        Self {
            time_zone: TimeZone::utc(),
            date_style: DateStyle::default(),
            interval_style: IntervalStyle::Postgres,
            bytea_output: ByteaOutput::Hex,
            extra_float_digits: 1,
        }
    }
}

impl FormatSettings {
    /// The settings' names, as `SHOW ALL` spells them.
    pub const NAMES: [&'static str; 5] = [
        "TimeZone",
        "DateStyle",
        "IntervalStyle",
        "bytea_output",
        "extra_float_digits",
    ];

    /// Takes one setting as `SET` would. `false` means that it is not one of ours.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool> {
        if name.eq_ignore_ascii_case("TimeZone") {
            self.time_zone = TimeZone::parse(value)?;
        } else if name.eq_ignore_ascii_case("DateStyle") {
            self.date_style = self.date_style.parse(value)?;
        } else if name.eq_ignore_ascii_case("IntervalStyle") {
            self.interval_style = IntervalStyle::parse(value)?;
        } else if name.eq_ignore_ascii_case("bytea_output") {
            self.bytea_output = ByteaOutput::parse(value)?;
        } else if name.eq_ignore_ascii_case("extra_float_digits") {
            self.extra_float_digits = parse_extra_float_digits(value)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Names and values that [`FormatSettings::set`] takes back: for `SHOW` and for the wire.
    pub fn entries(&self) -> [(&'static str, String); 5] {
        let [zone, date, interval, bytea, float] = Self::NAMES;
        [
            (zone, self.time_zone.name().to_owned()),
            (date, self.date_style.to_string()),
            (interval, self.interval_style.name().to_owned()),
            (bytea, self.bytea_output.name().to_owned()),
            (float, self.extra_float_digits.to_string()),
        ]
    }
}

/// `DateStyle`: how dates are written, and in which order ambiguous input is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateStyle {
    pub output: DateOutput,
    pub order: DateOrder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOutput {
    /// `1997-12-17 07:37:16-08`
    Iso,
    /// `12/17/1997 07:37:16.00 PST`
    Sql,
    /// `Wed Dec 17 07:37:16 1997 PST`
    Postgres,
    /// `17.12.1997 07:37:16.00 PST`
    German,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOrder {
    Ymd,
    Dmy,
    Mdy,
}

impl Default for DateStyle {
    fn default() -> Self {
        Self {
            output: DateOutput::Iso,
            order: DateOrder::Mdy,
        }
    }
}

impl DateStyle {
    /// Takes a list such as `ISO, DMY`; what it leaves out stays as it is here.
    pub fn parse(self, value: &str) -> Result<Self> {
        let invalid = || {
            TypeError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"DateStyle\": \"{value}\""),
            )
        };
        let mut output = None;
        let mut order = None;
        let mut conflict = false;
        for word in value.split(',').map(str::trim) {
            let upper = word.trim_matches('"').to_ascii_uppercase();
            let (new_output, new_order) = match upper.as_str() {
                "ISO" => (Some(DateOutput::Iso), None),
                "SQL" => (Some(DateOutput::Sql), None),
                "GERMAN" => (Some(DateOutput::German), None),
                "YMD" => (None, Some(DateOrder::Ymd)),
                "DMY" => (None, Some(DateOrder::Dmy)),
                "MDY" | "US" => (None, Some(DateOrder::Mdy)),
                "DEFAULT" => {
                    let default = Self::default();
                    output = output.or(Some(default.output));
                    order = order.or(Some(default.order));
                    continue;
                }
                word if word.starts_with("POSTGRES") => (Some(DateOutput::Postgres), None),
                word if word.starts_with("EURO") => (None, Some(DateOrder::Dmy)),
                word if word.starts_with("NONEURO") => (None, Some(DateOrder::Mdy)),
                _ => {
                    return Err(
                        invalid().with_detail(format!("Unrecognized key word: \"{word}\"."))
                    );
                }
            };
            if let Some(new) = new_output {
                conflict |= output.is_some_and(|old| old != new);
                output = Some(new);
            }
            if let Some(new) = new_order {
                conflict |= order.is_some_and(|old| old != new);
                order = Some(new);
            }
        }
        if conflict {
            return Err(invalid().with_detail("Conflicting \"datestyle\" specifications."));
        }
        // German dates are day first unless told otherwise.
        if output == Some(DateOutput::German) && order.is_none() {
            order = Some(DateOrder::Dmy);
        }
        Ok(Self {
            output: output.unwrap_or(self.output),
            order: order.unwrap_or(self.order),
        })
    }
}

impl fmt::Display for DateStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.output {
            DateOutput::Iso => "ISO, ",
            DateOutput::Sql => "SQL, ",
            DateOutput::Postgres => "Postgres, ",
            DateOutput::German => "German, ",
        })?;
        f.write_str(match self.order {
            DateOrder::Ymd => "YMD",
            DateOrder::Dmy => "DMY",
            DateOrder::Mdy => "MDY",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`
    Iso8601,
}

impl IntervalStyle {
    pub const ALL: [Self; 4] = [
        Self::Postgres,
        Self::PostgresVerbose,
        Self::SqlStandard,
        Self::Iso8601,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::PostgresVerbose => "postgres_verbose",
            Self::SqlStandard => "sql_standard",
            Self::Iso8601 => "iso_8601",
        }
    }

    pub fn parse(value: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|style| style.name().eq_ignore_ascii_case(value))
            .ok_or_else(|| {
                invalid_choice(
                    "IntervalStyle",
                    value,
                    "postgres, postgres_verbose, sql_standard, iso_8601",
                )
            })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteaOutput {
    /// `\xdeadbeef`
    Hex,
    /// Printable bytes as they are, the others as `\ooo`.
    Escape,
}

impl ByteaOutput {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Escape => "escape",
        }
    }

    pub fn parse(value: &str) -> Result<Self> {
        [Self::Escape, Self::Hex]
            .into_iter()
            .find(|output| output.name().eq_ignore_ascii_case(value))
            .ok_or_else(|| invalid_choice("bytea_output", value, "escape, hex"))
    }
}

fn invalid_choice(parameter: &str, value: &str, choices: &str) -> TypeError {
    TypeError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{parameter}\": \"{value}\""),
    )
    .with_hint(format!("Available values: {choices}."))
}

fn parse_extra_float_digits(value: &str) -> Result<i32> {
    let digits: i32 = value.trim().parse().map_err(|_| {
        TypeError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"extra_float_digits\": \"{value}\""),
        )
    })?;
    if (-15..=3).contains(&digits) {
        Ok(digits)
    } else {
        Err(TypeError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!(
                "{digits} is outside the valid range for parameter \"extra_float_digits\" (-15 .. 3)"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_taken_back() {
        let mut settings = FormatSettings::default();
        for (name, value) in [
            ("timezone", "Asia/Kolkata"),
            ("datestyle", "German"),
            ("intervalstyle", "ISO_8601"),
            ("bytea_output", "escape"),
            ("extra_float_digits", "-3"),
        ] {
            assert!(settings.set(name, value).unwrap());
        }
        assert_eq!(settings.date_style.to_string(), "German, DMY");
        let mut copy = FormatSettings::default();
        for (name, value) in settings.entries() {
            assert!(copy.set(name, &value).unwrap());
        }
        assert_eq!(copy, settings);
        assert!(!copy.set("work_mem", "1").unwrap());
    }

    #[test]
    fn date_style_keeps_what_is_not_said() {
        let style = DateStyle::default().parse("dmy").unwrap();
        assert_eq!(style.parse("SQL").unwrap().to_string(), "SQL, DMY");
        assert!(style.parse("ISO, SQL").is_err());
        assert!(style.parse("fancy").is_err());
    }

    #[test]
    fn errors_are_postgres() {
        let mut settings = FormatSettings::default();
        let error = settings.set("extra_float_digits", "4").unwrap_err();
        assert_eq!(
            error.to_string(),
            "4 is outside the valid range for parameter \"extra_float_digits\" (-15 .. 3)"
        );
        assert!(settings.set("bytea_output", "base64").is_err());
    }
}

//! Format patterns of `to_char`, `to_date` and `to_timestamp`, taken apart.

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Field(Field, Modifiers),
    Literal(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Modifiers {
    /// FM: no padding.
    pub(super) fill: bool,
    /// TH or th: the ordinal suffix, and whether it is upper case.
    pub(super) ordinal: Option<bool>,
}

/// How letters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    Upper,
    Capitalized,
    Lower,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// AM, PM, with dots or without.
    Meridiem {
        upper: bool,
        dots: bool,
    },
    Era {
        upper: bool,
        dots: bool,
    },
    Century,
    Day(Letters),
    DayShort(Letters),
    DayOfYear,
    IsoDayOfYear,
    DayOfMonth,
    DayOfWeek,
    IsoDayOfWeek,
    /// FF1 to FF6.
    Fraction(u32),
    Hour12,
    Hour24,
    IsoYear(u32),
    IsoWeek,
    Julian,
    Microsecond,
    Millisecond,
    Minute,
    Month,
    MonthName(Letters),
    MonthShort(Letters),
    OffsetHours,
    Quarter,
    Roman(bool),
    Second,
    SecondsOfDay,
    Zone(bool),
    ZoneHour,
    ZoneMinute,
    WeekOfMonth,
    WeekOfYear,
    YearComma,
    Year(u32),
}

use Letters::{Capitalized, Lower, Upper};

/// Longest first among those with a common start.
const FIELDS: &[(&str, Field)] = &[
    (
        "A.D.",
        Field::Era {
            upper: true,
            dots: true,
        },
    ),
    (
        "a.d.",
        Field::Era {
            upper: false,
            dots: true,
        },
    ),
    (
        "A.M.",
        Field::Meridiem {
            upper: true,
            dots: true,
        },
    ),
    (
        "a.m.",
        Field::Meridiem {
            upper: false,
            dots: true,
        },
    ),
    (
        "AD",
        Field::Era {
            upper: true,
            dots: false,
        },
    ),
    (
        "ad",
        Field::Era {
            upper: false,
            dots: false,
        },
    ),
    (
        "AM",
        Field::Meridiem {
            upper: true,
            dots: false,
        },
    ),
    (
        "am",
        Field::Meridiem {
            upper: false,
            dots: false,
        },
    ),
    (
        "B.C.",
        Field::Era {
            upper: true,
            dots: true,
        },
    ),
    (
        "b.c.",
        Field::Era {
            upper: false,
            dots: true,
        },
    ),
    (
        "BC",
        Field::Era {
            upper: true,
            dots: false,
        },
    ),
    (
        "bc",
        Field::Era {
            upper: false,
            dots: false,
        },
    ),
    ("CC", Field::Century),
    ("cc", Field::Century),
    ("DAY", Field::Day(Upper)),
    ("Day", Field::Day(Capitalized)),
    ("day", Field::Day(Lower)),
    ("DDD", Field::DayOfYear),
    ("ddd", Field::DayOfYear),
    ("DD", Field::DayOfMonth),
    ("dd", Field::DayOfMonth),
    ("DY", Field::DayShort(Upper)),
    ("Dy", Field::DayShort(Capitalized)),
    ("dy", Field::DayShort(Lower)),
    ("D", Field::DayOfWeek),
    ("d", Field::DayOfWeek),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("ff1", Field::Fraction(1)),
    ("ff2", Field::Fraction(2)),
    ("ff3", Field::Fraction(3)),
    ("ff4", Field::Fraction(4)),
    ("ff5", Field::Fraction(5)),
    ("ff6", Field::Fraction(6)),
    ("HH24", Field::Hour24),
    ("hh24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("hh12", Field::Hour12),
    ("HH", Field::Hour12),
    ("hh", Field::Hour12),
    ("IDDD", Field::IsoDayOfYear),
    ("iddd", Field::IsoDayOfYear),
    ("ID", Field::IsoDayOfWeek),
    ("id", Field::IsoDayOfWeek),
    ("IW", Field::IsoWeek),
    ("iw", Field::IsoWeek),
    ("IYYY", Field::IsoYear(4)),
    ("iyyy", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("iyy", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("iy", Field::IsoYear(2)),
    ("I", Field::IsoYear(1)),
    ("i", Field::IsoYear(1)),
    ("J", Field::Julian),
    ("j", Field::Julian),
    ("MI", Field::Minute),
    ("mi", Field::Minute),
    ("MM", Field::Month),
    ("mm", Field::Month),
    ("MONTH", Field::MonthName(Upper)),
    ("Month", Field::MonthName(Capitalized)),
    ("month", Field::MonthName(Lower)),
    ("MON", Field::MonthShort(Upper)),
    ("Mon", Field::MonthShort(Capitalized)),
    ("mon", Field::MonthShort(Lower)),
    ("MS", Field::Millisecond),
    ("ms", Field::Millisecond),
    ("OF", Field::OffsetHours),
    ("of", Field::OffsetHours),
    (
        "P.M.",
        Field::Meridiem {
            upper: true,
            dots: true,
        },
    ),
    (
        "p.m.",
        Field::Meridiem {
            upper: false,
            dots: true,
        },
    ),
    (
        "PM",
        Field::Meridiem {
            upper: true,
            dots: false,
        },
    ),
    (
        "pm",
        Field::Meridiem {
            upper: false,
            dots: false,
        },
    ),
    ("Q", Field::Quarter),
    ("q", Field::Quarter),
    ("RM", Field::Roman(true)),
    ("rm", Field::Roman(false)),
    ("SSSSS", Field::SecondsOfDay),
    ("sssss", Field::SecondsOfDay),
    ("SSSS", Field::SecondsOfDay),
    ("ssss", Field::SecondsOfDay),
    ("SS", Field::Second),
    ("ss", Field::Second),
    ("TZH", Field::ZoneHour),
    ("tzh", Field::ZoneHour),
    ("TZM", Field::ZoneMinute),
    ("tzm", Field::ZoneMinute),
    ("TZ", Field::Zone(true)),
    ("tz", Field::Zone(false)),
    ("US", Field::Microsecond),
    ("us", Field::Microsecond),
    ("WW", Field::WeekOfYear),
    ("ww", Field::WeekOfYear),
    ("W", Field::WeekOfMonth),
    ("w", Field::WeekOfMonth),
    ("Y,YYY", Field::YearComma),
    ("y,yyy", Field::YearComma),
    ("YYYY", Field::Year(4)),
    ("yyyy", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("yyy", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("yy", Field::Year(2)),
    ("Y", Field::Year(1)),
    ("y", Field::Year(1)),
];

/// Takes a pattern apart.
pub(super) fn parse(pattern: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = pattern;
    let mut modifiers = Modifiers::default();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            modifiers.fill = true;
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix("FX").or_else(|| rest.strip_prefix("fx")) {
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix("TM").or_else(|| rest.strip_prefix("tm")) {
            // The locale is C: the translated names are the English ones, without padding.
            modifiers.fill = true;
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix('"') {
            let (text, after) = quoted(after);
            push_literal(&mut parts, &text);
            rest = after;
            continue;
        }
        if let Some((name, field)) = FIELDS.iter().find(|(name, _)| rest.starts_with(name)) {
            rest = &rest[name.len()..];
            if let Some(after) = rest.strip_prefix("TH") {
                modifiers.ordinal = Some(true);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("th") {
                modifiers.ordinal = Some(false);
                rest = after;
            }
            parts.push(Part::Field(*field, modifiers));
            modifiers = Modifiers::default();
            continue;
        }
        let mut chars = rest.chars();
        let Some(mut c) = chars.next() else { break };
        // A backslash only escapes a quote.
        if c == '\\'
            && let Some(next) = chars.clone().next()
            && next == '"'
        {
            c = next;
            chars.next();
        }
        push_literal(&mut parts, c.encode_utf8(&mut [0; 4]));
        rest = chars.as_str();
    }
    parts
}

fn quoted(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return (out, chars.as_str()),
            '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    (out, "")
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Literal(literal)) => literal.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

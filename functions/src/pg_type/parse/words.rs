//! The words of date and time literals.

use crate::pg_type::time_zone::TimeZone;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// 1 to 12.
    Month(u32),
    /// Days of the week and `on`: allowed and without effect.
    Ignored,
    Am,
    Pm,
    Ad,
    Bc,
    /// ISO 8601's separator before a time.
    IsoTime,
    /// A Julian day number follows.
    Julian,
    /// Adds an hour to the zone before it.
    Dst,
    Now,
    Today,
    Tomorrow,
    Yesterday,
    Epoch,
    Infinity,
    /// 00:00:00 UTC.
    AllBalls,
    /// An abbreviation for an offset, in seconds east.
    Offset(i32),
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// A month's full name, its first three letters, or `sept`. `word` is in lower case.
pub(super) fn month(word: &str) -> Option<u32> {
    let index = MONTHS
        .iter()
        .position(|name| *name == word || name.get(..3) == Some(word))
        .or_else(|| (word == "sept").then_some(8))?;
    Some(index as u32 + 1)
}

/// The fixed words; `word` is in lower case. Zone abbreviations are [`zone_abbreviation`]'s.
pub(super) fn keyword(word: &str) -> Option<Word> {
    if let Some(month) = month(word) {
        return Some(Word::Month(month));
    }
    if is_weekday(word) {
        return Some(Word::Ignored);
    }
    Some(match word {
        "on" | "at" => Word::Ignored,
        "am" => Word::Am,
        "pm" => Word::Pm,
        "ad" => Word::Ad,
        "bc" => Word::Bc,
        "t" => Word::IsoTime,
        "j" | "jd" | "julian" => Word::Julian,
        "dst" => Word::Dst,
        "now" => Word::Now,
        "today" => Word::Today,
        "tomorrow" => Word::Tomorrow,
        "yesterday" => Word::Yesterday,
        "epoch" => Word::Epoch,
        "infinity" => Word::Infinity,
        "allballs" => Word::AllBalls,
        "z" | "zulu" => Word::Offset(0),
        _ => return None,
    })
}

fn is_weekday(word: &str) -> bool {
    DAYS.iter()
        .any(|name| *name == word || name.get(..3) == Some(word))
        || matches!(word, "tues" | "weds" | "wednes" | "thur" | "thurs")
}

/// PostgreSQL's default abbreviations that stand for one offset, in seconds east.
pub(super) fn zone_abbreviation(word: &str) -> Option<i32> {
    let minutes = match word {
        "utc" | "gmt" | "ut" | "uct" | "wet" | "z" | "zulu" => 0,
        "bst" | "cet" | "west" | "met" | "wetdst" => 60,
        "cest" | "cetdst" | "eet" | "ist" | "mest" | "metdst" | "sast" => 120,
        "eest" | "eetdst" | "idt" | "msk" | "trt" => 180,
        "msd" => 240,
        "irst" => 210,
        "irdt" => 270,
        "aft" => 270,
        "pkt" | "uzt" => 300,
        "npt" => 345,
        "bdt" | "btt" => 360,
        "mmt" => 390,
        "ict" | "wib" => 420,
        "hkt" | "sgt" | "pht" | "myt" | "awst" | "ulat" => 480,
        "jst" | "kst" => 540,
        "acst" | "cast" => 570,
        "aest" => 600,
        "acdt" | "cadt" => 630,
        "aedt" | "aesst" => 660,
        "nzst" | "nzt" => 720,
        "nzdt" => 780,
        "nst" => -210,
        "ndt" => -150,
        "art" | "brt" | "adt" => -180,
        "ast" | "edt" | "bot" => -240,
        "est" | "cdt" | "pet" | "cot" => -300,
        "cst" | "mdt" => -360,
        "mst" | "pdt" => -420,
        "pst" | "akdt" => -480,
        "akst" => -540,
        "hst" => -600,
        _ => return None,
    };
    Some(minutes * 60)
}

/// A zone named in a literal: an IANA name or a POSIX specification.
pub(super) fn zone(word: &str) -> Option<TimeZone> {
    // A bare number is an hour setting, which literals do not have.
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        .then(|| TimeZone::lookup(word))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_and_days_in_both_lengths() {
        assert_eq!(keyword("sept"), Some(Word::Month(9)));
        assert_eq!(keyword("may"), Some(Word::Month(5)));
        assert_eq!(keyword("wed"), Some(Word::Ignored));
        assert_eq!(keyword("janu"), None);
        assert_eq!(zone_abbreviation("aest"), Some(36_000));
        assert_eq!(zone_abbreviation("pst"), Some(-28_800));
    }
}

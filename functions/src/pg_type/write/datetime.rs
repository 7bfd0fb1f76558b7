//! Dates, times and timestamps. Instants are microseconds from 1970, days are days from 1970.

use super::{pair, push_pair};
use crate::pg_type::civil::{
    Civil, DATE_INFINITY, DATE_MAX, DATE_MIN, DATE_MINUS_INFINITY, MICROS_PER_DAY,
    MICROS_PER_SECOND, SECONDS_PER_DAY, TIMESTAMP_END, TIMESTAMP_INFINITY, TIMESTAMP_MIN,
    TIMESTAMP_MINUS_INFINITY, civil_from_days, weekday,
};
use crate::pg_type::error::{Result, TypeError};
use crate::pg_type::settings::{DateOrder, DateOutput, DateStyle};
use crate::pg_type::time_zone::TimeZone;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];

#[inline]
pub fn date(out: &mut Vec<u8>, days: i32, style: DateStyle) -> Result<()> {
    if !(DATE_MIN..=DATE_MAX).contains(&days) {
        return match days {
            DATE_INFINITY => infinity(out, false),
            DATE_MINUS_INFINITY => infinity(out, true),
            _ => Err(TypeError::value_out_of_range("date")),
        };
    }
    let civil = civil_from_days(days);
    match (style.output, style.order) {
        (DateOutput::Iso, _) => iso_date(out, civil),
        (DateOutput::Sql, DateOrder::Dmy) => numbers(out, civil.day, civil.month, civil, b'/'),
        (DateOutput::Sql, DateOrder::Mdy | DateOrder::Ymd) => {
            numbers(out, civil.month, civil.day, civil, b'/');
        }
        (DateOutput::German, _) => numbers(out, civil.day, civil.month, civil, b'.'),
        (DateOutput::Postgres, DateOrder::Dmy) => {
            numbers(out, civil.day, civil.month, civil, b'-');
        }
        (DateOutput::Postgres, DateOrder::Mdy | DateOrder::Ymd) => {
            numbers(out, civil.month, civil.day, civil, b'-');
        }
    }
    era(out, civil);
    Ok(())
}

/// Microseconds of a day; 24:00:00 is a time of day too.
#[inline]
pub fn time(out: &mut Vec<u8>, micros: i64) -> Result<()> {
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return Err(TypeError::value_out_of_range("time"));
    }
    clock(out, micros);
    Ok(())
}

#[inline]
pub fn timestamp(out: &mut Vec<u8>, micros: i64, style: DateStyle) -> Result<()> {
    if !(TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros) {
        return infinity_or_error(out, micros);
    }
    moment(out, micros, style, |_| {});
    Ok(())
}

/// `offset` is the zone's at that instant: the caller may know it without a lookup.
#[inline]
pub fn timestamptz(
    out: &mut Vec<u8>,
    micros: i64,
    offset: i32,
    zone: &TimeZone,
    style: DateStyle,
) -> Result<()> {
    if !(TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros) {
        return infinity_or_error(out, micros);
    }
    let local = micros + i64::from(offset) * MICROS_PER_SECOND;
    moment(out, local, style, |out| match style.output {
        DateOutput::Iso => utc_offset(out, offset),
        DateOutput::Sql | DateOutput::Postgres | DateOutput::German => {
            let seconds = micros.div_euclid(MICROS_PER_SECOND);
            out.push(b' ');
            out.extend_from_slice(zone.abbreviation_at(seconds).as_bytes());
        }
    });
    Ok(())
}

fn infinity_or_error(out: &mut Vec<u8>, micros: i64) -> Result<()> {
    match micros {
        TIMESTAMP_INFINITY => infinity(out, false),
        TIMESTAMP_MINUS_INFINITY => infinity(out, true),
        _ => Err(TypeError::value_out_of_range("timestamp")),
    }
}

fn infinity(out: &mut Vec<u8>, negative: bool) -> Result<()> {
    out.extend_from_slice(if negative { b"-infinity" } else { b"infinity" });
    Ok(())
}

/// Date and time on the local clock, with the zone between them and the era.
#[inline]
fn moment(out: &mut Vec<u8>, local: i64, style: DateStyle, zone: impl FnOnce(&mut Vec<u8>)) {
    let days = local.div_euclid(MICROS_PER_DAY) as i32;
    let micros = local.rem_euclid(MICROS_PER_DAY);
    let civil = civil_from_days(days);
    match style.output {
        DateOutput::Iso => {
            iso_date(out, civil);
            out.push(b' ');
            clock(out, micros);
        }
        DateOutput::Sql => {
            match style.order {
                DateOrder::Dmy => numbers(out, civil.day, civil.month, civil, b'/'),
                DateOrder::Mdy | DateOrder::Ymd => {
                    numbers(out, civil.month, civil.day, civil, b'/');
                }
            }
            out.push(b' ');
            clock(out, micros);
        }
        DateOutput::German => {
            numbers(out, civil.day, civil.month, civil, b'.');
            out.push(b' ');
            clock(out, micros);
        }
        DateOutput::Postgres => {
            out.extend_from_slice(WEEKDAYS[weekday(i64::from(days)) as usize]);
            out.push(b' ');
            let month = MONTHS[(civil.month as usize + 11) % 12];
            match style.order {
                DateOrder::Dmy => {
                    push_pair(out, civil.day);
                    out.push(b' ');
                    out.extend_from_slice(month);
                }
                DateOrder::Mdy | DateOrder::Ymd => {
                    out.extend_from_slice(month);
                    out.push(b' ');
                    push_pair(out, civil.day);
                }
            }
            out.push(b' ');
            clock(out, micros);
            out.push(b' ');
            year(out, civil);
        }
    }
    zone(out);
    era(out, civil);
}

#[inline]
fn iso_date(out: &mut Vec<u8>, civil: Civil) {
    let ([m1, m2], [d1, d2]) = (pair(civil.month), pair(civil.day));
    if let 1..=9999 = civil.year {
        let year = civil.year as u32;
        let ([y1, y2], [y3, y4]) = (pair(year / 100), pair(year % 100));
        out.extend_from_slice(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2]);
    } else {
        year(out, civil);
        out.extend_from_slice(&[b'-', m1, m2, b'-', d1, d2]);
    }
}

/// Two numbers and the year, as the styles that are not ISO have them.
fn numbers(out: &mut Vec<u8>, first: u32, second: u32, civil: Civil, separator: u8) {
    push_pair(out, first);
    out.push(separator);
    push_pair(out, second);
    out.push(separator);
    year(out, civil);
}

/// Four digits or more; year 0 is 1 BC.
fn year(out: &mut Vec<u8>, civil: Civil) {
    let year = if civil.year > 0 {
        civil.year.unsigned_abs()
    } else {
        civil.year.unsigned_abs() + 1
    };
    if year < 10_000 {
        push_pair(out, year / 100);
        push_pair(out, year % 100);
    } else {
        super::number::integer(out, year);
    }
}

#[inline]
fn era(out: &mut Vec<u8>, civil: Civil) {
    if civil.year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// `HH:MM:SS[.ffffff]`, the fraction without trailing zeros.
#[inline]
fn clock(out: &mut Vec<u8>, micros: i64) {
    let seconds = (micros / MICROS_PER_SECOND) as u32;
    let fraction = (micros % MICROS_PER_SECOND) as u32;
    let [h1, h2] = pair(seconds / 3600);
    let [m1, m2] = pair(seconds / 60 % 60);
    let [s1, s2] = pair(seconds % 60);
    out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
    seconds_fraction(out, fraction);
}

/// `.ffffff` without trailing zeros; nothing for zero.
#[inline]
pub(super) fn seconds_fraction(out: &mut Vec<u8>, micros: u32) {
    if micros == 0 {
        return;
    }
    let [f1, f2] = pair(micros / 10_000);
    let [f3, f4] = pair(micros / 100 % 100);
    let [f5, f6] = pair(micros % 100);
    let text = [b'.', f1, f2, f3, f4, f5, f6];
    let zeros = text
        .iter()
        .rev()
        .take_while(|&&digit| digit == b'0')
        .count();
    out.extend_from_slice(&text[..text.len() - zeros]);
}

/// `+05`, `+05:30`, `+05:53:28`.
#[inline]
pub fn utc_offset(out: &mut Vec<u8>, seconds_east: i32) {
    let seconds = seconds_east.unsigned_abs();
    debug_assert!(i64::from(seconds) < 8 * SECONDS_PER_DAY);
    out.push(if seconds_east < 0 { b'-' } else { b'+' });
    let hours = seconds / 3600;
    if hours < 100 {
        push_pair(out, hours);
    } else {
        super::number::integer(out, hours);
    }
    if !seconds.is_multiple_of(3600) {
        out.push(b':');
        push_pair(out, seconds / 60 % 60);
        if !seconds.is_multiple_of(60) {
            out.push(b':');
            push_pair(out, seconds % 60);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text_of;
    use super::*;
    use crate::pg_type::civil::days_from_civil;

    fn style(output: DateOutput, order: DateOrder) -> DateStyle {
        DateStyle { output, order }
    }

    #[test]
    fn dates_in_every_style() {
        let days = days_from_civil(1997, 12, 7) as i32;
        for (output, order, text) in [
            (DateOutput::Iso, DateOrder::Mdy, "1997-12-07"),
            (DateOutput::Sql, DateOrder::Mdy, "12/07/1997"),
            (DateOutput::Sql, DateOrder::Dmy, "07/12/1997"),
            (DateOutput::German, DateOrder::Mdy, "07.12.1997"),
            (DateOutput::Postgres, DateOrder::Mdy, "12-07-1997"),
            (DateOutput::Postgres, DateOrder::Dmy, "07-12-1997"),
        ] {
            let written = text_of(|out| date(out, days, style(output, order)).unwrap());
            assert_eq!(written, text);
        }
    }

    #[test]
    fn far_dates() {
        let write = |days| text_of(|out| date(out, days, DateStyle::default()).unwrap());
        assert_eq!(write(DATE_MIN), "4714-11-24 BC");
        assert_eq!(write(DATE_MAX), "5874897-12-31");
        assert_eq!(write(i32::MAX), "infinity");
        assert_eq!(write(days_from_civil(0, 1, 1) as i32), "0001-01-01 BC");
        assert!(date(&mut Vec::new(), DATE_MAX + 1, DateStyle::default()).is_err());
    }

    #[test]
    fn timestamps_in_every_style() {
        let micros = days_from_civil(1997, 12, 17) * MICROS_PER_DAY + 27_436_120_000;
        for (output, order, text) in [
            (DateOutput::Iso, DateOrder::Mdy, "1997-12-17 07:37:16.12"),
            (DateOutput::Sql, DateOrder::Mdy, "12/17/1997 07:37:16.12"),
            (DateOutput::German, DateOrder::Dmy, "17.12.1997 07:37:16.12"),
            (
                DateOutput::Postgres,
                DateOrder::Mdy,
                "Wed Dec 17 07:37:16.12 1997",
            ),
            (
                DateOutput::Postgres,
                DateOrder::Dmy,
                "Wed 17 Dec 07:37:16.12 1997",
            ),
        ] {
            let written = text_of(|out| timestamp(out, micros, style(output, order)).unwrap());
            assert_eq!(written, text);
        }
    }

    #[test]
    fn offsets() {
        assert_eq!(text_of(|out| utc_offset(out, 0)), "+00");
        assert_eq!(text_of(|out| utc_offset(out, 19_800)), "+05:30");
        assert_eq!(text_of(|out| utc_offset(out, -21_208)), "-05:53:28");
    }
}

//! `extract` and `date_part`: fields of dates, times, timestamps and intervals.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use datafusion::scalar::ScalarValue;

use crate::cast::Context;
use crate::cast::times::{MICROS_PER_DAY, MICROS_PER_SECOND, midnight, to_local};
use crate::error::PgError;
use crate::kit::{Args, Interval, Numeric, Overload, PgFunction, Returns, Ty};
use crate::numeric;
use crate::pg_type::civil::{Civil, civil_from_days, days_from_civil};

const MICROS_PER_HOUR: i64 = 3600 * MICROS_PER_SECOND;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
/// Day zero of the Julian calendar's count, in days before 1970-01-01.
const JULIAN_EPOCH_DAYS: i64 = 2_440_588;

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![extract(), date_part()]
}

/// A field that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Century,
    Day,
    Decade,
    DayOfWeek,
    DayOfYear,
    Epoch,
    Hour,
    IsoDayOfWeek,
    IsoYear,
    Julian,
    Microseconds,
    Millennium,
    Milliseconds,
    Minute,
    Month,
    Quarter,
    Second,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
    Week,
    Year,
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "century" | "centuries" | "cent" | "c" => Self::Century,
            "day" | "days" | "d" => Self::Day,
            "decade" | "decades" | "dec" | "decs" => Self::Decade,
            "dow" => Self::DayOfWeek,
            "doy" => Self::DayOfYear,
            "epoch" => Self::Epoch,
            "hour" | "hours" | "h" | "hr" | "hrs" => Self::Hour,
            "isodow" => Self::IsoDayOfWeek,
            "isoyear" => Self::IsoYear,
            "julian" | "jd" | "j" => Self::Julian,
            "microseconds" | "microsecond" | "us" | "usec" | "usecs" | "usecond" | "useconds" => {
                Self::Microseconds
            }
            "millennium" | "millennia" | "mil" | "mils" => Self::Millennium,
            "milliseconds" | "millisecond" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" => {
                Self::Milliseconds
            }
            "minute" | "minutes" | "m" | "min" | "mins" => Self::Minute,
            "month" | "months" | "mon" | "mons" => Self::Month,
            "quarter" | "qtr" => Self::Quarter,
            "second" | "seconds" | "s" | "sec" | "secs" => Self::Second,
            "timezone" => Self::Timezone,
            "timezone_hour" | "timezone_h" => Self::TimezoneHour,
            "timezone_minute" | "timezone_m" => Self::TimezoneMinute,
            "week" | "weeks" | "w" => Self::Week,
            "year" | "years" | "y" | "yr" | "yrs" => Self::Year,
            _ => return None,
        })
    }

    /// Digits behind the point that `extract` gives for it.
    fn scale(self) -> i8 {
        match self {
            Self::Second | Self::Epoch => 6,
            Self::Milliseconds => 3,
            _ => 0,
        }
    }
}

/// `extract(field from x)`: a numeric.
pub(crate) fn extract() -> Arc<ScalarUDF> {
    PgFunction::stable(
        "extract",
        const {
            &[
                Overload::returning(&[Ty::Text, Ty::Date], EXTRACTED, from_date),
                Overload::returning(&[Ty::Text, Ty::Timestamp], EXTRACTED, from_timestamp),
                Overload::returning(&[Ty::Text, Ty::Timestamptz], EXTRACTED, from_timestamptz),
                Overload::returning(&[Ty::Text, Ty::Interval], EXTRACTED, from_interval),
                Overload::returning(&[Ty::Text, Ty::Time], EXTRACTED, from_time),
            ]
        },
    )
    .udf()
}

/// `date_part(field, x)`: the same as a double.
fn date_part() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(
        PgFunction::stable(
            "date_part",
            const {
                &[
                    Overload::new(&[Ty::Text, Ty::Date], Ty::Float8, from_date),
                    Overload::new(&[Ty::Text, Ty::Timestamp], Ty::Float8, from_timestamp),
                    Overload::new(&[Ty::Text, Ty::Timestamptz], Ty::Float8, from_timestamptz),
                    Overload::new(&[Ty::Text, Ty::Interval], Ty::Float8, from_interval),
                    Overload::new(&[Ty::Text, Ty::Time], Ty::Float8, from_time),
                ]
            },
        )
        .alias("datepart"),
    ))
}

const EXTRACTED: Returns = Returns::Computed(extracted_type);

fn extracted_type(types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let name = constants
        .first()
        .copied()
        .flatten()
        .and_then(|value| value.try_as_str().flatten());
    let scale = match name.and_then(Field::parse) {
        // A date's epoch is whole.
        Some(Field::Epoch) if types.get(1) == Some(&DataType::Date32) => 0,
        Some(Field::Julian) if types.get(1) != Some(&DataType::Date32) => 20,
        Some(field) => field.scale(),
        None => 6,
    };
    Ok(DataType::Decimal128(38, scale))
}

fn whole(value: impl Into<i128>) -> Numeric {
    Numeric::whole(value)
}

fn scaled(value: impl Into<i128>, scale: i8) -> Numeric {
    Numeric::new(value, scale)
}

fn unknown_field(name: &str, type_name: &str) -> PgError {
    PgError::invalid_parameter(format!(
        "unit \"{}\" not recognized for type {type_name}",
        name.to_lowercase()
    ))
}

fn unsupported_field(name: &str, type_name: &str) -> PgError {
    PgError::not_supported(format!(
        "unit \"{}\" not supported for type {type_name}",
        name.to_lowercase()
    ))
}

/// Runs `field` over the rows, giving a numeric or a double as the function asks.
fn each_row(
    args: &Args,
    field: impl Fn(usize, &str) -> Result<Option<Part>, PgError>,
) -> Result<ColumnarValue> {
    let name = args.text(0)?;
    if *args.return_type() == DataType::Float64 {
        return args.rows(|row| match name.get(row) {
            Some(name) => Ok(match field(row, name)? {
                Some(Part::Number(value)) => Some(numeric::to_f64(value)),
                Some(Part::Infinite { negative: true }) => Some(f64::NEG_INFINITY),
                Some(Part::Infinite { negative: false }) => Some(f64::INFINITY),
                None => None,
            }),
            None => Ok(None),
        });
    }
    args.rows(|row| match name.get(row) {
        Some(name) => match field(row, name)? {
            Some(Part::Number(value)) => Ok(Some(value)),
            Some(Part::Infinite { .. }) => {
                Err(PgError::not_supported("numeric infinity is not supported")
                    .with_hint("date_part returns double precision, which has an infinity.")
                    .into())
            }
            None => Ok(None),
        },
        None => Ok(None),
    })
}

/// What a field of a date or timestamp holds.
enum Part {
    Number(Numeric),
    /// A field that grows for ever, of a date or timestamp that lies beyond all others.
    Infinite {
        negative: bool,
    },
}

/// The field of an infinite date or timestamp: those that come round again have no value.
fn of_infinity(
    field: Field,
    negative: bool,
    name: &str,
    type_name: &str,
) -> Result<Option<Part>, PgError> {
    match field {
        Field::Microseconds
        | Field::Milliseconds
        | Field::Second
        | Field::Minute
        | Field::Hour
        | Field::Day
        | Field::Month
        | Field::Quarter
        | Field::Week
        | Field::DayOfWeek
        | Field::IsoDayOfWeek
        | Field::DayOfYear => Ok(None),
        Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute
            if type_name != TIMESTAMPTZ =>
        {
            Err(unsupported_field(name, type_name))
        }
        Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute => Ok(None),
        Field::Year
        | Field::Decade
        | Field::Century
        | Field::Millennium
        | Field::Julian
        | Field::IsoYear
        | Field::Epoch => Ok(Some(Part::Infinite { negative })),
    }
}

const TIMESTAMPTZ: &str = "timestamp with time zone";

fn from_date(args: &Args) -> Result<ColumnarValue> {
    let value = args.date(1)?;
    each_row(args, |row, name| {
        let Some(days) = value.get(row) else {
            return Ok(None);
        };
        let type_name = "date";
        let field = Field::parse(name).ok_or_else(|| unknown_field(name, type_name))?;
        match field {
            Field::Hour
            | Field::Minute
            | Field::Second
            | Field::Milliseconds
            | Field::Microseconds
            | Field::Timezone
            | Field::TimezoneHour
            | Field::TimezoneMinute => Err(unsupported_field(name, type_name)),
            field if days == i32::MAX || days == i32::MIN => {
                of_infinity(field, days == i32::MIN, name, type_name)
            }
            Field::Epoch => Ok(Some(Part::Number(whole(i64::from(days) * 86_400)))),
            field => of_local(midnight(days)?, field, name, type_name),
        }
    })
}

fn from_timestamp(args: &Args) -> Result<ColumnarValue> {
    let value = args.timestamp(1)?;
    each_row(args, |row, name| {
        let Some(local) = value.get(row) else {
            return Ok(None);
        };
        let type_name = "timestamp without time zone";
        let field = Field::parse(name).ok_or_else(|| unknown_field(name, type_name))?;
        of_local(local, field, name, type_name)
    })
}

fn from_timestamptz(args: &Args) -> Result<ColumnarValue> {
    let (value, context) = (args.timestamp(1)?, Context::of(args.config()));
    let zone = &context.settings().time_zone;
    each_row(args, |row, name| {
        let Some(utc) = value.get(row) else {
            return Ok(None);
        };
        let type_name = TIMESTAMPTZ;
        let field = Field::parse(name).ok_or_else(|| unknown_field(name, type_name))?;
        if utc == i64::MAX || utc == i64::MIN {
            return of_infinity(field, utc == i64::MIN, name, type_name);
        }
        let number = |value| Ok(Some(Part::Number(value)));
        let offset = i64::from(zone.offset_at(utc.div_euclid(MICROS_PER_SECOND)));
        match field {
            Field::Timezone => number(whole(offset)),
            Field::TimezoneHour => number(whole(offset / 3600)),
            Field::TimezoneMinute => number(whole(offset % 3600 / 60)),
            Field::Epoch => number(scaled(utc, 6)),
            field => of_local(to_local(zone, utc), field, name, type_name),
        }
    })
}

/// ISO 8601 year and week of a day.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The Thursday of the week decides its year. Day 0 was a Thursday.
    let thursday = (days + 3).div_euclid(7) * 7;
    let civil = civil_from_days(i32::try_from(thursday).unwrap_or(0));
    let year = i64::from(civil.year);
    let first = days_from_civil(year, 1, 1);
    (year, (thursday - first) / 7 + 1)
}

/// Years count from 1 BC as 0 inside; PostgreSQL shows -1 for it.
fn shown_year(year: i64) -> i64 {
    if year <= 0 { year - 1 } else { year }
}

fn century(year: i64, years: i64) -> i64 {
    if year > 0 {
        (year + years - 1) / years
    } else {
        -((years - 1 - (year - 1)) / years)
    }
}

fn of_local(
    local: i64,
    field: Field,
    name: &str,
    type_name: &str,
) -> Result<Option<Part>, PgError> {
    if local == i64::MAX || local == i64::MIN {
        return of_infinity(field, local == i64::MIN, name, type_name);
    }
    let days = local.div_euclid(MICROS_PER_DAY);
    let time = local.rem_euclid(MICROS_PER_DAY);
    let Civil { year, month, day } = civil_from_days(i32::try_from(days).unwrap_or(i32::MAX));
    let year = i64::from(year);
    Ok(Some(Part::Number(match field {
        Field::Century => whole(century(year, 100)),
        Field::Millennium => whole(century(year, 1000)),
        Field::Decade => whole(year.div_euclid(10)),
        Field::Year => whole(shown_year(year)),
        Field::IsoYear => whole(shown_year(iso_week(days).0)),
        Field::Quarter => whole((month - 1) / 3 + 1),
        Field::Month => whole(month),
        Field::Week => whole(iso_week(days).1),
        Field::Day => whole(day),
        Field::DayOfYear => whole(days - days_from_civil(year, 1, 1) + 1),
        Field::DayOfWeek => whole((days + 4).rem_euclid(7)),
        Field::IsoDayOfWeek => whole((days + 3).rem_euclid(7) + 1),
        Field::Julian if time == 0 => whole(days + JULIAN_EPOCH_DAYS),
        Field::Julian => {
            let fraction = numeric::divide(whole(time), whole(MICROS_PER_DAY), 20)?;
            let day = numeric::rescale(whole(days + JULIAN_EPOCH_DAYS), 20)
                .ok_or_else(PgError::numeric_too_long)?;
            Numeric {
                value: day.wrapping_add(fraction.value),
                scale: 20,
            }
        }
        Field::Epoch => scaled(local, 6),
        Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute => {
            return Err(unsupported_field(name, type_name));
        }
        Field::Hour | Field::Minute | Field::Second | Field::Milliseconds | Field::Microseconds => {
            of_time(time, field, name, type_name)?
        }
    })))
}

fn of_time(time: i64, field: Field, name: &str, type_name: &str) -> Result<Numeric, PgError> {
    Ok(match field {
        Field::Hour => whole(time / MICROS_PER_HOUR),
        Field::Minute => whole(time % MICROS_PER_HOUR / MICROS_PER_MINUTE),
        Field::Second => scaled(time % MICROS_PER_MINUTE, 6),
        Field::Milliseconds => scaled(time % MICROS_PER_MINUTE, 3),
        Field::Microseconds => whole(time % MICROS_PER_MINUTE),
        Field::Epoch => scaled(time, 6),
        _ => return Err(unsupported_field(name, type_name)),
    })
}

fn from_time(args: &Args) -> Result<ColumnarValue> {
    let value = args.time(1)?;
    each_row(args, |row, name| {
        let type_name = "time without time zone";
        let Some(time) = value.get(row) else {
            return Ok(None);
        };
        let field = Field::parse(name).ok_or_else(|| unknown_field(name, type_name))?;
        of_time(time, field, name, type_name).map(|value| Some(Part::Number(value)))
    })
}

fn from_interval(args: &Args) -> Result<ColumnarValue> {
    let value = args.interval(1)?;
    each_row(args, |row, name| {
        let Some(interval) = value.get(row) else {
            return Ok(None);
        };
        of_interval(interval, name).map(|value| Some(Part::Number(value)))
    })
}

fn of_interval(interval: Interval, name: &str) -> Result<Numeric, PgError> {
    let type_name = "interval";
    let field = Field::parse(name).ok_or_else(|| unknown_field(name, type_name))?;
    let Interval {
        months,
        days,
        micros,
    } = interval;
    let years = months / 12;
    Ok(match field {
        Field::Millennium => whole(years / 1000),
        Field::Century => whole(years / 100),
        Field::Decade => whole(years / 10),
        Field::Year => whole(years),
        Field::Quarter => whole(months % 12 / 3 + 1),
        Field::Month => whole(months % 12),
        Field::Day => whole(days),
        // A year of intervals is 365.25 days, a month thirty.
        Field::Epoch => {
            let seconds = i128::from(years) * 31_557_600
                + i128::from(months % 12) * 30 * 86_400
                + i128::from(days) * 86_400;
            scaled(
                seconds * i128::from(MICROS_PER_SECOND) + i128::from(micros),
                6,
            )
        }
        Field::Hour | Field::Minute | Field::Second | Field::Milliseconds | Field::Microseconds => {
            of_time(micros, field, name, type_name)?
        }
        _ => return Err(unsupported_field(name, type_name)),
    })
}

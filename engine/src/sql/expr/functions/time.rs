//! Dates and times.

use super::{Declared, function};
use crate::sql::expr::EvalCx;
use crate::types::{
    Datum, Numeric, SqlError, SqlResult, TimeZone, USECS_PER_DAY, date_parts, make_date, now_micros, sqlstate,
};

fn text(d: &Datum) -> &str {
    d.as_str().unwrap_or_default()
}

fn zone<'a>(cx: &'a EvalCx<'_>) -> &'a TimeZone {
    &cx.ctx.session().timezone
}

/// Microseconds of a timestamp or date, on the wall clock.
fn local(d: &Datum, zone: &TimeZone) -> i64 {
    match d {
        Datum::Timestamp(t) => *t,
        Datum::TimestampTz(t) => zone.to_local(*t),
        Datum::Date(d) => i64::from(*d).saturating_mul(USECS_PER_DAY),
        _ => 0,
    }
}

fn unknown_unit(unit: &str, type_name: &str) -> SqlError {
    SqlError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("unit \"{unit}\" not recognized for type {type_name}"),
    )
}

/// A field of a point in time, times a million.
fn field(unit: &str, d: &Datum, zone: &TimeZone) -> SqlResult<(i128, u32)> {
    let us = local(d, zone);
    let days = us.div_euclid(USECS_PER_DAY);
    let time = us.rem_euclid(USECS_PER_DAY);
    let date = i32::try_from(days).unwrap_or(0);
    let (year, month, day) = date_parts(date);
    let whole = |n: i64| Ok((i128::from(n), 0));
    // 2000-01-01 was a Saturday.
    let weekday = (days + 6).rem_euclid(7);
    match unit.to_ascii_lowercase().as_str() {
        "year" | "years" => whole(if year > 0 { year } else { year - 1 }),
        "month" | "months" => whole(i64::from(month)),
        "day" | "days" => whole(i64::from(day)),
        "hour" | "hours" => whole(time / 3_600_000_000),
        "minute" | "minutes" => whole(time / 60_000_000 % 60),
        "second" | "seconds" => Ok((i128::from(time % 60_000_000), 6)),
        "millisecond" | "milliseconds" => Ok((i128::from(time % 60_000_000), 3)),
        "microsecond" | "microseconds" => whole(time % 60_000_000),
        "epoch" => {
            let utc = if let Datum::TimestampTz(t) = d { *t } else { us };
            Ok((i128::from(utc) + 10_957 * i128::from(USECS_PER_DAY), 6))
        }
        "dow" => whole(weekday),
        "isodow" => whole(if weekday == 0 { 7 } else { weekday }),
        "doy" => whole(i64::from(date - make_date(year, 1, 1).unwrap_or(date)) + 1),
        "week" => whole(iso_week(date).1),
        "isoyear" => whole(iso_week(date).0),
        "quarter" => whole((i64::from(month) + 2) / 3),
        "decade" => whole(year.div_euclid(10)),
        "century" => whole((year + 99).div_euclid(100)),
        "timezone" => whole(i64::from(zone.offset_seconds())),
        other => Err(unknown_unit(other, "timestamp")),
    }
}

/// The year and week of ISO 8601: weeks start on Monday, the first has the year's first Thursday.
fn iso_week(date: i32) -> (i64, i64) {
    let thursday = date - (date + 5).rem_euclid(7) + 3;
    let year = date_parts(thursday).0;
    let first = make_date(year, 1, 1).unwrap_or(thursday);
    (year, i64::from(thursday - first) / 7 + 1)
}

fn extract(cx: &EvalCx<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let (value, scale) = field(text(&a[0]), &a[1], zone(cx))?;
    Ok(Datum::numeric(Numeric::from_parts(value, scale)))
}

fn date_part(cx: &EvalCx<'_>, a: &[Datum]) -> SqlResult<Datum> {
    let (value, scale) = field(text(&a[0]), &a[1], zone(cx))?;
    Ok(Datum::Float8(value as f64 / 10f64.powi(scale as i32)))
}

fn truncate(unit: &str, us: i64) -> SqlResult<i64> {
    let date = i32::try_from(us.div_euclid(USECS_PER_DAY)).unwrap_or(0);
    let (year, month, _) = date_parts(date);
    let to = |step: i64| us - us.rem_euclid(step);
    let day = |d: Option<i32>| Ok(i64::from(d.unwrap_or(date)) * USECS_PER_DAY);
    match unit.to_ascii_lowercase().as_str() {
        "microseconds" => Ok(us),
        "milliseconds" => Ok(to(1000)),
        "second" => Ok(to(1_000_000)),
        "minute" => Ok(to(60_000_000)),
        "hour" => Ok(to(3_600_000_000)),
        "day" => Ok(to(USECS_PER_DAY)),
        "week" => day(Some(date - (date + 5).rem_euclid(7))),
        "month" => day(make_date(year, month, 1)),
        "quarter" => day(make_date(year, (month - 1) / 3 * 3 + 1, 1)),
        "year" => day(make_date(year, 1, 1)),
        other => Err(unknown_unit(other, "timestamp")),
    }
}

pub(super) static ALL: &[Declared] = &[
    function!("now", [] -> TIMESTAMPTZ, |cx, _| Ok(Datum::TimestampTz(cx.ctx.transaction_start))),
    function!("transaction_timestamp", [] -> TIMESTAMPTZ, |cx, _| Ok(Datum::TimestampTz(cx.ctx.transaction_start))),
    function!("statement_timestamp", [] -> TIMESTAMPTZ, |cx, _| Ok(Datum::TimestampTz(cx.ctx.statement_start))),
    function!("clock_timestamp", [] -> TIMESTAMPTZ, |_, _| Ok(Datum::TimestampTz(now_micros()))),
    function!("localtimestamp", [] -> TIMESTAMP, |cx, _| {
        Ok(Datum::Timestamp(zone(cx).to_local(cx.ctx.transaction_start)))
    }),
    function!("current_date", [] -> DATE, |cx, _| {
        let days = zone(cx).to_local(cx.ctx.transaction_start).div_euclid(USECS_PER_DAY);
        Ok(Datum::Date(days as i32))
    }),
    function!("extract", [TEXT, TIMESTAMP] -> NUMERIC, extract),
    function!("extract", [TEXT, TIMESTAMPTZ] -> NUMERIC, extract),
    function!("extract", [TEXT, DATE] -> NUMERIC, extract),
    function!("date_part", [TEXT, TIMESTAMP] -> FLOAT8, date_part),
    function!("date_part", [TEXT, TIMESTAMPTZ] -> FLOAT8, date_part),
    function!("date_part", [TEXT, DATE] -> FLOAT8, date_part),
    function!("date_trunc", [TEXT, TIMESTAMP] -> TIMESTAMP, |cx, a| {
        truncate(text(&a[0]), local(&a[1], zone(cx))).map(Datum::Timestamp)
    }),
    function!("date_trunc", [TEXT, TIMESTAMPTZ] -> TIMESTAMPTZ, |cx, a| {
        truncate(text(&a[0]), local(&a[1], zone(cx))).map(|t| Datum::TimestampTz(zone(cx).to_utc(t)))
    }),
    function!("make_date", [INT4, INT4, INT4] -> DATE, |_, a| {
        let part = |n: usize| a[n].as_i64().unwrap_or_default();
        let date = u32::try_from(part(1)).ok().zip(u32::try_from(part(2)).ok());
        date.and_then(|(month, day)| make_date(part(0), month, day))
            .map(Datum::Date)
            .ok_or_else(|| SqlError::new(sqlstate::DATETIME_OVERFLOW, "date field value out of range"))
    }),
    function!("to_timestamp", [FLOAT8] -> TIMESTAMPTZ, |_, a| match &a[0] {
        Datum::Float8(f) if f.is_finite() && f.abs() < 9e12 => {
            Ok(Datum::TimestampTz(crate::types::unix_to_pg_micros((f * 1e6).round() as i64)))
        }
        _ => Err(SqlError::new(sqlstate::DATETIME_OVERFLOW, "timestamp out of range")),
    }),
];

//! Dates and timestamps: the calendar (proleptic Gregorian), ISO text in and out, time zones as fixed offsets.
//!
//! A date is days and a timestamp microseconds since 2000-01-01, as on PostgreSQL's wire; the extreme values of the
//! integer are -infinity and infinity.

use std::fmt::Write;

use super::{SqlError, SqlResult, sqlstate};

/// Microseconds in a day.
pub const USECS_PER_DAY: i64 = 86_400_000_000;
/// 2000-01-01 in days since 1970-01-01.
const EPOCH_DAYS: i64 = 10_957;
/// PostgreSQL's range of timestamps is 4713 BC to 294276 AD.
const MIN_YEAR: i64 = -4712;
const MAX_YEAR: i64 = 294_276;

/// A session's time zone: an offset east of UTC in seconds. Named zones with daylight saving are not implemented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    name: String,
    offset_seconds: i32,
}

impl Default for TimeZone {
    fn default() -> Self {
        TimeZone { name: "UTC".to_owned(), offset_seconds: 0 }
    }
}

impl TimeZone {
    /// Understands UTC under its many names and offsets such as `+02`, `-5:30` and `5` (hours east).
    pub fn parse(name: &str) -> SqlResult<TimeZone> {
        let upper = name.trim().to_ascii_uppercase();
        let utc = [
            "UTC",
            "GMT",
            "ETC/UTC",
            "ETC/GMT",
            "ETC/UCT",
            "UCT",
            "ZULU",
            "Z",
            "UNIVERSAL",
            "ETC/ZULU",
            "DEFAULT",
        ];
        if utc.contains(&upper.as_str()) {
            return Ok(TimeZone { name: name.trim().to_owned(), offset_seconds: 0 });
        }
        let offset = parse_offset(&upper).or_else(|| parse_offset(&format!("+{upper}")));
        offset.map(|offset_seconds| TimeZone { name: name.trim().to_owned(), offset_seconds }).ok_or_else(
            || {
                SqlError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("invalid value for parameter \"TimeZone\": \"{name}\""),
                )
                .hint("UTC and fixed offsets such as +02 or -05:30 are available; named zones are not yet.")
            },
        )
    }

    /// As it was set.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds east of UTC.
    #[must_use]
    pub fn offset_seconds(&self) -> i32 {
        self.offset_seconds
    }

    /// A UTC instant as local wall-clock microseconds.
    #[must_use]
    pub fn to_local(&self, utc: i64) -> i64 {
        if is_infinite(utc) { utc } else { utc.saturating_add(i64::from(self.offset_seconds) * 1_000_000) }
    }

    /// Local wall-clock microseconds as a UTC instant.
    #[must_use]
    pub fn to_utc(&self, local: i64) -> i64 {
        if is_infinite(local) {
            local
        } else {
            local.saturating_sub(i64::from(self.offset_seconds) * 1_000_000)
        }
    }
}

fn is_infinite(us: i64) -> bool {
    us == i64::MAX || us == i64::MIN
}

/// Microseconds since the Unix epoch as microseconds since 2000-01-01.
#[must_use]
pub fn unix_to_pg_micros(unix: i64) -> i64 {
    unix - EPOCH_DAYS * USECS_PER_DAY
}

/// The wall clock, in microseconds since 2000-01-01 UTC.
#[must_use]
pub fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    unix_to_pg_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Days since 1970-01-01 of a date (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let shifted = i64::from((month + 9) % 12);
    let of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse: year, month, day.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month, day of a PostgreSQL date.
pub(crate) fn date_parts(date: i32) -> (i64, u32, u32) {
    civil_from_days(i64::from(date) + EPOCH_DAYS)
}

/// A PostgreSQL date from its parts, if there is such a day.
pub(crate) fn make_date(year: i64, month: u32, day: u32) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    i32::try_from(days_from_civil(year, month, day) - EPOCH_DAYS).ok()
}

/// Writes a date as `2026-11-22`, with ` BC` before year 1.
pub(super) fn write_date(date: i32, out: &mut String) {
    match date {
        i32::MAX => out.push_str("infinity"),
        i32::MIN => out.push_str("-infinity"),
        _ => {
            write_day(i64::from(date), out);
            write_era(i64::from(date), out);
        }
    }
}

fn write_day(date: i64, out: &mut String) {
    let (year, month, day) = civil_from_days(date + EPOCH_DAYS);
    let shown = if year > 0 { year } else { 1 - year };
    // Writing to a String cannot fail.
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}");
}

fn write_era(date: i64, out: &mut String) {
    if civil_from_days(date + EPOCH_DAYS).0 <= 0 {
        out.push_str(" BC");
    }
}

/// Writes a timestamp as `2026-11-22 21:34:00.5`, followed by the zone's offset if there is one.
pub(super) fn write_timestamp(us: i64, zone: Option<&TimeZone>, out: &mut String) {
    match us {
        i64::MAX => return out.push_str("infinity"),
        i64::MIN => return out.push_str("-infinity"),
        _ => {}
    }
    let local = zone.map_or(us, |z| z.to_local(us));
    let (date, time) = (local.div_euclid(USECS_PER_DAY), local.rem_euclid(USECS_PER_DAY));
    write_day(date, out);
    let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
    let _ = write!(out, " {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
    if let Some(zone) = zone {
        write_offset(zone.offset_seconds, out);
    }
    write_era(date, out);
}

fn write_offset(offset: i32, out: &mut String) {
    let sign = if offset < 0 { '-' } else { '+' };
    let o = offset.unsigned_abs();
    let _ = write!(out, "{sign}{:02}", o / 3600);
    if !o.is_multiple_of(3600) {
        let _ = write!(out, ":{:02}", o / 60 % 60);
    }
    if !o.is_multiple_of(60) {
        let _ = write!(out, ":{:02}", o % 60);
    }
}

/// `+02`, `-5:30`, `+0530`, `Z`.
fn parse_offset(text: &str) -> Option<i32> {
    if matches!(text, "Z" | "UTC" | "GMT") {
        return Some(0);
    }
    let negative = match text.as_bytes().first()? {
        b'+' => false,
        b'-' => true,
        _ => return None,
    };
    let rest = &text[1..];
    if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return None;
    }
    let parts: Vec<&str> = rest.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [h] if h.len() == 4 => (h[..2].parse::<i32>().ok()?, h[2..].parse().ok()?, 0),
        [h] => (h.parse().ok()?, 0, 0),
        [h, m] => (h.parse().ok()?, m.parse().ok()?, 0),
        [h, m, s] => (h.parse().ok()?, m.parse().ok()?, s.parse().ok()?),
        _ => return None,
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return None;
    }
    let total = hours * 3600 + minutes * 60 + seconds;
    Some(if negative { -total } else { total })
}

/// What a text says about a point in time.
struct Parsed {
    days: i64,
    time: i64,
    offset: Option<i32>,
}

enum Meaning {
    Point(Parsed),
    Infinity(bool),
    Now,
    Today(i64),
    Epoch,
}

fn invalid(type_name: &str, text: &str) -> SqlError {
    SqlError::new(
        sqlstate::INVALID_DATETIME,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

fn out_of_range(text: &str) -> SqlError {
    SqlError::new(sqlstate::DATETIME_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
}

fn interpret(text: &str, type_name: &str) -> SqlResult<Meaning> {
    let t = text.trim().to_ascii_uppercase();
    match t.as_str() {
        "INFINITY" => return Ok(Meaning::Infinity(true)),
        "-INFINITY" => return Ok(Meaning::Infinity(false)),
        "NOW" => return Ok(Meaning::Now),
        "TODAY" => return Ok(Meaning::Today(0)),
        "TOMORROW" => return Ok(Meaning::Today(1)),
        "YESTERDAY" => return Ok(Meaning::Today(-1)),
        "EPOCH" => return Ok(Meaning::Epoch),
        _ => {}
    }
    let (t, bc) = match t.strip_suffix(" BC") {
        Some(rest) => (rest.to_owned(), true),
        None => (t.strip_suffix(" AD").unwrap_or(&t).to_owned(), false),
    };
    let (date, clock) = match t.find([' ', 'T']) {
        Some(at) => (&t[..at], t[at + 1..].trim_start()),
        None => (t.as_str(), ""),
    };
    let days =
        parse_day(date, bc).ok_or_else(|| invalid(type_name, text))?.ok_or_else(|| out_of_range(text))?;
    let (time, offset) = if clock.is_empty() {
        (0, None)
    } else {
        parse_clock(clock).ok_or_else(|| invalid(type_name, text))?.ok_or_else(|| out_of_range(text))?
    };
    Ok(Meaning::Point(Parsed { days, time, offset }))
}

/// Days since 2000-01-01; the outer `None` is bad syntax, the inner a day that does not exist.
fn parse_day(text: &str, bc: bool) -> Option<Option<i64>> {
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (y, m, d) = if text.len() == 8 && all_digits(text) {
        (&text[..4], &text[4..6], &text[6..])
    } else {
        let separator = if text.contains('/') { '/' } else { '-' };
        let parts: Vec<&str> = text.split(separator).collect();
        let [a, b, c] = parts[..] else { return None };
        // DateStyle ISO, MDY: the year comes first, or last after month and day.
        if a.len() >= 3 { (a, b, c) } else { (c, a, b) }
    };
    if ![y, m, d].into_iter().all(all_digits) || y.len() > 6 || m.len() > 2 || d.len() > 2 {
        return None;
    }
    let year: i64 = y.parse().ok()?;
    let year = if bc { 1 - year } else { year };
    let (month, day) = (m.parse().ok()?, d.parse().ok()?);
    let in_range = (MIN_YEAR..=MAX_YEAR).contains(&year) && (year != 0 || bc);
    Some(if in_range { make_date(year, month, day).map(i64::from) } else { None })
}

/// Microseconds of the day and the offset; the outer `None` is bad syntax, the inner an hour that does not exist.
#[allow(clippy::type_complexity, reason = "the two levels of None are the point")]
fn parse_clock(text: &str) -> Option<Option<(i64, Option<i32>)>> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (clock, zone) = (&text[..end], text[end..].trim());
    let offset = if zone.is_empty() { None } else { Some(parse_offset(zone)?) };
    let mut parts = clock.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let (seconds, micros) = match parts.next() {
        None => (0, 0),
        Some(s) => parse_seconds(s)?,
    };
    if parts.next().is_some() {
        return None;
    }
    let time = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    let ok = hours <= 24 && minutes <= 59 && seconds <= 60 && time <= USECS_PER_DAY;
    Some(ok.then_some((time, offset)))
}

fn parse_seconds(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if fraction.is_empty() {
        return Some((seconds, 0));
    }
    let digits: String = fraction.chars().chain("0000000".chars()).take(7).collect();
    let tenths: i64 = digits.parse().ok()?;
    // Six digits are kept, rounded by the seventh.
    Some((seconds, (tenths + 5) / 10))
}

fn in_range(us: i64, text: &str) -> SqlResult<i64> {
    let year = civil_from_days(us.div_euclid(USECS_PER_DAY) + EPOCH_DAYS).0;
    if (MIN_YEAR..=MAX_YEAR).contains(&year) { Ok(us) } else { Err(out_of_range(text)) }
}

/// Parses a date.
pub(super) fn parse_date(text: &str, zone: &TimeZone) -> SqlResult<i32> {
    let today = || zone.to_local(now_micros()).div_euclid(USECS_PER_DAY);
    let days = match interpret(text, "date")? {
        Meaning::Infinity(up) => return Ok(if up { i32::MAX } else { i32::MIN }),
        Meaning::Point(p) => p.days,
        Meaning::Now => today(),
        Meaning::Today(plus) => today() + plus,
        Meaning::Epoch => -EPOCH_DAYS,
    };
    i32::try_from(days).map_err(|_| out_of_range(text))
}

/// Parses a timestamp; an offset in the text is ignored, as PostgreSQL does.
pub(super) fn parse_timestamp(text: &str, zone: &TimeZone) -> SqlResult<i64> {
    let local = || zone.to_local(now_micros());
    match interpret(text, "timestamp")? {
        Meaning::Infinity(up) => Ok(if up { i64::MAX } else { i64::MIN }),
        Meaning::Point(p) => in_range(p.days * USECS_PER_DAY + p.time, text),
        Meaning::Now => Ok(local()),
        Meaning::Today(plus) => Ok((local().div_euclid(USECS_PER_DAY) + plus) * USECS_PER_DAY),
        Meaning::Epoch => Ok(-EPOCH_DAYS * USECS_PER_DAY),
    }
}

/// Parses a timestamptz; text without an offset is in the session's zone.
pub(super) fn parse_timestamptz(text: &str, zone: &TimeZone) -> SqlResult<i64> {
    match interpret(text, "timestamp with time zone")? {
        Meaning::Point(p) => {
            let local = p.days * USECS_PER_DAY + p.time;
            let utc = match p.offset {
                Some(seconds) => local - i64::from(seconds) * 1_000_000,
                None => zone.to_utc(local),
            };
            in_range(utc, text)
        }
        Meaning::Now => Ok(now_micros()),
        Meaning::Epoch => Ok(-EPOCH_DAYS * USECS_PER_DAY),
        _ => parse_timestamp(text, zone).map(|local| zone.to_utc(local)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(us: i64, zone: Option<&TimeZone>) -> String {
        let mut s = String::new();
        write_timestamp(us, zone, &mut s);
        s
    }

    #[test]
    fn timestamps_are_written_as_postgresql_writes_them() {
        let utc = TimeZone::default();
        assert_eq!(shown(0, None), "2000-01-01 00:00:00");
        assert_eq!(shown(-1, None), "1999-12-31 23:59:59.999999");
        assert_eq!(shown(500_000, Some(&utc)), "2000-01-01 00:00:00.5+00");
        assert_eq!(shown(0, Some(&TimeZone::parse("-5:30").unwrap())), "1999-12-31 18:30:00-05:30");
        assert_eq!(shown(i64::MAX, None), "infinity");
    }

    #[test]
    fn text_comes_back() {
        let utc = TimeZone::default();
        for s in [
            "2026-11-22 21:34:05.123456",
            "0001-01-01 00:00:00",
            "4713-01-01 00:00:00 BC",
            "294276-12-31 23:59:59",
        ] {
            assert_eq!(shown(parse_timestamp(s, &utc).unwrap(), None), s);
        }
        assert_eq!(parse_timestamptz("2000-01-01T02:00:00+02:00", &utc).unwrap(), 0);
        assert_eq!(parse_timestamptz("2000-01-01 00:00:00Z", &utc).unwrap(), 0);
        assert_eq!(parse_date("20000102", &utc).unwrap(), 1);
        assert_eq!(parse_date("1/2/2000", &utc).unwrap(), 1);
        assert_eq!(parse_timestamp("2000-01-01", &utc).unwrap(), 0);
    }

    #[test]
    fn what_is_no_date_is_refused_with_the_right_code() {
        let utc = TimeZone::default();
        let code = |s: &str| parse_timestamp(s, &utc).unwrap_err().sqlstate;
        assert_eq!(code("2026-02-30"), sqlstate::DATETIME_OVERFLOW);
        assert_eq!(code("2026-13-01 00:00"), sqlstate::DATETIME_OVERFLOW);
        assert_eq!(code("2026-01-01 25:00"), sqlstate::DATETIME_OVERFLOW);
        assert_eq!(code("yes"), sqlstate::INVALID_DATETIME);
        assert_eq!(code(""), sqlstate::INVALID_DATETIME);
        assert_eq!(code("2026-01-01 1"), sqlstate::INVALID_DATETIME);
        assert_eq!(code("999999-01-01"), sqlstate::DATETIME_OVERFLOW);
    }

    #[test]
    fn every_day_comes_back() {
        for days in (-2_000_000..2_000_000).step_by(997) {
            let (y, m, d) = civil_from_days(days);
            assert_eq!(days_from_civil(y, m, d), days);
        }
    }
}

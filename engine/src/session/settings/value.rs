//! Checking a value and spelling it as PostgreSQL does.

use std::borrow::Cow;

use super::table::{Kind, Setting};
use crate::session::codes::CANT_CHANGE_PARAMETER;
use crate::types::{SqlError, SqlResult, sqlstate};

fn invalid(setting: &Setting, value: &str) -> SqlError {
    SqlError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{value}\"", setting.name),
    )
}

/// The canonical form of `value`.
pub(super) fn canonical(setting: &Setting, value: &str) -> SqlResult<Cow<'static, str>> {
    match setting.kind {
        Kind::Bool => {
            boolean(value).map(|on| Cow::Borrowed(if on { "on" } else { "off" })).ok_or_else(|| {
                SqlError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("parameter \"{}\" requires a Boolean value", setting.name),
                )
            })
        }
        Kind::Int(min, max) => integer(setting, value, min, max),
        Kind::Real(min, max) => real(setting, value, min, max),
        Kind::Millis => {
            millis(value).map(|ms| spell(ms, MILLIS).into()).ok_or_else(|| invalid(setting, value))
        }
        Kind::KiloBytes => {
            kilobytes(value).map(|kb| spell(kb, KILOBYTES).into()).ok_or_else(|| invalid(setting, value))
        }
        Kind::Word(words) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(value) || boolean_word(word, value))
            .map(|word| Cow::Borrowed(*word))
            .ok_or_else(|| unavailable(setting, value, words)),
        Kind::Text => Ok(Cow::Owned(value.to_owned())),
        Kind::Encoding => encoding(setting, value),
        Kind::DateStyle => date_style(setting, value),
        Kind::TimeZone => time_zone(setting, value),
        Kind::Fixed => Err(SqlError::new(
            CANT_CHANGE_PARAMETER,
            format!("parameter \"{}\" cannot be changed", setting.name),
        )),
    }
}

fn unavailable(setting: &Setting, value: &str, words: &[&str]) -> SqlError {
    let known: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    invalid(setting, value).hint(format!("Available values: {}.", known.join(", ")))
}

fn boolean(value: &str) -> Option<bool> {
    let value = value.trim().to_ascii_lowercase();
    match value.as_str() {
        "on" | "1" => Some(true),
        "off" | "of" | "0" => Some(false),
        "" => None,
        prefix if "true".starts_with(prefix) || "yes".starts_with(prefix) => Some(true),
        prefix if "false".starts_with(prefix) || "no".starts_with(prefix) => Some(false),
        _ => None,
    }
}

fn boolean_word(word: &str, value: &str) -> bool {
    matches!(word, "on" | "off") && boolean(value) == Some(word == "on")
}

fn integer(setting: &Setting, value: &str, min: i64, max: i64) -> SqlResult<Cow<'static, str>> {
    let number: i64 = value.trim().parse().map_err(|_| invalid(setting, value))?;
    in_range(setting, number, min, max)
}

fn real(setting: &Setting, value: &str, min: f64, max: f64) -> SqlResult<Cow<'static, str>> {
    let number: f64 = value.trim().parse().map_err(|_| invalid(setting, value))?;
    in_range(setting, number, min, max)
}

fn in_range<T: PartialOrd + std::fmt::Display + Copy>(
    setting: &Setting,
    number: T,
    min: T,
    max: T,
) -> SqlResult<Cow<'static, str>> {
    if !(min..=max).contains(&number) {
        return Err(SqlError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!(
                "{number} is outside the valid range for parameter \"{}\" ({min} .. {max})",
                setting.name
            ),
        ));
    }
    Ok(Cow::Owned(number.to_string()))
}

type Units = &'static [(&'static str, i64)];
const MILLIS: Units = &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
const KILOBYTES: Units = &[("TB", 1 << 30), ("GB", 1 << 20), ("MB", 1 << 10), ("kB", 1)];

fn with_unit(value: &str, units: Units) -> Option<i64> {
    let value = value.trim();
    let split = value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len());
    let (number, unit) = (value[..split].trim(), value[split..].trim());
    let factor = match unit {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    let total = number.parse::<i64>().ok()?.checked_mul(factor)?;
    (0..=i64::from(i32::MAX)).contains(&total).then_some(total)
}

/// Milliseconds of a timeout.
pub(super) fn millis(value: &str) -> Option<i64> {
    with_unit(value, MILLIS)
}

fn kilobytes(value: &str) -> Option<i64> {
    with_unit(value, KILOBYTES).filter(|kb| *kb >= 64)
}

fn spell(value: i64, units: Units) -> String {
    match units.iter().find(|(_, factor)| value != 0 && value % factor == 0) {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => value.to_string(),
    }
}

fn encoding(setting: &Setting, value: &str) -> SqlResult<Cow<'static, str>> {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" => Ok(Cow::Borrowed("UTF8")),
        _ => Err(invalid(setting, value).hint("Only UTF8 is spoken here.")),
    }
}

fn date_style(setting: &Setting, value: &str) -> SqlResult<Cow<'static, str>> {
    for word in value.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "iso" | "mdy" | "us" | "noneuro" | "noneuropean" | "default" => {}
            _ => return Err(invalid(setting, value).hint("Only ISO with order MDY is spoken here.")),
        }
    }
    Ok(Cow::Borrowed("ISO, MDY"))
}

fn time_zone(setting: &Setting, value: &str) -> SqlResult<Cow<'static, str>> {
    super::zone_of(value).map(|_| Cow::Owned(value.trim().to_owned())).ok_or_else(|| invalid(setting, value))
}

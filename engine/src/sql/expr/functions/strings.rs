//! Strings. Lengths and positions count characters.

use super::{Declared, function};
use crate::types::{Datum, SqlError, SqlResult, SqlType, TimeZone, sqlstate, text_of, trim_blanks};

/// Longest string that a function makes: PostgreSQL's limit of a value.
const BYTES_MAX: usize = 1 << 30;

fn text(d: &Datum) -> &str {
    d.as_str().unwrap_or_default()
}

fn int(d: &Datum) -> i64 {
    d.as_i64().unwrap_or_default()
}

fn number(n: usize) -> SqlResult<Datum> {
    i32::try_from(n).map(Datum::Int4).map_err(|_| SqlError::out_of_range("integer"))
}

fn trimmed(s: &str, set: &str, start: bool, end: bool) -> Datum {
    let in_set = |c: char| set.contains(c);
    let s = if start { s.trim_start_matches(in_set) } else { s };
    let s = if end { s.trim_end_matches(in_set) } else { s };
    Datum::text(s)
}

/// substring(s from start for len): positions before the string count.
fn substring(s: &str, start: i64, len: Option<i64>) -> SqlResult<Datum> {
    let end = match len {
        None => i64::MAX,
        Some(n) if n < 0 => {
            let message = "negative substring length not allowed";
            return Err(SqlError::new("22011", message));
        }
        Some(n) => start.saturating_add(n),
    };
    let skip = (start.max(1) - 1) as usize;
    let take = end.saturating_sub(start.max(1)).max(0) as usize;
    Ok(Datum::text(s.chars().skip(skip).take(take).collect::<String>()))
}

/// 1-based position, 0 when absent.
fn position(s: &str, what: &str) -> usize {
    s.find(what).map_or(0, |at| s[..at].chars().count() + 1)
}

fn left(s: &str, n: i64) -> Datum {
    let count = s.chars().count() as i64;
    let keep = if n < 0 { (count + n).max(0) } else { n };
    Datum::text(s.chars().take(keep as usize).collect::<String>())
}

fn right(s: &str, n: i64) -> Datum {
    let count = s.chars().count() as i64;
    let skip = if n < 0 { -n } else { (count - n).max(0) };
    Datum::text(s.chars().skip(skip as usize).collect::<String>())
}

fn bounded(bytes: usize) -> SqlResult<()> {
    if bytes > BYTES_MAX {
        return Err(SqlError::new(sqlstate::PROGRAM_LIMIT, "requested length too large"));
    }
    Ok(())
}

fn pad(s: &str, len: i64, fill: &str, at_left: bool) -> SqlResult<Datum> {
    let len = len.max(0) as usize;
    bounded(len.saturating_mul(4))?;
    let count = s.chars().count();
    if count >= len || fill.is_empty() {
        return Ok(Datum::text(s.chars().take(len).collect::<String>()));
    }
    let padding: String = fill.chars().cycle().take(len - count).collect();
    Ok(Datum::text(if at_left { padding + s } else { s.to_owned() + &padding }))
}

fn shown(d: &Datum) -> String {
    match d {
        // concat() and format() use the output functions, where boolean is "t".
        Datum::Text(s) => s.to_string(),
        other => text_of(other, SqlType::TEXT, &TimeZone::default()),
    }
}

fn initcap(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut inside = false;
    for c in s.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric();
    }
    out
}

fn quote_ident(s: &str) -> String {
    let plain = s
        .chars()
        .enumerate()
        .all(|(n, c)| c == '_' || c.is_ascii_lowercase() || (n > 0 && (c.is_ascii_digit() || c == '$')));
    if plain && !s.is_empty() { s.to_owned() } else { format!("\"{}\"", s.replace('"', "\"\"")) }
}

fn split_part(s: &str, by: &str, n: i64) -> SqlResult<Datum> {
    if n == 0 {
        let message = "field position must not be zero";
        return Err(SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    let parts: Vec<&str> = if by.is_empty() { vec![s] } else { s.split(by).collect() };
    let at = if n > 0 { n - 1 } else { parts.len() as i64 + n };
    let part = usize::try_from(at).ok().and_then(|at| parts.get(at));
    Ok(Datum::text(part.copied().unwrap_or_default()))
}

pub(super) static ALL: &[Declared] = &[
    function!("length", [TEXT] -> INT4, |_, a| number(text(&a[0]).chars().count())),
    function!("length", [BPCHAR] -> INT4, |_, a| number(trim_blanks(text(&a[0])).chars().count())),
    function!("char_length", [TEXT] -> INT4, |_, a| number(text(&a[0]).chars().count())),
    function!("char_length", [BPCHAR] -> INT4, |_, a| number(trim_blanks(text(&a[0])).chars().count())),
    function!("character_length", [TEXT] -> INT4, |_, a| number(text(&a[0]).chars().count())),
    function!("character_length", [BPCHAR] -> INT4, |_, a| number(trim_blanks(text(&a[0])).chars().count())),
    function!("length", [BYTEA] -> INT4, |_, a| match &a[0] {
        Datum::Bytea(b) => number(b.len()),
        _ => number(0),
    }),
    function!("octet_length", [TEXT] -> INT4, |_, a| number(text(&a[0]).len())),
    function!("octet_length", [BPCHAR] -> INT4, |_, a| number(text(&a[0]).len())),
    function!("octet_length", [BYTEA] -> INT4, |_, a| match &a[0] {
        Datum::Bytea(b) => number(b.len()),
        _ => number(0),
    }),
    function!("bit_length", [TEXT] -> INT4, |_, a| number(8 * text(&a[0]).len())),
    function!("lower", [TEXT] -> TEXT, |_, a| Ok(Datum::text(text(&a[0]).to_lowercase()))),
    function!("upper", [TEXT] -> TEXT, |_, a| Ok(Datum::text(text(&a[0]).to_uppercase()))),
    function!("initcap", [TEXT] -> TEXT, |_, a| Ok(Datum::text(initcap(text(&a[0]))))),
    function!("btrim", [TEXT] -> TEXT, |_, a| Ok(trimmed(text(&a[0]), " ", true, true))),
    function!("btrim", [TEXT, TEXT] -> TEXT, |_, a| Ok(trimmed(text(&a[0]), text(&a[1]), true, true))),
    function!("ltrim", [TEXT] -> TEXT, |_, a| Ok(trimmed(text(&a[0]), " ", true, false))),
    function!("ltrim", [TEXT, TEXT] -> TEXT, |_, a| Ok(trimmed(text(&a[0]), text(&a[1]), true, false))),
    function!("rtrim", [TEXT] -> TEXT, |_, a| Ok(trimmed(text(&a[0]), " ", false, true))),
    function!("rtrim", [TEXT, TEXT] -> TEXT, |_, a| Ok(trimmed(text(&a[0]), text(&a[1]), false, true))),
    function!("substring", [TEXT, INT4] -> TEXT, |_, a| substring(text(&a[0]), int(&a[1]), None)),
    function!("substring", [TEXT, INT4, INT4] -> TEXT, |_, a| substring(text(&a[0]), int(&a[1]), Some(int(&a[2])))),
    function!("substr", [TEXT, INT4] -> TEXT, |_, a| substring(text(&a[0]), int(&a[1]), None)),
    function!("substr", [TEXT, INT4, INT4] -> TEXT, |_, a| substring(text(&a[0]), int(&a[1]), Some(int(&a[2])))),
    function!("strpos", [TEXT, TEXT] -> INT4, |_, a| number(position(text(&a[0]), text(&a[1])))),
    function!("replace", [TEXT, TEXT, TEXT] -> TEXT, |_, a| {
        let (s, from, to) = (text(&a[0]), text(&a[1]), text(&a[2]));
        if from.is_empty() {
            return Ok(Datum::text(s));
        }
        bounded(s.len().saturating_add(s.matches(from).count().saturating_mul(to.len())))?;
        Ok(Datum::text(s.replace(from, to)))
    }),
    function!("left", [TEXT, INT4] -> TEXT, |_, a| Ok(left(text(&a[0]), int(&a[1])))),
    function!("right", [TEXT, INT4] -> TEXT, |_, a| Ok(right(text(&a[0]), int(&a[1])))),
    function!("lpad", [TEXT, INT4] -> TEXT, |_, a| pad(text(&a[0]), int(&a[1]), " ", true)),
    function!("lpad", [TEXT, INT4, TEXT] -> TEXT, |_, a| pad(text(&a[0]), int(&a[1]), text(&a[2]), true)),
    function!("rpad", [TEXT, INT4] -> TEXT, |_, a| pad(text(&a[0]), int(&a[1]), " ", false)),
    function!("rpad", [TEXT, INT4, TEXT] -> TEXT, |_, a| pad(text(&a[0]), int(&a[1]), text(&a[2]), false)),
    function!("repeat", [TEXT, INT4] -> TEXT, |_, a| {
        let times = int(&a[1]).max(0) as usize;
        bounded(text(&a[0]).len().saturating_mul(times))?;
        Ok(Datum::text(text(&a[0]).repeat(times)))
    }),
    function!("reverse", [TEXT] -> TEXT, |_, a| Ok(Datum::text(text(&a[0]).chars().rev().collect::<String>()))),
    function!("ascii", [TEXT] -> INT4, |_, a| Ok(Datum::Int4(text(&a[0]).chars().next().map_or(0, |c| c as i32)))),
    function!("chr", [INT4] -> TEXT, |_, a| {
        if int(&a[0]) == 0 {
            return Err(SqlError::new(sqlstate::PROGRAM_LIMIT, "null character not permitted"));
        }
        let c = u32::try_from(int(&a[0])).ok().filter(|n| *n != 0).and_then(char::from_u32);
        c.map(|c| Datum::text(c.to_string())).ok_or_else(|| {
            SqlError::new(sqlstate::PROGRAM_LIMIT, format!("requested character not valid for encoding: {}", int(&a[0])))
        })
    }),
    function!("starts_with", [TEXT, TEXT] -> BOOL, |_, a| Ok(Datum::Bool(text(&a[0]).starts_with(text(&a[1]))))),
    function!("split_part", [TEXT, TEXT, INT4] -> TEXT, |_, a| split_part(text(&a[0]), text(&a[1]), int(&a[2]))),
    function!("quote_ident", [TEXT] -> TEXT, |_, a| Ok(Datum::text(quote_ident(text(&a[0]))))),
    function!("quote_literal", [TEXT] -> TEXT, |_, a| {
        let s = text(&a[0]);
        let prefix = if s.contains('\\') { "E" } else { "" };
        Ok(Datum::text(format!("{prefix}'{}'", s.replace('\\', "\\\\").replace('\'', "''"))))
    }),
    function!("to_hex", [INT8] -> TEXT, |_, a| Ok(Datum::text(format!("{:x}", int(&a[0]))))),
    function!("concat", variadic [VOID] -> TEXT, |_, a| {
        Ok(Datum::text(a.iter().map(shown).collect::<String>()))
    }),
    function!("concat_ws", variadic [TEXT, VOID] -> TEXT, |_, a| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let parts: Vec<String> = a[1..].iter().filter(|d| !d.is_null()).map(shown).collect();
        Ok(Datum::text(parts.join(text(&a[0]))))
    }),
];

//! Values as text: what the simple protocol, COPY, literals and casts read and write.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::{Datum, Numeric, SqlError, SqlResult, SqlType, TimeZone, datetime, oids, sqlstate};

/// Appends the text form of a value that is not NULL, timestamps with time zone in UTC.
pub fn encode_text(datum: &Datum, ty: SqlType, out: &mut BytesMut) {
    encode_text_in(datum, ty, &TimeZone::default(), out);
}

/// Appends the text form of a value, timestamps with time zone in `zone`. NULL appends nothing: the protocol says
/// NULL by a length.
pub fn encode_text_in(datum: &Datum, ty: SqlType, zone: &TimeZone, out: &mut BytesMut) {
    match datum {
        // The two that results are full of, without a String between.
        Datum::Text(s) => out.put_slice(s.as_bytes()),
        Datum::Int4(n) => put_integer(i64::from(*n), out),
        Datum::Int8(n) => put_integer(*n, out),
        _ => out.put_slice(text_of(datum, ty, zone).as_bytes()),
    }
}

fn put_integer(n: i64, out: &mut BytesMut) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = n.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        out.put_u8(b'-');
    }
    out.put_slice(&digits[at..]);
}

/// The text form as a string; empty for NULL.
#[must_use]
pub fn text_of(datum: &Datum, _ty: SqlType, zone: &TimeZone) -> String {
    let mut s = String::new();
    match datum {
        Datum::Null => {}
        Datum::Bool(b) => s.push(if *b { 't' } else { 'f' }),
        Datum::Int2(n) => s = n.to_string(),
        Datum::Int4(n) => s = n.to_string(),
        Datum::Int8(n) => s = n.to_string(),
        Datum::Oid(n) => s = n.to_string(),
        Datum::Float4(f) => s = float_text(f64::from(*f), || format!("{f:e}"), 6),
        Datum::Float8(f) => s = float_text(*f, || format!("{f:e}"), 15),
        Datum::Text(t) => s.push_str(t),
        Datum::Enum(label) => s.push_str(&label.name),
        Datum::Bytea(b) => {
            s.push_str("\\x");
            for byte in b.iter() {
                // Writing to a String cannot fail.
                let _ = write!(s, "{byte:02x}");
            }
        }
        Datum::Date(d) => datetime::write_date(*d, &mut s),
        Datum::Timestamp(t) => datetime::write_timestamp(*t, None, &mut s),
        Datum::TimestampTz(t) => datetime::write_timestamp(*t, Some(zone), &mut s),
        Datum::Numeric(n) => s = n.to_string(),
        Datum::Large(_) => s.push_str("..."),
    }
    s
}

/// Shortest digits that read back, plain between 1e-4 and 10^digits, else with an exponent of at least two digits
/// (PostgreSQL since 12, extra_float_digits = 1).
fn float_text(f: f64, scientific: impl Fn() -> String, plain_digits: i32) -> String {
    if f.is_nan() {
        return "NaN".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if f == 0.0 {
        return if f.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let text = scientific();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if !(-4..plain_digits).contains(&exponent) {
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{exponent_sign}{:02}", exponent.abs());
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        format!("{sign}{digits}{}", "0".repeat(whole - digits.len()))
    } else {
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    }
}

/// Reads a value from its text form, as the type's input function does; `zone` is for timestamps without an offset.
pub fn decode_text(text: &str, ty: SqlType, zone: &TimeZone) -> SqlResult<Datum> {
    Ok(match ty.oid {
        oids::BOOL => Datum::Bool(parse_bool(text)?),
        oids::INT2 => Datum::Int2(parse_integer(text, "smallint")?),
        oids::INT4 => Datum::Int4(parse_integer(text, "integer")?),
        oids::INT8 => Datum::Int8(parse_integer(text, "bigint")?),
        oids::OID | oids::REGCLASS | oids::REGPROC | oids::REGTYPE => Datum::Oid(parse_oid(text)?),
        oids::FLOAT4 => Datum::Float4(parse_float4(text)?),
        oids::FLOAT8 => Datum::Float8(parse_float8(text)?),
        oids::NUMERIC => {
            let n = Numeric::parse(text)?;
            Datum::numeric(match ty.precision() {
                Some((p, s)) => n.fit(p, s)?,
                None => n,
            })
        }
        oids::TEXT | oids::UNKNOWN | oids::INT2VECTOR => Datum::text(text),
        oids::VARCHAR | oids::BPCHAR => coerce_length(Datum::text(text), ty, false)?,
        oids::NAME => Datum::text(truncated(text, 63)),
        oids::CHAR => Datum::text(truncated(text, 1)),
        oids::BYTEA => Datum::Bytea(parse_bytea(text)?.into()),
        oids::DATE => Datum::Date(datetime::parse_date(text, zone)?),
        oids::TIMESTAMP => Datum::Timestamp(datetime::parse_timestamp(text, zone)?),
        oids::TIMESTAMPTZ => Datum::TimestampTz(datetime::parse_timestamptz(text, zone)?),
        oids::VOID => Datum::Null,
        _ => return Err(SqlError::unsupported(format!("text input for type {}", ty.name()))),
    })
}

/// The longest prefix of at most so many bytes that ends at a character.
fn truncated(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Applies the length of `varchar(n)` and `char(n)`: pads char(n) with blanks; what is too long loses blanks at its
/// end, else it is 22001, unless the cast is explicit, which cuts (SQL:2016 6.13). Other types are left alone.
pub fn coerce_length(datum: Datum, ty: SqlType, explicit: bool) -> SqlResult<Datum> {
    let (Datum::Text(s), Some(limit)) = (&datum, ty.max_characters()) else {
        return Ok(datum);
    };
    // A string has at most as many characters as bytes, so most fit without counting.
    if s.len() <= limit && (ty.oid == oids::VARCHAR || (s.len() == limit && s.is_ascii())) {
        return Ok(datum);
    }
    let count = characters(s);
    if count > limit {
        let end = s.char_indices().nth(limit).map_or(s.len(), |(at, _)| at);
        if !explicit && s[end..].bytes().any(|b| b != b' ') {
            return Err(SqlError::new(
                sqlstate::STRING_TOO_LONG,
                format!("value too long for type {}", ty.spelled()),
            ));
        }
        return Ok(Datum::text(&s[..end]));
    }
    if ty.oid == oids::BPCHAR && count < limit {
        return Ok(Datum::text(padded(s, limit - count)));
    }
    Ok(datum)
}

/// The number of characters; most strings need no counting.
fn characters(s: &str) -> usize {
    if s.is_ascii() { s.len() } else { s.chars().count() }
}

/// A string with so many blanks behind it.
fn padded(s: &str, blanks: usize) -> String {
    const BLANKS: &str = "                                ";
    let mut padded = String::with_capacity(s.len() + blanks);
    padded.push_str(s);
    for at in (0..blanks).step_by(BLANKS.len()) {
        padded.push_str(&BLANKS[..BLANKS.len().min(blanks - at)]);
    }
    padded
}

/// A string as char(n) is stored, without its trailing blanks, as it is shown: with them.
pub(crate) fn pad_stored(stored: &str, ty: SqlType) -> Datum {
    let count = characters(stored);
    match ty.max_characters() {
        Some(limit) if count < limit => Datum::text(padded(stored, limit - count)),
        _ => Datum::text(stored),
    }
}

fn parse_bool(text: &str) -> SqlResult<bool> {
    let t = text.trim().to_ascii_lowercase();
    let is_prefix = |word: &str, at_least: usize| t.len() >= at_least && word.starts_with(&t);
    if t == "1" || t == "on" || is_prefix("true", 1) || is_prefix("yes", 1) {
        return Ok(true);
    }
    if t == "0" || is_prefix("off", 2) || is_prefix("false", 1) || is_prefix("no", 1) {
        return Ok(false);
    }
    Err(SqlError::invalid_text("boolean", text))
}

fn parse_integer<T: TryFrom<i64>>(text: &str, type_name: &str) -> SqlResult<T> {
    let too_big = || {
        SqlError::new(
            sqlstate::NUMERIC_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    };
    let t = text.trim();
    match t.parse::<i64>() {
        Ok(n) => T::try_from(n).map_err(|_| too_big()),
        Err(e) => match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => Err(too_big()),
            _ => Err(SqlError::invalid_text(type_name, text)),
        },
    }
}

fn parse_oid(text: &str) -> SqlResult<u32> {
    let n: i64 = parse_integer(text, "oid")?;
    let wrapped = i32::try_from(n).ok().map(|n| n as u32);
    // oidin takes negative numbers of 32 bits, as strtoul does.
    u32::try_from(n).ok().or(wrapped).ok_or_else(|| {
        SqlError::new(
            sqlstate::NUMERIC_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type oid"),
        )
    })
}

fn float_syntax(text: &str, type_name: &str) -> SqlResult<f64> {
    let t = text.trim();
    let lower = t.to_ascii_lowercase();
    match lower.trim_start_matches(['+', '-']) {
        "nan" => return Ok(f64::NAN),
        "inf" | "infinity" => {
            return Ok(if lower.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        _ => {}
    }
    t.parse().map_err(|_| SqlError::invalid_text(type_name, text))
}

fn float_range(text: &str, type_name: &str) -> SqlError {
    SqlError::new(
        sqlstate::NUMERIC_OUT_OF_RANGE,
        format!("\"{}\" is out of range for type {type_name}", text.trim()),
    )
}

fn names_infinity(text: &str) -> bool {
    text.to_ascii_lowercase().contains("inf")
}

/// True if the digits before an exponent are not all zero: a zero result then is an underflow.
fn has_digits(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

fn parse_float8(text: &str) -> SqlResult<f64> {
    let f = float_syntax(text, "double precision")?;
    if (f.is_infinite() && !names_infinity(text)) || (f == 0.0 && has_digits(text)) {
        return Err(float_range(text, "double precision"));
    }
    Ok(f)
}

fn parse_float4(text: &str) -> SqlResult<f32> {
    let wide = float_syntax(text, "real")?;
    let f: f32 = if wide.is_finite() {
        text.trim().parse().map_err(|_| SqlError::invalid_text("real", text))?
    } else {
        wide as f32
    };
    if (f.is_infinite() && !names_infinity(text)) || (f == 0.0 && has_digits(text)) {
        return Err(float_range(text, "real"));
    }
    Ok(f)
}

fn parse_bytea(text: &str) -> SqlResult<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        return parse_hex(hex);
    }
    let bad = || SqlError::invalid_text("bytea", text);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        if b != b'\\' {
            bytes.push(b);
            rest = tail;
        } else if tail.first() == Some(&b'\\') {
            bytes.push(b'\\');
            rest = &tail[1..];
        } else {
            let octal = tail.get(..3).ok_or_else(bad)?;
            let octal = std::str::from_utf8(octal).map_err(|_| bad())?;
            bytes.push(u8::from_str_radix(octal, 8).map_err(|_| bad())?);
            rest = &tail[3..];
        }
    }
    Ok(bytes)
}

fn parse_hex(hex: &str) -> SqlResult<Vec<u8>> {
    let code = |message: String| SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message);
    let mut bytes = Vec::with_capacity(hex.len() / 2);
    let mut high: Option<u8> = None;
    for c in hex.chars().filter(|c| !c.is_ascii_whitespace()) {
        let digit = c.to_digit(16).ok_or_else(|| code(format!("invalid hexadecimal digit: \"{c}\"")))? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(h) => bytes.push(h << 4 | digit),
        }
    }
    if high.is_some() {
        return Err(code("invalid hexadecimal data: odd number of digits".to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ty: SqlType) -> SqlResult<Datum> {
        decode_text(text, ty, &TimeZone::default())
    }

    fn code(text: &str, ty: SqlType) -> &'static str {
        read(text, ty).unwrap_err().sqlstate
    }

    #[test]
    fn floats_look_as_in_postgresql() {
        let shown = |f: f64| text_of(&Datum::Float8(f), SqlType::FLOAT8, &TimeZone::default());
        for (f, s) in [
            (0.1, "0.1"),
            (1.0, "1"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5, "-2.5"),
            (1.5e300, "1.5e+300"),
        ] {
            assert_eq!(shown(f), s);
        }
        let single = text_of(&Datum::Float4(0.1), SqlType::FLOAT4, &TimeZone::default());
        assert_eq!(single, "0.1");
    }

    #[test]
    fn bad_input_has_postgresqls_codes() {
        assert_eq!(code("abc", SqlType::INT4), sqlstate::INVALID_TEXT);
        assert_eq!(code("", SqlType::INT4), sqlstate::INVALID_TEXT);
        assert_eq!(code("2147483648", SqlType::INT4), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code("99999999999999999999", SqlType::INT8), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code("maybe", SqlType::BOOL), sqlstate::INVALID_TEXT);
        assert_eq!(code("abcd", SqlType::VARCHAR.with_length(3)), sqlstate::STRING_TOO_LONG);
        assert_eq!(code("1e400", SqlType::FLOAT8), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code("1e-50", SqlType::FLOAT4), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code("\\x1", SqlType::BYTEA), sqlstate::INVALID_PARAMETER_VALUE);
        assert_eq!(code("\\9", SqlType::BYTEA), sqlstate::INVALID_TEXT);
    }

    #[test]
    fn lengths_are_kept() {
        let char3 = SqlType::BPCHAR.with_length(3);
        assert_eq!(read("a", char3).unwrap(), Datum::text("a  "));
        assert_eq!(read("abc   ", char3).unwrap(), Datum::text("abc"));
        assert_eq!(read("äöü", char3).unwrap(), Datum::text("äöü"));
        let varchar3 = SqlType::VARCHAR.with_length(3);
        assert_eq!(read("ab", varchar3).unwrap(), Datum::text("ab"));
        assert_eq!(read("abc  ", varchar3).unwrap(), Datum::text("abc"));
        let cut = coerce_length(Datum::text("abcdef"), varchar3, true).unwrap();
        assert_eq!(cut, Datum::text("abc"));
    }

    #[test]
    fn booleans_by_prefix() {
        for s in ["t", "TRUE", "yes", "on", "1", " y "] {
            assert_eq!(read(s, SqlType::BOOL).unwrap(), Datum::Bool(true));
        }
        for s in ["f", "fal", "no", "of", "0"] {
            assert_eq!(read(s, SqlType::BOOL).unwrap(), Datum::Bool(false));
        }
        assert!(read("o", SqlType::BOOL).is_err());
    }
}

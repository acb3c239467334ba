//! Values in PostgreSQL's binary format (the `*send` and `*recv` functions), big-endian.

use bytes::{BufMut, BytesMut};

use super::{
    Datum, Numeric, SqlError, SqlResult, SqlType, TimeZone, coerce_length, decode_text, oids, sqlstate,
};

const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;

/// Appends the binary form of a value; NULL appends nothing: the protocol says NULL by a length.
pub fn encode_binary(datum: &Datum, ty: SqlType, out: &mut BytesMut) {
    match datum {
        Datum::Null | Datum::Large(_) => {}
        Datum::Bool(b) => out.put_u8(u8::from(*b)),
        Datum::Int2(n) => out.put_i16(*n),
        Datum::Int4(n) => out.put_i32(*n),
        Datum::Int8(n) => out.put_i64(*n),
        Datum::Oid(n) => out.put_u32(*n),
        Datum::Float4(f) => out.put_f32(*f),
        Datum::Float8(f) => out.put_f64(*f),
        Datum::Text(s) if ty.oid == oids::INT2VECTOR => encode_int2vector(s, out),
        Datum::Text(s) => out.put_slice(s.as_bytes()),
        Datum::Enum(label) => out.put_slice(label.name.as_bytes()),
        Datum::Bytea(b) => out.put_slice(b),
        Datum::Date(d) => out.put_i32(*d),
        Datum::Timestamp(t) | Datum::TimestampTz(t) => out.put_i64(*t),
        Datum::Numeric(n) => encode_numeric(n, out),
    }
}

/// int2vector is a one-dimensional array with lower bound 0 on the wire.
fn encode_int2vector(text: &str, out: &mut BytesMut) {
    let items: Vec<i16> = text.split_ascii_whitespace().filter_map(|t| t.parse().ok()).collect();
    out.put_i32(i32::from(!items.is_empty()));
    out.put_i32(0);
    out.put_u32(oids::INT2);
    if !items.is_empty() {
        out.put_i32(items.len() as i32);
        out.put_i32(0);
    }
    for item in items {
        out.put_i32(2);
        out.put_i16(item);
    }
}

fn encode_numeric(n: &Numeric, out: &mut BytesMut) {
    let digits = n.digits();
    let sign = match (n.is_nan(), n.is_negative()) {
        (true, _) => NUMERIC_NAN,
        (_, true) => NUMERIC_NEGATIVE,
        _ => 0,
    };
    out.put_u16(digits.groups.len() as u16);
    out.put_i16(digits.weight as i16);
    out.put_u16(sign);
    out.put_u16(n.scale() as u16);
    for group in digits.groups {
        out.put_u16(group);
    }
}

fn bad(ty: SqlType) -> SqlError {
    SqlError::new(sqlstate::INVALID_BINARY, format!("incorrect binary data format for type {}", ty.name()))
}

fn fixed<const N: usize>(bytes: &[u8], ty: SqlType) -> SqlResult<[u8; N]> {
    bytes.try_into().map_err(|_| bad(ty))
}

pub(crate) fn utf8(bytes: &[u8]) -> SqlResult<&str> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        SqlError::new(sqlstate::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
    })?;
    if text.contains('\0') {
        return Err(SqlError::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(text)
}

/// Reads a value from its binary form.
pub fn decode_binary(bytes: &[u8], ty: SqlType) -> SqlResult<Datum> {
    Ok(match ty.oid {
        oids::BOOL => Datum::Bool(fixed::<1>(bytes, ty)?[0] != 0),
        oids::INT2 => Datum::Int2(i16::from_be_bytes(fixed(bytes, ty)?)),
        oids::INT4 => Datum::Int4(i32::from_be_bytes(fixed(bytes, ty)?)),
        oids::INT8 => Datum::Int8(i64::from_be_bytes(fixed(bytes, ty)?)),
        oids::OID | oids::REGCLASS | oids::REGPROC | oids::REGTYPE => {
            Datum::Oid(u32::from_be_bytes(fixed(bytes, ty)?))
        }
        oids::FLOAT4 => Datum::Float4(f32::from_be_bytes(fixed(bytes, ty)?)),
        oids::FLOAT8 => Datum::Float8(f64::from_be_bytes(fixed(bytes, ty)?)),
        oids::TEXT | oids::UNKNOWN => Datum::text(utf8(bytes)?),
        oids::VARCHAR | oids::BPCHAR => coerce_length(Datum::text(utf8(bytes)?), ty, false)?,
        oids::NAME | oids::CHAR => decode_text(utf8(bytes)?, ty, &TimeZone::default())?,
        oids::BYTEA => Datum::Bytea(bytes.into()),
        oids::DATE => Datum::Date(i32::from_be_bytes(fixed(bytes, ty)?)),
        oids::TIMESTAMP => Datum::Timestamp(i64::from_be_bytes(fixed(bytes, ty)?)),
        oids::TIMESTAMPTZ => Datum::TimestampTz(i64::from_be_bytes(fixed(bytes, ty)?)),
        oids::NUMERIC => {
            let n = decode_numeric(bytes, ty)?;
            Datum::numeric(match ty.precision() {
                Some((p, s)) => n.fit(p, s)?,
                None => n,
            })
        }
        oids::VOID => Datum::Null,
        _ => return Err(SqlError::unsupported(format!("binary input for type {}", ty.name()))),
    })
}

fn decode_numeric(bytes: &[u8], ty: SqlType) -> SqlResult<Numeric> {
    let word = |at: usize| -> SqlResult<u16> {
        let pair = bytes.get(at..at + 2).ok_or_else(|| bad(ty))?;
        Ok(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let (count, weight, sign, scale) = (word(0)? as usize, word(2)? as i16, word(4)?, word(6)?);
    if bytes.len() != 8 + 2 * count || scale > 0x3fff {
        return Err(bad(ty));
    }
    let groups = (0..count).map(|n| word(8 + 2 * n)).collect::<SqlResult<Vec<u16>>>()?;
    if groups.iter().any(|g| *g > 9999) {
        return Err(bad(ty));
    }
    match sign {
        0 => Ok(Numeric::from_digits(false, i32::from(weight), &groups, u32::from(scale))),
        NUMERIC_NEGATIVE => Ok(Numeric::from_digits(true, i32::from(weight), &groups, u32::from(scale))),
        NUMERIC_NAN => Ok(Numeric::NAN),
        _ => Err(bad(ty)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::text_of;

    fn back(datum: &Datum, ty: SqlType) -> Datum {
        let mut out = BytesMut::new();
        encode_binary(datum, ty, &mut out);
        decode_binary(&out, ty).unwrap()
    }

    fn back_from_text(datum: &Datum, ty: SqlType) -> Datum {
        decode_text(&text_of(datum, ty, &TimeZone::default()), ty, &TimeZone::default()).unwrap()
    }

    #[test]
    fn numeric_is_sent_as_postgresql_sends_it() {
        let mut out = BytesMut::new();
        encode_binary(&Datum::numeric(Numeric::parse("12345.678").unwrap()), SqlType::NUMERIC, &mut out);
        // 1 2345 . 6780 at weight 1, scale 3
        assert_eq!(&out[..], &[0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert_eq!(decode_binary(&[0; 3], SqlType::INT4).unwrap_err().sqlstate, sqlstate::INVALID_BINARY);
        assert_eq!(
            decode_binary(&[0xff], SqlType::TEXT).unwrap_err().sqlstate,
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE
        );
    }

    proptest! {
        #[test]
        fn both_forms_come_back(a in any::<i16>(), b in any::<i32>(), c in any::<i64>(), d in any::<f64>(),
                                e in any::<f32>(), s in "[^\0]{0,40}", raw in any::<Vec<u8>>(),
                                unscaled in any::<i128>(), scale in 0u32..40) {
            let numeric = Datum::numeric(Numeric::from_parts(unscaled, scale));
            let mut cases = vec![
                (Datum::Int2(a), SqlType::INT2), (Datum::Int4(b), SqlType::INT4), (Datum::Int8(c), SqlType::INT8),
                (Datum::text(s.as_str()), SqlType::TEXT), (Datum::Bytea(raw.into()), SqlType::BYTEA),
                (numeric, SqlType::NUMERIC), (Datum::Date(b / 1000), SqlType::DATE),
                (Datum::Timestamp(c / 1000), SqlType::TIMESTAMP), (Datum::TimestampTz(c / 1000), SqlType::TIMESTAMPTZ),
                (Datum::Bool(b > 0), SqlType::BOOL), (Datum::Oid(b as u32), SqlType::OID),
            ];
            if !d.is_nan() { cases.push((Datum::Float8(d), SqlType::FLOAT8)); }
            if !e.is_nan() { cases.push((Datum::Float4(e), SqlType::FLOAT4)); }
            for (datum, ty) in cases {
                prop_assert_eq!(&back(&datum, ty), &datum);
                prop_assert_eq!(&back_from_text(&datum, ty), &datum);
            }
        }

        #[test]
        fn no_bytes_panic(raw in any::<Vec<u8>>(), s in ".*") {
            for (ty, _) in SqlType::all() {
                let _ = decode_binary(&raw, ty);
                let _ = decode_text(&s, ty, &TimeZone::default());
            }
        }
    }
}

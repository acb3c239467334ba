//! Index keys: values encoded so that `memcmp` order of the bytes is the order of SQL, several columns one after the
//! other, NULLs and DESC included.
//!
//! A column is one marker byte (NULL sorts first or last; a value is 1) and the value. A value's encoding is never a
//! proper prefix of another's of the same type, so columns can be joined; for DESC the value's bytes are inverted.
//! Equal values have equal bytes (1.0 and 1.00, `'a'` and `'a  '` as char(n), 0 and -0), which hash aggregation uses too.

use super::{Datum, Numeric, SqlType, oids, trim_blanks};

/// How one column of a key is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KeyOrder {
    /// Greatest first.
    pub descending: bool,
    /// NULLs before all values. PostgreSQL's default: NULLs are greater than all values, so first only for DESC.
    pub nulls_first: bool,
}

const VALUE: u8 = 1;
const NULL_FIRST: u8 = 0;
const NULL_LAST: u8 = 2;

/// Appends a value.
pub fn encode(datum: &Datum, ty: SqlType, order: KeyOrder, out: &mut Vec<u8>) {
    if datum.is_null() {
        out.push(if order.nulls_first { NULL_FIRST } else { NULL_LAST });
        return;
    }
    out.push(VALUE);
    let start = out.len();
    encode_value(datum, ty, out);
    if order.descending {
        for b in &mut out[start..] {
            *b = !*b;
        }
    }
}

/// Appends a value so that whatever is equal has equal bytes, integers of different sizes too. Not an order.
pub fn encode_equal(datum: &Datum, ty: SqlType, out: &mut Vec<u8>) {
    match datum.as_i64() {
        Some(n) => encode(&Datum::Int8(n), SqlType::INT8, KeyOrder::default(), out),
        None => encode(datum, ty, KeyOrder::default(), out),
    }
}

fn encode_value(datum: &Datum, ty: SqlType, out: &mut Vec<u8>) {
    match datum {
        Datum::Null | Datum::Large(_) => {}
        Datum::Bool(b) => out.push(u8::from(*b)),
        Datum::Int2(n) => out.extend_from_slice(&(*n as u16 ^ 1 << 15).to_be_bytes()),
        Datum::Int4(n) | Datum::Date(n) => out.extend_from_slice(&(*n as u32 ^ 1 << 31).to_be_bytes()),
        Datum::Int8(n) | Datum::Timestamp(n) | Datum::TimestampTz(n) => {
            out.extend_from_slice(&(*n as u64 ^ 1 << 63).to_be_bytes());
        }
        Datum::Oid(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::Float4(f) => encode_float(f64::from(*f), out),
        Datum::Float8(f) => encode_float(*f, out),
        Datum::Text(s) => {
            let s = if ty.oid == oids::BPCHAR { trim_blanks(s) } else { s };
            encode_bytes(s.as_bytes(), out);
        }
        Datum::Enum(label) => encode_bytes(&label.key, out),
        Datum::Bytea(b) => encode_bytes(b, out),
        Datum::Numeric(n) => encode_numeric(n, out),
    }
}

/// A zero byte becomes 0 255, the end is 0 0: shorter sorts before longer.
fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(zero) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&[0, 0xff]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

fn encode_float(f: f64, out: &mut Vec<u8>) {
    let f = if f.is_nan() { f64::NAN.abs() } else { f + 0.0 };
    let bits = f.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&ordered.to_be_bytes());
}

fn encode_numeric(n: &Numeric, out: &mut Vec<u8>) {
    const NEGATIVE: u8 = 1;
    const ZERO: u8 = 2;
    const POSITIVE: u8 = 3;
    const NAN: u8 = 4;
    if n.is_nan() || n.is_zero() {
        out.push(if n.is_zero() { ZERO } else { NAN });
        return;
    }
    let negative = n.is_negative();
    out.push(if negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    let digits = n.digits();
    // PostgreSQL's limit keeps the weight within 16 bits.
    out.extend_from_slice(&((digits.weight + 0x8000) as u16).to_be_bytes());
    for group in &digits.groups {
        out.extend_from_slice(&(group + 1).to_be_bytes());
    }
    out.extend_from_slice(&[0, 0]);
    if negative {
        for b in &mut out[start..] {
            *b = !*b;
        }
    }
}

/// The least byte string greater than every string that starts with `prefix`; `None` when there is none.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::types::compare;

    fn key(d: &Datum, ty: SqlType, order: KeyOrder) -> Vec<u8> {
        let mut out = Vec::new();
        encode(d, ty, order, &mut out);
        out
    }

    fn values() -> impl Strategy<Value = (Vec<Datum>, SqlType)> {
        fn list(
            s: impl Strategy<Value = Datum> + 'static,
            ty: SqlType,
        ) -> BoxedStrategy<(Vec<Datum>, SqlType)> {
            let with_null = prop_oneof![1 => Just(Datum::Null), 9 => s];
            (prop::collection::vec(with_null, 2..12), Just(ty)).boxed()
        }
        let numeric =
            (any::<i64>(), 0u32..30).prop_map(|(n, s)| Datum::numeric(Numeric::from_parts(n.into(), s)));
        prop_oneof![
            list(any::<i16>().prop_map(Datum::Int2), SqlType::INT2),
            list(any::<i32>().prop_map(Datum::Int4), SqlType::INT4),
            list(any::<i64>().prop_map(Datum::Int8), SqlType::INT8),
            list(any::<u32>().prop_map(Datum::Oid), SqlType::OID),
            list(any::<bool>().prop_map(Datum::Bool), SqlType::BOOL),
            list(any::<f64>().prop_map(Datum::Float8), SqlType::FLOAT8),
            list("[ab ]{0,4}".prop_map(Datum::text), SqlType::BPCHAR),
            list("[a-c\u{1}]{0,4}".prop_map(Datum::text), SqlType::TEXT),
            list(any::<Vec<u8>>().prop_map(|b| Datum::Bytea(b.into())), SqlType::BYTEA),
            list(any::<i64>().prop_map(Datum::Timestamp), SqlType::TIMESTAMP),
            list(numeric, SqlType::NUMERIC),
        ]
    }

    proptest! {
        #[test]
        fn order_of_bytes_is_order_of_values((values, ty) in values(), descending: bool, nulls_first: bool) {
            let order = KeyOrder { descending, nulls_first };
            for a in &values {
                for b in &values {
                    let wanted = match (a.is_null(), b.is_null()) {
                        (true, true) => Ordering::Equal,
                        (true, false) => if nulls_first { Ordering::Less } else { Ordering::Greater },
                        (false, true) => if nulls_first { Ordering::Greater } else { Ordering::Less },
                        (false, false) => {
                            let up = compare(a, b, ty).unwrap();
                            if descending { up.reverse() } else { up }
                        }
                    };
                    let (mut ka, mut kb) = (key(a, ty, order), key(b, ty, order));
                    prop_assert_eq!(ka.cmp(&kb), wanted, "{:?} {:?}", a, b);
                    // With more columns behind it, the first still decides.
                    if wanted != Ordering::Equal {
                        ka.push(9);
                        kb.push(3);
                        prop_assert_eq!(ka.cmp(&kb), wanted);
                    }
                }
            }
        }

        #[test]
        fn after_prefix_is_the_least_above(prefix: Vec<u8>, tail: Vec<u8>) {
            if let Some(next) = after_prefix(&prefix) {
                let inside = [prefix.clone(), tail].concat();
                prop_assert!(inside < next);
                prop_assert!(prefix < next);
            }
        }
    }

    #[test]
    fn equal_values_have_equal_keys() {
        let up = KeyOrder::default();
        let n = |s: &str| Datum::numeric(Numeric::parse(s).unwrap());
        assert_eq!(key(&n("1.0"), SqlType::NUMERIC, up), key(&n("1.000"), SqlType::NUMERIC, up));
        assert_eq!(
            key(&Datum::Float8(-0.0), SqlType::FLOAT8, up),
            key(&Datum::Float8(0.0), SqlType::FLOAT8, up)
        );
        assert_eq!(
            key(&Datum::text("a  "), SqlType::BPCHAR, up),
            key(&Datum::text("a"), SqlType::BPCHAR, up)
        );
    }
}

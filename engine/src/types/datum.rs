//! One SQL value.

use std::sync::Arc;

use super::large::LargeRef;
use super::{EnumLabel, Numeric};

/// A value without its type: the plan knows the type. Strings of every kind (text, varchar, char(n), name, "char") are
/// [`Datum::Text`]; char(n) is padded with blanks to its length once it is in memory.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Datum {
    /// NULL of any type.
    #[default]
    Null,
    /// boolean.
    Bool(bool),
    /// smallint.
    Int2(i16),
    /// integer.
    Int4(i32),
    /// bigint.
    Int8(i64),
    /// real.
    Float4(f32),
    /// double precision.
    Float8(f64),
    /// oid and the reg* types.
    Oid(u32),
    /// Any string.
    Text(Arc<str>),
    /// A label of an enum type.
    Enum(Arc<EnumLabel>),
    /// bytea.
    Bytea(Arc<[u8]>),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since 2000-01-01 00:00, no zone.
    Timestamp(i64),
    /// Microseconds since 2000-01-01 00:00 UTC.
    TimestampTz(i64),
    /// numeric.
    Numeric(Arc<Numeric>),
    /// A value that lies outside its row and was not fetched. Only what changes a row and leaves this column alone
    /// meets it; expressions do not.
    Large(LargeRef),
}

impl Datum {
    /// A string.
    pub fn text(s: impl Into<Arc<str>>) -> Datum {
        Datum::Text(s.into())
    }

    /// A numeric.
    #[must_use]
    pub fn numeric(n: Numeric) -> Datum {
        Datum::Numeric(Arc::new(n))
    }

    /// True for NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// True only for TRUE; NULL is not.
    #[must_use]
    pub fn is_true(&self) -> bool {
        matches!(self, Datum::Bool(true))
    }

    /// Bytes that it keeps outside of itself, those of strings: what may be much.
    #[must_use]
    pub fn string_bytes(&self) -> usize {
        match self {
            Datum::Text(s) => s.len(),
            Datum::Bytea(b) => b.len(),
            Datum::Numeric(n) => 2 * n.digits().groups.len(),
            _ => 0,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Datum::Text(s) => Some(s),
            _ => None,
        }
    }

    /// The number, if it is an integer or an oid.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Datum::Int2(n) => Some(i64::from(*n)),
            Datum::Int4(n) => Some(i64::from(*n)),
            Datum::Int8(n) => Some(*n),
            Datum::Oid(n) => Some(i64::from(*n)),
            _ => None,
        }
    }
}

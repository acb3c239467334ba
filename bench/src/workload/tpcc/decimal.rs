//! `numeric` with four places, as PostgreSQL's binary format has it: sixteen-bit digits of base 10,000, so that one
//! digit is exactly what stands behind the point.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

const BASE: i64 = 10_000;
const NEGATIVE: u16 = 0x4000;

/// A number in ten-thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decimal(i64);

impl Decimal {
    /// So many hundredths.
    pub(super) fn cents(cents: i64) -> Decimal {
        Decimal(cents * 100)
    }

    pub(super) fn to_f64(self) -> f64 {
        self.0 as f64 / BASE as f64
    }

    pub(super) fn times(self, factor: i32) -> Decimal {
        Decimal(self.0 * i64::from(factor))
    }
}

impl ToSql for Decimal {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let (mut rest, mut digits) = (self.0.unsigned_abs(), Vec::new());
        while rest > 0 {
            digits.insert(0, (rest % BASE as u64) as i16);
            rest /= BASE as u64;
        }
        // The last digit stands behind the point: its weight is -1.
        let weight = digits.len() as i16 - 2;
        out.put_i16(digits.len() as i16);
        out.put_i16(weight);
        out.put_u16(if self.0 < 0 { NEGATIVE } else { 0 });
        out.put_i16(if self.0 % 100 == 0 { 2 } else { 4 });
        digits.into_iter().for_each(|digit| out.put_i16(digit));
        Ok(IsNull::No)
    }

    accepts!(NUMERIC);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Decimal {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Decimal, Box<dyn Error + Sync + Send>> {
        let word = |at: usize| -> Result<i64, &'static str> {
            let bytes = raw.get(2 * at..2 * at + 2).ok_or("numeric is cut short")?;
            Ok(i64::from(i16::from_be_bytes([bytes[0], bytes[1]])))
        };
        let (digits, weight) = (word(0)?, word(1)?);
        let sign = word(2)? as u16;
        if sign != 0 && sign != NEGATIVE {
            return Err("not a finite numeric".into());
        }
        let mut value = 0i64;
        for n in 0..digits {
            let (digit, places) = (word(4 + n as usize)?, weight - n + 1);
            let places = u32::try_from(places).map_err(|_| "numeric has more than four places")?;
            let worth = BASE.checked_pow(places).and_then(|unit| digit.checked_mul(unit));
            value = worth.and_then(|worth| value.checked_add(worth)).ok_or("numeric is too large")?;
        }
        Ok(Decimal(if sign == NEGATIVE { -value } else { value }))
    }

    accepts!(NUMERIC);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(of: Decimal) -> BytesMut {
        let mut out = BytesMut::new();
        of.to_sql(&Type::NUMERIC, &mut out).expect("always");
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        for value in [0, 1, -1, 100, 9_999, 10_000, -123_456_789, 1_000_000_000_000, 99_990_000] {
            let read = Decimal::from_sql(&Type::NUMERIC, &bytes(Decimal(value))).expect("written here");
            assert_eq!(read, Decimal(value));
        }
    }

    #[test]
    fn bytes_are_those_of_postgresql() {
        // select numeric_send(-10250.25)
        let sent = [0, 3, 0, 1, 0x40, 0, 0, 2, 0, 1, 0, 250, 0x09, 0xc4];
        assert_eq!(bytes(Decimal::cents(-1_025_025))[..], sent);
        // select numeric_send(30000): digits of no worth at the end are left out.
        let short = [0, 1, 0, 1, 0, 0, 0, 0, 0, 3];
        assert_eq!(Decimal::from_sql(&Type::NUMERIC, &short).expect("whole"), Decimal::cents(3_000_000));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let not_a_number = [0, 0, 0, 0, 0xc0, 0, 0, 0];
        let five_places = [0, 1, 0xff, 0xfe, 0, 0, 0, 5, 0x27, 0x0f];
        let cut = [0, 2, 0, 0, 0, 0, 0, 0, 0, 1];
        for raw in [&not_a_number[..], &five_places, &cut] {
            assert!(Decimal::from_sql(&Type::NUMERIC, raw).is_err(), "{raw:?}");
        }
    }
}

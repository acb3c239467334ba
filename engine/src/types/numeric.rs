//! numeric: decimal numbers of any size, exact, with PostgreSQL's rules for the scale of results.
//!
//! A number is an unscaled integer and a display scale (digits after the point): 1.50 is 150 at scale 2 and stays
//! "1.50". Infinity is not implemented (`0A000`).

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};

use super::{SqlError, SqlResult, sqlstate};

/// Digits before the point that PostgreSQL allows.
const MAX_WHOLE_DIGITS: u64 = 131_072;
/// Digits after the point that PostgreSQL allows.
const MAX_SCALE: u64 = 16_383;
/// The least number of significant digits of a quotient.
const MIN_SIGNIFICANT: i64 = 16;
/// The most digits after the point of a quotient.
const MAX_QUOTIENT_SCALE: i64 = 1000;

/// A decimal number, or NaN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numeric(Repr);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Repr {
    Nan,
    Finite { unscaled: BigInt, scale: u32 },
}

fn pow10(n: u32) -> BigInt {
    BigInt::from(10u8).pow(n)
}

fn overflow() -> SqlError {
    SqlError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "value overflows numeric format")
}

/// n / d, rounded half away from zero.
fn divide_rounded(n: &BigInt, d: &BigInt) -> BigInt {
    let quotient = n / d;
    let rest: BigInt = (n - &quotient * d) * 2;
    if rest.magnitude() >= d.magnitude() {
        let negative = (n.sign() == Sign::Minus) != (d.sign() == Sign::Minus);
        if negative { quotient - 1 } else { quotient + 1 }
    } else {
        quotient
    }
}

impl Numeric {
    /// Not a number: equal to itself and greater than every number.
    pub const NAN: Numeric = Numeric(Repr::Nan);

    fn finite(unscaled: BigInt, scale: u32) -> Numeric {
        Numeric(Repr::Finite { unscaled, scale })
    }

    /// An unscaled integer with a display scale: (150, 2) is 1.50.
    #[must_use]
    pub fn from_parts(unscaled: i128, scale: u32) -> Numeric {
        Numeric::finite(BigInt::from(unscaled), scale)
    }

    /// True for NaN.
    #[must_use]
    pub fn is_nan(&self) -> bool {
        self.0 == Repr::Nan
    }

    /// Digits after the point.
    #[must_use]
    pub fn scale(&self) -> u32 {
        match &self.0 {
            Repr::Nan => 0,
            Repr::Finite { scale, .. } => *scale,
        }
    }

    /// Parses what numeric's input function takes, surrounding blanks included.
    pub fn parse(text: &str) -> SqlResult<Numeric> {
        let bad = || SqlError::invalid_text("numeric", text);
        let t = text.trim();
        if t.eq_ignore_ascii_case("nan") {
            return Ok(Numeric::NAN);
        }
        let bare = t.trim_start_matches(['+', '-']);
        if bare.eq_ignore_ascii_case("inf") || bare.eq_ignore_ascii_case("infinity") {
            return Err(SqlError::unsupported("infinity in type numeric"));
        }
        let (mantissa, exponent) = match t.find(['e', 'E']) {
            Some(at) => (&t[..at], t[at + 1..].parse::<i32>().map_err(|_| bad())?),
            None => (t, 0),
        };
        let (negative, mantissa) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return Err(bad());
        }
        let scale = fraction.len() as i64 - i64::from(exponent);
        let whole_digits = whole.trim_start_matches('0').len() as i64 + i64::from(exponent);
        if whole_digits > MAX_WHOLE_DIGITS as i64 || scale > MAX_SCALE as i64 {
            return Err(overflow());
        }
        let digits = format!("{whole}{fraction}");
        let magnitude = BigInt::parse_bytes(digits.as_bytes(), 10).ok_or_else(bad)?;
        let unscaled = if negative { -magnitude } else { magnitude };
        Ok(match u32::try_from(scale) {
            Ok(scale) => Numeric::finite(unscaled, scale),
            Err(_) => Numeric::finite(unscaled * pow10(scale.unsigned_abs() as u32), 0),
        })
    }

    /// The shortest decimal that reads back as the same float, as PostgreSQL's cast from double precision gives for
    /// up to 15 digits.
    pub fn from_f64(f: f64) -> SqlResult<Numeric> {
        if f.is_nan() {
            return Ok(Numeric::NAN);
        }
        if f.is_infinite() {
            return Err(SqlError::unsupported("infinity in type numeric"));
        }
        let n = Numeric::parse(&format!("{f:.14e}"))?;
        Ok(n.trimmed())
    }

    fn trimmed(self) -> Numeric {
        let Repr::Finite { mut unscaled, mut scale } = self.0 else {
            return self;
        };
        let ten = BigInt::from(10u8);
        while scale > 0 && (&unscaled % &ten).sign() == Sign::NoSign {
            unscaled /= &ten;
            scale -= 1;
        }
        Numeric::finite(unscaled, scale)
    }

    /// As a float; may lose digits.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// Rounded to an integer, half away from zero; `None` for NaN or beyond i64.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        match self.round(0).0 {
            Repr::Nan => None,
            Repr::Finite { unscaled, .. } => i64::try_from(unscaled).ok(),
        }
    }

    /// Rounded to so many digits after the point (before it, if negative), half away from zero.
    #[must_use]
    pub fn round(&self, digits: i32) -> Numeric {
        self.rescaled(digits, divide_rounded)
    }

    /// Cut to so many digits after the point, towards zero.
    #[must_use]
    pub fn trunc(&self, digits: i32) -> Numeric {
        self.rescaled(digits, |n, d| n / d)
    }

    fn rescaled(&self, digits: i32, divide: impl Fn(&BigInt, &BigInt) -> BigInt) -> Numeric {
        let Repr::Finite { unscaled, scale } = &self.0 else {
            return Numeric::NAN;
        };
        let digits = digits.clamp(-(MAX_WHOLE_DIGITS as i32), MAX_SCALE as i32);
        let drop = i64::from(*scale) - i64::from(digits);
        let shown = digits.max(0) as u32;
        if drop <= 0 {
            return Numeric::finite(unscaled * pow10(drop.unsigned_abs() as u32), shown);
        }
        let kept = divide(unscaled, &pow10(drop as u32));
        if digits < 0 {
            Numeric::finite(kept * pow10(digits.unsigned_abs()), 0)
        } else {
            Numeric::finite(kept, shown)
        }
    }

    /// The largest integer that is not greater.
    #[must_use]
    pub fn floor(&self) -> Numeric {
        let cut = self.trunc(0);
        if cut.compare(self) == Ordering::Greater {
            return cut.sub(&Numeric::from(1i64));
        }
        cut
    }

    /// The smallest integer that is not less.
    #[must_use]
    pub fn ceil(&self) -> Numeric {
        self.neg().floor().neg()
    }

    /// Fits the number to `numeric(precision, scale)`: rounds, and raises 22003 when too many digits are left.
    pub fn fit(&self, precision: u16, scale: u16) -> SqlResult<Numeric> {
        let rounded = self.round(i32::from(scale));
        if let Repr::Finite { unscaled, .. } = &rounded.0
            && unscaled.magnitude() >= pow10(u32::from(precision)).magnitude()
        {
            let whole = i32::from(precision) - i32::from(scale);
            let bound = if whole == 0 { "1".to_owned() } else { format!("10^{whole}") };
            return Err(
                SqlError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "numeric field overflow").detail(format!(
                    "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
                )),
            );
        }
        Ok(rounded)
    }

    fn with_both(&self, other: &Numeric, f: impl FnOnce(&BigInt, u32, &BigInt, u32) -> Numeric) -> Numeric {
        match (&self.0, &other.0) {
            (Repr::Finite { unscaled: a, scale: s }, Repr::Finite { unscaled: b, scale: t }) => {
                f(a, *s, b, *t)
            }
            _ => Numeric::NAN,
        }
    }

    fn aligned(&self, other: &Numeric, f: impl FnOnce(BigInt, BigInt) -> BigInt) -> Numeric {
        self.with_both(other, |a, s, b, t| {
            let scale = s.max(t);
            Numeric::finite(f(a * pow10(scale - s), b * pow10(scale - t)), scale)
        })
    }

    /// Sum.
    #[must_use]
    pub fn add(&self, other: &Numeric) -> Numeric {
        self.aligned(other, |a, b| a + b)
    }

    /// Difference.
    #[must_use]
    pub fn sub(&self, other: &Numeric) -> Numeric {
        self.aligned(other, |a, b| a - b)
    }

    /// The negative.
    #[must_use]
    pub fn neg(&self) -> Numeric {
        match &self.0 {
            Repr::Nan => Numeric::NAN,
            Repr::Finite { unscaled, scale } => Numeric::finite(-unscaled, *scale),
        }
    }

    /// The absolute value.
    #[must_use]
    pub fn abs(&self) -> Numeric {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// Product; 22003 when it has more digits than the type allows.
    pub fn mul(&self, other: &Numeric) -> SqlResult<Numeric> {
        self.with_both(other, |a, s, b, t| Numeric::finite(a * b, s + t)).checked()
    }

    fn checked(self) -> SqlResult<Numeric> {
        if let Repr::Finite { unscaled, scale } = &self.0 {
            if u64::from(*scale) > MAX_SCALE {
                return Ok(self.round(MAX_SCALE as i32));
            }
            // 3.33 bits a digit: cheap and a little generous.
            if unscaled.bits() > (MAX_WHOLE_DIGITS + MAX_SCALE) * 10 / 3 {
                return Err(overflow());
            }
        }
        Ok(self)
    }

    /// Quotient with PostgreSQL's choice of scale; 22012 for a zero divisor.
    pub fn div(&self, other: &Numeric) -> SqlResult<Numeric> {
        other.refuse_zero()?;
        let scale = self.quotient_scale(other);
        Ok(self.with_both(other, |a, s, b, t| {
            let shift = i64::from(scale) + i64::from(t) - i64::from(s);
            let (n, d) = if shift >= 0 {
                (a * pow10(shift as u32), b.clone())
            } else {
                (a.clone(), b * pow10(shift.unsigned_abs() as u32))
            };
            Numeric::finite(divide_rounded(&n, &d), scale)
        }))
    }

    /// Remainder with the sign of the dividend; 22012 for a zero divisor.
    pub fn rem(&self, other: &Numeric) -> SqlResult<Numeric> {
        other.refuse_zero()?;
        Ok(self.aligned(other, |a, b| a % b))
    }

    fn refuse_zero(&self) -> SqlResult<()> {
        match &self.0 {
            Repr::Finite { unscaled, .. } if unscaled.sign() == Sign::NoSign => {
                Err(SqlError::division_by_zero())
            }
            _ => Ok(()),
        }
    }

    /// `select_div_scale` of PostgreSQL: at least 16 significant digits, and no fewer than either operand shows. Counts
    /// in its base-10000 digits.
    fn quotient_scale(&self, other: &Numeric) -> u32 {
        let (w1, f1) = self.leading();
        let (w2, f2) = other.leading();
        let weight = w1 - w2 - i64::from(f1 <= f2);
        let scale = (MIN_SIGNIFICANT - weight * 4).max(i64::from(self.scale())).max(i64::from(other.scale()));
        scale.clamp(0, MAX_QUOTIENT_SCALE) as u32
    }

    /// Weight and value of the first base-10000 digit.
    fn leading(&self) -> (i64, u16) {
        let d = self.digits();
        d.groups.first().map_or((0, 0), |first| (i64::from(d.weight), *first))
    }

    /// The order of SQL: by value, whatever the scale; NaN is greatest.
    #[must_use]
    pub fn compare(&self, other: &Numeric) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Nan, Repr::Nan) => Ordering::Equal,
            (Repr::Nan, _) => Ordering::Greater,
            (_, Repr::Nan) => Ordering::Less,
            (Repr::Finite { unscaled: a, scale: s }, Repr::Finite { unscaled: b, scale: t }) => {
                match s.cmp(t) {
                    Ordering::Equal => a.cmp(b),
                    Ordering::Less => (a * pow10(t - s)).cmp(b),
                    Ordering::Greater => a.cmp(&(b * pow10(s - t))),
                }
            }
        }
    }

    /// True below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        matches!(&self.0, Repr::Finite { unscaled, .. } if unscaled.sign() == Sign::Minus)
    }

    /// True for zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        matches!(&self.0, Repr::Finite { unscaled, .. } if unscaled.sign() == Sign::NoSign)
    }

    /// The digits as PostgreSQL stores and sends them; none for zero and NaN.
    #[must_use]
    pub(super) fn digits(&self) -> Digits {
        let Repr::Finite { unscaled, scale } = &self.0 else {
            return Digits::default();
        };
        if unscaled.sign() == Sign::NoSign {
            return Digits::default();
        }
        let mut text = unscaled.magnitude().to_string();
        // The point must fall between groups of four.
        let pad = (4 - *scale as usize % 4) % 4;
        text.push_str(&"0".repeat(pad));
        let after = (*scale as usize + pad) / 4;
        let lead = (4 - text.len() % 4) % 4;
        text.insert_str(0, &"0".repeat(lead));
        let mut groups: Vec<u16> = text
            .as_bytes()
            .chunks(4)
            .map(|c| c.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0')))
            .collect();
        let mut weight = groups.len() as i32 - after as i32 - 1;
        while groups.last() == Some(&0) {
            groups.pop();
        }
        let zeros = groups.iter().take_while(|g| **g == 0).count();
        groups.drain(..zeros);
        weight -= zeros as i32;
        Digits { weight, groups }
    }

    /// The reverse of [`Numeric::digits`].
    pub(super) fn from_digits(negative: bool, weight: i32, groups: &[u16], scale: u32) -> Numeric {
        let mut unscaled = BigInt::from(0u8);
        for g in groups {
            unscaled = unscaled * 10_000u32 + u32::from(*g);
        }
        // The value is unscaled * 10000^(weight + 1 - groups).
        let exponent = (i64::from(weight) + 1 - groups.len() as i64) * 4;
        let shift = exponent + i64::from(scale);
        unscaled = if shift >= 0 {
            unscaled * pow10(shift as u32)
        } else {
            unscaled / pow10(shift.unsigned_abs() as u32)
        };
        Numeric::finite(if negative { -unscaled } else { unscaled }, scale)
    }
}

/// Base-10000 digits, most significant first, with leading and trailing zeros removed; the first has the value
/// `groups[0] * 10000^weight`.
#[derive(Debug, Default)]
pub(super) struct Digits {
    pub(super) weight: i32,
    pub(super) groups: Vec<u16>,
}

impl From<i64> for Numeric {
    fn from(n: i64) -> Numeric {
        Numeric::finite(BigInt::from(n), 0)
    }
}

impl From<i128> for Numeric {
    fn from(n: i128) -> Numeric {
        Numeric::finite(BigInt::from(n), 0)
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr::Finite { unscaled, scale } = &self.0 else {
            return f.write_str("NaN");
        };
        let scale = *scale as usize;
        let mut digits = unscaled.magnitude().to_string();
        if digits.len() <= scale {
            digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
        }
        if unscaled.sign() == Sign::Minus {
            f.write_str("-")?;
        }
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        f.write_str(whole)?;
        if scale > 0 {
            write!(f, ".{fraction}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

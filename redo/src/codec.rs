//! Little-endian fixed-width numbers and LEB128 varints over byte slices. Reading is total: short or malformed input
//! is a [`DecodeError`], never a panic.

/// Input that ends too early or says something impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ended inside a value.
    #[error("input ends inside a value")]
    Truncated,
    /// A varint runs over 64 bits.
    #[error("a variable-length number runs over 64 bits")]
    VarintTooLong,
    /// A tag that no version of the format has.
    #[error("unknown {what} tag {tag}")]
    UnknownTag {
        /// What was being read.
        what: &'static str,
        /// The tag found.
        tag: u64,
    },
    /// A value outside its allowed range.
    #[error("{what} is out of range")]
    OutOfRange {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes are left over after a complete value.
    #[error("{extra} bytes left over after the message")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
}

/// A cursor over a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// True when everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Sixteen bytes, little-endian.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// A LEB128 varint of at most 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    /// The same, all bytes of it at once where eight are there and it has no more.
    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let word = self.rest.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let Some((word, ends)) = word.map(|word| (word, !word & TOP_BITS)).filter(|(_, ends)| *ends != 0)
        else {
            return self.varint_by_bytes();
        };
        let len = ends.trailing_zeros() / 8 + 1;
        self.rest = &self.rest[len as usize..];
        Ok(squeeze(word & (u64::MAX >> (64 - 8 * len))))
    }

    fn varint_by_bytes(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::VarintTooLong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// A varint that must fit `usize` and be at most `limit`.
    pub fn varint_at_most(&mut self, limit: usize, what: &'static str) -> Result<usize, DecodeError> {
        let value = self.varint()?;
        usize::try_from(value).ok().filter(|v| *v <= limit).ok_or(DecodeError::OutOfRange { what })
    }

    /// A byte string behind its varint length, at most `limit` long.
    pub fn byte_string(&mut self, limit: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.varint_at_most(limit, what)?;
        self.bytes(len)
    }

    /// Fails unless everything was read.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::TrailingBytes { extra }),
        }
    }
}

/// The top bit of each byte: more bytes of the varint follow.
const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// The lower seven bits of each byte, side by side.
fn squeeze(bytes: u64) -> u64 {
    let pairs = (bytes & 0x007f_007f_007f_007f) | ((bytes & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)
}

/// Takes [`squeeze`] back, for values below 2^56.
fn spread(value: u64) -> u64 {
    let fours = (value & 0x0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    let pairs = (fours & 0x0000_3fff_0000_3fff) | ((fours & 0x0fff_c000_0fff_c000) << 2);
    (pairs & 0x007f_007f_007f_007f) | ((pairs & 0x3f80_3f80_3f80_3f80) << 1)
}

/// Most bytes of a varint.
const VARINT_MAX: usize = 10;
/// Values below it take eight bytes at most.
const EIGHT_BYTES: u64 = 1 << 56;

/// Writes `value` to the start of `out`, over at least eight bytes of it, and says how many of them count.
fn write_varint(out: &mut [u8], mut value: u64) -> usize {
    if value < EIGHT_BYTES {
        let len = varint_len(value);
        let more = TOP_BITS & ((1 << (8 * (len - 1))) - 1);
        out[..8].copy_from_slice(&(spread(value) | more).to_le_bytes());
        return len;
    }
    let mut len = 0;
    while value >= 0x80 {
        out[len] = (value as u8) | 0x80;
        value >>= 7;
        len += 1;
    }
    out[len] = value as u8;
    len + 1
}

/// Appends `value` as a LEB128 varint.
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_varints(out, [value]);
    }
}

/// Numbers that [`put_varints`] takes at most.
const NUMBERS_MAX: usize = 8;

/// Appends each of a few numbers as [`put_varint`] does, all together at once.
pub fn put_varints<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    const { assert!(N <= NUMBERS_MAX) }
    let (mut bytes, mut len) = ([0; NUMBERS_MAX * VARINT_MAX], 0);
    for number in numbers {
        len += write_varint(&mut bytes[len..], number);
    }
    out.extend_from_slice(&bytes[..len]);
}

/// Bytes that [`put_varint`] writes for `value`.
#[must_use]
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a byte string behind its varint length.
pub fn put_byte_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<u64>()) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn numbers_of_every_length_are_what_they_are_byte_by_byte(bits in proptest::collection::vec((0..=64u32, any::<u64>()), 8)) {
            let numbers: [u64; 8] = std::array::from_fn(|n| bits[n].1.checked_shr(bits[n].0).unwrap_or(0));
            let mut by_bytes = Vec::new();
            for mut value in numbers {
                while value >= 0x80 {
                    by_bytes.push((value as u8) | 0x80);
                    value >>= 7;
                }
                by_bytes.push(value as u8);
            }
            let mut together = vec![7];
            put_varints(&mut together, numbers);
            prop_assert_eq!(&together[1..], &by_bytes[..]);
            let mut reader = Reader::new(&by_bytes);
            for number in numbers {
                prop_assert_eq!(reader.varint(), Ok(number));
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_read_as_they_do_byte_by_byte(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let (mut reader, mut slow) = (Reader::new(&bytes), Reader::new(&bytes));
            let read = reader.varint();
            prop_assert_eq!(read, slow.varint_by_bytes());
            prop_assert!(read.is_err() || reader.remaining() == slow.remaining());
        }

        #[test]
        fn any_bytes_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let _ = Reader::new(&bytes).varint();
            let _ = Reader::new(&bytes).byte_string(8, "string");
        }
    }

    #[test]
    fn a_varint_over_64_bits_is_refused() {
        let bytes = [0xff; 11];
        assert_eq!(Reader::new(&bytes).varint(), Err(DecodeError::VarintTooLong));
        let mut ten = [0xff; 10];
        ten[9] = 0x02;
        assert_eq!(Reader::new(&ten).varint(), Err(DecodeError::VarintTooLong));
    }
}

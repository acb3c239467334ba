//! Byte patches: the only vocabulary of redo. Storage needs no knowledge of rows or trees.
//!
//! Encoding: varint `offset << 3 | op`, then
//!
//! | op | patch | rest |
//! | --- | --- | --- |
//! | 1 | set | varint length, bytes |
//! | 2 | move | varint source offset, varint length |
//! | 3 | fill | varint length, byte |
//! | 4 | image | varint length, bytes; the body behind them becomes zero (offset is 0) |
//! | 5 | stamp | nothing: the record's own LSN, 8 bytes LE, is written at offset |
//!
//! Offsets count from the start of the page and lie in `PAGE_HEADER..PAGE_SIZE`.

use crate::codec::{DecodeError, Reader, put_byte_string, put_varint};
use crate::{Lsn, PAGE_BODY, PAGE_HEADER, PAGE_SIZE};

const SET: u64 = 1;
const MOVE: u64 = 2;
const FILL: u64 = 3;
const IMAGE: u64 = 4;
const STAMP: u64 = 5;

/// One change of one page's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch<'a> {
    /// Overwrites bytes from `offset` on.
    Set {
        /// Where.
        offset: usize,
        /// With what.
        bytes: &'a [u8],
    },
    /// Copies `len` bytes inside the page; the ranges may overlap.
    Move {
        /// Destination.
        offset: usize,
        /// Source.
        source: usize,
        /// Length.
        len: usize,
    },
    /// Writes one byte `len` times.
    Fill {
        /// Where.
        offset: usize,
        /// How often.
        len: usize,
        /// What.
        byte: u8,
    },
    /// Replaces the whole body: these bytes, then zeros.
    Image {
        /// The body up to its last byte that is not zero.
        body: &'a [u8],
    },
    /// Writes the LSN of the record that carries this patch, 8 bytes LE. It lets a commit record say its own place in
    /// the log, which nobody knows before the LSN is allocated.
    Stamp {
        /// Where.
        offset: usize,
    },
}

/// A range is inside the body, or it is an error.
fn in_body(offset: usize, len: usize) -> Result<(), DecodeError> {
    let fits = offset >= PAGE_HEADER && len <= PAGE_SIZE && offset + len <= PAGE_SIZE;
    if fits { Ok(()) } else { Err(DecodeError::OutOfRange { what: "patch range" }) }
}

impl<'a> Patch<'a> {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut head = |offset: usize, op: u64| put_varint(out, (offset as u64) << 3 | op);
        match *self {
            Patch::Set { offset, bytes } => {
                head(offset, SET);
                put_byte_string(out, bytes);
            }
            Patch::Move { offset, source, len } => {
                head(offset, MOVE);
                put_varint(out, source as u64);
                put_varint(out, len as u64);
            }
            Patch::Fill { offset, len, byte } => {
                head(offset, FILL);
                put_varint(out, len as u64);
                out.push(byte);
            }
            Patch::Image { body } => {
                head(0, IMAGE);
                put_byte_string(out, body);
            }
            Patch::Stamp { offset } => head(offset, STAMP),
        }
    }

    /// Reads the next patch and checks that it stays inside a page's body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Patch<'a>, DecodeError> {
        let head = reader.varint()?;
        let offset = usize::try_from(head >> 3)
            .ok()
            .filter(|o| *o < PAGE_SIZE)
            .ok_or(DecodeError::OutOfRange { what: "patch offset" })?;
        let patch = match head & 7 {
            SET => Patch::Set { offset, bytes: reader.byte_string(PAGE_BODY, "patch length")? },
            MOVE => Patch::Move {
                offset,
                source: reader.varint_at_most(PAGE_SIZE, "move source")?,
                len: reader.varint_at_most(PAGE_BODY, "move length")?,
            },
            FILL => Patch::Fill {
                offset,
                len: reader.varint_at_most(PAGE_BODY, "fill length")?,
                byte: reader.u8()?,
            },
            IMAGE => Patch::Image { body: reader.byte_string(PAGE_BODY, "image length")? },
            STAMP => Patch::Stamp { offset },
            tag => return Err(DecodeError::UnknownTag { what: "patch", tag }),
        };
        patch.check()?;
        Ok(patch)
    }

    /// Fails when the patch would reach outside a page's body.
    pub fn check(&self) -> Result<(), DecodeError> {
        match *self {
            Patch::Set { offset, bytes } => in_body(offset, bytes.len()),
            Patch::Move { offset, source, len } => in_body(offset, len).and(in_body(source, len)),
            Patch::Fill { offset, len, .. } => in_body(offset, len),
            Patch::Image { body } if body.len() > PAGE_BODY => {
                Err(DecodeError::OutOfRange { what: "image length" })
            }
            Patch::Image { .. } => Ok(()),
            Patch::Stamp { offset } => in_body(offset, 8),
        }
    }

    /// Changes the page. `lsn` is that of the record that carries the patch. The patch must have passed
    /// [`Patch::check`], as every decoded one has.
    pub fn apply(&self, page: &mut [u8; PAGE_SIZE], lsn: Lsn) {
        debug_assert!(self.check().is_ok());
        match *self {
            Patch::Set { offset, bytes } => page[offset..offset + bytes.len()].copy_from_slice(bytes),
            Patch::Move { offset, source, len } => page.copy_within(source..source + len, offset),
            Patch::Fill { offset, len, byte } => page[offset..offset + len].fill(byte),
            Patch::Image { body } => {
                page[PAGE_HEADER..PAGE_HEADER + body.len()].copy_from_slice(body);
                page[PAGE_HEADER + body.len()..].fill(0);
            }
            Patch::Stamp { offset } => page[offset..offset + 8].copy_from_slice(&lsn.0.to_le_bytes()),
        }
    }
}

/// Iterates over encoded patches; stops behind the first error.
#[derive(Debug, Clone)]
pub struct Patches<'a> {
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Patches<'a> {
    /// Over the patches encoded in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Patches { reader: Reader::new(bytes), failed: false }
    }
}

impl<'a> Iterator for Patches<'a> {
    type Item = Result<Patch<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.is_empty() {
            return None;
        }
        let next = Patch::decode(&mut self.reader);
        self.failed = next.is_err();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Page;

    fn round_trip(patch: Patch<'_>) {
        let mut out = Vec::new();
        patch.encode(&mut out);
        let decoded: Vec<_> = Patches::new(&out).collect();
        assert_eq!(decoded, vec![Ok(patch)]);
    }

    #[test]
    fn every_patch_round_trips() {
        round_trip(Patch::Set { offset: 100, bytes: b"abc" });
        round_trip(Patch::Move { offset: 24, source: 8000, len: 192 });
        round_trip(Patch::Fill { offset: 8191, len: 1, byte: 7 });
        round_trip(Patch::Image { body: &[1, 2, 3] });
        round_trip(Patch::Stamp { offset: 8184 });
    }

    #[test]
    fn a_patch_outside_the_body_is_refused() {
        for bad in [
            Patch::Set { offset: 23, bytes: b"x" },
            Patch::Set { offset: 8190, bytes: b"abc" },
            Patch::Move { offset: 24, source: 23, len: 1 },
            Patch::Stamp { offset: 8185 },
        ] {
            let mut out = Vec::new();
            bad.encode(&mut out);
            assert!(Patches::new(&out).next().is_some_and(|p| p.is_err()), "{bad:?}");
        }
    }

    #[test]
    fn patches_do_what_they_say() {
        let mut page = Page::zero();
        Patch::Set { offset: 100, bytes: b"hello" }.apply(&mut page.0, Lsn(1));
        Patch::Move { offset: 102, source: 100, len: 5 }.apply(&mut page.0, Lsn(1));
        assert_eq!(&page.0[100..107], b"hehello");
        Patch::Stamp { offset: 200 }.apply(&mut page.0, Lsn(0x0102));
        assert_eq!(&page.0[200..208], &[2, 1, 0, 0, 0, 0, 0, 0]);
        Patch::Image { body: b"zz" }.apply(&mut page.0, Lsn(1));
        assert_eq!(&page.0[24..28], b"zz\0\0");
        assert!(page.0[100..210].iter().all(|b| *b == 0));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_and_apply_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut page = Page::zero();
            for patch in Patches::new(&bytes).flatten() {
                patch.apply(&mut page.0, Lsn(5));
            }
            prop_assert!(page.0[..PAGE_HEADER].iter().all(|b| *b == 0));
        }
    }
}

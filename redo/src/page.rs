//! The 8 KiB page. A page that was never written is all zero with page LSN 0: the zero page on which its chain of
//! records starts.
//!
//! ```text
//! 0..8    page LSN, u64 LE: LSN of the last record applied
//! 8..16   page id, u64 LE (0 on a zero page)
//! 16..20  CRC32C of bytes 0..16 and 20..8192, u32 LE; kept up to date only on disk and on the wire
//! 20..24  reserved, zero
//! 24..    body: what redo patches may change
//! ```

use crate::{Lsn, PageId};

/// Bytes of a page.
pub const PAGE_SIZE: usize = 8192;
/// Bytes of the header that patches cannot touch.
pub const PAGE_HEADER: usize = 24;
/// Bytes that patches can change.
pub const PAGE_BODY: usize = PAGE_SIZE - PAGE_HEADER;

const CRC_AT: usize = 16;
const CRC_END: usize = 20;

/// What is wrong with a page image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The stored checksum does not match the bytes.
    #[error("page checksum is {stored:#010x} but its bytes give {computed:#010x}")]
    Checksum {
        /// As found in the image.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The image belongs to another page: a misdirected read or write.
    #[error("image is of page {found} where page {wanted} was expected")]
    WrongPage {
        /// Asked for.
        wanted: PageId,
        /// Found in the image.
        found: PageId,
    },
}

/// Reads and writes the header of a page that lies in any buffer of [`PAGE_SIZE`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Page(pub Box<[u8; PAGE_SIZE]>);

impl Page {
    /// The zero page.
    #[must_use]
    pub fn zero() -> Page {
        let bytes: Box<[u8]> = vec![0; PAGE_SIZE].into_boxed_slice();
        match bytes.try_into() {
            Ok(array) => Page(array),
            Err(_) => unreachable!("a vector of PAGE_SIZE bytes is an array of PAGE_SIZE bytes"),
        }
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8; PAGE_SIZE]) -> Page {
        let mut page = Page::zero();
        page.0.copy_from_slice(bytes);
        page
    }

    /// LSN of the last record applied.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        lsn(&self.0)
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({:?} at {:?})", id(&self.0), self.lsn())
    }
}

fn u64_at(page: &[u8; PAGE_SIZE], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// Page LSN.
#[must_use]
pub fn lsn(page: &[u8; PAGE_SIZE]) -> Lsn {
    Lsn(u64_at(page, 0))
}

/// Page id as written in the header; 0 on a zero page.
#[must_use]
pub fn id(page: &[u8; PAGE_SIZE]) -> PageId {
    PageId(u64_at(page, 8))
}

/// Sets page LSN and page id, as every applied record does.
pub fn stamp(page: &mut [u8; PAGE_SIZE], id: PageId, lsn: Lsn) {
    page[0..8].copy_from_slice(&lsn.0.to_le_bytes());
    page[8..16].copy_from_slice(&id.0.to_le_bytes());
}

/// CRC32C over everything but the checksum field.
#[must_use]
pub fn checksum(page: &[u8; PAGE_SIZE]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&page[..CRC_AT]), &page[CRC_END..])
}

/// Stores the checksum: before a page goes to disk or onto the wire.
pub fn seal(page: &mut [u8; PAGE_SIZE]) {
    let crc = checksum(page);
    page[CRC_AT..CRC_END].copy_from_slice(&crc.to_le_bytes());
}

/// Checks the checksum and that this is page `wanted`: after a page came from disk or from the wire. The zero page
/// (LSN 0) has no id of its own and is accepted for any.
pub fn verify(page: &[u8; PAGE_SIZE], wanted: PageId) -> Result<(), PageError> {
    let mut raw = [0; 4];
    raw.copy_from_slice(&page[CRC_AT..CRC_END]);
    let stored = u32::from_le_bytes(raw);
    let computed = checksum(page);
    if stored != computed {
        return Err(PageError::Checksum { stored, computed });
    }
    let found = id(page);
    if found != wanted && lsn(page) != Lsn::ZERO {
        return Err(PageError::WrongPage { wanted, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_page_verifies_and_a_flipped_bit_does_not() {
        let mut page = Page::zero();
        stamp(&mut page.0, PageId(7), Lsn(99));
        page.0[5000] = 1;
        seal(&mut page.0);
        assert_eq!(verify(&page.0, PageId(7)), Ok(()));
        assert_eq!(
            verify(&page.0, PageId(8)),
            Err(PageError::WrongPage { wanted: PageId(8), found: PageId(7) })
        );
        for at in [0, 9, 17, 22, 8191] {
            let mut bad = page.clone();
            bad.0[at] ^= 0x10;
            assert!(matches!(verify(&bad.0, PageId(7)), Err(PageError::Checksum { .. })), "byte {at}");
        }
    }

    #[test]
    fn the_zero_page_needs_its_checksum_too() {
        let mut page = Page::zero();
        assert!(verify(&page.0, PageId(3)).is_err());
        seal(&mut page.0);
        assert_eq!(verify(&page.0, PageId(3)), Ok(()));
    }
}

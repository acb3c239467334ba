//! Applying a record to a page. Total: whatever the bytes, the answer is a changed page or a typed error, and after an
//! error the page is unchanged.

use crate::codec::DecodeError;
use crate::record::Record;
use crate::{Lsn, PAGE_SIZE, page};

/// Why a record cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The page already holds this record's change, or a later one.
    #[error("page is at {page_lsn:?}, at or above the record's {record:?}")]
    AlreadyApplied {
        /// Page LSN.
        page_lsn: Lsn,
        /// The record's LSN.
        record: Lsn,
    },
    /// A record of the page's chain between page and record is missing.
    #[error("record {record:?} follows {expected:?} on its page, but the page is at {page_lsn:?}")]
    Gap {
        /// Page LSN.
        page_lsn: Lsn,
        /// The record's page back-link.
        expected: Lsn,
        /// The record's LSN.
        record: Lsn,
    },
    /// The patches are malformed.
    #[error("malformed patch: {0}")]
    Malformed(#[from] DecodeError),
}

/// Applies one record: the page must be where the record's page back-link says.
pub fn apply(record: &Record<'_>, target: &mut [u8; PAGE_SIZE]) -> Result<(), ApplyError> {
    let page_lsn = page::lsn(target);
    let lsn = record.links.lsn;
    if page_lsn >= lsn {
        return Err(ApplyError::AlreadyApplied { page_lsn, record: lsn });
    }
    if page_lsn != record.prev_page {
        return Err(ApplyError::Gap { page_lsn, expected: record.prev_page, record: lsn });
    }
    for patch in record.patches() {
        patch?;
    }
    for patch in record.patches().flatten() {
        patch.apply(target, lsn);
    }
    page::stamp(target, record.page, lsn);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::patch::Patch;
    use crate::record::RecordLinks;
    use crate::{Page, PageId};

    fn record(lsn: u64, prev_page: u64, patches: &[u8]) -> Record<'_> {
        let links = RecordLinks { lsn: Lsn(lsn), ..RecordLinks::default() };
        Record { links, prev_page: Lsn(prev_page), page: PageId(3), patches }
    }

    #[test]
    fn the_page_chain_is_followed() {
        let mut patches = Vec::new();
        Patch::Set { offset: 40, bytes: b"hi" }.encode(&mut patches);
        let mut page = Page::zero();
        assert_eq!(apply(&record(10, 0, &patches), &mut page.0), Ok(()));
        assert_eq!((page.lsn(), page::id(&page.0)), (Lsn(10), PageId(3)));
        assert!(matches!(
            apply(&record(10, 0, &patches), &mut page.0),
            Err(ApplyError::AlreadyApplied { .. })
        ));
        assert!(matches!(apply(&record(30, 20, &patches), &mut page.0), Err(ApplyError::Gap { .. })));
        assert_eq!(apply(&record(30, 10, &patches), &mut page.0), Ok(()));
    }

    proptest! {
        #[test]
        fn a_bad_record_leaves_the_page_as_it_was(patches in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut page = Page::zero();
            page.0[100] = 9;
            let before = page.clone();
            if apply(&record(10, 0, &patches), &mut page.0).is_err() {
                prop_assert_eq!(page, before);
            }
        }
    }
}

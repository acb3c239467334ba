//! I4, page truth: a page at an LSN is exactly the records at or below that LSN, in order, on a zero page. Source: P17
//! section 3.2, "the log is the database".

use sextant_redo::{Lsn, Page, PageId, VolumeEpoch, page};

use super::{Checked, check};
use crate::model::Model;

/// A reader of epoch `reader` was given `image` for `id` at `read_point`.
pub fn page_is_its_records(
    model: &Model,
    reader: VolumeEpoch,
    id: PageId,
    read_point: Lsn,
    image: &Page,
) -> Checked {
    let expected = model.page(id, read_point, reader);
    let found = (image.lsn(), page::checksum(&image.0));
    check("I4", found == expected, || {
        format!("{id:?} at {read_point} for {reader:?} is {found:?}, but its records give {expected:?}")
    })
}

//! I6, no lie: a page is served only with the right page id and checksum; a node with an intact disk starts. Source:
//! P17 section 2.2 (scrubbing), design/testing.md.
//!
//! On a live cluster: [`page_is_sealed`] over every page that is served.

use sextant_redo::{PAGE_SIZE, Page, PageId, page};

use super::{Checked, Violation, check};

/// A copy has served `image` as page `id`.
pub fn page_is_sealed(id: PageId, image: &[u8]) -> Result<Page, Violation> {
    let bytes: Option<&[u8; PAGE_SIZE]> = image.try_into().ok();
    let Some(bytes) = bytes else {
        return Err(Violation {
            invariant: "I6",
            what: format!("{id:?} was served as {} bytes", image.len()),
        });
    };
    let verified = page::verify(bytes, id);
    check("I6", verified.is_ok(), || format!("{id:?} was served damaged: {verified:?}"))?;
    Ok(Page::copy_of(bytes))
}

/// A node does not start, because of `why`, though its disk kept everything that was flushed.
pub fn intact_node_starts(node: usize, why: Option<&String>, damaged: bool) -> Checked {
    check("I6", why.is_none() || damaged, || format!("node {node} does not start on an intact disk: {why:?}"))
}

/// A node says that what it holds is damaged: so a fault of its disk must have struck.
pub fn damage_is_real(node: usize, what: &str, may_be_damaged: bool) -> Checked {
    check("I6", may_be_damaged, || format!("node {node} says that an intact disk is damaged: {what}"))
}

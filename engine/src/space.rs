//! Space: the control page, which pages are in use, and the named roots from which everything else is found.
//!
//! Page 0 is the control page. Pages are taken from the list of free pages, else from behind the last page ever used.
//! Free pages are listed in **trunk** pages, which are free pages themselves: each holds the numbers of up to
//! [`TRUNK_CAPACITY`] others, so freeing a page touches it only when it becomes a trunk.
//!
//! All of it changes in the MTR of the page's user, with the control page latched: an MTR that is lost in a crash, or
//! dropped, leaves no page behind. Layouts: docs/formats/engine-pages.md.

use sextant_redo::{PAGE_SIZE, PageId};

use crate::buffer::{BufferPool, Step, StorageError};
use crate::mtr::{MiniTxn, PageHandle};

/// Where every engine page says what it is.
pub const PAGE_TYPE: usize = 24;

/// What an engine page is: the byte at [`PAGE_TYPE`].
pub mod page_type {
    /// Never written.
    pub const NONE: u8 = 0;
    /// The control page.
    pub const CONTROL: u8 = 1;
    /// Lists free pages.
    pub const TRUNK: u8 = 2;
    /// A node of a B+tree.
    pub const TREE: u8 = 3;
    /// Was a node of a B+tree and has left it.
    pub const DEAD: u8 = 4;
    /// From here on: pages of the transaction layer.
    pub const FIRST_TXN: u8 = 16;
}

const CONTROL: PageId = PageId(0);
const MAGIC: [u8; 8] = *b"SEXTANT1";
/// Version of the page formats of the engine.
pub const FORMAT: u32 = 1;

const FORMAT_AT: usize = 28;
const MAGIC_AT: usize = 32;
const NEXT_AT: usize = 40;
const TRUNK_AT: usize = 48;
const FREE_AT: usize = 56;
const ROOTS_AT: usize = 64;

const TRUNK_NEXT_AT: usize = 32;
const TRUNK_COUNT_AT: usize = 40;
const TRUNK_PAGES_AT: usize = 48;
/// Page numbers in one trunk.
pub const TRUNK_CAPACITY: usize = (PAGE_SIZE - TRUNK_PAGES_AT) / 8;

fn u64_at(page: &[u8; PAGE_SIZE], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// The named roots of the control page: 32 numbers, each the property of one part of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots;

impl Roots {
    /// Where the catalog starts.
    pub const CATALOG: usize = 0;
    /// The commit table's directory.
    pub const COMMIT_TABLE: usize = 1;
    /// No transaction id at or above it was handed out.
    pub const TXID_HIGH_WATER: usize = 2;
    /// Undo.
    pub const UNDO: usize = 3;
    /// The values of sequences.
    pub const SEQUENCES: usize = 4;
    /// Trees whose pages are to be freed.
    pub const PENDING_DROPS: usize = 5;
    /// How many there are.
    pub const COUNT: usize = 32;

    fn at(slot: usize) -> usize {
        assert!(slot < Roots::COUNT, "there are {} root slots", Roots::COUNT);
        ROOTS_AT + 8 * slot
    }

    /// Reads a slot; 0 when it was never set.
    ///
    /// # Panics
    /// When `slot` is not below [`Roots::COUNT`].
    pub fn get(pool: &BufferPool, slot: usize) -> Step<u64> {
        let page = pool.read(CONTROL)?;
        check(&page)?;
        Ok(u64_at(&page, Roots::at(slot)))
    }

    /// Sets a slot. Latches the control page until commit.
    ///
    /// # Panics
    /// As [`Roots::get`].
    pub fn set(mtr: &mut MiniTxn<'_>, slot: usize, value: u64) -> Step<()> {
        let control = mtr.latch(CONTROL)?;
        check(mtr.bytes(control))?;
        mtr.set(control, Roots::at(slot), &value.to_le_bytes());
        Ok(())
    }
}

/// How much of the volume is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Pages ever used, the control page among them.
    pub pages: u64,
    /// Of these, pages on the free list.
    pub free: u64,
}

/// Reads how much is in use.
pub fn usage(pool: &BufferPool) -> Step<Usage> {
    let page = pool.read(CONTROL)?;
    check(&page)?;
    Ok(Usage { pages: u64_at(&page, NEXT_AT), free: u64_at(&page, FREE_AT) })
}

/// Formats the control page of a new volume, or checks that of an old one. True when the volume was new.
///
/// # Errors
/// [`StorageError::Corrupt`] when page 0 is no control page, [`StorageError::Format`] when another version wrote it.
pub async fn format_if_new(pool: &BufferPool) -> Result<bool, StorageError> {
    let (new, lsn) = pool.write(format_step).await?;
    if new {
        pool.store().durable(lsn).await?;
    }
    Ok(new)
}

fn format_step(mtr: &mut MiniTxn<'_>) -> Step<bool> {
    mtr.pool().check_ensured(CONTROL)?;
    let control = mtr.latch(CONTROL)?;
    if mtr.bytes(control)[PAGE_TYPE] != page_type::NONE {
        check(mtr.bytes(control))?;
        return Ok(false);
    }
    let mut body = [0; FREE_AT - PAGE_TYPE];
    body[0] = page_type::CONTROL;
    let mut put =
        |at: usize, bytes: &[u8]| body[at - PAGE_TYPE..at - PAGE_TYPE + bytes.len()].copy_from_slice(bytes);
    put(FORMAT_AT, &FORMAT.to_le_bytes());
    put(MAGIC_AT, &MAGIC);
    put(NEXT_AT, &1u64.to_le_bytes());
    mtr.image(control, &body);
    Ok(true)
}

fn check(page: &[u8; PAGE_SIZE]) -> Result<(), StorageError> {
    let corrupt = |what| Err(StorageError::Corrupt { page: CONTROL, what });
    if page[PAGE_TYPE] == page_type::NONE {
        return corrupt("the volume was never formatted");
    }
    if page[PAGE_TYPE] != page_type::CONTROL || page[MAGIC_AT..MAGIC_AT + 8] != MAGIC {
        return corrupt("it is not a control page");
    }
    let mut raw = [0; 4];
    raw.copy_from_slice(&page[FORMAT_AT..FORMAT_AT + 4]);
    match u32::from_le_bytes(raw) {
        FORMAT => Ok(()),
        found => Err(StorageError::Format { found, known: FORMAT }),
    }
}

/// What one MTR has done to the control page's numbers so far; written there by [`finish`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    control: PageHandle,
    next: u64,
    trunk: u64,
    free: u64,
}

fn space(mtr: &mut MiniTxn<'_>) -> Step<Space> {
    if let Some(space) = mtr.space {
        return Ok(space);
    }
    let control = mtr.latch(CONTROL)?;
    let page = mtr.bytes(control);
    check(page)?;
    Ok(Space {
        control,
        next: u64_at(page, NEXT_AT),
        trunk: u64_at(page, TRUNK_AT),
        free: u64_at(page, FREE_AT),
    })
}

/// Latches the first trunk and says how many pages it lists.
fn trunk(mtr: &mut MiniTxn<'_>, page: PageId) -> Step<(PageHandle, usize)> {
    let trunk = mtr.latch(page)?;
    mtr.refresh(trunk);
    let bytes = mtr.bytes(trunk);
    let count = u64_at(bytes, TRUNK_COUNT_AT) as usize;
    if bytes[PAGE_TYPE] != page_type::TRUNK || count > TRUNK_CAPACITY {
        let what = "the free list leads to a page that is not part of it";
        return Err(StorageError::Corrupt { page, what }.into());
    }
    Ok((trunk, count))
}

pub(crate) fn allocate(mtr: &mut MiniTxn<'_>) -> Step<PageHandle> {
    let mut space = space(mtr)?;
    let taken = if space.trunk == 0 {
        let page = PageId(space.next);
        mtr.pool().check_ensured(page)?;
        space.next += 1;
        mtr.latch_new(page)?
    } else {
        let (trunk, count) = trunk(mtr, PageId(space.trunk))?;
        space.free = space.free.saturating_sub(1);
        match count.checked_sub(1) {
            Some(last) => {
                let page = PageId(u64_at(mtr.bytes(trunk), TRUNK_PAGES_AT + 8 * last));
                mtr.set(trunk, TRUNK_COUNT_AT, &(last as u64).to_le_bytes()[..2]);
                mtr.latch(page)?
            }
            None => {
                space.trunk = u64_at(mtr.bytes(trunk), TRUNK_NEXT_AT);
                trunk
            }
        }
    };
    mtr.space = Some(space);
    Ok(taken)
}

pub(crate) fn free(mtr: &mut MiniTxn<'_>, page: PageId) -> Step<()> {
    let mut space = space(mtr)?;
    let listed = match space.trunk {
        0 => false,
        first => {
            let (trunk, count) = trunk(mtr, PageId(first))?;
            if count < TRUNK_CAPACITY {
                mtr.set(trunk, TRUNK_PAGES_AT + 8 * count, &page.0.to_le_bytes());
                mtr.set(trunk, TRUNK_COUNT_AT, &(count as u64 + 1).to_le_bytes()[..2]);
            }
            count < TRUNK_CAPACITY
        }
    };
    if !listed {
        let trunk = mtr.latch(page)?;
        let mut body = [0; TRUNK_COUNT_AT - PAGE_TYPE];
        body[0] = page_type::TRUNK;
        body[TRUNK_NEXT_AT - PAGE_TYPE..].copy_from_slice(&space.trunk.to_le_bytes());
        mtr.image(trunk, &body);
        space.trunk = page.0;
    }
    space.free += 1;
    mtr.space = Some(space);
    Ok(())
}

/// Stages the control page's new numbers, before commit.
pub(crate) fn finish(mtr: &mut MiniTxn<'_>) {
    let Some(space) = mtr.space.take() else { return };
    for (at, value) in [(NEXT_AT, space.next), (TRUNK_AT, space.trunk), (FREE_AT, space.free)] {
        let old = u64_at(mtr.bytes(space.control), at).to_le_bytes();
        let new = value.to_le_bytes();
        // Little-endian: what differs is at the front.
        if let Some(last) = (0..8).rev().find(|i| old[*i] != new[*i]) {
            mtr.set(space.control, at, &new[..=last]);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sextant_volume::memory::MemoryStore;

    use super::*;
    use crate::buffer::Stop;

    /// Every page on the free list, trunks included.
    pub(crate) async fn free_pages(pool: &BufferPool) -> Vec<PageId> {
        let copy = async |page| pool.run(|| Ok(Box::new(*pool.read(page)?))).await.unwrap();
        let mut free = Vec::new();
        let mut next = u64_at(&*copy(CONTROL).await, TRUNK_AT);
        while next != 0 {
            let trunk = copy(PageId(next)).await;
            assert_eq!(trunk[PAGE_TYPE], page_type::TRUNK);
            free.push(PageId(next));
            let count = u64_at(&trunk, TRUNK_COUNT_AT) as usize;
            free.extend((0..count).map(|n| PageId(u64_at(&trunk, TRUNK_PAGES_AT + 8 * n))));
            next = u64_at(&trunk, TRUNK_NEXT_AT);
        }
        free
    }

    async fn pool() -> std::sync::Arc<BufferPool> {
        let pool = BufferPool::new(MemoryStore::new(), 1 << 20).unwrap();
        assert!(format_if_new(&pool).await.unwrap());
        assert!(!format_if_new(&pool).await.unwrap());
        pool
    }

    #[tokio::test]
    async fn pages_are_taken_and_given_back() {
        let pool = pool().await;
        let many = 2 * TRUNK_CAPACITY as u64 + 500;
        for n in 1..=many {
            let take = |mtr: &mut MiniTxn<'_>| {
                let h = mtr.allocate()?;
                mtr.image(h, b"x");
                Ok(mtr.page(h))
            };
            assert_eq!(pool.write(take).await.unwrap().0, PageId(n));
        }
        for n in 1..=many {
            pool.write(|mtr| mtr.free(PageId(n))).await.unwrap();
        }
        let free = free_pages(&pool).await;
        assert_eq!(free.len() as u64, many);
        // Several at once, in one MTR with some given back.
        let mut taken = std::collections::BTreeSet::new();
        while taken.len() < many as usize {
            let step = |mtr: &mut MiniTxn<'_>| {
                let mut pages = Vec::new();
                for _ in 0..3 {
                    let h = mtr.allocate()?;
                    mtr.image(h, b"y");
                    pages.push(mtr.page(h));
                }
                mtr.free(pages.remove(1))?;
                Ok(pages)
            };
            for page in pool.write(step).await.unwrap().0 {
                assert!(taken.insert(page), "{page:?} was given to two");
            }
        }
        let usage = pool.run(|| usage(&pool)).await.unwrap();
        assert_eq!(usage.free, free_pages(&pool).await.len() as u64);
        assert!(usage.pages <= many + 4, "{usage:?}");
    }

    #[tokio::test]
    async fn roots_are_kept() {
        let pool = pool().await;
        pool.write(|mtr| Roots::set(mtr, Roots::UNDO, 77)).await.unwrap();
        assert_eq!(pool.run(|| Roots::get(&pool, Roots::UNDO)).await.unwrap(), 77);
        assert_eq!(pool.run(|| Roots::get(&pool, Roots::COUNT - 1)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_volume_of_something_else_is_refused() {
        let pool = BufferPool::new(MemoryStore::new(), 1 << 20).unwrap();
        let unformatted = pool.run(|| Roots::get(&pool, 0)).await;
        assert!(matches!(unformatted, Err(StorageError::Corrupt { .. })));
        let write = |mtr: &mut MiniTxn<'_>| {
            let h = mtr.latch(CONTROL)?;
            mtr.image(h, b"\x09not ours");
            Ok::<(), Stop>(())
        };
        pool.write(write).await.unwrap();
        assert!(matches!(format_if_new(&pool).await, Err(StorageError::Corrupt { .. })));
    }
}

//! The commit table: for every transaction id, the LSN of its commit record, or 0; for a subtransaction's id, the
//! transaction that it belongs to, or 0.
//!
//! A page holds 1,020 ids: mark at 24, slots of 8 bytes from 32 on. The directory, a tree in root slot
//! [`Roots::COMMIT_TABLE`], maps block number (u64 BE) to page (u64 LE). A commit record is a mini-transaction of one
//! `stamp` patch: the slot gets the record's own LSN. A subtransaction's slot gets [`LINK`] and the id of its transaction,
//! in the same mini-transaction or, where there are many, in some before it: a link to what never commits says nothing.
//!
//! What must hold: a block's page exists before an id of it is handed out; [`Roots::TXID_HIGH_WATER`] is above every
//! id handed out, so after a crash ids start above and none is ever used twice. A slot that is 0 although nobody runs
//! under its id belongs to a transaction that never happened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sextant_redo::{Lsn, PAGE_SIZE, PageId};

use super::active::{Active, ActiveSet};
use super::lookaside::Lookaside;
use super::states::RecentOutcomes;
use super::{Outcome, Owner, TxId};
use crate::btree::{Edit, Tree};
use crate::buffer::{BufferPool, Step, Stop, StorageError};
use crate::mtr::{MiniTxn, PageHandle};
use crate::space::{PAGE_TYPE, Roots, page_type};

/// Begins with the page's type.
const MARK: [u8; 8] = [page_type::FIRST_TXN, 0, 0, 0, b'C', b'M', b'T', b'B'];
/// Set in a slot that names a transaction instead of an LSN.
const LINK: u64 = 1 << 63;
/// Links written with the commit record, and in one mini-transaction before it.
const LINKS_AT_ONCE: usize = 64;
const SLOTS_AT: usize = 32;
const IDS_PER_PAGE: u64 = ((PAGE_SIZE - SLOTS_AT) / 8) as u64;
/// Blocks by which the high water rises at a time: 65,280 ids.
const BLOCKS_AHEAD: u64 = 64;
/// Newest transactions whose outcome is kept in memory (8 bytes each).
const RECENT: usize = 1 << 20;

/// See the module.
pub(crate) struct CommitTable {
    directory: Tree,
    recent: RecentOutcomes,
    old: Lookaside,
    pub(crate) active: ActiveSet,
    /// Directory entries read so far.
    blocks: Mutex<HashMap<u64, PageId>>,
    next: AtomicU64,
    /// Ids below may be handed out: their block's page exists.
    limit: AtomicU64,
    /// The durable high water; locked while a block is prepared.
    high_water: tokio::sync::Mutex<u64>,
}

fn slot_offset(id: TxId) -> usize {
    SLOTS_AT + 8 * (id.0 % IDS_PER_PAGE) as usize
}

fn new_tree(mtr: &mut MiniTxn<'_>, root: usize) -> Step<Tree> {
    let tree = Tree::create(mtr)?;
    Roots::set(mtr, root, tree.root.0)?;
    Ok(tree)
}

/// The tree whose root page is kept in a root slot; made at first use.
pub(crate) async fn rooted_tree(pool: &BufferPool, slot: usize) -> Result<Tree, StorageError> {
    let root = pool.run(|| Roots::get(pool, slot)).await?;
    if root != 0 {
        return Ok(Tree { root: PageId(root) });
    }
    Ok(pool.write(|mtr| new_tree(mtr, slot)).await?.0)
}

impl CommitTable {
    /// Opens it; ids go on above every one that an earlier engine may have handed out.
    pub(crate) async fn open(pool: &BufferPool) -> Result<CommitTable, StorageError> {
        let directory = rooted_tree(pool, Roots::COMMIT_TABLE).await?;
        let high_water = pool.run(|| Roots::get(pool, Roots::TXID_HIGH_WATER)).await?;
        let first = high_water.max(1);
        Ok(CommitTable {
            directory,
            recent: RecentOutcomes::new(RECENT, TxId(first)),
            old: Lookaside::new(),
            active: ActiveSet::default(),
            blocks: Mutex::default(),
            next: AtomicU64::new(first),
            limit: AtomicU64::new(high_water),
            high_water: tokio::sync::Mutex::new(high_water),
        })
    }

    /// How many ids were handed out so far, by this engine and those before it.
    pub(crate) fn begun(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Gives a transaction its id.
    pub(crate) async fn start(&self, pool: &BufferPool, owner: Owner) -> Result<Arc<Active>, StorageError> {
        loop {
            let next = self.next.load(Ordering::Acquire);
            if next >= self.limit.load(Ordering::Acquire) {
                self.prepare_block(pool).await?;
                continue;
            }
            let taken = self.next.compare_exchange_weak(next, next + 1, Ordering::AcqRel, Ordering::Acquire);
            if taken.is_err() {
                continue;
            }
            let id = TxId(next);
            let page = pool.run(|| self.page_of(pool, id)).await?;
            let active = Active::new(id, owner, (page, slot_offset(id)));
            self.active.insert(active.clone());
            self.recent.start(id);
            return Ok(active);
        }
    }

    /// Makes the page of the next block.
    async fn prepare_block(&self, pool: &BufferPool) -> Result<(), StorageError> {
        let mut high_water = self.high_water.lock().await;
        let limit = self.limit.load(Ordering::Acquire);
        if self.next.load(Ordering::Acquire) < limit {
            return Ok(());
        }
        let block = limit / IDS_PER_PAGE;
        let end = (block + 1) * IDS_PER_PAGE;
        let new_high = if end > *high_water { (block + BLOCKS_AHEAD) * IDS_PER_PAGE } else { *high_water };
        let raise = new_high != *high_water;
        let (page, _) = pool
            .write(|mtr| {
                let handle = mtr.allocate()?;
                mtr.image(handle, &MARK);
                let page = mtr.page(handle);
                self.directory.edit(mtr, &block.to_be_bytes(), |_, _| {
                    Ok((Edit::Put(page.0.to_le_bytes().to_vec()), ()))
                })?;
                if raise {
                    Roots::set(mtr, Roots::TXID_HIGH_WATER, new_high)?;
                }
                Ok(page)
            })
            .await?;
        *high_water = new_high;
        self.blocks.lock().insert(block, page);
        self.limit.store(end, Ordering::Release);
        Ok(())
    }

    fn page_of(&self, pool: &BufferPool, id: TxId) -> Step<PageId> {
        let block = id.0 / IDS_PER_PAGE;
        if let Some(page) = self.blocks.lock().get(&block) {
            return Ok(*page);
        }
        let found = self.directory.lookup(pool, &block.to_be_bytes(), |value| {
            value.and_then(|v| v.try_into().ok()).map(u64::from_le_bytes)
        })?;
        let Some(page) = found.map(PageId) else {
            return Err(Stop::Failed(StorageError::Corrupt {
                page: self.directory.root,
                what: "a row names a transaction that was never handed out",
            }));
        };
        self.blocks.lock().insert(block, page);
        Ok(page)
    }

    /// The outcome, without touching a page: `None` when that is not enough.
    pub(crate) fn known(&self, id: TxId) -> Option<Outcome> {
        self.recent.get(id)
    }

    /// The outcome.
    pub(crate) fn outcome(&self, pool: &BufferPool, id: TxId) -> Step<Outcome> {
        if let Some(outcome) = self.recent.get(id).or_else(|| self.old.get(id)) {
            return Ok(outcome);
        }
        // First those that run, then the page: who leaves the former is in the latter already.
        if let Some(outcome) = self.active.outcome(id) {
            return Ok(outcome);
        }
        let outcome = match self.slot(pool, id)? {
            0 => Outcome::Aborted,
            link if link & LINK != 0 => self.outcome(pool, TxId(link & !LINK))?,
            lsn => Outcome::Committed(Lsn(lsn)),
        };
        if outcome != Outcome::InProgress {
            self.old.put(id, outcome);
        }
        Ok(outcome)
    }

    fn slot(&self, pool: &BufferPool, id: TxId) -> Step<u64> {
        let page = self.page_of(pool, id)?;
        let at = slot_offset(id);
        let bytes = pool.read(page)?;
        if bytes[PAGE_TYPE..SLOTS_AT] != MARK {
            let what = "not a page of the commit table";
            return Err(Stop::Failed(StorageError::Corrupt { page, what }));
        }
        let mut raw = [0; 8];
        raw.copy_from_slice(&bytes[at..at + 8]);
        let slot = u64::from_le_bytes(raw);
        // A link leads down, and only once: what is on a damaged page must not be followed for ever.
        if slot & LINK != 0 && slot & !LINK >= id.0 {
            let what = "a subtransaction belongs to a transaction that is younger";
            return Err(Stop::Failed(StorageError::Corrupt { page, what }));
        }
        Ok(slot)
    }

    /// Appends the commit record, which speaks for the subtransactions too. From the moment it has its LSN, every
    /// snapshot at or above that sees the transaction.
    pub(crate) async fn commit(
        &self,
        pool: &BufferPool,
        active: &Active,
        subs: &[Arc<Active>],
    ) -> Result<Lsn, StorageError> {
        // Ids ascend, and pages are latched in that order by everybody who latches several.
        let (before, with) = subs.split_at(subs.len().saturating_sub(LINKS_AT_ONCE));
        for some in before.chunks(LINKS_AT_ONCE) {
            pool.write(|mtr| link(mtr, active.id, some, None)).await?;
        }
        let (page, offset) = active.slot;
        let step = |mtr: &mut MiniTxn<'_>| {
            let handle = mtr.latch(page)?;
            link(mtr, active.id, with, Some((page, handle)))?;
            mtr.stamp_lsn(handle, offset);
            Ok(())
        };
        let publish = |lsn| {
            for active in subs.iter().map(|sub| &**sub).chain([active]) {
                active.committed_at(lsn);
                self.recent.finish(active.id, Outcome::Committed(lsn));
            }
        };
        Ok(pool.write_with(step, publish).await?.1)
    }

    /// The end of a transaction, committed or not.
    pub(crate) fn end(&self, active: &Active) {
        if active.commit_lsn().is_none() {
            self.recent.finish(active.id, Outcome::Aborted);
        }
        self.active.end(active);
    }
}

/// Writes the links of subtransactions to `top`; `latched` is a page that is latched already.
fn link(
    mtr: &mut MiniTxn<'_>,
    top: TxId,
    subs: &[Arc<Active>],
    mut latched: Option<(PageId, PageHandle)>,
) -> Step<()> {
    for sub in subs {
        let (page, offset) = sub.slot;
        let handle = match latched {
            Some((same, handle)) if same == page => handle,
            _ => mtr.latch(page)?,
        };
        latched = Some((page, handle));
        mtr.set(handle, offset, &(LINK | top.0).to_le_bytes());
    }
    Ok(())
}

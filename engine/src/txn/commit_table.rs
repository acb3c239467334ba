//! The commit table: for every transaction id, the LSN of its commit record, or 0.
//!
//! A page holds 1,020 ids: mark at 24, slots of 8 bytes from 32 on. The directory, a tree in root slot
//! [`Roots::COMMIT_TABLE`], maps block number (u64 BE) to page (u64 LE). A commit record is a mini-transaction of one
//! `stamp` patch: the slot gets the record's own LSN.
//!
//! What must hold: a block's page exists before an id of it is handed out; [`Roots::TXID_HIGH_WATER`] is above every
//! id handed out, so after a crash ids start above and none is ever used twice. A slot that is 0 although nobody runs
//! under its id belongs to a transaction that never happened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sextant_redo::{Lsn, PAGE_SIZE, PageId};

use super::active::{Active, ActiveSet};
use super::lookaside::Lookaside;
use super::states::RecentOutcomes;
use super::{Outcome, Owner, TxId};
use crate::btree::{Edit, Tree};
use crate::buffer::{BufferPool, Step, Stop, StorageError};
use crate::mtr::MiniTxn;
use crate::space::{PAGE_TYPE, Roots, page_type};

/// Begins with the page's type.
const MARK: [u8; 8] = [page_type::FIRST_TXN, 0, 0, 0, b'C', b'M', b'T', b'B'];
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

    /// Gives a transaction its id.
    pub(crate) async fn start(
        &self,
        pool: &BufferPool,
        owner: Owner,
    ) -> Result<std::sync::Arc<Active>, StorageError> {
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
        let page = self.page_of(pool, id)?;
        let at = slot_offset(id);
        let bytes = pool.read(page)?;
        if bytes[PAGE_TYPE..SLOTS_AT] != MARK {
            let what = "not a page of the commit table";
            return Err(Stop::Failed(StorageError::Corrupt { page, what }));
        }
        let mut raw = [0; 8];
        raw.copy_from_slice(&bytes[at..at + 8]);
        let outcome = match u64::from_le_bytes(raw) {
            0 => Outcome::Aborted,
            lsn => Outcome::Committed(Lsn(lsn)),
        };
        self.old.put(id, outcome);
        Ok(outcome)
    }

    /// Appends the commit record. From the moment it has its LSN, every snapshot at or above that sees the transaction.
    pub(crate) async fn commit(&self, pool: &BufferPool, active: &Active) -> Result<Lsn, StorageError> {
        let (page, offset) = active.slot;
        let step = |mtr: &mut MiniTxn<'_>| {
            let handle = mtr.latch(page)?;
            mtr.stamp_lsn(handle, offset);
            Ok(())
        };
        let publish = |lsn| {
            active.committed_at(lsn);
            self.recent.finish(active.id, Outcome::Committed(lsn));
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

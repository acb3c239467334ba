//! The values of sequences. They are not transactional: a value is handed out once, whatever becomes of its
//! transaction. A block is reserved on the volume at a time, so a crash skips at most the rest of a block.
//!
//! One tree holds all: key = pg_class.relfilenode (u32 BE), value = the next value that is not reserved (i64 LE), or empty when the
//! sequence is used up.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sextant_redo::PageId;

use super::model::SequenceInfo;
use crate::btree::{Edit, Tree};
use crate::buffer::{BufferPool, Stop, StorageError};
use crate::mtr::MiniTxn;
use crate::space::Roots;
use crate::types::{SqlError, SqlResult, sqlstate};

/// Values reserved at a time, as PostgreSQL logs ahead.
const BLOCK: i64 = 32;

/// Values in hand: the next, and how many.
#[derive(Debug, Clone, Copy)]
struct Reserved {
    next: i64,
    left: i64,
}

/// See the module.
pub(crate) struct Sequences {
    pool: Arc<BufferPool>,
    tree: Tree,
    reserved: Mutex<HashMap<u32, Reserved>>,
}

impl Sequences {
    pub(super) async fn open(pool: Arc<BufferPool>) -> SqlResult<Sequences> {
        let (tree, _) = pool
            .write(|mtr| {
                let root = Roots::get(mtr.pool(), Roots::SEQUENCES)?;
                if root != 0 {
                    return Ok(Tree { root: PageId(root) });
                }
                let tree = Tree::create(mtr)?;
                Roots::set(mtr, Roots::SEQUENCES, tree.root.0)?;
                Ok(tree)
            })
            .await?;
        Ok(Sequences { pool, tree, reserved: Mutex::default() })
    }

    /// Makes sure that [`Sequences::take`] has something to give. 2200H when a sequence that does not cycle is at its
    /// end.
    pub(crate) async fn refill(&self, sequence: &SequenceInfo) -> SqlResult<()> {
        let block = self.reserve(sequence).await?;
        let mut reserved = self.reserved.lock();
        let ours = reserved.entry(sequence.file).or_insert(block);
        if ours.left == 0 {
            // Two that reserve at once: the second block is skipped if the first is not used up.
            *ours = block;
        }
        Ok(())
    }

    /// `nextval`, if a value is in hand.
    pub(crate) fn take(&self, sequence: &SequenceInfo) -> Option<i64> {
        let mut reserved = self.reserved.lock();
        let r = reserved.get_mut(&sequence.file)?;
        if r.left == 0 {
            return None;
        }
        let value = r.next;
        r.left -= 1;
        r.next = value.saturating_add(sequence.increment);
        Some(value)
    }

    async fn reserve(&self, sequence: &SequenceInfo) -> SqlResult<Reserved> {
        let key = sequence.file.to_be_bytes();
        let step = |mtr: &mut MiniTxn<'_>| {
            self.tree.edit(mtr, &key, |found, _| {
                let start = match found {
                    None => Some(sequence.start),
                    Some(value) => decode(value)?,
                };
                let Some(start) = start.or(sequence.cycle.then(|| first_of_cycle(sequence))) else {
                    return Ok((Edit::Keep, None));
                };
                let (count, next) = block_from(sequence, start);
                Ok((Edit::Put(encode(next)), Some(Reserved { next: start, left: count })))
            })
        };
        let (block, _) = self.pool.write(step).await?;
        block.ok_or_else(|| {
            let (end, bound) =
                if sequence.increment > 0 { ("maximum", sequence.max) } else { ("minimum", sequence.min) };
            SqlError::new(
                sqlstate::SEQUENCE_LIMIT,
                format!("nextval: reached {end} value of sequence \"{}\" ({bound})", sequence.name),
            )
        })
    }

    /// `setval` and RESTART: the next value is `next`.
    pub(crate) async fn set(&self, sequence: &SequenceInfo, next: Option<i64>) -> SqlResult<()> {
        let key = sequence.file.to_be_bytes();
        self.pool.write(|mtr| self.tree.edit(mtr, &key, |_, _| Ok((Edit::Put(encode(next)), ())))).await?;
        self.reserved.lock().remove(&sequence.file);
        Ok(())
    }
}

fn first_of_cycle(sequence: &SequenceInfo) -> i64 {
    if sequence.increment > 0 { sequence.min } else { sequence.max }
}

/// How many values from `start` on are within bounds, up to a block, and the value behind them.
fn block_from(sequence: &SequenceInfo, start: i64) -> (i64, Option<i64>) {
    let within = |n: i64| (sequence.min..=sequence.max).contains(&n);
    let mut next = Some(start);
    let mut count = 0;
    while let Some(value) = next
        && count < BLOCK
        && within(value)
    {
        count += 1;
        next = value.checked_add(sequence.increment);
    }
    (count, next.filter(|n| within(*n)))
}

fn encode(next: Option<i64>) -> Vec<u8> {
    next.map_or(Vec::new(), |n| n.to_le_bytes().to_vec())
}

fn decode(value: &[u8]) -> Result<Option<i64>, Stop> {
    if value.is_empty() {
        return Ok(None);
    }
    let raw: [u8; 8] = value.try_into().map_err(|_| {
        Stop::Failed(StorageError::Corrupt {
            page: PageId(0),
            what: "a sequence's value has not eight bytes",
        })
    })?;
    Ok(Some(i64::from_le_bytes(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SqlType;

    #[test]
    fn blocks_end_at_the_bounds() {
        let sequence = SequenceInfo {
            oid: 1,
            file: 1,
            namespace: 1,
            name: "s".into(),
            ty: SqlType::INT4,
            start: 1,
            increment: 1,
            min: 1,
            max: 40,
            cycle: false,
            owner: None,
        };
        assert_eq!(block_from(&sequence, 1), (32, Some(33)));
        assert_eq!(block_from(&sequence, 33), (8, None));
        let edge = SequenceInfo { max: i64::MAX, ..sequence };
        assert_eq!(block_from(&edge, i64::MAX), (1, None));
    }
}

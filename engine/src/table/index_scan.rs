//! Reading a range of an index.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use super::index::split_entry;
use super::{Index, RowBatch};
use crate::btree::{Direction, Resume, Tree};
use crate::txn::{KeyRange, Snapshot, Tracked, TransactionSystem, TxnError};
use crate::types::key::after_prefix;

/// Entries of an index whose keys lie in a range, in the order of the index or against it. They are hints: fetch each
/// row with a snapshot taken *before* the scan began, and check its key again.
pub struct IndexScan {
    oid: u32,
    tree: Tree,
    direction: Direction,
    from: Option<Bound<Vec<u8>>>,
    /// Where it ends: an entry on the far side is not taken.
    until: Bound<Vec<u8>>,
    /// Whose reads these are, when that matters.
    tracked: Option<Arc<Tracked>>,
}

/// The bound above everything that begins with `prefix`; unbounded when nothing is.
fn behind(prefix: &[u8], bound: fn(Vec<u8>) -> Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    after_prefix(prefix).map_or(Bound::Unbounded, bound)
}

impl IndexScan {
    /// Bounds are *prefixes* of keys: an upper `Included(p)` takes everything that begins with `p`, a lower
    /// `Excluded(p)` nothing that does; so a range over the first columns of a longer key is said with these alone.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        index: &Index,
        lower: Bound<Vec<u8>>,
        upper: Bound<Vec<u8>>,
        direction: Direction,
    ) -> IndexScan {
        let mut empty = false;
        let lower = match lower {
            Bound::Excluded(prefix) => {
                let start = behind(&prefix, Bound::Included);
                empty = start == Bound::Unbounded;
                start
            }
            other => other,
        };
        let upper = match upper {
            Bound::Included(prefix) => behind(&prefix, Bound::Excluded),
            other => other,
        };
        let (from, until) = match direction {
            Direction::Forward => (lower, upper),
            Direction::Backward => (upper, lower),
        };
        IndexScan {
            oid: index.oid,
            tree: index.tree,
            direction,
            from: (!empty).then_some(from),
            until,
            tracked: snapshot.tracked.clone(),
        }
    }

    /// The next entries into `out`, those of one leaf: rows, each with its key. False at the end; a batch may be empty
    /// before it.
    pub async fn next_batch(
        &mut self,
        system: &TransactionSystem,
        out: &mut RowBatch,
    ) -> Result<bool, TxnError> {
        let Some(from) = self.from.take() else {
            out.clear();
            return Ok(false);
        };
        let mut resume = self.read_leaf(system, &from, out).await?;
        if let Some(tracked) = &self.tracked {
            // Which part of the range is read shows only when it has been: it is entered, and read once more.
            loop {
                tracked.reads(self.oid, &self.covered(&from, &resume))?;
                let before = resume;
                resume = self.read_leaf(system, &from, out).await?;
                if resume == before {
                    break;
                }
            }
        }
        tokio::task::coop::consume_budget().await;
        if let Resume::Continue(next) = resume {
            self.from = Some(next);
        }
        Ok(true)
    }

    async fn read_leaf(
        &self,
        system: &TransactionSystem,
        from: &Bound<Vec<u8>>,
        out: &mut RowBatch,
    ) -> Result<Resume, TxnError> {
        let (tree, direction, until) = (self.tree, self.direction, &self.until);
        let within = |entry: &[u8]| match (until, direction) {
            (Bound::Unbounded, _) => true,
            (Bound::Excluded(end), Direction::Forward) => entry < end.as_slice(),
            (Bound::Included(end), Direction::Forward) => entry <= end.as_slice(),
            (Bound::Included(end), Direction::Backward) => entry >= end.as_slice(),
            (Bound::Excluded(end), Direction::Backward) => entry > end.as_slice(),
        };
        let resume = system
            .pool()
            .run(|| {
                out.clear();
                let from = from.as_ref().map(Vec::as_slice);
                tree.scan_leaf(system.pool(), from, direction, &mut |entry, _| {
                    if !within(entry) {
                        return ControlFlow::Break(());
                    }
                    if let Some((key, row)) = split_entry(entry) {
                        out.push(row, key);
                    }
                    ControlFlow::Continue(())
                })
            })
            .await?;
        Ok(resume)
    }

    /// The entries that a leaf was read for, whether they are there or not.
    fn covered(&self, from: &Bound<Vec<u8>>, resume: &Resume) -> KeyRange {
        fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
            bound.as_ref().map(Vec::as_slice)
        }
        let (from, until) = (slice(from), slice(&self.until));
        // Where the next leaf begins this one ends; what lies behind the range's end is entered by nobody.
        let to = match resume {
            Resume::Continue(next) => match slice(next) {
                Bound::Included(next) if self.direction == Direction::Forward => Bound::Excluded(next),
                Bound::Excluded(next) if self.direction == Direction::Backward => Bound::Included(next),
                other => other,
            },
            Resume::Done | Resume::Stopped => until,
        };
        match self.direction {
            Direction::Forward => KeyRange::between(from, to).and(&KeyRange::between(from, until)),
            Direction::Backward => KeyRange::between(to, from).and(&KeyRange::between(until, from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_is_above_all_that_begin_with_it() {
        assert_eq!(behind(&[1, 2], Bound::Excluded), Bound::Excluded(vec![1, 3]));
        assert_eq!(behind(&[1, 255, 255], Bound::Included), Bound::Included(vec![2]));
        assert_eq!(behind(&[255, 255], Bound::Excluded), Bound::Unbounded);
        assert_eq!(behind(&[], Bound::Excluded), Bound::Unbounded);
    }
}

//! Who stands in the way of a unique key.

use std::ops::{Bound, ControlFlow};

use super::index::split_entry;
use super::{Index, RowId, Table};
use crate::btree::{Direction, Resume};
use crate::txn::{Outcome, Own, Transaction, TransactionSystem, TxId, TxnError};

/// Another row with the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Conflict {
    /// It is there to stay, as far as anybody knows.
    Live(RowId),
    /// It depends on how this transaction ends.
    Undecided(TxId),
}

/// What a row's versions, from the newest on, say about a key.
#[derive(Default)]
struct Verdict {
    /// The transaction in progress whose versions head the row.
    writer: Option<TxId>,
    decided: bool,
    conflict: Option<Option<TxId>>,
}

impl Verdict {
    /// Takes the next older version that is not rolled back.
    fn see(&mut self, txid: TxId, outcome: Outcome, has_key: bool, own: &Own) {
        if self.decided {
            return;
        }
        match (outcome, self.writer) {
            (Outcome::Committed(_), writer) => {
                self.decided = true;
                self.conflict = has_key.then_some(writer);
            }
            (_, _) if own.contains(txid) => {
                self.decided = true;
                self.conflict = has_key.then_some(None);
            }
            // The head of somebody's unfinished work: with the key it conflicts if that one commits ...
            (_, None) if has_key => {
                self.decided = true;
                self.conflict = Some(Some(txid));
            }
            // ... and without it the version before does if that one rolls back.
            (_, None) => self.writer = Some(txid),
            // A version under another id of that transaction counts if what is above is taken back to a savepoint ...
            (_, Some(head)) if has_key && txid != head => {
                self.decided = true;
                self.conflict = Some(Some(head));
            }
            // ... and under the same id it will never count.
            (_, Some(_)) => {}
        }
    }
}

impl TransactionSystem {
    /// The first conflict of `row` having `key` in the index. A key that its snapshot has in another row is not free for a
    /// serializable transaction: it is behind whoever freed it.
    pub(super) async fn unique_conflict(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        key: &[u8],
        row: RowId,
    ) -> Result<Option<Conflict>, TxnError> {
        txn.pinned();
        for other in self.rows_with_key(index, key, row).await? {
            let Some(value) = self.stored(table, other).await? else {
                continue;
            };
            let own = txn.own();
            let verdict = self
                .pool()
                .run(|| {
                    let mut verdict = Verdict::default();
                    self.each_version(&table.tree, other.0, &value, |header, outcome, bytes| {
                        let has_key = !header.deleted && {
                            let had = self.key(index, &table.tree, other, header, bytes)?;
                            had.is_some_and(|had| had.bytes == key)
                        };
                        verdict.see(header.txid, outcome, has_key, own);
                        Ok(!verdict.decided)
                    })?;
                    Ok(verdict)
                })
                .await?;
            match verdict.conflict {
                None if txn.is_tracked() && self.sees_key(txn, index, table, other, &value, key).await? => {
                    return Err(TxnError::Serialization);
                }
                None => {}
                Some(None) => return Ok(Some(Conflict::Live(other))),
                Some(Some(by)) => return Ok(Some(Conflict::Undecided(by))),
            }
        }
        Ok(None)
    }

    /// Whether a row has the key in the transaction's snapshot, all of its own changes included.
    async fn sees_key(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        row: RowId,
        value: &[u8],
        key: &[u8],
    ) -> Result<bool, TxnError> {
        let mut snapshot = txn.snapshot();
        snapshot.command = u32::MAX;
        let mut bytes = Vec::new();
        let step = || {
            let tree = &table.tree;
            match self.visible(&snapshot, tree, row.0, value, &mut bytes)?.seen {
                Some(header) => self.key(index, tree, row, &header, &bytes),
                None => Ok(None),
            }
        };
        Ok(self.pool().run(step).await?.is_some_and(|had| had.bytes == key))
    }

    /// Rows other than `row` that have an entry of exactly this key.
    async fn rows_with_key(&self, index: &Index, key: &[u8], row: RowId) -> Result<Vec<RowId>, TxnError> {
        let mut rows = Vec::new();
        let mut from = Bound::Included(key.to_vec());
        loop {
            let start = from.clone();
            let (found, resume) = self
                .pool()
                .run(|| {
                    let mut found = Vec::new();
                    let from = start.as_ref().map(Vec::as_slice);
                    let resume =
                        index.tree.scan_leaf(self.pool(), from, Direction::Forward, &mut |entry, _| {
                            match split_entry(entry) {
                                Some((k, other)) if k == key => {
                                    if other != row {
                                        found.push(other);
                                    }
                                    ControlFlow::Continue(())
                                }
                                _ if entry.starts_with(key) => ControlFlow::Continue(()),
                                _ => ControlFlow::Break(()),
                            }
                        })?;
                    Ok((found, resume))
                })
                .await?;
            rows.extend(found);
            match resume {
                Resume::Continue(next) => from = next,
                Resume::Done | Resume::Stopped => return Ok(rows),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sextant_redo::Lsn;

    use super::*;

    fn own() -> Own {
        let mut own = Own::default();
        own.begin(TxId(1));
        own
    }

    const DONE: Outcome = Outcome::Committed(Lsn(5));
    const RUNS: Outcome = Outcome::InProgress;

    fn judge(versions: &[(u64, Outcome, bool)]) -> Option<Option<TxId>> {
        let mut verdict = Verdict::default();
        for (txid, outcome, has_key) in versions {
            verdict.see(TxId(*txid), *outcome, *has_key, &own());
        }
        verdict.conflict
    }

    #[test]
    fn the_newest_decided_version_counts() {
        assert_eq!(judge(&[(7, DONE, true)]), Some(None));
        assert_eq!(judge(&[(7, DONE, false), (6, DONE, true)]), None);
        assert_eq!(judge(&[(1, RUNS, false), (6, DONE, true)]), None, "deleted by ourselves");
        assert_eq!(judge(&[(1, RUNS, true)]), Some(None));
    }

    #[test]
    fn unfinished_work_is_waited_for_whichever_way_it_may_turn() {
        let other = Some(Some(TxId(7)));
        assert_eq!(judge(&[(7, RUNS, true)]), other);
        assert_eq!(judge(&[(7, RUNS, false), (6, DONE, true)]), other);
        assert_eq!(judge(&[(7, RUNS, false), (7, RUNS, true), (6, DONE, false)]), None);
        assert_eq!(judge(&[(7, RUNS, false)]), None);
        let savepoint = &[(8, RUNS, false), (7, RUNS, true), (6, DONE, false)];
        assert_eq!(judge(savepoint), Some(Some(TxId(8))), "if 8 is a subtransaction that is rolled back");
    }
}

//! FOR KEY SHARE: keeps a row's keys as they are, and is not kept from it by who changes the rest.

use super::{Index, LockOutcome, RowId, Table};
use crate::buffer::Step;
use crate::txn::version::Header;
use crate::txn::{LockWait, RowLock, Transaction, TransactionSystem, TxnError};

impl TransactionSystem {
    /// As [`TransactionSystem::lock_row`] with [`RowLock::KeyShare`]. While every version that is newer than the snapshot
    /// has the snapshot's keys in `keys`, the snapshot's version is what is locked and handed out, at any level, as in
    /// PostgreSQL: what a foreign key looks at has not changed.
    pub async fn lock_keys(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        keys: &[&Index],
        wait: LockWait,
        out: &mut Vec<u8>,
    ) -> Result<LockOutcome, TxnError> {
        let mark = txn.locks_taken();
        txn.lock_row_key(table.oid, row.0, RowLock::KeyShare, wait).await?;
        if self.keys_stand(txn, table, row, keys, out).await? {
            return Ok(LockOutcome::Locked);
        }
        self.judge(txn, table, row, (RowLock::KeyShare, wait), mark, out).await
    }

    /// Whether all versions from the newest down to the snapshot's have the same keys; the snapshot's is in `out` then.
    async fn keys_stand(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        keys: &[&Index],
        out: &mut Vec<u8>,
    ) -> Result<bool, TxnError> {
        let snapshot = txn.snapshot();
        let Some(value) = self.stored(table, row).await? else { return Ok(false) };
        let keys_of = |header: &Header, bytes: &[u8]| {
            let key = |index: &&Index| self.key(index, &table.tree, row, header, bytes);
            keys.iter().map(key).collect::<Step<Vec<_>>>()
        };
        let stand = self
            .pool()
            .run(|| {
                let mut newer: Option<Vec<_>> = None;
                let mut stand = false;
                self.each_version(&table.tree, row.0, &value, |header, outcome, bytes| {
                    if header.deleted {
                        return Ok(false);
                    }
                    let is_seen = TransactionSystem::decide(&snapshot, header, outcome);
                    if is_seen && newer.is_none() {
                        stand = true;
                    } else {
                        let keys = keys_of(header, bytes)?;
                        let has_them = newer.as_ref().is_none_or(|newer| *newer == keys);
                        if !is_seen {
                            newer.get_or_insert(keys);
                            // One's own later change is for the caller to hear of.
                            return Ok(has_them && !snapshot.own.contains(header.txid));
                        }
                        stand = has_them;
                    }
                    out.clear();
                    out.extend_from_slice(bytes);
                    Ok(false)
                })?;
                Ok(stand)
            })
            .await?;
        Ok(stand)
    }
}

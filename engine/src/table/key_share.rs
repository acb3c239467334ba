//! FOR KEY SHARE: keeps a row's keys as they are, and is not kept from it by who changes the rest.

use super::{Index, LockOutcome, RowId, Table};
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
        let keys_of = |bytes: &[u8]| keys.iter().map(|index| (index.key_of)(bytes)).collect::<Vec<_>>();
        let stand = self
            .pool()
            .run(|| {
                let mut newer = None;
                let mut stand = false;
                self.each_version(&table.tree, row.0, &value, |header, outcome, bytes| {
                    if header.deleted {
                        return false;
                    }
                    if TransactionSystem::decide(&snapshot, header, outcome) {
                        stand = newer.as_ref().is_none_or(|newer| *newer == keys_of(bytes));
                        out.clear();
                        out.extend_from_slice(bytes);
                        return false;
                    }
                    // One's own later change is for the caller to hear of.
                    let has_them = newer.as_ref().is_none_or(|newer| *newer == keys_of(bytes));
                    newer.get_or_insert_with(|| keys_of(bytes));
                    has_them && !snapshot.own.contains(header.txid)
                })?;
                Ok(stand)
            })
            .await?;
        Ok(stand)
    }
}

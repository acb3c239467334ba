//! Inserting rows and reading one.

use super::{RowId, Table, row_key};
use crate::btree::{Edit, Near, RunEntry, Tree};
use crate::mtr::MiniTxn;
use crate::txn::version::{HEADER, Header};
use crate::txn::visibility::Sight;
use crate::txn::{KeyRange, Snapshot, Transaction, TransactionSystem, TxnError};

impl TransactionSystem {
    /// Inserts a row. Its index entries come after it ([`TransactionSystem::index_insert`]).
    pub async fn insert(&self, txn: &mut Transaction, table: &Table, row: &[u8]) -> Result<RowId, TxnError> {
        let header =
            Header { deleted: false, command: txn.command(), txid: txn.write_id().await?, undo: None };
        let id = table.shared.row_ids.next(self.pool(), &table.tree, 1).await?;
        self.put_new(table, id, &header.join(row)).await?;
        txn.wrote(table.oid, || KeyRange::numbers(id..id + 1))?;
        txn.inserted(&table.tree, id..id + 1);
        Ok(RowId(id))
    }

    /// Inserts rows in order: cheaper than one by one, in time and in log.
    pub async fn insert_many(
        &self,
        txn: &mut Transaction,
        table: &Table,
        rows: &[impl AsRef<[u8]> + Sync],
    ) -> Result<Vec<RowId>, TxnError> {
        let header =
            Header { deleted: false, command: txn.command(), txid: txn.write_id().await?, undo: None };
        let count = rows.len() as u64;
        let first = table.shared.row_ids.next(self.pool(), &table.tree, count).await?;
        let keys: Vec<[u8; 8]> = (first..first + count).map(row_key).collect();
        let values: Vec<Vec<u8>> = rows.iter().map(|row| header.join(row.as_ref())).collect();
        let run: Vec<RunEntry<'_>> =
            keys.iter().zip(&values).map(|(key, value)| (&key[..], &value[..])).collect();
        self.put_run(&table.tree, &run).await?;
        txn.wrote(table.oid, || KeyRange::numbers(first..first + count))?;
        txn.inserted(&table.tree, first..first + count);
        Ok((first..first + count).map(RowId).collect())
    }

    /// Inserts new entries in ascending order, as many at a time as fit a leaf.
    pub(super) async fn put_run(&self, tree: &Tree, run: &[RunEntry<'_>]) -> Result<(), TxnError> {
        let mut rest = run;
        while let Some((key, value)) = rest.first() {
            tokio::task::coop::consume_budget().await;
            let mut done = self.pool().write(|mtr| tree.insert_run(mtr, rest)).await?.0;
            if done == 0 {
                let put =
                    |mtr: &mut MiniTxn<'_>| tree.edit(mtr, key, |_, _| Ok((Edit::Put(value.to_vec()), ())));
                self.pool().write(put).await?;
                done = 1;
            }
            rest = &rest[done..];
        }
        Ok(())
    }

    async fn put_new(&self, table: &Table, id: u64, value: &[u8]) -> Result<(), TxnError> {
        tokio::task::coop::consume_budget().await;
        let key = row_key(id);
        let step = |mtr: &mut MiniTxn<'_>| {
            table.tree.edit(mtr, &key, |old, _| {
                debug_assert!(old.is_none(), "a row id is handed out once");
                Ok((Edit::Put(value.to_vec()), ()))
            })
        };
        self.pool().write(step).await?;
        Ok(())
    }

    /// The version of a row that the snapshot sees, into `out`; false when it sees none.
    pub async fn get(
        &self,
        snapshot: &Snapshot,
        table: &Table,
        row: RowId,
        out: &mut Vec<u8>,
    ) -> Result<bool, TxnError> {
        self.get_near(snapshot, table, row, &mut Near::default(), out).await
    }

    /// The same for one of several rows that may lie close together.
    pub async fn get_near(
        &self,
        snapshot: &Snapshot,
        table: &Table,
        row: RowId,
        near: &mut Near,
        out: &mut Vec<u8>,
    ) -> Result<bool, TxnError> {
        tokio::task::coop::consume_budget().await;
        if let Some(tracked) = &snapshot.tracked {
            tracked.reads(table.oid, &KeyRange::numbers(row.0..row.0 + 1))?;
        }
        let key = row_key(row.0);
        let mut value = Vec::new();
        let sight = self
            .pool()
            .run(|| {
                value.clear();
                // Most rows are decided under the latch, and copied once.
                let at_once = table.tree.lookup_near(self.pool(), &key, near, |found| {
                    let found = found?;
                    let known =
                        Header::split(found).and_then(|(h, _)| Some((self.sees_at_once(snapshot, &h)?, h)));
                    match known {
                        Some((true, header)) => {
                            out.clear();
                            out.extend_from_slice(&found[HEADER..]);
                            Some(Some(!header.deleted))
                        }
                        _ => {
                            value.extend_from_slice(found);
                            Some(None)
                        }
                    }
                })?;
                match at_once {
                    None => Ok(Sight { seen: false, missed: None }),
                    Some(Some(seen)) => Ok(Sight { seen, missed: None }),
                    Some(None) => self.visible(snapshot, &table.tree, row.0, &value, out),
                }
            })
            .await?;
        if let (Some(tracked), Some(by)) = (&snapshot.tracked, sight.missed) {
            tracked.missed(table.oid, by)?;
        }
        Ok(sight.seen)
    }

    /// A copy of a row's stored value, header and all.
    pub(super) async fn stored(&self, table: &Table, row: RowId) -> Result<Option<Vec<u8>>, TxnError> {
        let key = row_key(row.0);
        let copy = || table.tree.lookup(self.pool(), &key, |found| found.map(<[u8]>::to_vec));
        Ok(self.pool().run(copy).await?)
    }
}

//! Inserting rows and reading one.

use super::{RowBytes, RowId, Table, row_key};
use crate::btree::{Edit, Near, RunEntry, Tree};
use crate::mtr::MiniTxn;
use crate::txn::version::{HEADER, Header};
use crate::txn::visibility::Sight;
use crate::txn::{KeyRange, Snapshot, Transaction, TransactionSystem, TxnError};

impl TransactionSystem {
    /// Inserts a row. Its index entries come after it ([`TransactionSystem::index_insert`]).
    pub async fn insert(&self, txn: &mut Transaction, table: &Table, row: &[u8]) -> Result<RowId, TxnError> {
        let id = self.row_ids(table, 1).await?;
        self.insert_as(txn, table, id, row.into()).await?;
        Ok(id)
    }

    /// Ids for rows that will be inserted: the first of so many in a row. For rows with large values, which are written
    /// before.
    pub async fn row_ids(&self, table: &Table, count: u64) -> Result<RowId, TxnError> {
        Ok(RowId(table.shared.row_ids.next(self.pool(), &table.tree, count).await?))
    }

    /// How many rows a table has at most, as its last row says.
    pub(crate) async fn rows_at_most(&self, table: &Table) -> Result<u64, TxnError> {
        let ids = &table.shared.row_ids;
        ids.seed(self.pool(), &table.tree).await?;
        Ok(ids.so_far())
    }

    /// Inserts a row under an id of [`TransactionSystem::row_ids`].
    pub async fn insert_as(
        &self,
        txn: &mut Transaction,
        table: &Table,
        RowId(id): RowId,
        row: RowBytes<'_>,
    ) -> Result<(), TxnError> {
        let header = Self::first_version(txn, row).await?;
        self.put_new(table, id, &header.join(row.bytes)).await?;
        txn.wrote(table.oid, || KeyRange::numbers(id..id + 1))?;
        txn.inserted(&table.tree, id..id + 1);
        Ok(())
    }

    async fn first_version(txn: &mut Transaction, row: RowBytes<'_>) -> Result<Header, TxnError> {
        let txid = txn.write_id().await?;
        Ok(Header { deleted: false, large: row.large, command: txn.command(), txid, undo: None })
    }

    /// Inserts rows in order under ids of [`TransactionSystem::row_ids`]: cheaper than one by one, in time and in log.
    pub async fn insert_many(
        &self,
        txn: &mut Transaction,
        table: &Table,
        RowId(first): RowId,
        rows: &[RowBytes<'_>],
    ) -> Result<(), TxnError> {
        let count = rows.len() as u64;
        let keys: Vec<[u8; 8]> = (first..first + count).map(row_key).collect();
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            values.push(Self::first_version(txn, *row).await?.join(row.bytes));
        }
        let run: Vec<RunEntry<'_>> =
            keys.iter().zip(&values).map(|(key, value)| (&key[..], &value[..])).collect();
        self.put_run(&table.tree, &run).await?;
        txn.wrote(table.oid, || KeyRange::numbers(first..first + count))?;
        txn.inserted(&table.tree, first..first + count);
        Ok(())
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
                            Some(Some((!header.deleted).then_some(header)))
                        }
                        _ => {
                            value.extend_from_slice(found);
                            Some(None)
                        }
                    }
                })?;
                match at_once {
                    None => Ok(Sight { seen: None, missed: None }),
                    Some(Some(seen)) => Ok(Sight { seen, missed: None }),
                    Some(None) => self.visible(snapshot, &table.tree, row.0, &value, out),
                }
            })
            .await?;
        if let (Some(tracked), Some(by)) = (&snapshot.tracked, sight.missed) {
            tracked.missed(table.oid, by)?;
        }
        Ok(sight.seen.is_some())
    }

    /// The bytes of a row's newest version that is not rolled back: for whoever has it locked.
    pub async fn newest_bytes(&self, table: &Table, row: RowId) -> Result<Option<Vec<u8>>, TxnError> {
        let Some(value) = self.stored(table, row).await? else {
            return Ok(None);
        };
        let step = || Ok(self.current(&table.tree, row.0, &value)?.map(|current| current.row.into_owned()));
        Ok(self.pool().run(step).await?)
    }

    /// Prepares for [`TransactionSystem::get_near`] of rows that lie apart: of `far` some rows later, of `soon`, which was `far`
    /// before, within few. It costs little, and saves most where the table is large.
    pub fn prefetch(&self, table: &Table, far: Option<RowId>, soon: Option<RowId>) {
        let [far, soon] = [far, soon].map(|row| row.map(|row| row_key(row.0)));
        table.tree.prefetch(self.pool(), far.as_ref().map(|key| &key[..]), soon.as_ref().map(|key| &key[..]));
    }

    /// A copy of a row's stored value, header and all.
    pub(super) async fn stored(&self, table: &Table, row: RowId) -> Result<Option<Vec<u8>>, TxnError> {
        let key = row_key(row.0);
        let copy = || table.tree.lookup(self.pool(), &key, |found| found.map(<[u8]>::to_vec));
        Ok(self.pool().run(copy).await?)
    }
}

//! An index that is built while writers go on: listed first, so that all who come keep it, filled then, used at last; and
//! one that goes, the other way round.

use std::sync::Arc;

use super::{Catalog, NewIndex};
use crate::catalog::index::IndexInfo;
use crate::catalog::model::TableInfo;
use crate::txn::{Transaction, TxnError};
use crate::types::SqlResult;

impl Catalog {
    /// Lists an index that has no entries: whoever writes rows from this transaction's commit on keeps it, nobody reads it.
    /// Its OID.
    pub async fn declare_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        new: NewIndex,
    ) -> SqlResult<u32> {
        let index = self.new_index(txn, table, new, false).await?;
        let oid = index.oid;
        self.enlist(txn, table, index).await?;
        Ok(oid)
    }

    /// Enters the rows that are older than the declaration, and lets readers use the index from this transaction's commit on.
    /// 23505 when there are duplicates. Nobody writes rows by an older description any more.
    pub async fn complete_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        index: &IndexInfo,
    ) -> SqlResult<()> {
        self.try_keys(txn, table, index).await?;
        self.system.enter_all(txn, &index.store, &table.store).await?;
        if index.unique {
            // Whoever comes now meets the entries of all; who came before is met here.
            match self.system.ask_all(txn, &index.store, &table.store).await {
                Err(TxnError::UniqueViolation { row, .. }) => {
                    return Err(self.not_unique(txn, table, index, row).await);
                }
                other => other?,
            }
        }
        self.flag_index(txn, table, IndexInfo { valid: true, ..index.clone() }).await
    }

    /// Keeps readers from an index from this transaction's commit on. Writers keep it.
    pub async fn hide_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        index: &IndexInfo,
    ) -> SqlResult<()> {
        self.flag_index(txn, table, IndexInfo { valid: false, ..index.clone() }).await
    }

    /// Lets writers forget an index that could not be completed, or that is about to go. It stays until it is dropped.
    pub async fn give_up_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        index: &IndexInfo,
    ) -> SqlResult<()> {
        self.flag_index(txn, table, IndexInfo { ready: false, ..index.clone() }).await
    }

    async fn flag_index(&self, txn: &mut Transaction, table: &TableInfo, index: IndexInfo) -> SqlResult<()> {
        let mut changed = table.clone();
        changed.indexes.retain(|other| other.oid != index.oid);
        changed.indexes.push(Arc::new(index));
        changed.indexes.sort_by_key(|i| (!i.primary, i.oid));
        self.alter_table(txn, table, changed).await?;
        Ok(())
    }
}

//! Views that are made, changed and dropped.

use std::sync::Arc;

use super::{name_taken, rows, system};
use crate::catalog::Catalog;
use crate::catalog::model::{Change, ColumnInfo, Relation};
use crate::catalog::view::{ViewDefinition, ViewInfo};
use crate::txn::Transaction;
use crate::types::{Datum, SqlResult};

impl Catalog {
    /// A new view.
    pub async fn create_view(
        &self,
        txn: &mut Transaction,
        (namespace, name): (u32, String),
        columns: Vec<ColumnInfo>,
        definition: ViewDefinition,
    ) -> SqlResult<()> {
        let view = ViewInfo {
            oid: self.fresh_oid(),
            namespace,
            schema: self.view(Some(txn)).namespace_name(namespace).unwrap_or_default().to_owned(),
            name,
            columns,
            definition: Arc::new(definition),
        };
        let added = self.add(txn, rows::of_view(&view)).await;
        added.map_err(|e| name_taken(e, &view.name))?;
        self.put(txn, Relation::View(Arc::new(view)));
        Ok(())
    }

    /// Gives a view another name, other columns or another query.
    pub async fn alter_view(&self, txn: &mut Transaction, changed: ViewInfo) -> SqlResult<()> {
        self.delete_view_rows(txn, changed.oid).await?;
        txn.begin_statement();
        let added = self.add(txn, rows::of_view(&changed)).await;
        added.map_err(|e| name_taken(e, &changed.name))?;
        self.put(txn, Relation::View(Arc::new(changed)));
        Ok(())
    }

    /// Removes a view.
    pub async fn drop_view(&self, txn: &mut Transaction, oid: u32) -> SqlResult<()> {
        self.delete_view_rows(txn, oid).await?;
        self.change(txn, Change::Remove(oid));
        txn.begin_statement();
        Ok(())
    }

    async fn delete_view_rows(&self, txn: &mut Transaction, oid: u32) -> SqlResult<()> {
        let key = [Datum::Oid(oid)];
        self.delete(txn, &system::PG_REWRITE, 0, &key).await?;
        self.delete(txn, &system::PG_ATTRIBUTE, 0, &key).await?;
        self.delete(txn, &system::PG_CLASS, 0, &key).await
    }
}

//! Copying a table's rows where an ALTER TABLE changes their bytes: a column's type, a new column whose value differs from row
//! to row. As in PostgreSQL the copies are rows of this transaction: a snapshot from before finds the table empty.

use std::sync::Arc;

use super::Ddl;
use super::alter::contains_nulls;
use super::check::broken;
use crate::catalog::{TableInfo, relation, stored};
use crate::sql::bind::Rules;
use crate::sql::exec::{Cx, check_row};
use crate::sql::expr::Expr;
use crate::table::{RowBatch, TableScan};
use crate::types::{Datum, SqlResult};

/// Bytes of strings that are enough for writing the copies of some rows.
const COPIED_AT_ONCE: usize = 1 << 20;

impl Ddl<'_> {
    /// Makes `table`, which is locked, the one that `changed` describes; `values` are those of its columns that differ from
    /// the old row's, over that. Generated columns are computed, NOT NULL and CHECK asked.
    pub(super) async fn rewrite(
        &mut self,
        table: &Arc<TableInfo>,
        mut changed: TableInfo,
        values: &[(usize, Expr)],
    ) -> SqlResult<Arc<TableInfo>> {
        // Every copy has all columns.
        changed.columns.iter_mut().for_each(|column| column.missing = Datum::Null);
        changed.layout = TableInfo::layout_of(&changed.columns);
        let rules = self.binder()?.rules(&changed)?;
        let changed = self.db.catalog.empty_copy(self.txn, table, changed).await?;
        let mut scan = TableScan::new(&table.store, self.txn.newest());
        let mut batch = RowBatch::new();
        while scan.next_batch(&self.db.txns, &mut batch).await? {
            tokio::task::consume_budget().await;
            let (mut copies, mut strings) = (crate::sql::RowBatch::new(changed.columns.len()), 0);
            for (id, bytes) in batch.iter() {
                let old = stored::decode(&self.db.txns, table, id, bytes, |_| true).await?;
                let new = self.copied(&old, &changed, values, &rules).await?;
                strings += new.iter().map(Datum::string_bytes).sum::<usize>();
                copies.push(new);
                if strings >= COPIED_AT_ONCE {
                    relation::insert_unindexed(&self.db.txns, self.txn, &changed, &copies).await?;
                    (copies, strings) = (crate::sql::RowBatch::new(changed.columns.len()), 0);
                }
            }
            relation::insert_unindexed(&self.db.txns, self.txn, &changed, &copies).await?;
        }
        self.txn.begin_statement();
        self.db.catalog.fill_indexes(self.txn, &changed, self.ctx.maintenance_memory()).await?;
        self.db.catalog.alter_table(self.txn, table, changed).await
    }

    async fn copied(
        &mut self,
        old: &[Datum],
        changed: &TableInfo,
        values: &[(usize, Expr)],
        rules: &Rules,
    ) -> SqlResult<Vec<Datum>> {
        let snapshot = self.txn.snapshot();
        let cx = Cx::plain(self.db, self.ctx, self.txn, &snapshot);
        let mut new = old.to_vec();
        new.resize(changed.columns.len(), Datum::Null);
        cx.evaluate(&mut |eval| {
            for (n, value) in values {
                new[*n] = value.eval(old, eval)?.into_owned();
            }
            Ok(())
        })
        .await?;
        rules.complete(&mut new, &cx).await?;
        if let Some((n, _)) = changed.live_columns().find(|(n, c)| c.not_null && new[*n].is_null()) {
            return Err(contains_nulls(changed, n));
        }
        for check in &rules.checks {
            let asked = check_row(changed, std::slice::from_ref(check), &new, &cx).await;
            asked.map_err(|error| broken(error, changed, check))?;
        }
        Ok(new)
    }
}

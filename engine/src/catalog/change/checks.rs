//! CHECK constraints.

use std::sync::Arc;

use super::{Catalog, rows};
use crate::catalog::model::{CheckInfo, Relation, TableInfo};
use crate::catalog::system;
use crate::txn::Transaction;
use crate::types::{Datum, SqlResult};

impl Catalog {
    /// A new constraint; the rows were checked if it is valid. Returns the changed table.
    pub async fn add_check(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        name: String,
        condition: String,
        valid: bool,
    ) -> SqlResult<Arc<TableInfo>> {
        let check = CheckInfo { oid: self.fresh_oid(), name, condition, valid };
        self.add(txn, vec![rows::of_check(table, &check)]).await?;
        let mut changed = table.clone();
        changed.checks.push(check);
        changed.checks.sort_by(|a, b| a.name.cmp(&b.name));
        self.put_checked(txn, changed).await
    }

    /// Takes a constraint away. Returns the changed table.
    pub async fn drop_check(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        name: &str,
    ) -> SqlResult<Arc<TableInfo>> {
        self.delete_check(txn, table, name).await?;
        let mut changed = table.clone();
        changed.checks.retain(|check| check.name != name);
        self.put_checked(txn, changed).await
    }

    pub(super) async fn delete_check(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        name: &str,
    ) -> SqlResult<()> {
        let key = [Datum::Oid(table.oid), Datum::Oid(0), Datum::text(name)];
        self.delete(txn, &system::PG_CONSTRAINT, 1, &key).await
    }

    async fn put_checked(&self, txn: &mut Transaction, table: TableInfo) -> SqlResult<Arc<TableInfo>> {
        self.replace(txn, 0, &[Datum::Oid(table.oid)], rows::class_of_table(&table)).await?;
        let table = Arc::new(table);
        self.put(txn, Relation::Table(table.clone()));
        Ok(table)
    }
}

//! Changes of a table's columns.

use std::sync::Arc;

use super::{Catalog, rows};
use crate::catalog::model::{ColumnInfo, Relation, TableInfo};
use crate::catalog::system;
use crate::txn::Transaction;
use crate::types::{Datum, SqlResult};

fn key(table: &TableInfo, n: usize) -> [Datum; 2] {
    [Datum::Oid(table.oid), Datum::Int2(n as i16 + 1)]
}

impl Catalog {
    /// Sets columns (from 0) NOT NULL, or takes that back; for the former the rows were checked. Returns the changed table.
    pub async fn set_not_null(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        columns: &[usize],
        not_null: bool,
    ) -> SqlResult<Arc<TableInfo>> {
        let mut changed = table.clone();
        for n in columns {
            changed.columns[*n].not_null = not_null;
            let row = rows::attribute(table.oid, *n, &changed.columns[*n]);
            self.replace(txn, 0, &key(table, *n), row).await?;
        }
        let changed = Arc::new(changed);
        self.put(txn, Relation::Table(changed.clone()));
        Ok(changed)
    }

    /// Gives a column (from 0) another DEFAULT, or none. Returns the changed table.
    pub async fn set_default(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        n: usize,
        default: Option<String>,
    ) -> SqlResult<Arc<TableInfo>> {
        let mut changed = table.clone();
        changed.columns[n].default = default;
        self.delete(txn, &system::PG_ATTRDEF, 0, &key(table, n)).await?;
        let mut new = rows::of_column(table.oid, n, &changed.columns[n]);
        self.replace(txn, 0, &key(table, n), new.remove(0)).await?;
        self.add(txn, new).await?;
        let changed = Arc::new(changed);
        self.put(txn, Relation::Table(changed.clone()));
        Ok(changed)
    }

    /// A new last column. Rows that are there have its `missing`. Returns the changed table.
    pub async fn add_column(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        column: ColumnInfo,
    ) -> SqlResult<Arc<TableInfo>> {
        let n = table.columns.len();
        let mut changed = table.clone();
        changed.columns.push(column);
        changed.layout = TableInfo::layout_of(&changed.columns);
        for index in &mut changed.indexes {
            *index = index.over(index.store.tree.root, &changed.columns);
        }
        self.add(txn, rows::of_column(table.oid, n, &changed.columns[n])).await?;
        self.replace(txn, 0, &[Datum::Oid(table.oid)], rows::class_of_table(&changed)).await?;
        for index in &changed.indexes {
            self.put(txn, Relation::Index(index.clone()));
        }
        let changed = Arc::new(changed);
        self.put(txn, Relation::Table(changed.clone()));
        Ok(changed)
    }
}

//! Making a table another one: the rows that describe it are compared, and those that differ are written; its own rows are
//! copied where their bytes must change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::{self, Row};
use super::{Catalog, name_taken, relations};
use crate::catalog::index::IndexInfo;
use crate::catalog::model::{Change, Relation, TableInfo};
use crate::catalog::system::SystemTable;
use crate::txn::Transaction;
use crate::types::{Datum, SqlResult, SqlType, key};

/// System tables by OID and key, in an order that depends on nothing else.
type Place = (u32, Vec<u8>);

/// Where a row is in its table's first index, which is unique.
fn place(row: &Row) -> (Place, Vec<Datum>) {
    let (def, row) = row;
    let values: Vec<Datum> =
        def.indexes[0].columns.iter().map(|column| row[def.column(column)].clone()).collect();
    let mut bytes = Vec::new();
    // All of these keys are numbers.
    values.iter().for_each(|value| key::encode(value, SqlType::INT8, Default::default(), &mut bytes));
    ((def.oid, bytes), values)
}

impl Catalog {
    /// Describes a table, with its indexes and constraints, as `new` does. Returns it.
    pub async fn alter_table(
        &self,
        txn: &mut Transaction,
        old: &TableInfo,
        new: TableInfo,
    ) -> SqlResult<Arc<TableInfo>> {
        let written = self.write_changes(txn, rows::of_whole_table(old), rows::of_whole_table(&new)).await;
        written.map_err(|error| name_taken(error, &new.name))?;
        for index in &old.indexes {
            if !new.indexes.iter().any(|other| other.oid == index.oid) {
                self.system.index_goes(index.oid, old.oid);
                txn.drop_tree(index.store.tree).await?;
                self.change(txn, Change::Remove(index.oid));
            }
        }
        for index in &new.indexes {
            self.put(txn, Relation::Index(index.clone()));
        }
        let new = Arc::new(new);
        self.put(txn, Relation::Table(new.clone()));
        Ok(new)
    }

    /// Writes what differs between the rows that describe something before and after.
    pub(super) async fn write_changes(
        &self,
        txn: &mut Transaction,
        before: Vec<Row>,
        after: Vec<Row>,
    ) -> SqlResult<()> {
        let by_place = |rows: Vec<Row>| -> BTreeMap<Place, Row> {
            rows.into_iter().map(|row| (place(&row).0, row)).collect()
        };
        let mut before = by_place(before);
        let mut added = Vec::new();
        let mut changed = Vec::new();
        for (at, row) in by_place(after) {
            match before.remove(&at) {
                None => added.push(row),
                Some(was) if was.1 != row.1 => changed.push(row),
                Some(_) => {}
            }
        }
        // What goes may have the name of what comes.
        for gone in before.into_values() {
            let def: &'static SystemTable = gone.0;
            self.delete(txn, def, 0, &place(&gone).1).await?;
        }
        for row in changed {
            let key = place(&row).1;
            self.replace(txn, 0, &key, row).await?;
        }
        self.add(txn, added).await
    }

    /// The table that `new` describes with empty trees, for the rows of `old` to be copied to; their trees go when the
    /// transaction commits.
    pub async fn empty_copy(
        &self,
        txn: &mut Transaction,
        old: &TableInfo,
        mut new: TableInfo,
    ) -> SqlResult<TableInfo> {
        txn.emptied(relations(old))?;
        let tree = self.fresh_tree(txn, old.store.tree).await?;
        new.store = self.system.table(old.oid, tree);
        for index in &mut new.indexes {
            let tree = self.fresh_tree(txn, index.store.tree).await?;
            *index = index.over(tree.root, &new.columns);
        }
        Ok(new)
    }

    /// Builds some indexes of a table anew, in trees of their own; one that was not valid is then. 23505 when there are
    /// duplicates. Each is sorted within `memory` bytes.
    pub async fn rebuild_indexes(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        which: &[u32],
        memory: usize,
    ) -> SqlResult<()> {
        let mut changed = table.clone();
        for index in changed.indexes.iter_mut().filter(|index| which.contains(&index.oid)) {
            let tree = self.fresh_tree(txn, index.store.tree).await?;
            let fresh = index.over(tree.root, &table.columns);
            let fresh = IndexInfo { valid: true, ready: true, ..IndexInfo::clone(&fresh) };
            self.build_index(txn, table, &fresh, memory).await?;
            *index = Arc::new(fresh);
        }
        self.alter_table(txn, table, changed).await?;
        Ok(())
    }

    /// Fills the indexes of such a copy, once it has its rows; each is sorted within `memory` bytes.
    pub async fn fill_indexes(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        memory: usize,
    ) -> SqlResult<()> {
        for index in &table.indexes {
            self.build_index(txn, table, index, memory).await?;
        }
        Ok(())
    }
}

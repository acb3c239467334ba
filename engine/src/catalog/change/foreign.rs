//! FOREIGN KEY constraints.

use std::sync::Arc;

use super::{Catalog, rows};
use crate::catalog::model::{ConstraintTiming, ForeignAction, ForeignKeyInfo, Relation, TableInfo};
use crate::catalog::system;
use crate::txn::Transaction;
use crate::types::{Datum, SqlResult};

/// A FOREIGN KEY constraint to be made; its parts as in [`ForeignKeyInfo`].
#[derive(Debug, Clone)]
pub struct NewForeignKey {
    /// Its name.
    pub name: String,
    /// The columns that refer, from 0.
    pub columns: Vec<usize>,
    /// The table that they refer to.
    pub parent: u32,
    /// Its columns.
    pub parent_columns: Vec<usize>,
    /// Its unique index over these.
    pub index: u32,
    /// ON DELETE.
    pub on_delete: ForeignAction,
    /// ON UPDATE.
    pub on_update: ForeignAction,
    /// MATCH FULL.
    pub full: bool,
    /// When it is asked.
    pub timing: ConstraintTiming,
    /// The rows that are there keep it.
    pub valid: bool,
}

impl Catalog {
    /// A new constraint; the rows are checked by the caller. Returns the changed table, whose last foreign key it is.
    pub async fn add_foreign_key(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        new: NewForeignKey,
    ) -> SqlResult<Arc<TableInfo>> {
        let key = Arc::new(ForeignKeyInfo {
            oid: self.fresh_oid(),
            name: new.name,
            columns: new.columns,
            parent: new.parent,
            parent_columns: new.parent_columns,
            index: new.index,
            on_delete: new.on_delete,
            on_update: new.on_update,
            full: new.full,
            timing: new.timing,
            valid: new.valid,
        });
        self.add(txn, vec![rows::of_foreign_key(table, &key)]).await?;
        let mut changed = table.clone();
        changed.foreign_keys.push(key);
        let changed = Arc::new(changed);
        self.put(txn, Relation::Table(changed.clone()));
        Ok(changed)
    }

    /// Takes a constraint away. Returns the changed table.
    pub async fn drop_foreign_key(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        key: &ForeignKeyInfo,
    ) -> SqlResult<Arc<TableInfo>> {
        self.delete_foreign_key(txn, key).await?;
        let mut changed = table.clone();
        changed.foreign_keys.retain(|other| other.oid != key.oid);
        let changed = Arc::new(changed);
        self.put(txn, Relation::Table(changed.clone()));
        Ok(changed)
    }

    pub(super) async fn delete_foreign_key(
        &self,
        txn: &mut Transaction,
        key: &ForeignKeyInfo,
    ) -> SqlResult<()> {
        self.delete(txn, &system::PG_CONSTRAINT, 0, &[Datum::Oid(key.oid)]).await
    }
}

//! DDL: changes of the catalog's tables, together with the changes of the state in memory. Names are resolved and
//! locks taken by the caller.

mod alter;
mod checks;
mod columns;
mod concurrent;
mod foreign;
pub(super) mod rows;
mod types;
mod views;

use std::sync::Arc;

use super::index::{self, IndexColumn, IndexInfo};
use super::model::{Change, ColumnInfo, ConstraintTiming, Relation, SequenceInfo, TableInfo};
use super::system::{self, SystemTable};
use super::{Catalog, TypeInfo, relation, stored};
use crate::sql::Formula;
use crate::table::{BuildError, RowBatch, TableScan};
use crate::txn::{Transaction, TxnError};
use crate::types::{Datum, SqlError, SqlResult, SqlType, sqlstate};
pub use foreign::NewForeignKey;
use rows::Row;

/// A table to be made.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// Its schema.
    pub namespace: u32,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<NewColumn>,
}

/// A column to be made.
#[derive(Debug, Clone)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// As [`ColumnInfo::ty`].
    pub ty: SqlType,
    /// As [`ColumnInfo::declared`].
    pub declared: Option<Arc<TypeInfo>>,
    /// NULL is refused.
    pub not_null: bool,
    /// As [`ColumnInfo::default`].
    pub default: Option<String>,
    /// As [`ColumnInfo::generated`].
    pub generated: bool,
    /// As [`ColumnInfo::identity`].
    pub identity: Option<char>,
}

/// An index to be made.
#[derive(Debug, Clone)]
pub struct NewIndex {
    /// Its name.
    pub name: String,
    /// No duplicates.
    pub unique: bool,
    /// The primary key.
    pub primary: bool,
    /// It comes with a constraint.
    pub constraint: bool,
    /// When that is asked.
    pub timing: ConstraintTiming,
    /// Its columns.
    pub columns: Vec<IndexColumn>,
    /// WHERE.
    pub predicate: Option<Arc<Formula>>,
}

/// A sequence to be made.
#[derive(Debug, Clone)]
pub struct NewSequence {
    /// Its schema.
    pub namespace: u32,
    /// Its name.
    pub name: String,
    /// The type that bounds it.
    pub ty: SqlType,
    /// The first value.
    pub start: i64,
    /// Added for the next.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// Starts over at the end.
    pub cycle: bool,
}

impl Catalog {
    fn system_table(&self, def: &SystemTable, txn: &mut Transaction) -> SqlResult<Arc<TableInfo>> {
        let view = self.view(Some(txn));
        let table = view.table(def.oid).cloned();
        table.ok_or_else(|| SqlError::corrupt(format!("the catalog has no {}", def.name)))
    }

    async fn add(&self, txn: &mut Transaction, rows: Vec<Row>) -> SqlResult<()> {
        for (def, row) in rows {
            let table = self.system_table(def, txn)?;
            relation::insert(&self.system, txn, &table, &row).await?;
        }
        Ok(())
    }

    /// Deletes the rows of a system table whose leading index columns are `key`.
    async fn delete(
        &self,
        txn: &mut Transaction,
        def: &'static SystemTable,
        index: usize,
        key: &[Datum],
    ) -> SqlResult<()> {
        let table = self.system_table(def, txn)?;
        let snapshot = txn.snapshot();
        let index = system_index(&table, def, index)?;
        for (id, _) in relation::find(&self.system, &snapshot, &table, index, key).await? {
            if relation::lock(&self.system, txn, &table, id).await? {
                self.system.delete(txn, &table.store, id).await?;
            }
        }
        Ok(())
    }

    /// Replaces the one row whose index columns are `key`.
    async fn replace(&self, txn: &mut Transaction, index: usize, key: &[Datum], new: Row) -> SqlResult<()> {
        let (def, new) = new;
        let table = self.system_table(def, txn)?;
        let snapshot = txn.snapshot();
        let index = system_index(&table, def, index)?;
        let found = relation::find(&self.system, &snapshot, &table, index, key).await?;
        let (id, old) = found
            .into_iter()
            .next()
            .ok_or_else(|| SqlError::corrupt(format!("{} misses a row", def.name)))?;
        relation::lock(&self.system, txn, &table, id).await?;
        relation::update(&self.system, txn, &table, id, &old, &new).await
    }

    fn put(&self, txn: &mut Transaction, relation: Relation) {
        self.change(txn, Change::Put(relation));
        // What follows in the same statement sees what was just written.
        txn.begin_statement();
    }

    /// A new table, without indexes.
    pub async fn create_table(&self, txn: &mut Transaction, new: NewTable) -> SqlResult<Arc<TableInfo>> {
        let tree = txn.create_tree().await?;
        let oid = self.fresh_oid();
        let columns: Vec<ColumnInfo> = new
            .columns
            .into_iter()
            .map(|c| ColumnInfo {
                name: c.name,
                ty: c.ty,
                declared: c.declared,
                not_null: c.not_null,
                default: c.default,
                generated: c.generated,
                identity: c.identity,
                missing: Datum::Null,
                dropped: false,
            })
            .collect();
        let table = Arc::new(TableInfo {
            oid,
            namespace: new.namespace,
            schema: self.view(Some(txn)).namespace_name(new.namespace).unwrap_or_default().to_owned(),
            name: new.name,
            layout: TableInfo::layout_of(&columns),
            columns,
            store: self.system.table(oid, tree),
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
        });
        let added = self.add(txn, rows::of_table(&table)).await;
        added.map_err(|e| name_taken(e, &table.name))?;
        self.put(txn, Relation::Table(table.clone()));
        Ok(table)
    }

    /// A new index over the rows that are there, sorted within `memory` bytes. Returns the table with it. 23505 when there are
    /// duplicates.
    pub async fn create_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        new: NewIndex,
        memory: usize,
    ) -> SqlResult<Arc<TableInfo>> {
        let index = self.new_index(txn, table, new, true).await?;
        self.build_index(txn, table, &index, memory).await?;
        self.enlist(txn, table, index).await
    }

    /// An index without entries.
    async fn new_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        new: NewIndex,
        valid: bool,
    ) -> SqlResult<Arc<IndexInfo>> {
        let tree = txn.create_tree().await?;
        let oid = self.fresh_oid();
        let predicate = new.predicate.as_ref();
        let store = index::store(oid, tree.root, new.unique, &new.columns, predicate, &table.columns);
        Ok(Arc::new(IndexInfo {
            oid,
            namespace: table.namespace,
            name: new.name,
            table: table.oid,
            unique: new.unique,
            primary: new.primary,
            constraint: new.constraint,
            timing: new.timing,
            valid,
            ready: true,
            inputs: index::inputs(&new.columns, new.predicate.as_deref()),
            columns: new.columns,
            predicate: new.predicate,
            store,
        }))
    }

    /// Lists an index with its table. Returns the table with it.
    async fn enlist(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        index: Arc<IndexInfo>,
    ) -> SqlResult<Arc<TableInfo>> {
        let added = self.add(txn, rows::of_index(&index)).await;
        added.map_err(|e| name_taken(e, &index.name))?;
        let mut changed = table.clone();
        changed.indexes.push(index.clone());
        changed.indexes.sort_by_key(|i| (!i.primary, i.oid));
        let changed = Arc::new(changed);
        if table.indexes.is_empty() {
            self.replace(txn, 0, &[Datum::Oid(table.oid)], rows::class_of_table(&changed)).await?;
        }
        self.put(txn, Relation::Index(index));
        self.put(txn, Relation::Table(changed.clone()));
        Ok(changed)
    }

    /// Fills an index that has no entries yet. 23505 when there are duplicates.
    async fn build_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        index: &IndexInfo,
        memory: usize,
    ) -> SqlResult<()> {
        self.try_keys(txn, table, index).await?;
        match self.system.build_index(txn, &index.store, &table.store, memory).await {
            Ok(_) => Ok(()),
            Err(BuildError::Txn(TxnError::UniqueViolation { row, .. })) => {
                Err(self.not_unique(txn, table, index, row).await)
            }
            Err(BuildError::Txn(other)) => Err(relation::key_too_big(other, table, index)),
            Err(BuildError::Spill(error)) => Err(error),
        }
    }

    /// Computes the expressions of an index once for every row, for their errors.
    async fn try_keys(&self, txn: &mut Transaction, table: &TableInfo, index: &IndexInfo) -> SqlResult<()> {
        if index.plain_columns().is_some() {
            return Ok(());
        }
        let mut scan = TableScan::new(&table.store, txn.newest());
        let (mut batch, mut key) = (RowBatch::new(), Vec::new());
        while scan.next_batch(&self.system, &mut batch).await? {
            tokio::task::consume_budget().await;
            for (id, bytes) in batch.iter() {
                key.clear();
                let wanted = |n| index.store.reads.contains(&n);
                index.key(&stored::decode(&self.system, table, id, bytes, wanted).await?, &mut key)?;
            }
        }
        Ok(())
    }

    async fn not_unique(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        index: &IndexInfo,
        row: u64,
    ) -> SqlError {
        let message = format!("could not create unique index \"{}\"", index.name);
        let error = SqlError::new(sqlstate::UNIQUE_VIOLATION, message)
            .schema(table.schema.clone())
            .table(table.name.clone())
            .constraint(index.name.clone());
        let snapshot = txn.snapshot();
        let mut bytes = Vec::new();
        let id = crate::table::RowId(row);
        let found = self.system.get(&snapshot, &table.store, id, &mut bytes).await;
        let wanted = |n| index.store.reads.contains(&n);
        match (found, stored::decode(&self.system, table, id, &bytes, wanted).await) {
            (Ok(true), Ok(row)) => match &relation::duplicate(table, index, &row).detail {
                Some(detail) => error.detail(detail.replace("already exists", "is duplicated")),
                None => error,
            },
            _ => error,
        }
    }

    /// Gives a table and its indexes new, empty trees; the old ones go when the transaction commits.
    pub async fn truncate(&self, txn: &mut Transaction, table: &TableInfo) -> SqlResult<()> {
        txn.emptied(relations(table))?;
        let mut changed = table.clone();
        let tree = self.fresh_tree(txn, table.store.tree).await?;
        changed.store = self.system.table(table.oid, tree);
        for index in &mut changed.indexes {
            let tree = self.fresh_tree(txn, index.store.tree).await?;
            *index = index.over(tree.root, &table.columns);
            self.replace(txn, 0, &[Datum::Oid(index.oid)], rows::class_of_index(index)).await?;
        }
        self.replace(txn, 0, &[Datum::Oid(table.oid)], rows::class_of_table(&changed)).await?;
        for index in &changed.indexes {
            self.put(txn, Relation::Index(index.clone()));
        }
        self.put(txn, Relation::Table(Arc::new(changed)));
        Ok(())
    }

    async fn fresh_tree(
        &self,
        txn: &mut Transaction,
        old: crate::btree::Tree,
    ) -> SqlResult<crate::btree::Tree> {
        let tree = txn.create_tree().await?;
        txn.drop_tree(old).await?;
        Ok(tree)
    }

    /// Removes a table with its indexes and the sequences that go with its columns.
    pub async fn drop_table(&self, txn: &mut Transaction, table: &TableInfo) -> SqlResult<()> {
        txn.emptied(relations(table))?;
        let view = self.view(Some(txn));
        for index in &table.indexes {
            self.drop_index_rows(txn, index).await?;
        }
        for check in &table.checks {
            self.delete_check(txn, table, &check.name).await?;
        }
        for key in &table.foreign_keys {
            self.delete_foreign_key(txn, key).await?;
        }
        for relation in view.relations() {
            if let Relation::Sequence(s) = relation
                && s.owner.is_some_and(|(owner, _)| owner == table.oid)
            {
                self.drop_sequence(txn, s).await?;
            }
        }
        let oid = [Datum::Oid(table.oid)];
        self.delete(txn, &system::PG_ATTRDEF, 0, &oid).await?;
        self.delete(txn, &system::PG_ATTRIBUTE, 0, &oid).await?;
        self.delete(txn, &system::PG_CLASS, 0, &oid).await?;
        txn.drop_tree(table.store.tree).await?;
        self.change(txn, Change::Remove(table.oid));
        txn.begin_statement();
        Ok(())
    }

    async fn drop_index_rows(&self, txn: &mut Transaction, index: &IndexInfo) -> SqlResult<()> {
        let oid = [Datum::Oid(index.oid)];
        if index.constraint {
            self.delete(txn, &system::PG_CONSTRAINT, 0, &oid).await?;
        }
        self.delete(txn, &system::PG_INDEX, 0, &oid).await?;
        self.delete(txn, &system::PG_CLASS, 0, &oid).await?;
        txn.drop_tree(index.store.tree).await?;
        self.change(txn, Change::Remove(index.oid));
        Ok(())
    }

    /// Removes an index.
    pub async fn drop_index(
        &self,
        txn: &mut Transaction,
        table: &TableInfo,
        index: &IndexInfo,
    ) -> SqlResult<()> {
        self.system.index_goes(index.oid, table.oid);
        self.drop_index_rows(txn, index).await?;
        let mut changed = table.clone();
        changed.indexes.retain(|i| i.oid != index.oid);
        if changed.indexes.is_empty() {
            self.replace(txn, 0, &[Datum::Oid(table.oid)], rows::class_of_table(&changed)).await?;
        }
        self.put(txn, Relation::Table(Arc::new(changed)));
        Ok(())
    }

    /// A new sequence.
    pub async fn create_sequence(
        &self,
        txn: &mut Transaction,
        new: NewSequence,
    ) -> SqlResult<Arc<SequenceInfo>> {
        let oid = self.fresh_oid();
        let sequence = Arc::new(SequenceInfo {
            oid,
            file: oid,
            namespace: new.namespace,
            name: new.name,
            ty: new.ty,
            start: new.start,
            increment: new.increment,
            min: new.min,
            max: new.max,
            cycle: new.cycle,
            owner: None,
        });
        // An OID may have been used before by a transaction that rolled back: its values must not go on.
        self.sequences.set(&sequence, Some(sequence.start)).await?;
        let added = self.add(txn, rows::of_sequence(&sequence)).await;
        added.map_err(|e| name_taken(e, &sequence.name))?;
        self.put(txn, Relation::Sequence(sequence.clone()));
        Ok(sequence)
    }

    /// Ties a sequence to a column (from 0): it is dropped with its table.
    pub async fn own_sequence(
        &self,
        txn: &mut Transaction,
        sequence: &SequenceInfo,
        table: u32,
        column: usize,
    ) -> SqlResult<()> {
        let owned = Arc::new(SequenceInfo { owner: Some((table, column as i16 + 1)), ..sequence.clone() });
        for row in rows::of_sequence(&owned) {
            if row.0.oid == system::PG_SEQUENCE.oid {
                self.replace(txn, 0, &[Datum::Oid(owned.oid)], row).await?;
            }
        }
        self.put(txn, Relation::Sequence(owned));
        Ok(())
    }

    /// Starts a sequence over.
    pub async fn restart_sequence(&self, txn: &mut Transaction, sequence: &SequenceInfo) -> SqlResult<()> {
        let again = Arc::new(SequenceInfo { file: self.fresh_oid(), ..sequence.clone() });
        self.sequences.set(&again, Some(again.start)).await?;
        for row in rows::of_sequence(&again) {
            self.replace(txn, 0, &[Datum::Oid(again.oid)], row).await?;
        }
        self.put(txn, Relation::Sequence(again));
        Ok(())
    }

    /// Removes a sequence.
    pub async fn drop_sequence(&self, txn: &mut Transaction, sequence: &SequenceInfo) -> SqlResult<()> {
        let oid = [Datum::Oid(sequence.oid)];
        self.delete(txn, &system::PG_SEQUENCE, 0, &oid).await?;
        self.delete(txn, &system::PG_CLASS, 0, &oid).await?;
        self.change(txn, Change::Remove(sequence.oid));
        txn.begin_statement();
        Ok(())
    }

    /// A new schema.
    pub async fn create_namespace(&self, txn: &mut Transaction, name: &str) -> SqlResult<()> {
        let oid = self.fresh_oid();
        self.add(txn, vec![rows::of_namespace(name, oid)]).await?;
        self.change(txn, Change::PutNamespace(name.to_owned(), oid));
        txn.begin_statement();
        Ok(())
    }

    /// Removes an empty schema.
    pub async fn drop_namespace(&self, txn: &mut Transaction, name: &str) -> SqlResult<()> {
        self.delete(txn, &system::PG_NAMESPACE, 0, &[Datum::text(name)]).await?;
        self.change(txn, Change::RemoveNamespace(name.to_owned()));
        txn.begin_statement();
        Ok(())
    }
}

/// Two transactions that make relations of the same name meet at pg_class's index.
fn name_taken(error: SqlError, name: &str) -> SqlError {
    if error.constraint.as_deref() == Some("pg_class_relname_nsp_index") {
        return SqlError::new(sqlstate::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"));
    }
    error
}

/// An index of a system table by its place in the definition: the table has them in the order of their OIDs.
fn system_index<'t>(table: &'t TableInfo, def: &SystemTable, n: usize) -> SqlResult<&'t IndexInfo> {
    let found = table.indexes.iter().find(|index| index.oid == def.indexes[n].oid);
    found.map(|index| &**index).ok_or_else(|| SqlError::corrupt(format!("{} misses an index", def.name)))
}

/// A table and its indexes, by oid.
fn relations(table: &TableInfo) -> impl Iterator<Item = u32> {
    table.indexes.iter().map(|index| index.oid).chain([table.oid])
}

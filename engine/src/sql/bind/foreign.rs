//! What foreign keys want of a change: the keys of the table that is changed and those that refer to it, and the same for
//! every table whose rows their actions change in turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Binder, Rules};
use crate::catalog::{ForeignAction, ForeignKeyInfo, IndexInfo, TableInfo};
use crate::sql::expr::Expr;
use crate::sql::expr::cast::cast;
use crate::txn::TableLock;
use crate::types::{Datum, SqlError, SqlResult, SqlType, TimeZone, oids};

/// Every table that a change may reach, by OID; without foreign keys there is none.
#[derive(Debug, Default)]
pub(crate) struct Referential {
    pub(crate) tables: BTreeMap<u32, Linked>,
}

/// A table and its place among others.
#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) table: Arc<TableInfo>,
    /// What a row goes through that an action changes.
    pub(crate) rules: Rules,
    /// The keys that refer to it.
    pub(crate) referred: Vec<Arc<Link>>,
    /// Its own keys.
    pub(crate) refers: Vec<Arc<Link>>,
}

/// A foreign key with what it takes to follow it in both directions.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) key: Arc<ForeignKeyInfo>,
    pub(crate) child: Arc<TableInfo>,
    pub(crate) parent: Arc<TableInfo>,
    /// The parent's index over the key.
    pub(crate) index: Arc<IndexInfo>,
    /// One of the child's whose leading columns are the key's.
    pub(crate) child_index: Option<Arc<IndexInfo>>,
    /// The DEFAULT of each of the key's columns, for SET DEFAULT.
    pub(crate) defaults: Vec<Expr>,
}

impl Link {
    /// A key as the parent has it; `row` is the child's.
    pub(crate) fn parent_key(&self, row: &[Datum]) -> SqlResult<Vec<Datum>> {
        let pairs = self.key.columns.iter().zip(&self.key.parent_columns);
        let value = |(own, other): (&usize, &usize)| {
            let (from, to) = (self.child.columns[*own].ty, self.parent.columns[*other].ty);
            let plain = SqlType { typmod: -1, ..to };
            match &row[*own] {
                Datum::Null => Ok(Datum::Null),
                value if same_keys(from, to) => Ok(value.clone()),
                value => cast(value, from, plain, false, &TimeZone::default()),
            }
        };
        pairs.map(value).collect()
    }

    /// The key of a row of the parent's.
    pub(crate) fn key_of(&self, row: &[Datum]) -> Vec<Datum> {
        self.key.parent_columns.iter().map(|n| row[*n].clone()).collect()
    }

    fn actions(&self) -> [ForeignAction; 2] {
        [self.key.on_delete, self.key.on_update]
    }
}

/// Whether values of two types are compared as they are, so that an index of one finds the other.
pub(crate) fn same_keys(a: SqlType, b: SqlType) -> bool {
    let integer = |ty: SqlType| matches!(ty.oid, oids::INT2 | oids::INT4 | oids::INT8);
    let string = |ty: SqlType| ty.is_string() && ty.oid != oids::BPCHAR;
    a.oid == b.oid || (integer(a) && integer(b)) || (string(a) && string(b))
}

/// One of the table's indexes that leads to all rows with the same values in `columns`.
fn index_over(table: &TableInfo, columns: &[usize]) -> Option<Arc<IndexInfo>> {
    let leads = |index: &&Arc<IndexInfo>| {
        let leading = index.columns.get(..columns.len());
        let has = |n: &usize| leading.is_some_and(|parts| parts.iter().any(|p| p.column() == Some(*n)));
        index.valid && index.predicate.is_none() && columns.iter().all(has)
    };
    table.indexes.iter().find(leads).cloned()
}

impl Binder<'_> {
    /// What a change of the table's rows has to look at. Those tables are to be locked, too.
    pub(crate) fn referential(&mut self, table: &Arc<TableInfo>) -> SqlResult<Referential> {
        let mut referential = Referential::default();
        if table.foreign_keys.is_empty() && self.view.referring(table.oid).is_empty() {
            return Ok(referential);
        }
        let mut todo = vec![table.clone()];
        while let Some(table) = todo.pop() {
            if referential.tables.contains_key(&table.oid) {
                continue;
            }
            let mut linked = Linked {
                rules: self.rules(&table)?,
                table: table.clone(),
                referred: Vec::new(),
                refers: Vec::new(),
            };
            for key in &table.foreign_keys {
                linked.refers.push(self.link(table.clone(), key)?);
                self.tables.push((key.parent, TableLock::RowShare));
            }
            for (child, key) in self.view.referring(table.oid) {
                let link = self.link(child.clone(), &key)?;
                let changes = link.actions().into_iter().any(ForeignAction::changes);
                let lock = if changes { TableLock::RowExclusive } else { TableLock::RowShare };
                self.tables.push((child.oid, lock));
                if changes {
                    todo.push(child);
                }
                linked.referred.push(link);
            }
            referential.tables.insert(table.oid, linked);
        }
        Ok(referential)
    }

    pub(crate) fn link(&mut self, child: Arc<TableInfo>, key: &Arc<ForeignKeyInfo>) -> SqlResult<Arc<Link>> {
        let missing =
            || SqlError::corrupt(format!("foreign key \"{}\" refers to what is not there", key.name));
        let parent = self.view.table(key.parent).cloned().ok_or_else(missing)?;
        let index = parent.indexes.iter().find(|i| i.oid == key.index).cloned().ok_or_else(missing)?;
        let defaults = key
            .columns
            .iter()
            .map(|n| self.default_of(child.columns.get(*n).ok_or_else(missing)?))
            .collect::<SqlResult<Vec<_>>>()?;
        let pairs = key.columns.iter().zip(&key.parent_columns);
        let mut types = pairs.map(|(own, other)| (child.columns[*own].ty, parent.columns[*other].ty));
        let comparable = types.all(|(own, other)| same_keys(own, other));
        let child_index = comparable.then(|| index_over(&child, &key.columns)).flatten();
        Ok(Arc::new(Link { key: key.clone(), child, parent, index, child_index, defaults }))
    }
}

//! Indexes, and what their keys are made of: columns of the table's row, or expressions over it.
//!
//! What must hold: a key depends on the row's bytes alone, so that whoever comes by later (readers that follow an entry,
//! unique checks, vacuum) makes the same key of the same version.

use std::sync::Arc;

use sextant_redo::PageId;

use super::model::{CatalogView, ColumnInfo, ConstraintTiming, TableInfo};
use crate::btree::Tree;
use crate::sql::{Formula, is_call, quoted};
use crate::table::{Index, IndexKey, KeyOf};
use crate::types::key::{self, KeyOrder};
use crate::types::{Datum, SqlResult, SqlType};

/// Where a column of an index has its values from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The table's column, from 0.
    Column(usize),
    /// An expression over the row.
    Expr(Arc<Formula>),
}

/// A column of an index.
#[derive(Debug, Clone)]
pub struct IndexColumn {
    /// What its values are.
    pub source: KeySource,
    /// Their type.
    pub ty: SqlType,
    /// ASC or DESC, NULLS FIRST or LAST.
    pub order: KeyOrder,
}

/// An index.
#[derive(Debug, Clone)]
pub struct IndexInfo {
    /// Its OID.
    pub oid: u32,
    /// Its schema, the table's.
    pub namespace: u32,
    /// Its name; also its constraint's.
    pub name: String,
    /// The table's OID.
    pub table: u32,
    /// Keys are unique; NULLs are distinct.
    pub unique: bool,
    /// It is the primary key.
    pub primary: bool,
    /// It belongs to a PRIMARY KEY or UNIQUE constraint of its name.
    pub constraint: bool,
    /// When its constraint is asked.
    pub timing: ConstraintTiming,
    /// It has an entry for every row: readers use it.
    pub valid: bool,
    /// Writers keep it.
    pub ready: bool,
    /// Its columns.
    pub columns: Vec<IndexColumn>,
    /// Rows for which this is not true are not in it.
    pub predicate: Option<Arc<Formula>>,
    /// The table's columns that decide on a row's entry.
    pub inputs: Vec<usize>,
    /// Its entries.
    pub store: Index,
}

impl IndexColumn {
    /// One of the table's columns.
    #[must_use]
    pub fn of(columns: &[ColumnInfo], column: usize, order: KeyOrder) -> IndexColumn {
        IndexColumn { source: KeySource::Column(column), ty: columns[column].ty, order }
    }

    /// The table's column; `None` for an expression.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        match self.source {
            KeySource::Column(n) => Some(n),
            KeySource::Expr(_) => None,
        }
    }

    /// As definitions and errors show it: a column's name, a function call, or an expression in parentheses.
    #[must_use]
    pub fn shown(&self, columns: &[ColumnInfo], pretty: bool) -> String {
        match &self.source {
            KeySource::Column(n) => quoted(&columns[*n].name),
            KeySource::Expr(formula) if is_call(formula.expr()) => formula.deparse(columns, pretty),
            KeySource::Expr(formula) => format!("({})", formula.deparse(columns, pretty)),
        }
    }

    /// The expression, if it is one.
    #[must_use]
    pub fn formula(&self) -> Option<&Arc<Formula>> {
        match &self.source {
            KeySource::Column(_) => None,
            KeySource::Expr(formula) => Some(formula),
        }
    }

    fn inputs(&self) -> &[usize] {
        match &self.source {
            KeySource::Column(n) => std::slice::from_ref(n),
            KeySource::Expr(formula) => formula.inputs(),
        }
    }

    /// Its value in a row.
    pub fn value(&self, row: &[Datum]) -> SqlResult<Datum> {
        match &self.source {
            KeySource::Column(n) => Ok(row[*n].clone()),
            KeySource::Expr(formula) => formula.value(row),
        }
    }
}

/// The table's columns that decide on a row's entry.
#[must_use]
pub(super) fn inputs(columns: &[IndexColumn], predicate: Option<&Formula>) -> Vec<usize> {
    let of_predicate = predicate.map_or(&[][..], Formula::inputs);
    let all = columns.iter().flat_map(IndexColumn::inputs).chain(of_predicate);
    let mut inputs = Vec::new();
    all.for_each(|n| {
        if !inputs.contains(n) {
            inputs.push(*n);
        }
    });
    inputs
}

impl IndexInfo {
    /// Appends the key of a row. `None` when the row is not in the index; else whether a column is NULL: such a row is never
    /// a duplicate.
    pub fn key(&self, row: &[Datum], out: &mut Vec<u8>) -> SqlResult<Option<bool>> {
        key_of_row(&self.columns, self.predicate.as_deref(), row, out)
    }

    /// Whether all that decides on the entry is the same in two versions of a row.
    #[must_use]
    pub fn same_inputs(&self, old: &[Datum], new: &[Datum]) -> bool {
        self.inputs.iter().all(|n| old[*n] == new[*n])
    }

    /// The table's columns that it consists of, in order; `None` when it has expressions, or not all rows.
    #[must_use]
    pub fn plain_columns(&self) -> Option<Vec<usize>> {
        if self.predicate.is_some() {
            return None;
        }
        self.columns.iter().map(IndexColumn::column).collect()
    }

    /// The expressions that it keeps as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let of_columns = self.columns.iter().filter_map(IndexColumn::formula);
        of_columns.chain(&self.predicate).map(|formula| formula.text())
    }

    /// Whether no two rows have the same key at any moment, not even in the midst of a transaction.
    #[must_use]
    pub fn is_always_unique(&self) -> bool {
        self.unique && self.valid && !self.timing.is_deferrable()
    }

    /// Whether foreign keys can refer to it: unique, of columns, over all rows. The columns of such a key are what FOR NO KEY
    /// UPDATE leaves alone.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.unique && self.predicate.is_none() && self.columns.iter().all(|part| part.column().is_some())
    }

    /// Whether this column of the table is one of its columns.
    #[must_use]
    pub fn has_column(&self, column: usize) -> bool {
        self.columns.iter().any(|part| part.column() == Some(column))
    }

    /// The same index over rows whose columns have changed their types, or names as `text` writes them.
    pub(crate) fn rebound(
        &self,
        table: &str,
        columns: &[ColumnInfo],
        view: &Arc<CatalogView>,
        text: &dyn Fn(&str) -> SqlResult<String>,
    ) -> SqlResult<Arc<IndexInfo>> {
        let again =
            |formula: &Formula| Formula::of_text(&text(formula.text())?, table, columns, view).map(Arc::new);
        let mut new = self.clone();
        for part in &mut new.columns {
            match &mut part.source {
                KeySource::Column(n) => part.ty = columns[*n].ty,
                KeySource::Expr(formula) => {
                    *formula = again(formula)?;
                    part.ty = formula.ty();
                }
            }
        }
        new.predicate = self.predicate.as_deref().map(again).transpose()?;
        Ok(new.over(self.store.tree.root, columns))
    }

    /// The same index over other pages, or over rows of more columns.
    #[must_use]
    pub fn over(&self, root: PageId, columns: &[ColumnInfo]) -> Arc<IndexInfo> {
        let predicate = self.predicate.as_ref();
        let store = store(self.oid, root, self.unique, &self.columns, predicate, columns);
        Arc::new(IndexInfo { store, ..self.clone() })
    }
}

fn key_of_row(
    columns: &[IndexColumn],
    predicate: Option<&Formula>,
    row: &[Datum],
    out: &mut Vec<u8>,
) -> SqlResult<Option<bool>> {
    if let Some(predicate) = predicate
        && !predicate.value(row)?.is_true()
    {
        return Ok(None);
    }
    let mut has_null = false;
    for part in columns {
        let datum = match &part.source {
            KeySource::Column(n) => {
                has_null |= row[*n].is_null();
                key::encode(&row[*n], part.ty, part.order, out);
                continue;
            }
            KeySource::Expr(formula) => formula.value(row)?,
        };
        has_null |= datum.is_null();
        key::encode(&datum, part.ty, part.order, out);
    }
    Ok(Some(has_null))
}

/// The entries of an index, with what it takes to make keys of stored rows.
pub(super) fn store(
    oid: u32,
    root: PageId,
    unique: bool,
    parts: &[IndexColumn],
    predicate: Option<&Arc<Formula>>,
    columns: &[ColumnInfo],
) -> Index {
    let plain: Option<Vec<usize>> = parts.iter().map(IndexColumn::column).collect();
    let key_of = match (plain, predicate) {
        (Some(plain), None) => of_columns(parts.to_vec(), plain, columns),
        _ => of_expressions(parts.to_vec(), predicate.cloned(), columns),
    };
    let reads = inputs(parts, predicate.map(|formula| &**formula)).into_iter().collect();
    Index { oid, tree: Tree { root }, unique, key_of, reads }
}

fn of_columns(parts: Vec<IndexColumn>, plain: Vec<usize>, columns: &[ColumnInfo]) -> KeyOf {
    let layout = TableInfo::layout_of(columns);
    Arc::new(move |row| {
        let row = layout.read(row).ok()?;
        let mut key = IndexKey { bytes: Vec::with_capacity(16), distinct: true };
        for (part, column) in parts.iter().zip(&plain) {
            let datum = row.get(*column).ok()?;
            key.distinct &= !datum.is_null();
            key::encode(&datum, part.ty, part.order, &mut key.bytes);
        }
        Some(key)
    })
}

/// A version for which an expression cannot be computed has no entry: whoever wrote it has failed.
fn of_expressions(parts: Vec<IndexColumn>, predicate: Option<Arc<Formula>>, columns: &[ColumnInfo]) -> KeyOf {
    let layout = TableInfo::layout_of(columns);
    let inputs = inputs(&parts, predicate.as_deref());
    let wanted: Vec<bool> = (0..columns.len()).map(|n| inputs.contains(&n)).collect();
    Arc::new(move |bytes| {
        let mut row = Vec::with_capacity(wanted.len());
        layout.decode_into(bytes, &wanted, &mut row).ok()?;
        let mut bytes = Vec::with_capacity(16);
        let has_null = key_of_row(&parts, predicate.as_deref(), &row, &mut bytes).ok()??;
        Some(IndexKey { bytes, distinct: !has_null })
    })
}

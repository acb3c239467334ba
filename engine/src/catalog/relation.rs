//! Rows of a table as values, with all of its indexes: what DML and the catalog itself write through.

use std::ops::Bound;

use super::index::{IndexColumn, IndexInfo};
use super::model::TableInfo;
use super::stored;
use crate::btree::Direction;
use crate::buffer::StorageError;
use crate::sql::deferred::{Check, Deferred};
use crate::table::{IndexScan, RowBatch, RowId, TableScan};
use crate::txn::{LockWait, RowLock, Snapshot, Transaction, TransactionSystem, TxnError};
use crate::types::{Datum, SqlError, SqlResult, TimeZone, key, sqlstate, text_of};

/// Inserts a row and its index entries. 23505 names the constraint.
pub(crate) async fn insert(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    row: &[Datum],
) -> SqlResult<RowId> {
    let id = system.row_ids(&table.store, 1).await?;
    let bytes = stored::encode_new(system, txn, table, id, row).await?;
    let inserted = system.insert_as(txn, &table.store, id, stored::row_bytes(&bytes)).await;
    inserted.map_err(|e| too_big(e, table))?;
    for index in table.indexes.iter().filter(|index| index.ready) {
        let mut key = Vec::with_capacity(16);
        if let Some(has_null) = index.key(row, &mut key)? {
            enter(system, txn, table, index, &key, has_null, id, row).await?;
        }
    }
    Ok(id)
}

/// Inserts rows and their index entries.
pub(crate) async fn insert_batch(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    rows: &crate::sql::RowBatch,
) -> SqlResult<()> {
    if rows.len() == 1 {
        return insert(system, txn, table, rows.row(0)).await.map(|_| ());
    }
    let RowId(first) = insert_unindexed(system, txn, table, rows).await?;
    let ids = (first..first + rows.len() as u64).map(RowId);
    for index in table.indexes.iter().filter(|index| index.ready) {
        for (id, row) in ids.clone().zip(rows.rows()) {
            let mut key = Vec::with_capacity(16);
            if let Some(has_null) = index.key(row, &mut key)? {
                enter(system, txn, table, index, &key, has_null, id, row).await?;
            }
        }
    }
    Ok(())
}

/// Inserts rows without index entries; the id of the first, behind which the others' come.
pub(crate) async fn insert_unindexed(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    rows: &crate::sql::RowBatch,
) -> SqlResult<RowId> {
    let first = system.row_ids(&table.store, rows.len() as u64).await?;
    let ids = (first.0..).map(RowId);
    let mut encoded = Vec::with_capacity(rows.len());
    for (id, row) in ids.zip(rows.rows()) {
        encoded.push(stored::encode_new(system, txn, table, id, row).await?);
    }
    let encoded: Vec<_> = encoded.iter().map(|bytes| stored::row_bytes(bytes)).collect();
    let inserted = system.insert_many(txn, &table.store, first, &encoded).await;
    inserted.map_err(|e| too_big(e, table))?;
    Ok(first)
}

/// Replaces a row that the transaction has locked; only indexes whose keys changed are touched.
pub(crate) async fn update(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    id: RowId,
    old: &[Datum],
    new: &[Datum],
) -> SqlResult<()> {
    let bytes = stored::encode_changed(system, txn, table, id, old, new).await?;
    let updated = system.update(txn, &table.store, id, stored::row_bytes(&bytes)).await;
    updated.map_err(|e| too_big(e, table))?;
    for index in table.indexes.iter().filter(|index| index.ready) {
        if index.same_inputs(old, new) {
            continue;
        }
        let (mut before, mut key) = (Vec::new(), Vec::with_capacity(16));
        let was_in = index.key(old, &mut before)?.is_some();
        match index.key(new, &mut key)? {
            Some(_) if was_in && before == key => {}
            Some(has_null) => enter(system, txn, table, index, &key, has_null, id, new).await?,
            None if was_in => system.index_leave(txn, &index.store, &table.store, id).await?,
            None => {}
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "one call of one function, with what both callers have at hand")]
async fn enter(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    index: &IndexInfo,
    key: &[u8],
    has_null: bool,
    id: RowId,
    row: &[Datum],
) -> SqlResult<()> {
    if index.timing.is_deferrable() && !has_null {
        let entered = system.index_insert_unasked(txn, &index.store, &table.store, key, id).await;
        if entered.map_err(|error| key_too_big(error, table, index))? {
            let check = Check::Unique { table: table.oid, index: index.oid, row: id };
            Deferred::of(txn).ask(check, index.timing);
        }
        return Ok(());
    }
    let entered = system.index_insert(txn, &index.store, &table.store, key, id, !has_null).await;
    entered.map_err(|error| match error {
        TxnError::UniqueViolation { .. } => duplicate(table, index, row),
        other => key_too_big(other, table, index),
    })
}

/// Asks a deferrable unique index of a row, in its newest version: 23505 when another has its key.
pub(crate) async fn ask_unique(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    index: &IndexInfo,
    id: RowId,
) -> SqlResult<()> {
    let newest = txn.newest();
    let mut bytes = Vec::new();
    if !system.get(&newest, &table.store, id, &mut bytes).await? {
        return Ok(());
    }
    let row = stored::decode(system, table, id, &bytes, |n| index.store.reads.contains(&n)).await?;
    let mut key = Vec::with_capacity(16);
    if index.key(&row, &mut key)? != Some(false) {
        return Ok(());
    }
    let asked = system.unique_ask(txn, &index.store, &table.store, &key, id).await;
    asked.map_err(|error| match error {
        TxnError::UniqueViolation { .. } => duplicate(table, index, &row),
        other => other.into(),
    })
}

/// `23505` for a row whose key exists.
pub(crate) fn duplicate(table: &TableInfo, index: &IndexInfo, row: &[Datum]) -> SqlError {
    let zone = TimeZone::default();
    let name = |part: &IndexColumn| part.shown(&table.columns, true);
    let names: Vec<String> = index.columns.iter().map(name).collect();
    // A row that could be entered has a value for each column.
    let value = |part: &IndexColumn| text_of(&part.value(row).unwrap_or_default(), part.ty, &zone);
    let values: Vec<String> = index.columns.iter().map(value).collect();
    SqlError::new(
        sqlstate::UNIQUE_VIOLATION,
        format!("duplicate key value violates unique constraint \"{}\"", index.name),
    )
    .detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
    .schema(table.schema.clone())
    .table(table.name.clone())
    .constraint(index.name.clone())
}

fn too_big(error: TxnError, table: &TableInfo) -> SqlError {
    match error {
        TxnError::Storage(StorageError::ValueTooLarge { len, limit }) => {
            limit_of(format!("row is too big: size {len}, maximum size {limit}"), table)
        }
        other => other.into(),
    }
}

/// `54000` for a key that is longer than an index takes, and for whatever else kept a row from its index.
pub(crate) fn key_too_big(error: TxnError, table: &TableInfo, index: &IndexInfo) -> SqlError {
    let name = &index.name;
    match error {
        TxnError::Storage(
            StorageError::KeyTooLarge { len, limit } | StorageError::KeySourceTooLarge { len, limit },
        ) => limit_of(format!("index row size {len} exceeds maximum {limit} for index \"{name}\""), table)
            .hint("Consider an index over a hash of the value, such as md5."),
        other => other.into(),
    }
}

fn limit_of(message: String, table: &TableInfo) -> SqlError {
    SqlError::new(sqlstate::PROGRAM_LIMIT, message).schema(table.schema.clone()).table(table.name.clone())
}

/// The rows whose leading index columns equal `values`, as the snapshot sees them, decoded, large values too.
pub(crate) async fn find(
    system: &TransactionSystem,
    snapshot: &Snapshot,
    table: &TableInfo,
    index: &IndexInfo,
    values: &[Datum],
) -> SqlResult<Vec<(RowId, Vec<Datum>)>> {
    find_with(system, snapshot, table, index, values, usize::MAX, |_| true).await
}

/// The first of them, with what the index has of them; other large values may be left out.
pub(crate) async fn find_keys(
    system: &TransactionSystem,
    snapshot: &Snapshot,
    table: &TableInfo,
    index: &IndexInfo,
    values: &[Datum],
    limit: usize,
) -> SqlResult<Vec<(RowId, Vec<Datum>)>> {
    let wanted = |n| index.store.reads.contains(&n);
    find_with(system, snapshot, table, index, values, limit, wanted).await
}

async fn find_with(
    system: &TransactionSystem,
    snapshot: &Snapshot,
    table: &TableInfo,
    index: &IndexInfo,
    values: &[Datum],
    limit: usize,
    wanted: impl Fn(usize) -> bool,
) -> SqlResult<Vec<(RowId, Vec<Datum>)>> {
    let mut prefix = Vec::new();
    for (part, value) in index.columns.iter().zip(values) {
        key::encode(value, part.ty, part.order, &mut prefix);
    }
    let bound = |p: &Vec<u8>| Bound::Included(p.clone());
    let mut scan = IndexScan::new(snapshot, &index.store, bound(&prefix), bound(&prefix), Direction::Forward);
    let (mut entries, mut bytes, mut found) = (RowBatch::new(), Vec::new(), Vec::new());
    while scan.next_batch(system, &mut entries).await? {
        for (id, entry_key) in entries.iter() {
            if !system.get(snapshot, &table.store, id, &mut bytes).await? {
                continue;
            }
            let row = stored::decode(system, table, id, &bytes, &wanted).await?;
            let mut key = Vec::new();
            let is_in = index.key(&row, &mut key)?.is_some();
            if is_in && key == entry_key {
                found.push((id, row));
                if found.len() >= limit {
                    return Ok(found);
                }
            }
        }
    }
    Ok(found)
}

/// Every row as the snapshot sees it, decoded: for the small tables of the catalog.
pub(crate) async fn scan(
    system: &TransactionSystem,
    snapshot: Snapshot,
    table: &TableInfo,
) -> SqlResult<Vec<Vec<Datum>>> {
    let mut scan = TableScan::new(&table.store, snapshot);
    let (mut batch, mut rows) = (RowBatch::new(), Vec::new());
    while scan.next_batch(system, &mut batch).await? {
        for (id, bytes) in batch.iter() {
            rows.push(stored::decode(system, table, id, bytes, |_| true).await?);
        }
    }
    Ok(rows)
}

/// Locks a row that was found and is about to be changed; false when somebody deleted it meanwhile.
pub(crate) async fn lock(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    id: RowId,
) -> SqlResult<bool> {
    let mut newest = Vec::new();
    let outcome =
        system.lock_row(txn, &table.store, id, RowLock::Update, LockWait::Block, &mut newest).await?;
    Ok(!matches!(outcome, crate::table::LockOutcome::Gone))
}

//! Rows between values and bytes where some values are too large for a page: writing these first, and fetching them.

use super::model::TableInfo;
use crate::table::{MAX_ROW, RowBytes, RowId};
use crate::txn::{Transaction, TransactionSystem};
use crate::types::large::{self, LargeRef, Place};
use crate::types::row::has_large;
use crate::types::{Datum, SqlError, SqlResult};

/// An encoded row, to write.
pub(super) fn row_bytes(bytes: &[u8]) -> RowBytes<'_> {
    RowBytes { bytes, large: has_large(bytes) }
}

/// Whether a row fits a page with all of its values.
pub(super) fn fits(table: &TableInfo, row: &[Datum]) -> bool {
    table.layout.too_large(row, MAX_ROW).is_empty()
}

/// A new row's bytes; its largest values are written if it would be too long with them.
pub(super) async fn encode_new(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    id: RowId,
    row: &[Datum],
) -> SqlResult<Vec<u8>> {
    match encode_whole(table, row)? {
        Some(bytes) => Ok(bytes),
        None => encode_with(system, txn, table, id, row, &[]).await,
    }
}

/// The same for a row that replaces `old`: a large value that it leaves as it was is not written again.
pub(super) async fn encode_changed(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    id: RowId,
    old: &[Datum],
    new: &[Datum],
) -> SqlResult<Vec<u8>> {
    if let Some(bytes) = encode_whole(table, new)? {
        return Ok(bytes);
    }
    let mut kept = Vec::new();
    if let Some(bytes) = system.newest_bytes(&table.store, id).await?
        && has_large(&bytes)
    {
        let places = large::places(&bytes).ok_or_else(|| SqlError::corrupt("a row's large values"))?;
        for (column, place) in places {
            if let Place::Elsewhere(at) = place
                && old.get(column) == new.get(column)
            {
                kept.push((column, at));
            }
        }
    }
    encode_with(system, txn, table, id, new, &kept).await
}

async fn encode_with(
    system: &TransactionSystem,
    txn: &mut Transaction,
    table: &TableInfo,
    id: RowId,
    row: &[Datum],
    kept: &[(usize, LargeRef)],
) -> SqlResult<Vec<u8>> {
    let mut row = row.to_vec();
    for (column, at) in kept {
        row[*column] = Datum::Large(*at);
    }
    for column in table.layout.too_large(&row, MAX_ROW) {
        let value = table.layout.bytes_of(column, &row[column]);
        let at = system.put_value(txn, &table.store, id, &value).await?;
        drop(value);
        row[column] = Datum::Large(at);
    }
    encode(table, &row)
}

/// The bytes of a row that fits a page with all of its values.
fn encode_whole(table: &TableInfo, row: &[Datum]) -> SqlResult<Option<Vec<u8>>> {
    if fits(table, row) { encode(table, row).map(Some) } else { Ok(None) }
}

fn encode(table: &TableInfo, row: &[Datum]) -> SqlResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64);
    table.layout.encode(row, &mut bytes)?;
    Ok(bytes)
}

/// A stored row's values; those of unwanted columns that lie elsewhere are not fetched ([`Datum::Large`]).
pub(crate) async fn decode(
    system: &TransactionSystem,
    table: &TableInfo,
    id: RowId,
    bytes: &[u8],
    wanted: impl Fn(usize) -> bool,
) -> SqlResult<Vec<Datum>> {
    if !has_large(bytes) {
        return table.layout.decode(bytes);
    }
    let whole = system.with_values(&table.store, id, bytes, wanted).await?;
    table.layout.decode(&whole)
}

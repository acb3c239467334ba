//! Rows whose values are too large for them: a number, and bytes that lie elsewhere when there are many.

use super::*;
use crate::buffer::StorageError;
use crate::table::Cleanable;
use crate::types::row::{RowLayout, has_large};
use crate::types::{Datum, SqlType, large};

/// A value that is longer goes elsewhere.
const INSIDE: usize = 100;

fn layout() -> RowLayout {
    RowLayout::new([(SqlType::INT8, Datum::Null), (SqlType::BYTEA, Datum::Null)])
}

fn bytes_of(number: i64, value: Datum) -> Vec<u8> {
    let mut bytes = Vec::new();
    layout().encode(&[Datum::Int8(number), value], &mut bytes).unwrap();
    bytes
}

fn number_of(value: &[u8]) -> i64 {
    i64::from_le_bytes(*value.first_chunk().unwrap())
}

/// A row as it is written: eight bytes of number, the rest is the value.
pub(super) async fn encode(
    bed: &Bed,
    txn: &mut Transaction,
    id: RowId,
    value: &[u8],
) -> Result<Vec<u8>, TxnError> {
    let rest = &value[8..];
    let datum = match rest.len() > INSIDE {
        true => Datum::Large(bed.system.put_value(txn, &bed.table, id, rest).await?),
        false => Datum::Bytea(rest.into()),
    };
    Ok(bytes_of(number_of(value), datum))
}

/// The same row with another number.
pub(super) fn beside(row: &[u8], number: &[u8]) -> Vec<u8> {
    let value = layout().read(row).unwrap().get(1).unwrap();
    bytes_of(number_of(number), value)
}

pub(super) fn row(bytes: &[u8]) -> RowBytes<'_> {
    RowBytes { bytes, large: has_large(bytes) }
}

pub(super) async fn insert(bed: &Bed, txn: &mut Transaction, value: &[u8]) -> RowId {
    let id = bed.system.row_ids(&bed.table, 1).await.unwrap();
    let bytes = encode(bed, txn, id, value).await.unwrap();
    bed.system.insert_as(txn, &bed.table, id, row(&bytes)).await.unwrap();
    id
}

pub(super) async fn value_of(bed: &Bed, id: RowId, bytes: &[u8]) -> Vec<u8> {
    let whole = match has_large(bytes) {
        true => bed.system.with_values(&bed.table, id, bytes, |_| true).await.unwrap(),
        false => bytes.to_vec(),
    };
    decoded(&whole)
}

/// What was encoded, of a row that has all its values.
pub(super) fn decoded(whole: &[u8]) -> Vec<u8> {
    match layout().decode(whole).unwrap().as_slice() {
        [Datum::Int8(number), Datum::Bytea(rest)] => [&number.to_le_bytes(), &rest[..]].concat(),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn get(bed: &Bed, snapshot: &Snapshot, id: RowId) -> Option<Vec<u8>> {
    let bytes = bed.get(snapshot, id).await?;
    Some(value_of(bed, id, &bytes).await)
}

pub(super) async fn scan(bed: &Bed, snapshot: &Snapshot) -> Vec<(RowId, Vec<u8>)> {
    let mut rows = Vec::new();
    for (id, bytes) in bed.scan(snapshot).await {
        rows.push((id, value_of(bed, id, &bytes).await));
    }
    rows
}

/// Values in the tree, by row.
async fn values(bed: &Bed) -> Vec<(RowId, usize)> {
    use std::ops::Bound;
    let (mut found, mut from) = (Vec::new(), Bound::Included(crate::table::values::end_of_rows().to_vec()));
    while let Some(id) = bed.system.next_with_values(&bed.table, from).await.unwrap() {
        found.push((id, bed.system.values_of(&bed.table, id).await.unwrap().len()));
        from = Bound::Excluded(crate::table::values::last_of_row(id));
    }
    found
}

/// After a vacuum each value belongs to a row, and each row has its values.
pub(super) async fn nothing_is_left_over(bed: &Bed) {
    bed.system.vacuum_table(&bed.table, &[]).await.unwrap();
    let mut wanted = Vec::new();
    for (id, bytes) in bed.scan(&bed.now()).await {
        if has_large(&bytes) {
            wanted.push((id, large::refs(&bytes).unwrap().len()));
        }
    }
    assert_eq!(values(bed).await, wanted);
}

fn long(number: u64, len: usize) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.extend((0..len).map(|n| (n as u64 * number % 251) as u8));
    value
}

async fn clean(bed: &Bed) {
    let table = bed.table.clone();
    let tables: crate::table::Tables =
        Box::new(move || vec![Cleanable { table: table.clone(), indexes: Vec::new() }]);
    bed.system.clean(&tables).await.unwrap();
}

#[tokio::test]
async fn values_of_all_lengths_come_back() {
    let bed = Bed::with_cache(sextant_volume::memory::MemoryStore::new(), 512 << 10).await;
    let mut wanted = Vec::new();
    let mut txn = bed.begin();
    for len in [101, 3599, 3600, 3601, 7200, 7201, 100_000, 3_000_000, 4018] {
        let value = long(len as u64, len);
        wanted.push((insert(&bed, &mut txn, &value).await, value));
    }
    txn.commit().await.unwrap();
    assert_eq!(scan(&bed, &bed.now()).await, wanted);
    let after = Bed::with_cache(bed.store.crash(), 512 << 10).await;
    assert_eq!(scan(&after, &after.now()).await, wanted);
    let mut txn = after.begin();
    let id = insert(&after, &mut txn, &long(1, 10)).await;
    assert_eq!(
        id.0,
        wanted.last().unwrap().0.0 + 1,
        "row ids go on behind the last row, not behind its values"
    );
    nothing_is_left_over(&after).await;
}

#[tokio::test]
async fn an_update_beside_a_large_value_logs_tens_of_bytes() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let before = bed.store.log_bytes();
    let id = insert(&bed, &mut txn, &long(1, 1_000_000)).await;
    let insert = bed.store.log_bytes() - before;
    txn.commit().await.unwrap();
    // The first one makes an undo page.
    let mut update = 0;
    for number in [2i64, 3] {
        let mut txn = bed.begin();
        let (_, bytes) = bed.lock(&mut txn, id).await.unwrap();
        let before = bed.store.log_bytes();
        let new = beside(&bytes, &number.to_le_bytes());
        bed.system.update(&mut txn, &bed.table, id, row(&new)).await.unwrap();
        update = bed.store.log_bytes() - before;
        txn.commit().await.unwrap();
    }
    println!("redo bytes: a value of 1,000,000 bytes {insert}, an update beside it {update}");
    assert!(insert < 1_050_000, "the value goes to the log once: {insert}");
    assert!(update < 90, "{update}");
    let mut wanted = long(1, 1_000_000);
    wanted[0] = 3;
    assert_eq!(get(&bed, &bed.now(), id).await, Some(wanted));
}

#[tokio::test]
async fn a_value_stays_as_long_as_a_snapshot_needs_it() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let id = insert(&bed, &mut txn, &long(1, 20_000)).await;
    txn.commit().await.unwrap();
    let old = bed.now();
    let mut txn = bed.begin();
    bed.lock(&mut txn, id).await.unwrap();
    let bytes = encode(&bed, &mut txn, id, &long(2, 30_000)).await.unwrap();
    bed.system.update(&mut txn, &bed.table, id, row(&bytes)).await.unwrap();
    txn.commit().await.unwrap();
    clean(&bed).await;
    bed.system.vacuum_table(&bed.table, &[]).await.unwrap();
    assert_eq!(values(&bed).await, [(id, 2)]);
    assert_eq!(get(&bed, &old, id).await, Some(long(1, 20_000)));
    drop(old);
    clean(&bed).await;
    assert_eq!(values(&bed).await, [(id, 1)]);
    assert_eq!(get(&bed, &bed.now(), id).await, Some(long(2, 30_000)));
    let mut txn = bed.begin();
    bed.delete(&mut txn, id).await.unwrap();
    txn.commit().await.unwrap();
    clean(&bed).await;
    assert_eq!(values(&bed).await, []);
}

#[tokio::test]
async fn what_is_rolled_back_is_freed_by_the_cleaner_and_by_a_vacuum_after_a_crash() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let id = insert(&bed, &mut txn, &long(1, 20_000)).await;
    txn.commit().await.unwrap();
    let mut txn = bed.begin();
    insert(&bed, &mut txn, &long(9, 50_000)).await;
    txn.set_savepoint();
    bed.lock(&mut txn, id).await.unwrap();
    let bytes = encode(&bed, &mut txn, id, &long(2, 30_000)).await.unwrap();
    bed.system.update(&mut txn, &bed.table, id, row(&bytes)).await.unwrap();
    // The writer is in progress: nothing is touched.
    clean(&bed).await;
    bed.system.vacuum_table(&bed.table, &[]).await.unwrap();
    assert_eq!(values(&bed).await.iter().map(|(_, n)| n).sum::<usize>(), 3);
    let crashed = bed.crash().await;
    nothing_is_left_over(&crashed).await;
    assert_eq!(values(&crashed).await, [(id, 1)]);
    txn.rollback();
    clean(&bed).await;
    assert_eq!(values(&bed).await, [(id, 1)]);
    assert_eq!(scan(&bed, &bed.now()).await, [(id, long(1, 20_000))]);
}

#[tokio::test]
async fn a_value_that_lacks_a_part_is_damage_and_no_shorter_value() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let id = insert(&bed, &mut txn, &long(1, 20_000)).await;
    txn.commit().await.unwrap();
    let bytes = bed.get(&bed.now(), id).await.unwrap();
    let name = bed.system.values_of(&bed.table, id).await.unwrap()[0];
    let key = bed.system.some_chunks(&bed.table, id, name).await.unwrap().pop().unwrap();
    let remove = |mtr: &mut crate::mtr::MiniTxn<'_>| {
        bed.table.tree.edit(mtr, &key, |_, _| Ok((crate::btree::Edit::Remove, ())))
    };
    bed.system.pool().write(remove).await.unwrap();
    let read = bed.system.with_values(&bed.table, id, &bytes, |_| true).await;
    assert!(matches!(read, Err(TxnError::Storage(StorageError::Corrupt { .. }))), "{read:?}");
}

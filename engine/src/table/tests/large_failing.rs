//! Large values whose pages cannot be read now and then: an error, never a shorter value, and nothing is left half done.

use sextant_volume::VolumeError;

use super::large::{decoded, encode, nothing_is_left_over, row, value_of};
use super::*;
use crate::buffer::StorageError;
use crate::buffer::tests::store::{Failing, TestStore};

/// Of one chunk, of several, of many leaves.
const LENGTHS: [usize; 4] = [3601, 8000, 20_000, 150_000];

fn long(number: u64, len: usize) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.extend((0..len).map(|n| (n as u64 * (2 * number + 1) % 251) as u8));
    value
}

fn is_planted(error: &TxnError) -> bool {
    matches!(error, TxnError::Storage(StorageError::Volume(VolumeError::Unreadable { .. })))
}

/// An engine that has just come to the volume; from now on the read behind `n` others fails.
async fn cold(volume: &Arc<MemoryStore>, n: u64) -> (Arc<TestStore>, Bed) {
    let failing = TestStore::over(volume.crash());
    let bed = Bed::over(failing.memory.clone(), failing.clone(), 512 << 10).await;
    *failing.failing.lock() = Failing::After(n);
    (failing, bed)
}

fn has_failed(store: &TestStore) -> bool {
    store.failed.load(std::sync::atomic::Ordering::Relaxed) > 0
}

async fn filled() -> (Arc<MemoryStore>, Vec<(RowId, Vec<u8>)>) {
    let bed = Bed::new().await;
    let mut rows = Vec::new();
    let mut txn = bed.begin();
    for (n, len) in LENGTHS.into_iter().enumerate() {
        let value = long(n as u64, len);
        rows.push((super::large::insert(&bed, &mut txn, &value).await, value));
    }
    txn.commit().await.unwrap();
    (bed.store.clone(), rows)
}

async fn read(bed: &Bed, id: RowId) -> Result<Vec<u8>, TxnError> {
    let mut bytes = Vec::new();
    assert!(bed.system.get(&bed.now(), &bed.table, id, &mut bytes).await?, "the row is there");
    bed.system.with_values(&bed.table, id, &bytes, |_| true).await
}

#[tokio::test]
async fn a_value_is_whole_or_an_error_whichever_read_fails() {
    let (volume, rows) = filled().await;
    let mut refused = 0;
    for n in 0.. {
        let (store, bed) = cold(&volume, n).await;
        for (id, value) in &rows {
            let whole = match read(&bed, *id).await {
                Ok(whole) => whole,
                Err(error) => {
                    assert!(is_planted(&error), "{error}");
                    refused += 1;
                    read(&bed, *id).await.expect("the same read again")
                }
            };
            assert!(decoded(&whole) == *value, "row {id:?} when read {n} fails");
        }
        if !has_failed(&store) {
            println!("{n} reads failed, {refused} of them refused a look");
            assert!(n > 20 && refused > n / 2, "{refused} of {n} reads refused a look");
            return;
        }
    }
}

/// One life of a row's value: replaced, replaced and rolled back, deleted, and what is left over removed.
async fn life(bed: &Bed, rows: &[(RowId, Vec<u8>)]) -> Result<(), TxnError> {
    let (id, other) = (rows[2].0, rows[3].0);
    let mut txn = bed.begin();
    bed.lock(&mut txn, id).await?;
    let bytes = encode(bed, &mut txn, id, &long(9, 40_000)).await?;
    bed.system.update(&mut txn, &bed.table, id, row(&bytes)).await?;
    txn.commit().await?;
    let mut txn = bed.begin();
    bed.lock(&mut txn, id).await?;
    let bytes = encode(bed, &mut txn, id, &long(10, 60_000)).await?;
    bed.system.update(&mut txn, &bed.table, id, row(&bytes)).await?;
    txn.rollback();
    let mut txn = bed.begin();
    bed.delete(&mut txn, other).await?;
    txn.commit().await?;
    bed.system.vacuum_table(&bed.table, &[]).await?;
    Ok(())
}

#[tokio::test]
async fn a_statement_that_meets_a_failing_read_leaves_every_value_with_its_row() {
    let (volume, rows) = filled().await;
    let mut refused = 0;
    for n in 0.. {
        let (store, bed) = cold(&volume, n).await;
        // A transaction that is refused rolls back by being dropped; it may have got as far as the deletion.
        match life(&bed, &rows).await {
            Ok(()) => {}
            Err(error) => {
                assert!(is_planted(&error), "{error}");
                refused += 1;
            }
        }
        *store.failing.lock() = Failing::Never;
        nothing_is_left_over(&bed).await;
        for (id, value) in &rows[..3] {
            let now = value_of(&bed, *id, &bed.get(&bed.now(), *id).await.expect("it is there")).await;
            let may_be = *id == rows[2].0 && now == long(9, 40_000);
            assert!(now == *value || may_be, "row {id:?} when read {n} fails");
        }
        if !has_failed(&store) {
            println!("{n} reads failed, {refused} of them refused a statement");
            assert!(n > 20 && refused > n / 2, "{refused} of {n} reads refused a statement");
            return;
        }
    }
}

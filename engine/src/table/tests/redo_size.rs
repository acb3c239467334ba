//! How much log a row costs: tens of bytes, not pages.

use super::*;

#[tokio::test]
async fn redo_bytes_per_statement_are_small() {
    let bed = Bed::new().await;
    // As pgbench's accounts: about a hundred bytes, of which four change.
    let mut ids = Vec::new();
    let before = bed.store.log_bytes();
    let mut txn = bed.begin();
    for n in 0..5000u32 {
        let mut row = vec![b' '; 96];
        row[..4].copy_from_slice(&n.to_le_bytes());
        ids.push(bed.insert(&mut txn, &row).await);
    }
    txn.commit().await.unwrap();
    let insert = (bed.store.log_bytes() - before) / 5000;
    let before = bed.store.log_bytes();
    let mut txn = bed.begin();
    for _ in 0..50 {
        let rows = vec![vec![b'x'; 96]; 100];
        bed.insert_many(&mut txn, &rows).await;
    }
    txn.commit().await.unwrap();
    let many = (bed.store.log_bytes() - before) / 5000;
    let (mut update, mut commit) = (0, 0);
    for n in 0..1000u32 {
        let mut row = vec![b' '; 96];
        row[..4].copy_from_slice(&(n * 5).to_le_bytes());
        row[8..12].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_le_bytes());
        let mut txn = bed.begin();
        let id = ids[n as usize * 5];
        let start = bed.store.log_bytes();
        bed.update(&mut txn, id, &row).await.unwrap();
        let middle = bed.store.log_bytes();
        txn.commit().await.unwrap();
        update += middle - start;
        commit += bed.store.log_bytes() - middle;
    }
    let start = bed.store.log_bytes();
    for id in &ids[1000..2000] {
        let mut txn = bed.begin();
        bed.delete(&mut txn, *id).await.unwrap();
        txn.commit().await.unwrap();
    }
    let delete = (bed.store.log_bytes() - start - commit) / 1000;
    let (update, commit) = (update / 1000, commit / 1000);
    println!(
        "redo bytes: insert {insert}, in bulk {many}, update {update}, delete {delete}, commit {commit}"
    );
    assert!(insert <= 96 + 90, "insert {insert}");
    assert!(many <= 96 + 60, "in bulk {many}");
    assert!(update <= 90, "update {update}");
    assert!(delete <= 80, "delete {delete}");
    assert!(commit <= 20, "commit {commit}");
}

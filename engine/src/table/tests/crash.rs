//! Held logs and killed engines.

use std::time::Duration;

use proptest::prelude::*;
use sextant_redo::Lsn;
use sextant_volume::LogStore;

use super::*;

#[tokio::test]
async fn a_commit_waits_for_the_vdl_and_nobody_else_does() {
    let bed = Arc::new(Bed::new().await);
    let id = bed.committed(b"old").await;
    bed.store.hold_vdl(true);
    let held = {
        let bed = bed.clone();
        tokio::spawn(async move {
            let mut txn = bed.begin();
            bed.update(&mut txn, id, b"new").await.unwrap();
            txn.commit().await.unwrap()
        })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!held.is_finished());
    assert_eq!(bed.get(&bed.now(), id).await, Some(b"old".to_vec()), "not durable: not visible");
    // Its locks are free already, and the next writer builds on it.
    let next = {
        let bed = bed.clone();
        tokio::spawn(async move {
            let mut txn = bed.begin();
            let (outcome, row) = bed.lock(&mut txn, id).await.unwrap();
            assert_eq!((outcome, row), (LockOutcome::Updated, b"new".to_vec()));
            bed.system.update(&mut txn, &bed.table, id, b"newer").await.unwrap();
            txn.commit().await.unwrap()
        })
    };
    // A transaction that writes nothing, but showed what is not durable, is not answered before either.
    let shown = {
        let bed = bed.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut txn = bed.begin();
            let (_, row) = bed.lock(&mut txn, id).await.unwrap();
            assert_eq!(txn.commit().await.unwrap(), Lsn::ZERO);
            row
        })
    };
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(!next.is_finished() && !shown.is_finished());
    let lost = bed.crash().await;
    assert_eq!(lost.get(&lost.now(), id).await, Some(b"old".to_vec()));
    bed.store.hold_vdl(false);
    let (first, second) = (held.await.unwrap(), next.await.unwrap());
    assert!(first < second && second <= bed.store.vdl());
    assert_eq!(shown.await.unwrap(), b"newer");
    assert_eq!(bed.get(&bed.now(), id).await, Some(b"newer".to_vec()));
}

#[tokio::test]
async fn ids_are_never_used_twice_and_old_outcomes_are_found() {
    let mut bed = Bed::new().await;
    let mut last = None;
    let mut rows = Vec::new();
    for round in 0..4u8 {
        for n in 0..5u8 {
            let mut txn = bed.begin();
            let id = bed.insert(&mut txn, &[round, n]).await;
            let txid = txn.id();
            assert!(txid > last);
            last = txid;
            if n % 2 == 0 {
                txn.commit().await.unwrap();
                rows.push((id, vec![round, n]));
            } else {
                txn.rollback();
            }
        }
        let mut unfinished = bed.begin();
        bed.insert(&mut unfinished, b"unfinished").await;
        last = unfinished.id();
        bed = bed.crash().await;
    }
    assert_eq!(bed.scan(&bed.now()).await, rows);
}

#[tokio::test]
async fn blocks_of_the_commit_table_are_made_as_needed() {
    let bed = Bed::new().await;
    let id = bed.committed(&0u32.to_be_bytes()).await;
    for n in 1..2500u32 {
        let mut txn = bed.begin();
        bed.update(&mut txn, id, &n.to_be_bytes()).await.unwrap();
        txn.commit().await.unwrap();
    }
    let bed = bed.crash().await;
    assert_eq!(bed.get(&bed.now(), id).await, Some(2499u32.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn opening_reads_a_few_pages_however_much_was_written() {
    let bed = Bed::new().await;
    let mut counts = Vec::new();
    for rounds in [10, 200] {
        for n in 0..rounds {
            let mut txn = bed.begin();
            for _ in 0..20 {
                bed.insert(&mut txn, &[n as u8; 500]).await;
            }
            txn.commit().await.unwrap();
        }
        let again = bed.store.crash();
        let bed = Bed::open(again.clone()).await;
        counts.push(again.page_reads());
        drop(bed);
    }
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0] <= 6, "{counts:?}");
}

#[tokio::test]
async fn undo_of_a_killed_engine_is_repaired_and_used_again() {
    let bed = Bed::new().await;
    let mut ids = Vec::new();
    for n in 0..100u8 {
        ids.push(bed.committed(&[n; 100]).await);
    }
    let mut txn = bed.begin();
    for round in 0..20u8 {
        txn.begin_statement();
        for (n, id) in ids.iter().enumerate() {
            let row = [n as u8 ^ round ^ 0x80; 100];
            bed.update(&mut txn, *id, &row).await.unwrap();
        }
    }
    let after = bed.crash().await;
    drop(txn);
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(after.get(&after.now(), *id).await, Some(vec![n as u8; 100]));
    }
    let report = after.system.tidy().await.unwrap();
    assert_eq!(report.repaired, 100);
    assert!(report.reclaimed > 10, "{report:?}");
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(after.get(&after.now(), *id).await, Some(vec![n as u8; 100]));
    }
}

/// Runs transactions against a log whose VDL moves only now and then, kills the engine, and compares.
async fn random_crash(steps: Vec<(u8, u8, bool)>) {
    let bed = Bed::new().await;
    let mut ids = Vec::new();
    for n in 0..4u8 {
        ids.push(bed.committed(&[n, 0]).await);
    }
    bed.store.hold_vdl(true);
    // (commit LSN, row, value), in the order of the log.
    let mut history = Vec::new();
    for (n, (row, action, durable)) in steps.into_iter().enumerate() {
        let (at, value) = (usize::from(row % 4), vec![row % 4, n as u8, action]);
        let mut txn = bed.begin();
        match bed.lock(&mut txn, ids[at]).await.unwrap().0 {
            LockOutcome::Gone => {}
            _ => bed.system.update(&mut txn, &bed.table, ids[at], &value).await.unwrap(),
        }
        if action % 3 == 0 {
            txn.rollback();
        } else {
            let mut commit = Box::pin(txn.commit());
            // Appended at once; durable when the log says so.
            let polled = futures_poll(&mut commit);
            assert!(!polled);
            drop(commit);
            let lsn = last_commit(&bed, ids[at]).await;
            history.push((lsn, at, value));
        }
        if durable {
            bed.store.hold_vdl(false);
            bed.store.hold_vdl(true);
        }
    }
    let vdl = bed.store.vdl();
    let after = bed.crash().await;
    for (at, id) in ids.iter().enumerate() {
        let wanted = history
            .iter()
            .rev()
            .find(|(lsn, row, _)| *row == at && *lsn <= vdl)
            .map_or(vec![at as u8, 0], |(_, _, value)| value.clone());
        assert_eq!(after.get(&after.now(), *id).await, Some(wanted));
    }
    after.system.tidy().await.unwrap();
    let scan = after.scan(&after.now()).await;
    assert_eq!(scan.len(), 4);
}

/// Polls once; true when ready.
fn futures_poll<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.as_mut().poll(&mut context).is_ready()
}

/// LSN of the commit that made the row's newest version.
async fn last_commit(bed: &Bed, id: RowId) -> Lsn {
    let value = bed.system.stored(&bed.table, id).await.unwrap().unwrap();
    let (header, _) = crate::txn::version::Header::split(&value).unwrap();
    let outcome = bed.system.pool().run(|| bed.system.outcome(header.txid)).await.unwrap();
    match outcome {
        crate::txn::Outcome::Committed(lsn) => lsn,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn after_a_crash_exactly_the_durable_commits_are_there(
        steps in proptest::collection::vec((0u8..4, any::<u8>(), proptest::bool::weighted(0.2)), 1..40)
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(random_crash(steps));
    }
}

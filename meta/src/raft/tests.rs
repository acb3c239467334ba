//! The store under openraft's own suite, under restarts, damage and a failing disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftLogReader, StorageError};
use redb::{ReadableTable, StorageBackend, TableDefinition};
use sextant_redo::ClusterId;
use tempfile::TempDir;

use super::disk::Disk;
use super::log_store::LogStore;
use super::machine::Machine;
use super::{Entry, Group, LogId, Store, Types, Vote};
use crate::MetaError;
use crate::state::Command;

type LeaderId = openraft::type_config::alias::CommittedLeaderIdOf<Types>;

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let command = Command::InitCluster { cluster: ClusterId(u128::from(index)) };
    Entry::new(id(term, index), EntryPayload::Normal(command))
}

async fn store(dir: &TempDir) -> Store {
    // The thread that writes closes the file a moment after its last user.
    for _ in 0..500 {
        match Store::open(&dir.path().join("meta.redb"), 1).await {
            Err(MetaError::Fatal { reason }) if reason.contains("already open") => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the file stays open");
}

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        Ok((dir, store.log, store.machine))
    }
}

#[tokio::test]
async fn the_store_passes_openrafts_suite() {
    let suite = Suite::<Types, LogStore, Machine, Builder, TempDir>::test_all(Builder);
    tokio::time::timeout(Duration::from_secs(120), suite).await.unwrap().unwrap();
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut log = store(&dir).await.log;
        log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
        log.blocking_append((1..=10).map(|index| entry(3, index))).await.unwrap();
        log.save_committed(Some(id(3, 8))).await.unwrap();
        log.truncate_after(Some(id(3, 9))).await.unwrap();
        log.purge(id(3, 4)).await.unwrap();
    }
    let mut log = store(&dir).await.log;
    assert!(log.has_history());
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(3, 8)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(3, 4)), Some(id(3, 9))));
    let entries = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries, (5..=9).map(|index| entry(3, index)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_snapshot_survives_a_restart_and_is_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = {
        let mut machine = store(&dir).await.machine;
        let responderless = |entry| Ok::<_, io::Error>((entry, None));
        machine.apply(futures_util::stream::iter([responderless(entry(1, 1))])).await.unwrap();
        let mut builder = machine.get_snapshot_builder().await;
        let join = Command::JoinMember { id: 1, uuid: "later".to_owned() };
        let later = Entry::new(id(1, 2), EntryPayload::Normal(join));
        machine.apply(futures_util::stream::iter([responderless(later)])).await.unwrap();
        let snapshot = builder.build_snapshot().await.unwrap();
        assert_eq!(snapshot.meta.last_log_id, Some(id(1, 1)));
        machine.read(|state| state.cluster)
    };
    let mut machine = store(&dir).await.machine;
    assert_eq!(machine.applied_state().await.unwrap().0, Some(id(1, 1)));
    assert_eq!(machine.read(|state| state.cluster), cluster);
    assert!(machine.read(|state| state.members.is_empty()), "what was applied later is not in it");
}

/// Changes the file behind the store's back.
fn tamper(dir: &TempDir, change: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>)) {
    let db = loop {
        match redb::Database::open(dir.path().join("meta.redb")) {
            Ok(db) => break db,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    };
    let transaction = db.begin_write().unwrap();
    change(&mut transaction.open_table(TableDefinition::<u64, &[u8]>::new("log")).unwrap());
    transaction.commit().unwrap();
}

async fn refusal_after(change: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut log = store(&dir).await.log;
        log.blocking_append((1..=5).map(|index| entry(1, index))).await.unwrap();
    }
    tamper(&dir, change);
    match Store::open(&dir.path().join("meta.redb"), 1).await {
        Err(MetaError::Fatal { reason }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a damaged log was taken"),
    }
}

#[tokio::test]
async fn a_flipped_bit_in_an_entry_is_refused() {
    let reason = refusal_after(|log| {
        let mut value = log.get(3).unwrap().unwrap().value().to_vec();
        *value.last_mut().unwrap() ^= 1;
        log.insert(3, value.as_slice()).unwrap();
    })
    .await;
    assert!(reason.contains("log entry 3 on disk is damaged"), "{reason}");
}

#[tokio::test]
async fn an_entry_in_anothers_place_is_refused() {
    let reason = refusal_after(|log| {
        let value = log.get(2).unwrap().unwrap().value().to_vec();
        log.insert(3, value.as_slice()).unwrap();
    })
    .await;
    assert!(reason.contains("log entry 3 on disk is damaged"), "{reason}");
}

#[tokio::test]
async fn a_hole_in_the_log_is_refused() {
    let reason = refusal_after(|log| drop(log.remove(3).unwrap())).await;
    assert!(reason.contains("where 3 was expected"), "{reason}");
}

#[tokio::test]
async fn another_members_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(store(&dir).await);
    let mut refused = Store::open(&dir.path().join("meta.redb"), 2).await;
    while let Err(MetaError::Fatal { reason }) = &refused
        && reason.contains("already open")
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
        refused = Store::open(&dir.path().join("meta.redb"), 2).await;
    }
    assert!(
        matches!(refused, Err(MetaError::Fatal { reason }) if reason.contains("belongs to metadata member 1"))
    );
}

/// Memory whose flushes fail once told to, or take their time.
#[derive(Debug, Default)]
struct Faulty {
    memory: redb::backends::InMemoryBackend,
    broken: Arc<AtomicBool>,
    flush: Duration,
}

impl StorageBackend for Faulty {
    fn len(&self) -> Result<u64, io::Error> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.memory.set_len(len)
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        std::thread::sleep(self.flush);
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.memory.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.memory.write(offset, data)
    }
}

/// An empty store on a disk whose flushes take so long.
pub(crate) async fn slow_store(id: u64, flush: Duration) -> Store {
    Store::over(Disk::over(Faulty { flush, ..Faulty::default() }).unwrap(), id).await.unwrap()
}

#[tokio::test]
async fn a_failed_flush_fails_everything_after_it_and_is_told() {
    let backend = Faulty::default();
    let broken = Arc::clone(&backend.broken);
    let disk = Disk::over(backend).unwrap();
    let mut failed = disk.failed();
    let mut log = LogStore::open(disk).unwrap();
    log.blocking_append([entry(1, 1)]).await.unwrap();
    broken.store(true, Ordering::SeqCst);
    assert!(log.blocking_append([entry(1, 2)]).await.is_err());
    broken.store(false, Ordering::SeqCst);
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err(), "a failed flush is never followed by a good one");
    failed.changed().await.unwrap();
    assert!(failed.borrow().as_ref().unwrap().contains("the disk is gone"));
}

#[tokio::test]
async fn a_failed_flush_stops_the_member() {
    let backend = Faulty::default();
    let broken = Arc::clone(&backend.broken);
    let store = Store::over(Disk::over(backend).unwrap(), 1).await.unwrap();
    let peers = BTreeMap::from([(1, SocketAddr::from(([127, 0, 0, 1], 1)))]);
    let group = Group::start(1, peers, store).await.unwrap();
    group.initialize().await.unwrap();
    let name = || group.propose(Command::InitCluster { cluster: ClusterId(5) });
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    while name().await.is_err() {
        assert!(tokio::time::Instant::now() < limit, "a group of one leads soon");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    group.read_barrier().await.unwrap();
    broken.store(true, Ordering::SeqCst);
    assert!(name().await.is_err(), "nothing is confirmed that is not durable");
    let stopped = tokio::time::timeout(Duration::from_secs(10), group.stopped()).await.unwrap();
    assert!(matches!(stopped, MetaError::Fatal { .. }), "{stopped}");
    group.shutdown().await;
}

#[tokio::test]
async fn an_installed_snapshot_is_the_state_and_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = store(&dir).await.machine;
    let members: BTreeSet<u64> = (0..300).collect();
    let joins = members.iter().map(|member| {
        let command = Command::JoinMember { id: *member, uuid: format!("{member:0>150}") };
        Ok::<_, io::Error>((Entry::new(id(1, member + 1), EntryPayload::Normal(command)), None))
    });
    machine.apply(futures_util::stream::iter(joins)).await.unwrap();
    let snapshot = machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut behind = store(&other).await.machine;
    behind.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(behind.read(Clone::clone), machine.read(Clone::clone));
    let stored = behind.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(stored.meta, snapshot.meta);
}

//! Raft's log and vote: in memory for reading, on [`Disk`] before any callback.
//!
//! The log is short (snapshots every [`super::group::SNAPSHOT_EVERY`] entries) and its entries are small, so all of it is kept
//! in memory: an entry is readable as soon as `append` returns, and a read never waits for the disk. What is on disk is
//! read once, at start, and checked: checksums, indexes without a hole, each entry under its own index.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use super::disk::{Disk, Write, fact, seal};
use super::{Entry, LogId, Types, Vote};

/// Raft's log storage. Clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    disk: Disk,
    cache: Arc<RwLock<Cache>>,
}

#[derive(Default)]
struct Cache {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl LogStore {
    /// Reads and checks what is on disk.
    pub(super) fn open(disk: Disk) -> io::Result<LogStore> {
        let cache = Cache {
            vote: disk.fact(fact::VOTE)?,
            committed: disk.fact(fact::COMMITTED)?,
            purged: disk.fact(fact::PURGED)?,
            entries: disk.log::<Entry>()?.into_iter().collect(),
        };
        cache.check()?;
        Ok(LogStore { disk, cache: Arc::new(RwLock::new(cache)) })
    }

    /// Whether this member ever voted or stored an entry.
    pub(super) fn has_history(&self) -> bool {
        let cache = self.read();
        cache.vote.is_some() || cache.purged.is_some() || !cache.entries.is_empty()
    }

    fn read(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Cache> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn check(&self) -> io::Result<()> {
        let mut expected =
            self.purged.as_ref().map(|id| id.index + 1).or(self.entries.keys().next().copied());
        for (index, entry) in &self.entries {
            if Some(*index) != expected || entry.log_id.index != *index {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "the Raft log has entry {} at {index} where {} was expected: it is damaged. Replace this member \
                         by a new one with a new id",
                        entry.log_id,
                        expected.unwrap_or_default()
                    ),
                ));
            }
            expected = Some(index + 1);
        }
        Ok(())
    }

    fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().map(|entry| entry.log_id).or(self.purged)
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let cache = self.read();
        // BTreeMap::range panics on a range that ends before it starts; such a range holds nothing.
        Ok(cache
            .entries
            .iter()
            .filter(|(index, _)| range.contains(*index))
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.read().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let cache = self.read();
        Ok(LogState { last_purged_log_id: cache.purged, last_log_id: cache.last() })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.disk.write(Write::Put(fact::VOTE, seal(fact::VOTE.as_bytes(), vote)?)).await?;
        self.change().vote = Some(*vote);
        Ok(())
    }

    /// Queued, not awaited: it becomes durable behind the entries it speaks of. When a crash loses it, the state is
    /// merely older after the restart, and no answer is given before ReadIndex has caught up.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.change().committed = committed;
        let sealed = seal(fact::COMMITTED.as_bytes(), &committed)?;
        self.disk.submit(Write::Put(fact::COMMITTED, sealed), |_| ());
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.read().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut sealed = Vec::new();
        let mut fresh = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            sealed.push((index, seal(&index.to_be_bytes(), &entry)?));
            fresh.push((index, entry));
        }
        self.change().entries.extend(fresh);
        self.disk.submit(Write::Append(sealed), move |result| callback.io_completed(result));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        self.change().entries.split_off(&from);
        self.disk.write(Write::TruncateFrom(from)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        {
            let mut cache = self.change();
            cache.purged = cache.purged.max(Some(upto));
            cache.entries = cache.entries.split_off(&(upto.index + 1));
        }
        self.disk.write(Write::Purge(upto.index, seal(fact::PURGED.as_bytes(), &upto)?)).await
    }
}

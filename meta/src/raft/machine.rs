//! The state machine as Raft sees it: [`MetaState`] in memory, snapshots of it on [`Disk`].
//!
//! `apply` touches memory alone; a restart loads the newest snapshot and applies the log up to the committed id again,
//! which gives the same state because `apply` is pure. Every entry is answered, blank ones and membership too.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::disk::{Disk, Write, fact, seal};
use super::{LogId, Membership, SnapshotMeta, Types};
use crate::state::{Applied, MetaState, Outcome};

/// A snapshot in transit: the state as JSON.
pub(super) type SnapshotBytes = Vec<u8>;
type Snapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotBytes>;

/// A snapshot as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    meta: SnapshotMeta,
    state: MetaState,
}

/// State and how far it is.
#[derive(Clone, Default)]
struct Current {
    state: MetaState,
    applied: Option<LogId>,
    membership: Membership,
}

/// Raft's state machine. Clones share it.
#[derive(Clone)]
pub(super) struct Machine {
    disk: Disk,
    current: Arc<RwLock<Current>>,
    /// Log index of what was applied last, for those who wait for a change.
    progress: watch::Sender<u64>,
}

impl Machine {
    /// Loads the newest snapshot, if any.
    pub(super) fn open(disk: Disk) -> io::Result<Machine> {
        let current = match disk.fact::<Stored>(fact::SNAPSHOT)? {
            None => Current::default(),
            Some(Stored { meta, state }) => {
                Current { state, applied: meta.last_log_id, membership: meta.last_membership }
            }
        };
        let progress = watch::Sender::new(current.applied.map_or(0, |id| id.index));
        Ok(Machine { disk, current: Arc::new(RwLock::new(current)), progress })
    }

    /// Reads the state. `read` must be short: `apply` waits for it.
    pub(super) fn read<T>(&self, read: impl FnOnce(&MetaState) -> T) -> T {
        read(&self.current().state)
    }

    /// Wakes on every applied entry.
    pub(super) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Current> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn store(&self, stored: &Stored) -> io::Result<()> {
        self.disk.write(Write::Put(fact::SNAPSHOT, seal(fact::SNAPSHOT.as_bytes(), stored)?)).await
    }
}

impl Current {
    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    fn apply(
        &mut self,
        id: LogId,
        payload: &EntryPayload<crate::state::Command, u64, openraft::BasicNode>,
    ) -> Outcome {
        self.applied = Some(id);
        match payload {
            EntryPayload::Normal(command) => self.state.apply(id.index, command),
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(id), membership.clone());
                Outcome(Ok(Applied::Done))
            }
            EntryPayload::Blank => Outcome(Ok(Applied::Done)),
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotBytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        let current = self.current();
        Ok((current.applied, current.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcome = self.change().apply(entry.log_id, &entry.payload);
            self.progress.send_replace(entry.log_id.index);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.clone(), copy: self.current().clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotBytes) -> io::Result<()> {
        let state = serde_json::from_slice(&snapshot)?;
        let stored = Stored { meta: meta.clone(), state };
        self.store(&stored).await?;
        let Stored { meta, state } = stored;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        *self.change() = Current { state, applied: meta.last_log_id, membership: meta.last_membership };
        self.progress.send_replace(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(Stored { meta, state }) = self.disk.fact(fact::SNAPSHOT)? else { return Ok(None) };
        Ok(Some(Snapshot { meta, snapshot: serde_json::to_vec(&state)? }))
    }
}

/// Stores a copy of the state while `apply` goes on.
pub(super) struct Builder {
    machine: Machine,
    copy: Current,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotBytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let stored = Stored { meta: self.copy.meta(), state: std::mem::take(&mut self.copy.state) };
        let snapshot = serde_json::to_vec(&stored.state)?;
        self.machine.store(&stored).await?;
        Ok(Snapshot { meta: stored.meta, snapshot })
    }
}

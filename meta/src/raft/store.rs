//! A member's file: opened and checked before anything else, so that a damaged or foreign one is refused early.

use std::io;
use std::path::Path;

use tokio::sync::watch;

use super::disk::{Disk, Write, fact, seal};
use super::log_store::LogStore;
use super::machine::Machine;
use crate::state::MetaState;
use crate::{MetaError, Result};

/// Version of the file's layout.
const FORMAT: u32 = 1;

/// Log, vote and state of one member. Clones share them.
#[derive(Clone)]
pub(crate) struct Store {
    pub(super) disk: Disk,
    pub(super) log: LogStore,
    pub(super) machine: Machine,
}

impl Store {
    /// Opens the file at `path` for member `id`; refuses damage, another layout and another member's file.
    pub(crate) async fn open(path: &Path, id: u64) -> Result<Store> {
        Store::over(Disk::open(path).map_err(MetaError::fatal)?, id).await
    }

    pub(super) async fn over(disk: Disk, id: u64) -> Result<Store> {
        match disk.fact::<u32>(fact::FORMAT).map_err(MetaError::fatal)? {
            None => {
                put(&disk, fact::MEMBER, &id).await.map_err(MetaError::fatal)?;
                put(&disk, fact::FORMAT, &FORMAT).await.map_err(MetaError::fatal)?;
            }
            Some(FORMAT) => {}
            Some(other) => {
                return Err(MetaError::fatal(format!(
                    "the metadata file has layout {other}, and this program knows {FORMAT}; use the program that wrote it"
                )));
            }
        }
        let owner = disk.fact::<u64>(fact::MEMBER).map_err(MetaError::fatal)?;
        if owner != Some(id) {
            return Err(MetaError::fatal(format!(
                "the data folder belongs to metadata member {}, not {id}; start it under its own id, or give member {id} \
                 its own folder",
                owner.map_or("unknown".to_owned(), |owner| owner.to_string())
            )));
        }
        let log = LogStore::open(disk.clone()).map_err(MetaError::fatal)?;
        let machine = Machine::open(disk.clone()).map_err(MetaError::fatal)?;
        Ok(Store { disk, log, machine })
    }

    /// Whether this member ever took part in a group.
    pub(crate) fn has_history(&self) -> bool {
        self.log.has_history()
    }

    /// Reads the state as this member has it; may be behind the group's. `read` must be short.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&MetaState) -> T) -> T {
        self.machine.read(read)
    }

    /// Wakes on every applied entry.
    pub(crate) fn progress(&self) -> watch::Receiver<u64> {
        self.machine.progress()
    }
}

async fn put(disk: &Disk, key: &'static str, value: &impl serde::Serialize) -> io::Result<()> {
    disk.write(Write::Put(key, seal(key.as_bytes(), value)?)).await
}

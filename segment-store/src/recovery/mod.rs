//! Starting from the disk: the log is read, from where the checkpoint says, to the first group that is not valid in
//! sequence, and every entry is applied exactly as it was when it became durable.
//!
//! With a checkpoint only the log behind its list of pending records is read; damage in front of that place is found when that
//! log is used, and by scrub.
//!
//! A torn tail is normal: the group was never acknowledged, it is reported and written over. A bad group with valid
//! later ones behind it is damage: acknowledged log is missing, and the node refuses to start rather than serve a
//! segment with a silent hole; the other copies have what is missing.

mod scan;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::core::{Entry, LogAddress, Store};
use crate::disk::{AlignedBuf, Disk, FileId, align_up};
use crate::log::{self, LogIdentity, LogPosition};
use crate::pages::checkpoint::{self, CheckpointHead};

pub use scan::{LogScan, ScanEnd};

/// Why a node cannot start from its disk. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Io {
        /// Which file.
        file: String,
        /// The reason.
        source: std::io::Error,
    },
    /// Acknowledged data is missing or damaged.
    #[error(
        "{file} is damaged at offset {offset}: {what}. Acknowledged log may be missing on this node, so it does not \
         start; nothing was changed. The other copies have the data: replace this node (new folder, new node id), or \
         bring the file back from where it went"
    )]
    Damaged {
        /// Which file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Another version of the program wrote it.
    #[error(
        "{file} has format version {found}, and this program reads version {known}; nothing was changed. Start the \
         program that wrote it, or give this node an empty folder: the other copies have its data"
    )]
    Version {
        /// Which file.
        file: String,
        /// As found.
        found: u64,
        /// As this program writes it.
        known: u32,
    },
    /// The folder holds another node's or cluster's log.
    #[error("{file} belongs to {what}; nothing was changed")]
    Foreign {
        /// Which file.
        file: String,
        /// Whose it is.
        what: String,
    },
}

/// Where recovery starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStart {
    /// The oldest log file kept.
    pub file: u32,
    /// The log must reach at least this sequence: the checkpoint saw it durable.
    pub reached: u64,
    /// Control entries below this address are in the checkpoint; what they did may have been undone by later ones.
    pub applied: LogAddress,
    /// The log is read from here on; what lies in front is known from the checkpoint.
    pub scan: LogPosition,
}

impl LogStart {
    /// A log that was never cut.
    pub const BEGINNING: LogStart = LogStart {
        file: 1,
        reached: 0,
        applied: LogAddress(0),
        scan: LogPosition { file: 1, offset: 0, sequence: 1 },
    };
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// Where the log goes on.
    pub next: LogPosition,
    /// Open log files from the first kept one on, empty ones behind the last used one included.
    pub files: BTreeMap<u32, FileId>,
    /// Sequence of the first group of each file that holds log.
    pub first_sequences: BTreeMap<u32, u64>,
    /// Groups read.
    pub groups: u64,
    /// Entries applied.
    pub entries: u64,
    /// A group that was begun but never acknowledged was dropped here.
    pub torn: Option<LogAddress>,
}

fn open_file(disk: &dyn Disk, name: &str) -> Result<(FileId, usize), RecoveryError> {
    let io = |source| RecoveryError::Io { file: name.to_owned(), source };
    let file = disk.open(name).map_err(io)?;
    let len = disk.len(file).map_err(io)? as usize;
    if len == 0 || len != align_up(len) || len > u32::MAX as usize {
        let what = format!("{len} bytes is no length of a log file");
        return Err(RecoveryError::Damaged { file: name.to_owned(), offset: 0, what });
    }
    Ok((file, len))
}

async fn read_file(disk: &dyn Disk, name: &str) -> Result<(FileId, Bytes), RecoveryError> {
    let (file, len) = open_file(disk, name)?;
    let (result, buffer) = disk.read(file, 0, AlignedBuf::zeroed(len)).await;
    result.map_err(|source| RecoveryError::Io { file: name.to_owned(), source })?;
    Ok((file, Bytes::from_owner(buffer)))
}

/// The last file has no length yet when the process ended while it was being made. It never held log, for log goes only
/// into files that are ready: it is deleted.
async fn drop_lengthless(disk: &dyn Disk, numbers: &mut Vec<u32>) -> Result<(), RecoveryError> {
    let Some(last) = numbers.last() else {
        return Ok(());
    };
    let name = log::file_name(*last);
    let io = |source| RecoveryError::Io { file: name.clone(), source };
    let file = disk.open(&name).map_err(io)?;
    let len = disk.len(file).map_err(io)?;
    disk.close(file);
    if len == 0 {
        disk.delete(&name).await.map_err(io)?;
        numbers.pop();
    }
    Ok(())
}

/// The last file may be too short when the process ended while it was being made, or have been made under another setting.
/// Writes must not extend a log file, so one that holds no log is deleted; its number is given to the next new file.
pub(crate) async fn drop_unfinished(
    disk: &dyn Disk,
    recovered: &mut Recovered,
    file_bytes: u64,
) -> Result<(), RecoveryError> {
    let Some((number, file)) = recovered.files.last_key_value().map(|(number, file)| (*number, *file)) else {
        return Ok(());
    };
    let holds_log =
        number < recovered.next.file || (number == recovered.next.file && recovered.next.offset > 0);
    let name = log::file_name(number);
    let io = |source| RecoveryError::Io { file: name.clone(), source };
    let len = disk.len(file).map_err(io)?;
    if !holds_log && len != file_bytes {
        tracing::info!(file = %name, len, "a log file without log has another length than it is to have; it is made anew");
        disk.close(file);
        disk.delete(&name).await.map_err(io)?;
        recovered.files.remove(&number);
    }
    Ok(())
}

/// Opens the log files in front of the one that is read first: what is in them is known, and checked when it is used.
fn open_known(
    disk: &dyn Disk,
    start: LogStart,
    numbers: &[u32],
) -> Result<BTreeMap<u32, FileId>, RecoveryError> {
    let mut files = BTreeMap::new();
    for number in start.file..start.scan.file {
        let name = log::file_name(number);
        if !numbers.contains(&number) {
            let what = "the file is missing, but the checkpoint needs it".to_owned();
            return Err(RecoveryError::Damaged { file: name, offset: 0, what });
        }
        files.insert(number, open_file(disk, &name)?.0);
    }
    Ok(files)
}

/// Reads the log from `start` on and applies it to `store`.
pub async fn recover(
    disk: &dyn Disk,
    identity: LogIdentity,
    start: LogStart,
    store: &mut Store,
) -> Result<Recovered, RecoveryError> {
    let names = disk.list().map_err(|source| RecoveryError::Io { file: "the data folder".into(), source })?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| log::file_number(name)).collect();
    numbers.sort_unstable();
    numbers.retain(|number| *number >= start.file);
    drop_lengthless(disk, &mut numbers).await?;
    let mut scan = LogScan::new(identity, start);
    let mut files = open_known(disk, start, &numbers)?;
    for number in numbers.into_iter().filter(|number| *number >= start.scan.file) {
        let (file, bytes) = read_file(disk, &log::file_name(number)).await?;
        let mut apply = |entry: &Entry, at: LogAddress| apply_entry(store, entry, at, start.applied);
        scan.file(number, &bytes, &mut apply)?;
        files.insert(number, file);
    }
    let end = scan.finish()?;
    // What was read may never have been flushed (the process was killed, the machine was not): from here on it counts
    // as durable, so it must be.
    for (number, file) in files.range(start.scan.file..) {
        let io = |source| RecoveryError::Io { file: log::file_name(*number), source };
        disk.sync(*file).await.map_err(io)?;
    }
    Ok(Recovered {
        next: end.next,
        files,
        first_sequences: end.first_sequences,
        groups: end.groups,
        entries: end.entries,
        torn: end.torn,
    })
}

/// Applies what the log holds at `at`, as it was applied when it became durable. Control entries below `applied` are in
/// the checkpoint.
pub fn apply_entry(
    store: &mut Store,
    entry: &Entry,
    at: LogAddress,
    applied: LogAddress,
) -> Result<(), RecoveryError> {
    use sextant_redo::wire::SegmentError;
    if at < applied && !matches!(entry, Entry::Batch(_)) {
        return Ok(());
    }
    match store.on_durable(entry, at, &mut |_, _, _| {}) {
        // Refused then, refused now: the entry has no effect. A segment that neither the checkpoint nor the log in front of
        // the entry knows had been dropped.
        Ok(()) | Err(SegmentError::BadRequest { .. } | SegmentError::UnknownSegment { .. }) => Ok(()),
        Err(error) => Err(RecoveryError::Damaged {
            file: log::file_name(at.file()),
            offset: u64::from(at.offset()),
            what: error.to_string(),
        }),
    }
}

/// Reads a checkpoint's bytes into an empty store; where the log is to be read from.
pub fn read_checkpoint(
    bytes: &[u8],
    identity: LogIdentity,
    store: &mut Store,
) -> Result<LogStart, RecoveryError> {
    checkpoint::decode(bytes, identity, store).map(|head| head.start)
}

/// The bytes of a checkpoint of `store`, for recovery to go on from `start`.
#[must_use]
pub fn write_checkpoint(identity: LogIdentity, start: LogStart, store: &Store) -> Vec<u8> {
    checkpoint::encode(&CheckpointHead::without_list(identity, start), store)
}

#[cfg(test)]
mod tests;

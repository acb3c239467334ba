//! Durable bytes: one redb file, one thread that writes it.
//!
//! Layout (table, key, value). Every value is `CRC32C(key bytes ++ payload), u32 LE` followed by the payload, JSON:
//!
//! | table | key | payload |
//! | --- | --- | --- |
//! | `log` | index, u64 | Raft log entry |
//! | `facts` | `format` | 1 |
//! | `facts` | `member` | this member's id |
//! | `facts` | `vote`, `committed`, `purged` | Raft's |
//! | `facts` | `snapshot` | `{meta, state}` of the newest snapshot |
//!
//! What must hold:
//! - Writes become durable in the order in which they were given, several of them by one commit; each is called back
//!   after its commit, in that order.
//! - redb commits are atomic: after a crash a batch is there whole or not at all.
//! - The first failed write is the last: a failed fsync is never retried, everything after it fails too, and
//!   [`Disk::failed`] tells, so that the process stops.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");

/// Page cache of redb, in bytes: the whole metadata fits.
const CACHE_BYTES: usize = 16 << 20;
/// Writes that share a commit at most.
const BATCH_MAX: usize = 256;

/// The keys of table `facts`.
pub(super) mod fact {
    pub(in crate::raft) const FORMAT: &str = "format";
    pub(in crate::raft) const MEMBER: &str = "member";
    pub(in crate::raft) const VOTE: &str = "vote";
    pub(in crate::raft) const COMMITTED: &str = "committed";
    pub(in crate::raft) const PURGED: &str = "purged";
    pub(in crate::raft) const SNAPSHOT: &str = "snapshot";
}

/// One write.
pub(super) enum Write {
    /// Adds or replaces log entries.
    Append(Vec<(u64, Vec<u8>)>),
    /// Removes the entries from this index on.
    TruncateFrom(u64),
    /// Removes the entries up to this index, and notes the log id.
    Purge(u64, Vec<u8>),
    /// Sets a fact.
    Put(&'static str, Vec<u8>),
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The open file. Clones share it; the last one closes it.
#[derive(Clone)]
pub(super) struct Disk {
    db: Arc<Database>,
    jobs: mpsc::Sender<(Write, Done)>,
    failed: watch::Receiver<Option<String>>,
}

impl Disk {
    /// Opens or creates the file at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Disk> {
        let db = builder().create(path).map_err(|error| {
            let kind = match error {
                redb::DatabaseError::DatabaseAlreadyOpen => io::ErrorKind::WouldBlock,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, format!("{}: {error}", path.display()))
        })?;
        Disk::start(db)
    }

    /// Over another backend, for faults.
    #[cfg(test)]
    pub(super) fn over(backend: impl redb::StorageBackend) -> io::Result<Disk> {
        Disk::start(builder().create_with_backend(backend).map_err(io::Error::other)?)
    }

    fn start(db: Database) -> io::Result<Disk> {
        let setup = db.begin_write().map_err(io::Error::other)?;
        setup.open_table(LOG).map_err(io::Error::other)?;
        setup.open_table(FACTS).map_err(io::Error::other)?;
        setup.commit().map_err(io::Error::other)?;
        let db = Arc::new(db);
        let (jobs, queue) = mpsc::channel();
        let (report, failed) = watch::channel(None);
        let writer = Arc::clone(&db);
        std::thread::Builder::new()
            .name("meta-disk".to_owned())
            .spawn(move || write_loop(&writer, &queue, &report))?;
        Ok(Disk { db, jobs, failed })
    }

    /// Queues a write; `done` runs once it is durable or has failed.
    pub(super) fn submit(&self, write: Write, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        if let Err(mpsc::SendError((_, done))) = self.jobs.send((write, Box::new(done))) {
            done(Err(io::Error::other("the disk thread is gone")));
        }
    }

    /// Queues a write and waits until it is durable.
    pub(super) async fn write(&self, write: Write) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        // The receiver is gone only when the caller was cancelled; the write happens in its turn all the same.
        self.submit(write, move |result| drop(done.send(result)));
        durable.await.map_err(|_| io::Error::other("the disk thread is gone"))?
    }

    /// Turns to the reason when a write has failed.
    pub(super) fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.clone()
    }

    /// A fact, checked.
    pub(super) fn fact<T: DeserializeOwned>(&self, key: &str) -> io::Result<Option<T>> {
        let read = self.db.begin_read().map_err(io::Error::other)?;
        let table = read.open_table(FACTS).map_err(io::Error::other)?;
        let Some(value) = table.get(key).map_err(io::Error::other)? else { return Ok(None) };
        open(key.as_bytes(), key, value.value()).map(Some)
    }

    /// The whole log, each entry checked, in order of index.
    pub(super) fn log<T: DeserializeOwned>(&self) -> io::Result<Vec<(u64, T)>> {
        let read = self.db.begin_read().map_err(io::Error::other)?;
        let table = read.open_table(LOG).map_err(io::Error::other)?;
        let mut entries = Vec::new();
        for row in table.iter().map_err(io::Error::other)? {
            let (key, value) = row.map_err(io::Error::other)?;
            let index = key.value();
            let what = format!("log entry {index}");
            entries.push((index, open(&index.to_be_bytes(), &what, value.value())?));
        }
        Ok(entries)
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A value as it is stored under `key`.
pub(super) fn seal(key: &[u8], value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; 4];
    serde_json::to_writer(&mut out, value)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

fn open<T: DeserializeOwned>(key: &[u8], what: &str, stored: &[u8]) -> io::Result<T> {
    let damaged = |how: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{what} on disk is damaged ({how}). The group goes on without this member; replace it by a new member \
                 with a new id and an empty folder, never this id with an empty folder"
            ),
        )
    };
    let Some((crc, payload)) = stored.split_first_chunk::<4>() else {
        return Err(damaged(format!("{} bytes", stored.len())));
    };
    let computed = crc32c::crc32c_append(crc32c::crc32c(key), payload);
    if u32::from_le_bytes(*crc) != computed {
        return Err(damaged("wrong checksum".to_owned()));
    }
    serde_json::from_slice(payload).map_err(|error| damaged(error.to_string()))
}

fn write_loop(db: &Database, queue: &mpsc::Receiver<(Write, Done)>, report: &watch::Sender<Option<String>>) {
    let mut failed: Option<String> = None;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH_MAX - 1));
        if failed.is_none()
            && let Err(error) = commit(db, batch.iter().map(|(write, _)| write))
        {
            failed = Some(error.to_string());
            report.send_replace(failed.clone());
        }
        for (_, done) in batch {
            done(match &failed {
                None => Ok(()),
                Some(reason) => Err(io::Error::other(reason.clone())),
            });
        }
    }
}

fn commit<'a>(db: &Database, writes: impl Iterator<Item = &'a Write>) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    for write in writes {
        apply(&transaction, write)?;
    }
    transaction.commit()?;
    Ok(())
}

fn apply(transaction: &WriteTransaction, write: &Write) -> Result<(), redb::Error> {
    match write {
        Write::Append(entries) => {
            let mut log = transaction.open_table(LOG)?;
            for (index, value) in entries {
                log.insert(index, value.as_slice())?;
            }
        }
        Write::TruncateFrom(index) => {
            transaction.open_table(LOG)?.retain_in(*index.., |_, _| false)?;
        }
        Write::Purge(index, value) => {
            transaction.open_table(LOG)?.retain_in(..=*index, |_, _| false)?;
            transaction.open_table(FACTS)?.insert(fact::PURGED, value.as_slice())?;
        }
        Write::Put(key, value) => {
            transaction.open_table(FACTS)?.insert(key, value.as_slice())?;
        }
    }
    Ok(())
}

//! A data folder's identity and lock.
//!
//! Every role keeps its data in one folder. `identity.json` in it says which role of which cluster the data belongs
//! to; `lock` is held (flock) for as long as a process uses the folder. Two processes on one folder, a folder mounted
//! under the wrong node, a folder of another cluster: each would mix two histories, so each is refused before a byte is
//! written.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sextant_redo::ids::{ClusterId, NodeId};

const IDENTITY: &str = "identity.json";
const LOCK: &str = "lock";

/// Whose data a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The kind of process: "meta", "segment", "engine", "dev".
    pub role: String,
    /// The cluster, once known: a new folder belongs to none until its process has joined one.
    pub cluster: Option<ClusterId>,
    /// The node's number in that cluster, where the role has one.
    pub node: Option<NodeId>,
    /// Drawn at random when the folder was first used, 32 hex digits; tells apart two folders that claim one number.
    pub uuid: String,
}

/// Why a folder was not used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Another process uses it.
    #[error("the data folder {dir} is in use by process {holder}; stop that process or use another folder")]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Its process id, or "unknown".
        holder: String,
    },
    /// It holds another role's data.
    #[error(
        "the data folder {dir} belongs to role \"{found}\", not \"{wanted}\"; give this process a folder of its own"
    )]
    OtherRole {
        /// The folder.
        dir: PathBuf,
        /// The role that wanted it.
        wanted: String,
        /// The role in its identity.
        found: String,
    },
    /// It holds another cluster's data.
    #[error(
        "the data folder {dir} belongs to cluster {found}, not {wanted}; its data was left alone. Point the process at \
         its own cluster's metadata service, or give it an empty folder"
    )]
    OtherCluster {
        /// The folder.
        dir: PathBuf,
        /// The cluster that was to be joined.
        wanted: ClusterId,
        /// The cluster in its identity.
        found: ClusterId,
    },
    /// It holds another node's data.
    #[error("the data folder {dir} belongs to node {found}, not node {wanted}; its data was left alone")]
    OtherNode {
        /// The folder.
        dir: PathBuf,
        /// The number given to the process.
        wanted: NodeId,
        /// The number in its identity.
        found: NodeId,
    },
    /// It is not empty and has no identity: not ours, or damaged.
    #[error(
        "the folder {dir} has no {IDENTITY} but is not empty (it holds \"{entry}\"); it is not a Sextant data folder, or \
         its identity was lost. Give an empty folder, or restore {IDENTITY}"
    )]
    NotOurs {
        /// The folder.
        dir: PathBuf,
        /// Something that is in it.
        entry: String,
    },
    /// The identity cannot be read.
    #[error(
        "{path} is damaged: {reason}. Restore it from a copy; without it the data cannot be told from another's"
    )]
    Damaged {
        /// The identity file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// The system's error.
    #[error("cannot use {path} as data folder: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A data folder in use by this process; dropping it lets another process use the folder.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    identity: Identity,
    /// Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Locks `dir`, which is made when missing, and checks that it is `role`'s. A new folder gets an identity with a
    /// fresh uuid and no cluster.
    pub fn open(dir: &Path, role: &str) -> Result<DataDir, IdentityError> {
        let io = |source| IdentityError::Io { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(io)?;
        let lock = lock(dir)?;
        let identity = match read(dir)? {
            Some(identity) if identity.role == role => identity,
            Some(identity) => {
                return Err(IdentityError::OtherRole {
                    dir: dir.to_owned(),
                    wanted: role.to_owned(),
                    found: identity.role,
                });
            }
            None => {
                refuse_foreign(dir)?;
                let uuid = random_uuid().map_err(io)?;
                let identity = Identity { role: role.to_owned(), cluster: None, node: None, uuid };
                write(dir, &identity)?;
                identity
            }
        };
        Ok(DataDir { dir: dir.to_owned(), identity, _lock: lock })
    }

    /// Whose data the folder holds.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Notes durably that the folder belongs to `cluster` and, where given, to `node` in it. Refused when it belongs to
    /// another. Costs nothing when it is noted already.
    pub fn bind_to(&mut self, cluster: ClusterId, node: Option<NodeId>) -> Result<(), IdentityError> {
        if let Some(found) = self.identity.cluster.filter(|found| *found != cluster) {
            return Err(IdentityError::OtherCluster { dir: self.dir.clone(), wanted: cluster, found });
        }
        if let (Some(wanted), Some(found)) = (node, self.identity.node)
            && wanted != found
        {
            return Err(IdentityError::OtherNode { dir: self.dir.clone(), wanted, found });
        }
        let bound =
            Identity { cluster: Some(cluster), node: node.or(self.identity.node), ..self.identity.clone() };
        if bound != self.identity {
            write(&self.dir, &bound)?;
            self.identity = bound;
        }
        Ok(())
    }
}

/// Replaces the file `path` by one with `bytes`: after a crash at any point it holds the old content or the new, whole.
/// Durable when this returns.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let mut temporary = name.to_owned();
    temporary.push(".tmp");
    let temporary = dir.join(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

fn lock(dir: &Path) -> Result<File, IdentityError> {
    let path = dir.join(LOCK);
    let io = |source| IdentityError::Io { path: path.clone(), source };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: an unreadable holder is shown as unknown.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "unknown".to_owned(),
                pid => pid.to_owned(),
            };
            return Err(IdentityError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

fn read(dir: &Path) -> Result<Option<Identity>, IdentityError> {
    let path = dir.join(IDENTITY);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Io { path, source }),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| IdentityError::Damaged { path, reason: error.to_string() })
}

fn write(dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let path = dir.join(IDENTITY);
    serde_json::to_vec_pretty(identity)
        .map_err(io::Error::from)
        .and_then(|bytes| write_atomically(&path, &bytes))
        .map_err(|source| IdentityError::Io { path, source })
}

/// A folder without identity may hold only what an interrupted first start, or mkfs, leaves behind.
fn refuse_foreign(dir: &Path) -> Result<(), IdentityError> {
    let io = |source| IdentityError::Io { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name != LOCK && name != "identity.json.tmp" && name != "lost+found" {
            return Err(IdentityError::NotOurs {
                dir: dir.to_owned(),
                entry: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn random_uuid() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> tempfile::TempDir {
        tempfile::tempdir().expect("tempdir")
    }

    #[test]
    fn identity_is_kept_over_restarts() {
        let root = temporary();
        let dir = root.path().join("segment-1");
        let mut data = DataDir::open(&dir, "segment").expect("new");
        let uuid = data.identity().uuid.clone();
        assert_eq!(uuid.len(), 32);
        assert_eq!(data.identity().cluster, None);
        data.bind_to(ClusterId(7), Some(NodeId(3))).expect("free");
        drop(data);
        let mut data = DataDir::open(&dir, "segment").expect("again");
        assert_eq!(
            data.identity(),
            &Identity { role: "segment".into(), cluster: Some(ClusterId(7)), node: Some(NodeId(3)), uuid }
        );
        data.bind_to(ClusterId(7), None).expect("the same cluster");
        assert_eq!(data.identity().node, Some(NodeId(3)));
        assert_eq!(data.path(), dir);
    }

    #[test]
    fn another_cluster_node_or_role_is_refused_and_nothing_changes() {
        let root = temporary();
        let mut data = DataDir::open(root.path(), "segment").expect("new");
        data.bind_to(ClusterId(7), Some(NodeId(3))).expect("free");
        let before = std::fs::read(root.path().join(IDENTITY)).expect("read");
        assert!(matches!(data.bind_to(ClusterId(8), None), Err(IdentityError::OtherCluster { .. })));
        assert!(matches!(data.bind_to(ClusterId(7), Some(NodeId(4))), Err(IdentityError::OtherNode { .. })));
        drop(data);
        assert!(matches!(DataDir::open(root.path(), "meta"), Err(IdentityError::OtherRole { .. })));
        assert_eq!(before, std::fs::read(root.path().join(IDENTITY)).expect("read"));
    }

    #[test]
    fn a_folder_in_use_is_refused_and_its_user_named() {
        let root = temporary();
        let data = DataDir::open(root.path(), "segment").expect("new");
        let error = DataDir::open(root.path(), "segment").expect_err("locked").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(data);
        DataDir::open(root.path(), "segment").expect("free again");
    }

    #[test]
    fn a_folder_that_is_not_ours_is_left_alone() {
        let root = temporary();
        std::fs::write(root.path().join("thesis.tex"), "years of work").expect("write");
        let error = DataDir::open(root.path(), "segment").expect_err("foreign").to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        assert!(!root.path().join(IDENTITY).exists());
    }

    #[test]
    fn a_damaged_identity_is_not_replaced() {
        let root = temporary();
        drop(DataDir::open(root.path(), "segment").expect("new"));
        std::fs::write(root.path().join(IDENTITY), "{\"role\":").expect("write");
        assert!(matches!(DataDir::open(root.path(), "segment"), Err(IdentityError::Damaged { .. })));
        assert_eq!(std::fs::read(root.path().join(IDENTITY)).expect("read"), b"{\"role\":");
    }

    #[test]
    fn atomic_writes_replace_whole_files() {
        let root = temporary();
        let path = root.path().join("cluster.json");
        write_atomically(&path, b"first and long").expect("written");
        write_atomically(&path, b"second").expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"second");
        assert_eq!(std::fs::read_dir(root.path()).expect("list").count(), 1, "no temporary file stays");
    }
}

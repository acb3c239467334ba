//! Configuration of one metadata process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::MetaError;

/// Keys of a metadata process; unknown ones are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaConfig {
    /// This member's id, one of the keys of `peers`. Never given to another machine or another folder.
    pub id: u64,
    /// Where clients and peers connect. Port 0 is refused: peers must know it.
    pub listen: SocketAddr,
    /// Where `/metrics` and `/health` answer.
    pub http: SocketAddr,
    /// The data folder; created when missing, locked while the process runs.
    pub data: PathBuf,
    /// Every member of the group by id, this one included, with the address that the others reach it at. Read at the
    /// first start of the group; later the group's own record counts.
    pub peers: BTreeMap<u64, SocketAddr>,
    /// Length of a writer lease, in milliseconds. Shorter finds a dead writer sooner, longer forgives pauses: one second
    /// is ten heartbeats of the group. No safety depends on it.
    #[serde(default = "default_lease_ms")]
    pub lease_ms: u64,
    /// Silence after which a storage node's copies are replaced by the leader itself, in seconds; 0 leaves that to an
    /// operator. Five minutes: longer than a restart or a reboot, whose node comes back with its data, and short beside
    /// the time to a second failure. A node that comes back before its successor is complete stays.
    #[serde(default = "default_replace_after_s")]
    pub replace_after_s: u64,
}

fn default_lease_ms() -> u64 {
    1000
}

fn default_replace_after_s() -> u64 {
    300
}

impl MetaConfig {
    /// After which silence a node is replaced, if at all.
    #[must_use]
    pub fn replace_after(&self) -> Option<Duration> {
        (self.replace_after_s > 0).then(|| Duration::from_secs(self.replace_after_s))
    }

    /// The lease length.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// Checks what the types cannot say.
    pub(crate) fn check(&self) -> Result<(), MetaError> {
        let wrong = |reason: String| Err(MetaError::Refused { reason });
        if !self.peers.contains_key(&self.id) {
            return wrong(format!(
                "`peers` must name every member with its address, and member {} (`id`) is not among {:?}",
                self.id,
                self.peers.keys().collect::<Vec<_>>()
            ));
        }
        if self.listen.port() == 0 {
            return wrong("`listen` needs a fixed port: the other members must know it".to_owned());
        }
        if (1..10).contains(&self.replace_after_s) {
            return wrong(format!(
                "`replace_after_s` is {}; below 10 s every restart of a storage node would begin to move its copies. 0 \
                 never does",
                self.replace_after_s
            ));
        }
        if self.lease_ms < 100 {
            return wrong(format!(
                "`lease_ms` is {}; below 100 ms a lease lapses between two renewals of a healthy writer",
                self.lease_ms
            ));
        }
        Ok(())
    }
}

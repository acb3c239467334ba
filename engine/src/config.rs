//! The configuration of an engine process. A key that is not here is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sextant_redo::{Geometry, Segments};

use crate::server::Limits;

/// What `sextant engine` needs to know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Where SQL clients connect. No default: two engines on a machine need two.
    pub listen: SocketAddr,
    /// Where `/metrics` and `/health` answer. No default, for the same reason.
    pub http: SocketAddr,
    /// `host:port` at which clients reach `listen` from elsewhere; the metadata service tells it to whoever looks for
    /// the writer. Default: `listen`, which is right on one machine.
    #[serde(default)]
    pub advertise: Option<String>,
    /// The volume to open. Default `main`, the one that `sextant dev` makes.
    #[serde(default = "default_volume")]
    pub volume: String,
    /// The metadata processes, any or all of them: the leader is found through whichever answers. No default.
    pub meta: Vec<SocketAddr>,
    /// This engine's name as holder of the writer lease. An engine that comes back under the same name does not wait for
    /// its own old lease to lapse. No default: two engines of one name would take the lease from each other for ever.
    pub instance: String,
    /// Page cache, in bytes. Default 256 MiB: enough to show what it does, small enough for a laptop with six storage
    /// nodes beside it.
    #[serde(default = "default_cache_bytes")]
    pub cache_bytes: usize,
    /// Pages (8 KiB) of a protection group, used only when the volume is made. Default 1,310,720, the 10 GB of the
    /// paper; tests take less to see a volume grow.
    #[serde(default = "default_pages_per_pg")]
    pub pages_per_pg: u64,
    /// What the volume's segments are: `full` (six full ones, the default when it is made) or `full-tail` (three full ones and
    /// three tails). Chosen when the volume is made; another choice for one that exists is refused.
    #[serde(default)]
    pub segments: Option<Segments>,
    /// Where sorts and hashes that exceed `work_mem` write. Default: the system's directory for temporary files. Its files
    /// have no names and go with the statement; a local disk, for it need not outlive anything.
    #[serde(default = "std::env::temp_dir")]
    pub temp_dir: PathBuf,
    /// SQL sessions at a time. Default 1000: a session costs some 20 KiB, and a pool in front of more is faster.
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
    /// Longest message of a client, in bytes. Default 64 MiB: above any reasonable statement or COPY chunk; it bounds what
    /// one connection can make the engine hold.
    #[serde(default = "default_message_bytes_max")]
    pub message_bytes_max: usize,
}

fn default_volume() -> String {
    "main".to_owned()
}

fn default_cache_bytes() -> usize {
    256 << 20
}

fn default_pages_per_pg() -> u64 {
    Geometry::DEFAULT.pages_per_pg
}

fn default_connections_max() -> usize {
    Limits::default().connections_max
}

fn default_message_bytes_max() -> usize {
    Limits::default().message_bytes_max
}

impl EngineConfig {
    /// A configuration with every default, for what has none.
    #[must_use]
    pub fn new(
        listen: SocketAddr,
        http: SocketAddr,
        meta: Vec<SocketAddr>,
        instance: String,
    ) -> EngineConfig {
        EngineConfig {
            listen,
            http,
            advertise: None,
            volume: default_volume(),
            meta,
            instance,
            cache_bytes: default_cache_bytes(),
            pages_per_pg: default_pages_per_pg(),
            segments: None,
            temp_dir: std::env::temp_dir(),
            connections_max: default_connections_max(),
            message_bytes_max: default_message_bytes_max(),
        }
    }

    /// Where clients reach this engine.
    #[must_use]
    pub fn advertised(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }

    /// The shape of a volume that is made by this engine.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        Geometry { pages_per_pg: self.pages_per_pg }
    }

    /// What clients may take.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            connections_max: self.connections_max,
            message_bytes_max: self.message_bytes_max,
            startup: Duration::from_secs(10),
        }
    }

    /// What the types cannot say; the answer names the key.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn check(&self) -> Result<(), String> {
        if !self.temp_dir.is_dir() {
            return Err(format!("`temp_dir` is no directory: {}", self.temp_dir.display()));
        }
        if self.meta.is_empty() {
            return Err("`meta` names no metadata process; it needs at least one address".to_owned());
        }
        if self.instance.is_empty() {
            return Err("`instance` is empty; the lease needs a holder's name".to_owned());
        }
        if self.cache_bytes < 4 << 20 {
            return Err(format!(
                "`cache_bytes` is {}; less than 4 MiB cannot hold what one statement touches",
                self.cache_bytes
            ));
        }
        if self.pages_per_pg == 0 || self.connections_max == 0 {
            return Err("`pages_per_pg` and `connections_max` must be above 0".to_owned());
        }
        if self.message_bytes_max < 64 << 10 {
            return Err("`message_bytes_max` must be at least 65536".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EngineConfig, serde_json::Error> {
        serde_json::from_str(text)
    }

    const LEAST: &str =
        r#""listen":"127.0.0.1:1","http":"127.0.0.1:2","meta":["127.0.0.1:3"],"instance":"a""#;

    #[test]
    fn defaults_fill_in_and_unknown_keys_are_refused() {
        let config = parse(&format!("{{{LEAST}}}")).unwrap();
        assert_eq!(config.advertised(), "127.0.0.1:1");
        assert_eq!(config.volume, "main");
        assert!(config.check().is_ok());
        assert!(parse(&format!("{{{LEAST},\"cachebytes\":1}}")).is_err());
        assert!(parse("{}").is_err());
    }

    #[test]
    fn nonsense_is_named() {
        let mut config = parse(&format!("{{{LEAST}}}")).unwrap();
        config.cache_bytes = 1;
        assert!(config.check().unwrap_err().contains("cache_bytes"));
    }
}

//! `sextant engine`: SQL over a volume.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use sextant_engine::EngineConfig;
use sextant_node::shutdown;
use sextant_redo::Segments;

use super::{RoleError, from_file, list, required};

/// Run one SQL engine over a volume. It keeps no data of its own
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// TOML file with any of the keys below, written with underscores; flags override it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Address for SQL clients. Required: two engines on a machine need two
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address of /metrics and /health. Required, for the same reason
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Address that clients reach this engine at. Default: --listen; another one behind address translation
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Address of a metadata process; once per member (in the file: a list). Required
    #[arg(long, value_name = "ADDR:PORT")]
    meta: Vec<SocketAddr>,
    /// This engine's name as holder of the writer lease. Required: two engines of one name would take the lease from each
    /// other for ever
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// The volume to open; made when there is none of that name. Default "main"
    #[arg(long, value_name = "NAME")]
    volume: Option<String>,
    /// Page cache in bytes. Default 268435456 (256 MiB), small enough for a laptop with six storage nodes beside it
    #[arg(long, value_name = "BYTES")]
    cache_bytes: Option<usize>,
    /// Pages of 8 KiB in a protection group, used only when the volume is made. Default 1310720 (10 GiB), the paper's;
    /// tests take less to see a volume grow
    #[arg(long, value_name = "PAGES")]
    pages_per_pg: Option<u64>,
    /// What the volume's segments are, chosen when it is made: "full", six with log and pages, the default; or "full-tail",
    /// three of them and three with log alone. Another choice for one that exists is refused
    #[arg(long, value_name = "KIND")]
    segments: Option<Segments>,
    /// Directory of the files in which sorts and hashes that exceed work_mem go on. Default: the system's for temporary files
    /// (TMPDIR, else /tmp); a local disk, for its files end with their statement
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
    /// SQL sessions at a time. Default 1000: for more, a pool in front is faster
    #[arg(long, value_name = "SESSIONS")]
    connections_max: Option<usize>,
    /// Longest message of a client in bytes. Default 67108864 (64 MiB): bounds what one connection can make the engine
    /// hold
    #[arg(long, value_name = "BYTES")]
    message_bytes_max: Option<usize>,
}

impl Options {
    fn resolve(self) -> Result<EngineConfig, RoleError> {
        let file: Options = from_file(self.config.as_deref())?;
        let meta = list(self.meta, file.meta);
        let defaults = EngineConfig::new(
            required(self.listen.or(file.listen), "listen")?,
            required(self.http.or(file.http), "http")?,
            required((!meta.is_empty()).then_some(meta), "meta")?,
            required(self.instance.or(file.instance), "instance")?,
        );
        Ok(EngineConfig {
            advertise: self.advertise.or(file.advertise),
            volume: self.volume.or(file.volume).unwrap_or(defaults.volume),
            cache_bytes: self.cache_bytes.or(file.cache_bytes).unwrap_or(defaults.cache_bytes),
            pages_per_pg: self.pages_per_pg.or(file.pages_per_pg).unwrap_or(defaults.pages_per_pg),
            segments: self.segments.or(file.segments),
            temp_dir: self.temp_dir.or(file.temp_dir).unwrap_or(defaults.temp_dir),
            connections_max: self
                .connections_max
                .or(file.connections_max)
                .unwrap_or(defaults.connections_max),
            message_bytes_max: self
                .message_bytes_max
                .or(file.message_bytes_max)
                .unwrap_or(defaults.message_bytes_max),
            ..defaults
        })
    }
}

/// Serves until SIGINT or SIGTERM, or until another writer has taken the volume.
pub(crate) async fn run(options: Options) -> Result<(), RoleError> {
    Ok(sextant_engine::run(options.resolve()?, shutdown::signal()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_over_file_over_defaults() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("engine.toml");
        let text = "listen = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nmeta = [\"127.0.0.1:3\"]\ncache_bytes = 8388608\n\
            temp_dir = \"/file\"\n";
        std::fs::write(&path, text).expect("write");
        let options = || Options { config: Some(path.clone()), ..Options::default() };
        let error = options().resolve().expect_err("no name").to_string();
        assert!(error.contains("--instance"), "{error}");
        let named = Options {
            instance: Some("a".into()),
            temp_dir: Some("/flag".into()),
            meta: vec!["127.0.0.1:9".parse().expect("address")],
            ..options()
        };
        let config = named.resolve().expect("complete");
        assert_eq!((config.cache_bytes, config.volume.as_str()), (8 << 20, "main"));
        assert_eq!(config.meta[0].port(), 9);
        assert_eq!(config.temp_dir, PathBuf::from("/flag"));
        let named = Options { instance: Some("a".into()), ..options() };
        assert_eq!(named.resolve().expect("complete").temp_dir, PathBuf::from("/file"));
    }
}

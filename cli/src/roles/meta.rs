//! `sextant meta`: a member of the metadata group.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::Deserialize;
use sextant_meta::MetaConfig;
use sextant_node::shutdown;

use super::{RoleError, from_file, list, required};

/// Run one metadata process: membership, epochs, writer leases. A cluster has three
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// TOML file with any of the keys below, written with underscores; flags override it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// This member's number, one of those in --peer; never given to another machine. Required
    #[arg(long)]
    id: Option<u64>,
    /// Address for clients and members. Required: every other process must know it
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address of /metrics and /health. Required: two processes on a machine need two
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Data folder; made when missing, refused when another process, role or cluster owns it. Required
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A member's number and address, this one's too; once per member (in the file: a list). Read at the first start of
    /// the group; afterwards the group's own record counts. Required
    #[arg(long = "peer", value_name = "ID=ADDR:PORT")]
    peer: Vec<Peer>,
    /// Length of a writer lease in milliseconds, default 1000: shorter finds a dead writer sooner, longer forgives
    /// pauses. Safety does not depend on it
    #[arg(long, value_name = "MS")]
    lease_ms: Option<u64>,
    /// Silence after which the copies of a storage node are replaced without being asked, in seconds, default 300: longer
    /// than a reboot, short beside the time to a second failure. 0 leaves it to `sextant segment replace`
    #[arg(long, value_name = "S")]
    replace_after_s: Option<u64>,
}

/// A member of the group, written `ID=ADDR:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Peer {
    id: u64,
    address: SocketAddr,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let wrong = || format!("\"{text}\" is not of the form ID=ADDR:PORT, such as 1=10.0.0.1:5451");
        let (id, address) = text.split_once('=').ok_or_else(wrong)?;
        match (id.parse(), address.parse()) {
            (Ok(id), Ok(address)) => Ok(Peer { id, address }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Peer {
    type Error = String;

    fn try_from(text: String) -> Result<Peer, String> {
        text.parse()
    }
}

impl Options {
    fn resolve(self) -> Result<MetaConfig, RoleError> {
        let file: Options = from_file(self.config.as_deref())?;
        let peers = list(self.peer, file.peer);
        Ok(MetaConfig {
            id: required(self.id.or(file.id), "id")?,
            listen: required(self.listen.or(file.listen), "listen")?,
            http: required(self.http.or(file.http), "http")?,
            data: required(self.data.or(file.data), "data")?,
            peers: required((!peers.is_empty()).then_some(peers), "peer")?
                .into_iter()
                .map(|peer| (peer.id, peer.address))
                .collect(),
            lease_ms: self.lease_ms.or(file.lease_ms).unwrap_or(1000),
            replace_after_s: self.replace_after_s.or(file.replace_after_s).unwrap_or(300),
        })
    }
}

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(options: Options) -> Result<(), RoleError> {
    Ok(sextant_meta::run(options.resolve()?, shutdown::signal()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("meta.toml");
        std::fs::write(&path, text).expect("write");
        (dir, path)
    }

    const WHOLE: &str = r#"
        id = 2
        listen = "127.0.0.1:5452"
        http = "127.0.0.1:5462"
        data = "meta-2"
        peer = ["1=127.0.0.1:5451", "2=127.0.0.1:5452", "3=127.0.0.1:5453"]
    "#;

    #[test]
    fn a_file_alone_is_enough() {
        let (_dir, path) = file(WHOLE);
        let config = Options { config: Some(path), ..Options::default() }.resolve().expect("complete");
        assert_eq!((config.id, config.lease_ms, config.peers.len()), (2, 1000, 3));
    }

    #[test]
    fn a_flag_overrides_the_file() {
        let (_dir, path) = file(WHOLE);
        let options = Options { config: Some(path), id: Some(3), lease_ms: Some(500), ..Options::default() };
        let config = options.resolve().expect("complete");
        assert_eq!((config.id, config.lease_ms), (3, 500));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let error = Options::default().resolve().expect_err("nothing given").to_string();
        assert!(error.contains("--id"), "{error}");
        let (_dir, path) = file("lease_s = 5\n");
        let options = Options { config: Some(path), ..Options::default() };
        let error = options.resolve().expect_err("unknown").to_string();
        assert!(
            error.contains("lease_s") && error.contains("meta.toml") && error.contains("line 1"),
            "{error}"
        );
    }

    #[test]
    fn a_peer_is_a_number_and_an_address() {
        assert_eq!("7=1.2.3.4:5".parse::<Peer>().expect("valid").id, 7);
        for bad in ["7", "x=1.2.3.4:5", "7=host:5", "=", ""] {
            assert!(bad.parse::<Peer>().is_err(), "{bad}");
        }
    }
}

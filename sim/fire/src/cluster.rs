//! A cluster of real processes, each role started by itself, with a proxy in front of every metadata member and every
//! storage node. There is a second place for an engine, which takes over from a paused one.
//!
//! | port above the base | who |
//! | --- | --- |
//! | 0, 1 | SQL of the two engines |
//! | 11 to 13, 21 to 23 | metadata members, their HTTP |
//! | 14 to 16 | proxies in front of them |
//! | 31 to 36, 41 to 46 | storage nodes, their HTTP |
//! | 2 to 7 | proxies in front of them |
//! | 50, 51 | the engines' HTTP |
//!
//! Everybody knows only the proxies' addresses: a member has them as its peers, a node registers its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use sextant_sim::rng::Rng;

use crate::ports::Ports;
use crate::process::Role;
use crate::proxy::{Fault, Proxy};

/// Metadata members.
pub const META: usize = 3;
/// Storage nodes, two in each zone: nodes 0 and 1 in the first, and so on.
pub const NODES: usize = 6;
/// The storage node whose folder may lie on a small file system.
pub const SMALL_NODE: usize = NODES - 1;
/// Bytes of that file system: several times what the node keeps in a run of an hour.
pub const SMALL_DISK_BYTES: u64 = 512 << 20;

/// How long a process may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Settings that make a short run see what otherwise takes days: log files that fill, pages made from them, a page cache
/// that does not hold the bank, a volume that grows.
const LOG_FILE_BYTES: u64 = 8 << 20;
/// So much that the node with the small disk needs new files when it is full, and the same for all: a copy that lags by more than
/// its peers keep cannot be brought up to date before storage nodes copy pages.
const LOG_BUDGET_BYTES: u64 = 160 << 20;
const CACHE_BYTES: u64 = 4 << 20;
const PAGES_PER_PG: u64 = 1024;

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    /// Metadata members.
    pub meta: Vec<Role>,
    /// Storage nodes.
    pub nodes: Vec<Role>,
    /// Two places for an engine, of which one is to run.
    pub engines: [Role; 2],
    /// The place whose engine is the writer.
    pub writer: usize,
    /// In front of the metadata members.
    pub meta_links: Vec<Proxy>,
    /// In front of the storage nodes.
    pub node_links: Vec<Proxy>,
    ports: Ports,
}

impl Cluster {
    /// Proxies listen; no process runs yet. Data and logs lie in `dir`, logs in `dir/logs`. To be called on a runtime.
    /// [`SMALL_NODE`] has its data in `small_disk`, if there is one.
    pub async fn new(
        sextant: &Path,
        dir: &Path,
        small_disk: Option<&Path>,
        ports: Ports,
        rng: &mut Rng,
    ) -> io::Result<Cluster> {
        std::fs::create_dir_all(dir.join("logs"))?;
        let at = Addresses { base: ports.base };
        let role = |name: String, arguments: Vec<String>| {
            let log = dir.join("logs").join(format!("{name}.log"));
            Role::new(name, sextant, arguments, log)
        };
        let with_data = |name: String, mut arguments: Vec<String>, place: &Path| {
            arguments.extend(["--data".to_owned(), place.join(&name).display().to_string()]);
            role(name, arguments)
        };
        let meta =
            (0..META).map(|n| with_data(format!("meta-{}", n + 1), at.meta_arguments(n), dir)).collect();
        let node = |n| {
            let place = small_disk.filter(|_| n == SMALL_NODE).unwrap_or(dir);
            with_data(format!("segment-{}", n + 1), at.node_arguments(n), place)
        };
        let nodes = (0..NODES).map(node).collect();
        let engines = [0, 1].map(|n| role(format!("engine-{}", n + 1), at.engine_arguments(n)));
        let (mut meta_links, mut node_links) = (Vec::new(), Vec::new());
        for n in 0..META {
            meta_links.push(Proxy::start(at.meta_proxy(n), at.meta(n), rng.bits()).await?);
        }
        for n in 0..NODES {
            node_links.push(Proxy::start(at.node_proxy(n), at.node(n), rng.bits()).await?);
        }
        Ok(Cluster { meta, nodes, engines, writer: 0, meta_links, node_links, ports })
    }

    /// Starts what does not run: metadata, storage, the writer.
    pub fn start_all(&mut self) -> io::Result<()> {
        let writer = self.writer;
        self.meta.iter_mut().chain(&mut self.nodes).try_for_each(Role::start)?;
        self.engines[writer].start()
    }

    /// Kills everything at the same time; returns how many processes that were.
    pub fn kill_all(&mut self) -> u64 {
        self.roles().for_each(|role| role.shoot());
        self.roles().map(|role| u64::from(role.reap())).sum()
    }

    /// Stops everything as an operator does.
    pub fn stop_all(&mut self) {
        self.engines
            .iter_mut()
            .chain(&mut self.nodes)
            .chain(&mut self.meta)
            .for_each(|r| r.stop(STOP_PATIENCE));
    }

    /// All links pass everything again.
    pub fn heal_links(&self) {
        self.links().for_each(|link| link.set(Fault::None));
    }

    /// All proxies.
    pub fn links(&self) -> impl Iterator<Item = &Proxy> {
        self.meta_links.iter().chain(&self.node_links)
    }

    /// All roles.
    pub fn roles(&mut self) -> impl Iterator<Item = &mut Role> {
        self.meta.iter_mut().chain(&mut self.nodes).chain(&mut self.engines)
    }

    /// Where SQL may be answered, the present writer first.
    #[must_use]
    pub fn sql_ports(&self) -> [u16; 2] {
        let port = |place: usize| self.addresses().sql(place).port();
        [port(self.writer), port(1 - self.writer)]
    }

    /// `host:port` of a storage node's `/health` and `/metrics`.
    #[must_use]
    pub fn node_http(&self, node: usize) -> String {
        self.addresses().node_http(node).to_string()
    }

    /// `host:port` of a metadata member's.
    #[must_use]
    pub fn meta_http(&self, member: usize) -> String {
        self.addresses().meta_http(member).to_string()
    }

    /// Where a storage node serves, past its proxy.
    #[must_use]
    pub fn node_address(&self, node: usize) -> SocketAddr {
        self.addresses().node(node)
    }

    /// Where the metadata members are reached, through their proxies.
    #[must_use]
    pub fn meta_addresses(&self) -> Vec<SocketAddr> {
        (0..META).map(|n| self.addresses().meta_proxy(n)).collect()
    }

    fn addresses(&self) -> Addresses {
        Addresses { base: self.ports.base }
    }
}

/// Who is where, and is told what.
struct Addresses {
    base: u16,
}

impl Addresses {
    fn port(&self, above: u16, n: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base + above + n as u16))
    }

    fn sql(&self, place: usize) -> SocketAddr {
        self.port(0, place)
    }

    fn meta(&self, n: usize) -> SocketAddr {
        self.port(11, n)
    }

    fn meta_proxy(&self, n: usize) -> SocketAddr {
        self.port(14, n)
    }

    fn meta_http(&self, n: usize) -> SocketAddr {
        self.port(21, n)
    }

    fn node(&self, n: usize) -> SocketAddr {
        self.port(31, n)
    }

    fn node_http(&self, n: usize) -> SocketAddr {
        self.port(41, n)
    }

    fn node_proxy(&self, n: usize) -> SocketAddr {
        self.port(2, n)
    }

    fn meta_arguments(&self, n: usize) -> Vec<String> {
        let mut out = line("meta", self.meta(n), self.meta_http(n));
        out.extend(["--id".to_owned(), (n + 1).to_string()]);
        for peer in 0..META {
            out.extend(["--peer".to_owned(), format!("{}={}", peer + 1, self.meta_proxy(peer))]);
        }
        out
    }

    fn node_arguments(&self, n: usize) -> Vec<String> {
        let mut out = line("segment", self.node(n), self.node_http(n));
        let options = [
            ("--advertise", self.node_proxy(n).to_string()),
            ("--az", (n / 2).to_string()),
            ("--log-file-bytes", LOG_FILE_BYTES.to_string()),
            ("--log-budget-bytes", LOG_BUDGET_BYTES.to_string()),
        ];
        out.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        out.extend(self.meta_flags());
        out
    }

    fn engine_arguments(&self, place: usize) -> Vec<String> {
        let mut out = line("engine", self.sql(place), self.port(50, place));
        let options = [
            ("--instance", format!("engine-{}", place + 1)),
            ("--cache-bytes", CACHE_BYTES.to_string()),
            ("--pages-per-pg", PAGES_PER_PG.to_string()),
        ];
        out.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        out.extend(self.meta_flags());
        out
    }

    fn meta_flags(&self) -> impl Iterator<Item = String> {
        (0..META).flat_map(|n| ["--meta".to_owned(), self.meta_proxy(n).to_string()])
    }
}

fn line(verb: &str, listen: SocketAddr, http: SocketAddr) -> Vec<String> {
    vec![verb.to_owned(), "--listen".to_owned(), listen.to_string(), "--http".to_owned(), http.to_string()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_port_is_in_the_block_and_given_once() {
        let at = Addresses { base: 0 };
        let mut all: Vec<u16> = (0..2).flat_map(|n| [at.sql(n).port(), at.port(50, n).port()]).collect();
        all.extend((0..META).flat_map(|n| [at.meta(n), at.meta_proxy(n), at.meta_http(n)]).map(|a| a.port()));
        all.extend(
            (0..NODES).flat_map(|n| [at.node(n), at.node_proxy(n), at.node_http(n)]).map(|a| a.port()),
        );
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert!(all.iter().all(|port| *port < 60), "{all:?}");
    }

    #[test]
    fn everybody_is_told_the_proxies_addresses_alone() {
        let at = Addresses { base: 1000 };
        let real: Vec<String> = (0..META).map(|n| at.meta(n).to_string()).collect();
        let node = at.node_arguments(2);
        let engine = at.engine_arguments(1);
        let knows = |line: &[String], address: &str| line.iter().any(|part| part.contains(address));
        assert!(real.iter().all(|address| !knows(&node, address) && !knows(&engine, address)));
        assert!(knows(&node, &at.node_proxy(2).to_string()));
        let member = at.meta_arguments(0);
        assert!(!knows(&member, &real[1]) && knows(&member, &at.meta_proxy(0).to_string()));
    }
}

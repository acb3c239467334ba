//! Which processes a development cluster has, and where each listens and keeps its data.
//!
//! All ports lie in one block of [`PORTS`] above the base port `N`:
//!
//! | port | who |
//! | --- | --- |
//! | `N` | SQL (PostgreSQL protocol) |
//! | `N+11` to `N+13` | metadata processes 1 to 3 |
//! | `N+21` to `N+23` | their `/metrics` and `/health` |
//! | `N+31` to `N+36`, with spare ones to `N+39` | storage nodes 1 to 6, to 9 |
//! | `N+41` to `N+46`, `N+49` | their `/metrics` and `/health` |
//! | `N+50` | the writer's `/metrics` and `/health` |
//!
//! The gaps are for more instances of each.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sextant_redo::Segments;

use super::DevError;

/// Base port when none is given: beside PostgreSQL's own 5432.
pub(crate) const DEFAULT_BASE_PORT: u16 = 5440;
/// Ports from the base port on that belong to the cluster.
pub(crate) const PORTS: u16 = 60;

const META_MEMBERS: u16 = 3;
const ZONES: u16 = 3;
/// Storage nodes in each zone at the least: two copies of everything.
pub(crate) const NODES_PER_AZ: u16 = 2;
/// And at the most: the ports beside each other are used up then.
pub(crate) const NODES_PER_AZ_MAX: u16 = 3;
const META_RPC: u16 = 10;
const META_HTTP: u16 = 20;
const STORAGE_RPC: u16 = 30;
const STORAGE_HTTP: u16 = 40;
const ENGINE_HTTP: u16 = 50;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Member of the metadata group.
    Meta,
    /// Storage node.
    Segment,
    /// SQL engine.
    Engine,
}

impl Role {
    /// Its subcommand.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Role::Meta => "meta",
            Role::Segment => "segment",
            Role::Engine => "engine",
        }
    }

    fn port_name(self) -> &'static str {
        match self {
            Role::Meta => "metadata",
            Role::Segment => "storage",
            Role::Engine => "SQL",
        }
    }
}

/// One process of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildSpec {
    /// Unique in the cluster; names its folder and its log.
    pub(crate) name: String,
    /// What it is.
    pub(crate) role: Role,
    /// Number among its role, from 1.
    pub(crate) id: u64,
    /// The availability zone it stands in; the engine stands in none.
    pub(crate) az: Option<u16>,
    /// Where it serves its role.
    pub(crate) address: SocketAddr,
    /// Where it serves `/metrics` and `/health`.
    pub(crate) http: SocketAddr,
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Where its stderr goes.
    pub(crate) log: PathBuf,
}

/// A whole cluster on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// First port of the block.
    pub(crate) base_port: u16,
    /// What the segments of the volume are.
    pub(crate) segments: Segments,
    /// Metadata processes, then storage nodes, then the writer: the order of starting.
    pub(crate) children: Vec<ChildSpec>,
}

impl Layout {
    /// The cluster of a volume with six full segments, with its data under `dir`, its ports from `base_port` on, and so many
    /// storage nodes in each zone.
    pub(crate) fn new(dir: &Path, base_port: u16, nodes_per_az: u16) -> Result<Layout, DevError> {
        if base_port == 0 || base_port.checked_add(PORTS).is_none() {
            return Err(DevError::BasePort { base_port });
        }
        let child = |role: Role, id: u16, az: Option<u16>, port: u16, http: u16| {
            let name = format!("{}-{id}", role.verb());
            ChildSpec {
                role,
                id: u64::from(id),
                az,
                address: loopback(base_port + port),
                http: loopback(base_port + http),
                data: dir.join(&name),
                log: dir.join("logs").join(format!("{name}.log")),
                name,
            }
        };
        let meta =
            (1..=META_MEMBERS).map(|id| child(Role::Meta, id, Some(id - 1), META_RPC + id, META_HTTP + id));
        let storage = (1..=ZONES * nodes_per_az).map(|id| {
            // Two in each zone come first, so that a cluster can be given spare nodes later.
            let (pair, spare) = ((id - 1) / NODES_PER_AZ, (id - 1) % ZONES);
            let az = if pair < ZONES { pair } else { spare };
            child(Role::Segment, id, Some(az), STORAGE_RPC + id, STORAGE_HTTP + id)
        });
        let engine = child(Role::Engine, 1, None, 0, ENGINE_HTTP);
        let children = meta.chain(storage).chain([engine]).collect();
        Ok(Layout { base_port, segments: Segments::default(), children })
    }

    /// Storage nodes in each zone.
    pub(crate) fn nodes_per_az(&self) -> u16 {
        self.of(Role::Segment).count() as u16 / ZONES
    }

    /// Where SQL is served.
    pub(crate) fn sql(&self) -> SocketAddr {
        loopback(self.base_port)
    }

    /// Every port, with who wants it for what.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (SocketAddr, String)> {
        self.children.iter().flat_map(|child| {
            let service = format!("{} ({})", child.name, child.role.port_name());
            [(child.address, service), (child.http, format!("{} (HTTP)", child.name))]
        })
    }

    /// The command line of `child`, without the program.
    pub(crate) fn arguments(&self, child: &ChildSpec) -> Vec<OsString> {
        let mut out: Vec<OsString> = vec![child.role.verb().into()];
        let mut option = |name: &str, value: OsString| out.extend([name.into(), value]);
        option("--listen", child.address.to_string().into());
        option("--http", child.http.to_string().into());
        match child.role {
            Role::Meta => {
                option("--data", child.data.clone().into());
                option("--id", child.id.to_string().into());
                for member in self.of(Role::Meta) {
                    option("--peer", format!("{}={}", member.id, member.address).into());
                }
            }
            Role::Segment => {
                option("--data", child.data.clone().into());
                option("--az", child.az.unwrap_or(0).to_string().into());
                self.of(Role::Meta).for_each(|member| option("--meta", member.address.to_string().into()));
            }
            Role::Engine => {
                option("--instance", child.name.clone().into());
                option("--segments", self.segments.to_string().into());
                self.of(Role::Meta).for_each(|member| option("--meta", member.address.to_string().into()));
            }
        }
        out
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &ChildSpec> {
        self.children.iter().filter(move |child| child.role == role)
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn two_storage_nodes_in_each_of_three_zones() {
        let layout = Layout::new(Path::new("d"), 5440, 2).expect("fits");
        let zones: Vec<_> = layout.of(Role::Segment).map(|child| child.az).collect();
        assert_eq!(zones, [0, 0, 1, 1, 2, 2].map(Some));
        let layout = Layout::new(Path::new("d"), 5440, 3).expect("fits");
        let zones: Vec<_> = layout.of(Role::Segment).map(|child| child.az).collect();
        assert_eq!(zones, [0, 0, 1, 1, 2, 2, 0, 1, 2].map(Some), "spare nodes come behind");
        assert_eq!(layout.of(Role::Meta).count(), 3);
        assert_eq!(layout.of(Role::Engine).count(), 1);
        assert_eq!(layout.sql().port(), 5440);
    }

    #[test]
    fn every_port_is_in_the_block_and_given_once() {
        let layout = Layout::new(Path::new("d"), 6000, NODES_PER_AZ_MAX).expect("fits");
        let ports: Vec<u16> = layout.ports().map(|(addr, _)| addr.port()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        assert!(ports.iter().all(|port| (6000..6000 + PORTS).contains(port)), "{ports:?}");
    }

    #[test]
    fn a_base_port_without_room_above_is_refused() {
        for bad in [0, u16::MAX - PORTS + 1, u16::MAX] {
            assert!(matches!(Layout::new(Path::new("d"), bad, 2), Err(DevError::BasePort { .. })), "{bad}");
        }
        assert!(Layout::new(Path::new("d"), u16::MAX - PORTS, 2).is_ok());
    }

    #[test]
    fn each_metadata_process_knows_all() {
        let layout = Layout::new(Path::new("d"), 5440, 2).expect("fits");
        for child in layout.of(Role::Meta) {
            let line: Vec<String> =
                layout.arguments(child).iter().map(|part| part.to_string_lossy().into_owned()).collect();
            for peer in ["1=127.0.0.1:5451", "2=127.0.0.1:5452", "3=127.0.0.1:5453"] {
                assert!(line.contains(&peer.to_owned()), "{line:?}");
            }
        }
    }
}

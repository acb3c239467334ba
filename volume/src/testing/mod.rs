//! Stand-ins for what the driver talks to: storage nodes on loopback that speak the real wire protocol and misbehave on
//! demand, and a metadata service in memory.

mod directory;
mod node;
mod segment;

use std::sync::Arc;
use std::time::Duration;

use sextant_redo::patch::Patch;
use sextant_redo::{Geometry, Lsn, Mtr, PageId};

use crate::directory::Instance;
use crate::driver::Tuning;
use crate::open::{LAL_BYTES, Opener};
use crate::{LogStore, Opened, Volume, VolumeError};
pub(crate) use directory::FakeDirectory;
pub(crate) use node::{FakeNode, Manner};

/// Pages of a protection group in tests.
pub(crate) const PAGES_PER_PG: u64 = 100;

/// Six nodes and two spare ones, and a metadata service.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<FakeNode>,
    pub(crate) directory: Arc<FakeDirectory>,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let mut nodes = Vec::new();
        for id in 1..=8 {
            nodes.push(FakeNode::start(id).await);
        }
        let directory = Arc::new(FakeDirectory::new(nodes.iter().map(FakeNode::addr).collect()));
        Cluster { nodes, directory }
    }

    pub(crate) fn opener(&self, instance: &str) -> Opener {
        let tuning = Tuning {
            call_timeout: Duration::from_millis(500),
            read_deadline: Duration::from_secs(3),
            grow_deadline: Duration::from_secs(5),
            ..Tuning::default()
        };
        Opener {
            directory: Arc::clone(&self.directory) as Arc<dyn crate::directory::Directory>,
            volume: "test".to_owned(),
            geometry: Geometry { pages_per_pg: PAGES_PER_PG },
            segments: None,
            instance: Instance {
                name: instance.to_owned(),
                advertise: "127.0.0.1:1".to_owned(),
                http: "127.0.0.1:2".to_owned(),
            },
            lal: LAL_BYTES,
            deadline: Duration::from_secs(10),
            tuning,
        }
    }

    pub(crate) async fn open(&self, instance: &str) -> Result<(Arc<Volume>, Opened), VolumeError> {
        self.opener(instance).open().await
    }

    /// Segments on nodes that hold the same, complete log of `group` up to `lsn`.
    pub(crate) fn copies_to(&self, group: u32, lsn: Lsn) -> usize {
        self.nodes.iter().filter(|n| n.scl(group) >= lsn).count()
    }
}

/// An engine that writes small pages: remembers the LSN of each page, as a cache does.
pub(crate) struct Writer {
    pub(crate) volume: Arc<Volume>,
    pages: std::collections::BTreeMap<PageId, Lsn>,
}

impl Writer {
    pub(crate) fn new(volume: &Arc<Volume>) -> Writer {
        Writer { volume: Arc::clone(volume), pages: std::collections::BTreeMap::new() }
    }

    /// One mini-transaction that writes `value` on each of the pages. Does not wait for durability.
    pub(crate) async fn write(&mut self, pages: &[u64], value: &[u8]) -> Result<Lsn, VolumeError> {
        let mut mtr = Mtr::new();
        for page in pages {
            let page = PageId(*page);
            let known = self.pages.get(&page).copied();
            let before = match known {
                Some(lsn) => lsn,
                None => self.volume.read_page(page).await?.lsn(),
            };
            let at = mtr.add_page(page, before);
            mtr.patch(at, Patch::Set { offset: 24, bytes: value });
        }
        let reservation = self.volume.reserve(mtr.max_log_bytes() as u64).await?;
        let mut seen = Lsn::ZERO;
        let lsn = self.volume.append(reservation, &mut mtr, &mut |lsn| seen = lsn);
        assert_eq!(seen, lsn);
        for change in mtr.changes() {
            self.pages.insert(change.page, change.lsn);
        }
        Ok(lsn)
    }

    /// Writes and waits.
    pub(crate) async fn commit(&mut self, pages: &[u64], value: &[u8]) -> Result<Lsn, VolumeError> {
        let lsn = self.write(pages, value).await?;
        self.volume.durable(lsn).await?;
        Ok(lsn)
    }
}

/// What stands on a page.
pub(crate) async fn value(volume: &Volume, page: u64, len: usize) -> Vec<u8> {
    let page = volume.read_page(PageId(page)).await.expect("readable");
    page.0[24..24 + len].to_vec()
}

/// Waits for something to become true, for ten seconds.
pub(crate) async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within ten seconds");
}

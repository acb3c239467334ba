//! Three copies of one segment in one process, each with all its tasks: what one lacks or has lost it gets from the others,
//! and no writer is there.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::wire::{Append, Epochs, Reply, Request, SegmentError};
use sextant_redo::{Lsn, MembershipEpoch, NodeId, PAGE_SIZE, PageId, SegmentId, SegmentKind, VolumeId};
use tokio::sync::oneshot;

use super::{HealthOptions, start};
use crate::core::{Looked, MapBlock, Store, Ticket};
use crate::disk::memory::{Image, MemoryDisk};
use crate::disk::{Disk, Flush, LocalFuture};
use crate::host::TokioHost;
use crate::log::{LogIdentity, file_name};
use crate::node::Node;
use crate::pages::checkpoint::{self, CHECKPOINT_FILE};
use crate::pages::store::PAGE_FILE;
use crate::pages::{images, keeper};
use crate::peers::{Membership, PeerError, Peers};
use crate::server::ReplySink;
use crate::testing::{IDENTITY, SEGMENT, Writer, append, block_on, create, epochs, options, read};

mod tails;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

struct Answer(RefCell<Option<oneshot::Sender<Reply>>>);

impl ReplySink for Answer {
    fn push(&self, _: u64, reply: &Reply) {
        if let Some(waiting) = self.0.borrow_mut().take() {
            let _ = waiting.send(reply.clone());
        }
    }

    fn flush(&self) {}
}

/// The nodes, which ask each other directly.
#[derive(Default)]
struct Group {
    nodes: RefCell<BTreeMap<NodeId, Rc<Node>>>,
    down: RefCell<BTreeSet<NodeId>>,
    connections: Cell<u64>,
    /// The members, where they are not all nodes.
    told: RefCell<Option<Membership>>,
    /// Nodes that left under an epoch and have not said that their copy is gone.
    left: RefCell<Vec<(NodeId, MembershipEpoch)>>,
    /// The volume is not known to exist.
    is_unknown: Cell<bool>,
    /// The volume is known to be dropped.
    is_dropped: Cell<bool>,
}

impl Group {
    async fn ask(&self, id: NodeId, request: Request) -> Reply {
        let node = self.nodes.borrow()[&id].clone();
        let connection = self.connections.get() + 1;
        self.connections.set(connection);
        let (sender, receiver) = oneshot::channel();
        node.connect(connection, Rc::new(Answer(RefCell::new(Some(sender)))));
        node.on_request(Ticket { connection, request: 0 }, request);
        let reply = tokio::time::timeout(PATIENCE, receiver).await.expect("in time").expect("answered");
        node.disconnect(connection);
        reply
    }

    fn node(&self, id: u64) -> Rc<Node> {
        self.nodes.borrow()[&NodeId(id)].clone()
    }

    fn has_copy(&self, id: u64) -> bool {
        self.node(id).store.borrow().segments().contains_key(&SEGMENT)
    }

    fn scl(&self, id: u64) -> Lsn {
        self.node(id).store.borrow().segments()[&SEGMENT].segment.scl()
    }

    /// Sends a batch to these nodes and waits until it is durable there.
    async fn append(&self, ids: &[u64], batch: &Bytes) {
        for id in ids {
            let append = Append { segment: SEGMENT, epochs: epochs(1), batch: batch.clone() };
            let reply = self.ask(NodeId(*id), Request::Append(append)).await;
            assert!(matches!(reply, Reply::Appended { .. }), "{reply:?}");
        }
    }

    /// Batches over 40 pages, each of which says that everything before it is durable and old.
    async fn fill(&self, writer: &mut Writer, ids: &[u64], count: u64) {
        for n in 0..count {
            (writer.vdl, writer.pgmrpl) = (writer.last, writer.last);
            let changes: Vec<(u64, u8)> =
                (0..30).map(|c| ((n * 7 + c) % 40, ((n + c) % 200) as u8)).collect();
            let batch = writer.batch(&changes);
            self.append(ids, &batch).await;
        }
    }
}

struct View(Rc<Group>);

impl Peers for View {
    fn dropped(&self, volumes: Vec<VolumeId>) -> LocalFuture<'_, Vec<VolumeId>> {
        Box::pin(std::future::ready(if self.0.is_dropped.get() { volumes } else { Vec::new() }))
    }

    fn left(&self, node: NodeId) -> Vec<(SegmentId, MembershipEpoch)> {
        self.0
            .left
            .borrow()
            .iter()
            .filter(|(who, _)| *who == node)
            .map(|(_, epoch)| (SEGMENT, *epoch))
            .collect()
    }

    fn copy_is_gone(&self, node: NodeId, _: SegmentId, epoch: MembershipEpoch) -> LocalFuture<'_, ()> {
        self.0.left.borrow_mut().retain(|known| *known != (node, epoch));
        Box::pin(std::future::ready(()))
    }

    fn members(&self, _: SegmentId) -> Option<Membership> {
        if self.0.is_unknown.get() {
            return None;
        }
        let told = self.0.told.borrow().clone();
        let all = || self.0.nodes.borrow().keys().copied().collect();
        told.or_else(|| Some(Membership { epoch: MembershipEpoch(1), members: all(), full: all() }))
    }

    fn refresh(&self) {}

    fn call(&self, node: NodeId, request: Request) -> LocalFuture<'_, Result<Reply, PeerError>> {
        Box::pin(async move {
            if self.0.down.borrow().contains(&node) {
                return Err(PeerError::TimedOut { node });
            }
            match self.0.ask(node, request).await {
                Reply::Error(error) => Err(PeerError::Refused { node, error }),
                reply => Ok(reply),
            }
        })
    }
}

async fn add(group: &Rc<Group>, id: u64, image: Image) -> Rc<MemoryDisk> {
    let disk = Rc::new(MemoryDisk::from_image(image));
    let seam: Rc<dyn Disk> = disk.clone();
    let identity = LogIdentity { node: NodeId(id), ..IDENTITY };
    let host = Rc::new(TokioHost::new());
    let node = Node::open(seam, host, Flush::DsyncWrite, identity, options()).await.expect("opens");
    node.start();
    group.nodes.borrow_mut().insert(NodeId(id), node);
    disk
}

fn heal(group: &Rc<Group>, id: u64) {
    heal_and_scrub(group, id, Duration::from_millis(50));
}

fn heal_and_scrub(group: &Rc<Group>, id: u64, scrub_period: Duration) {
    let options = HealthOptions { copy_bytes_per_s: 1 << 30, scrub_bytes_per_s: 1 << 30, scrub_period };
    start(&group.node(id), Rc::new(View(group.clone())), options);
}

async fn group() -> (Rc<Group>, Vec<Rc<MemoryDisk>>) {
    let group = Rc::new(Group::default());
    let mut disks = Vec::new();
    for id in 1..=3 {
        disks.push(add(&group, id, Image::new()).await);
        group.ask(NodeId(id), create(1)).await;
    }
    (group, disks)
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("still not: {what}"));
}

async fn same_pages(group: &Group, id: u64, writer: &Writer) {
    for page in 0..42 {
        let made = read(&group.node(id), page, writer.last).await;
        assert_eq!(made, writer.page(page, writer.last), "page {page}");
    }
}

/// Flips a bit of a file under a running node.
fn rot(disk: &MemoryDisk, name: &str, at: usize) {
    let mut bytes = disk.image()[name].clone();
    bytes[at] ^= 0x10;
    disk.put_file(name, bytes);
}

#[test]
fn a_copy_that_was_away_gets_the_log_without_a_writer() {
    block_on(async {
        let (group, _disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 3).await;
        group.fill(&mut writer, &[1, 2], 40).await;
        let last = writer.batch(&[(5, 5)]);
        group.append(&[1, 2, 3], &last).await;
        assert!(group.scl(3) < writer.last, "there is a hole");
        group.down.borrow_mut().insert(NodeId(2));
        heal(&group, 3);
        until("all log is there", || group.scl(3) == writer.last).await;
        same_pages(&group, 3, &writer).await;
    });
}

#[test]
fn epochs_and_lists_come_from_peers_and_void_log_does_not() {
    block_on(async {
        let (group, _disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 3).await;
        let kept = writer.last;
        let mut zombie = writer.clone();
        let void = zombie.batch(&[(7, 7)]);
        group.append(&[3], &void).await;
        let range = writer.reopen(2, kept, 100_000);
        for id in [1, 2] {
            let id = NodeId(id);
            group.ask(id, Request::OpenSegment { segment: SEGMENT, epochs: epochs(2) }).await;
            let ranges = vec![range];
            group.ask(id, Request::Truncate { segment: SEGMENT, epochs: epochs(2), ranges }).await;
        }
        for id in 1..=3 {
            heal(&group, id);
        }
        let state = |id| group.node(id).store.borrow().segments()[&SEGMENT].segment.state();
        until("the third knows the opening", || state(3) == state(1)).await;
        assert_eq!((state(3).scl, state(3).highest), (kept, kept));
        same_pages(&group, 3, &writer).await;
    });
}

#[test]
fn a_copy_that_is_too_far_behind_takes_pages_then_log() {
    block_on(async {
        let (group, disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 5).await;
        let before = group.scl(3);
        group.fill(&mut writer, &[1, 2], 900).await;
        let start = |id| group.node(id).store.borrow().segments()[&SEGMENT].segment.chain().log_start();
        until("the others have freed log", || start(1) > before && start(2) > before).await;
        heal(&group, 3);
        until("everything is there", || group.scl(3) == writer.last).await;
        assert!(start(3) > before, "pages were copied");
        same_pages(&group, 3, &writer).await;

        // What came from the others survives a restart as what came from the writer does.
        let image = disks[2].image();
        let _disk = add(&group, 3, image).await;
        assert_eq!(group.scl(3), writer.last);
        same_pages(&group, 3, &writer).await;
    });
}

#[test]
fn an_image_from_a_peer_does_not_replace_a_newer_one() {
    block_on(async {
        let (group, _disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 600).await;
        let node = group.node(1);
        let known = |page| node.store.borrow().segments()[&SEGMENT].pages.map().get(page);
        let newest = || match known(PageId(3)) {
            Looked::Known(Some(base)) => Some(base),
            _ => None,
        };
        let first = |page| writer.pages[&page].first().expect("a version").clone();
        until("a page has an image", || newest().is_some_and(|base| base.lsn > first(PageId(3)).lsn())).await;
        let before = newest().expect("an image").lsn;
        let late = first(PageId(3));
        images::put_image(&node, SEGMENT, PageId(3), &late).await.expect("written").expect("taken");
        assert!(newest().expect("an image").lsn >= before);
        same_pages(&group, 1, &writer).await;
    });
}

/// The first page with an image on the node, and where the image lies.
fn an_image(group: &Group, id: u64) -> (PageId, usize) {
    let node = group.node(id);
    let store = node.store.borrow();
    let (page, base) = store.segments()[&SEGMENT].pages.map().images(0).next().expect("an image");
    (page, base.slot.0 as usize * PAGE_SIZE)
}

#[test]
fn a_page_that_went_bad_is_replaced_by_scrubbing_and_by_reading() {
    block_on(async {
        let (group, disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 600).await;
        let has_images = |id| {
            let node = group.node(id);
            let store = node.store.borrow();
            store.segments()[&SEGMENT].pages.map().images(0).next().is_some()
        };
        until("images are made", || (1..=3).all(has_images)).await;
        let (page, at) = an_image(&group, 1);
        let place = |group: &Group| {
            let node = group.node(1);
            let looked = node.store.borrow().segments()[&SEGMENT].pages.map().get(page);
            let Looked::Known(Some(base)) = looked else { panic!("no image in memory") };
            base
        };
        let before = place(&group);
        rot(&disks[0], PAGE_FILE, at + 4000);
        heal(&group, 1);
        until("scrubbing has replaced it", || place(&group).slot != before.slot).await;
        same_pages(&group, 1, &writer).await;

        // And on the way of a read, which is answered: scrubbing there has looked already and comes again in a minute.
        heal_and_scrub(&group, 2, Duration::from_secs(3600));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (page, at) = an_image(&group, 2);
        rot(&disks[1], PAGE_FILE, at + 100);
        let (read_point, required_scl) = (writer.last, writer.last);
        let ask = Request::ReadPage { segment: SEGMENT, epochs: epochs(1), page, read_point, required_scl };
        let Reply::Page { image } = group.ask(NodeId(2), ask).await else { panic!("no page") };
        assert_eq!(&image[..], &writer.page(page.0, writer.last).0[..]);
    });
}

/// Where the first block of the page map lies, as the checkpoint in the image says.
fn block_in_checkpoint(id: u64, image: &Image) -> Option<MapBlock> {
    let mut store = Store::default();
    let identity = LogIdentity { node: NodeId(id), ..IDENTITY };
    checkpoint::decode(image.get(CHECKPOINT_FILE)?, identity, &mut store).expect("whole");
    store.segments()[&SEGMENT].pages.map().place(0)
}

#[test]
fn a_block_of_the_page_map_that_is_lost_is_rebuilt_from_a_peer() {
    block_on(async {
        let (group, disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 900).await;
        let saved = |id: usize| block_in_checkpoint(id as u64, &disks[id - 1].image());
        until("there is a block", || saved(1).is_some() && saved(2).is_some()).await;

        // Lost while the node is down: it starts without the block, and scrubbing has it rebuilt.
        let mut image = disks[0].image();
        let block = block_in_checkpoint(1, &image).expect("a block");
        image.get_mut(PAGE_FILE).expect("there")[block.slot.0 as usize * PAGE_SIZE + 100] ^= 1;
        add(&group, 1, image).await;
        let known = |id| group.node(id).store.borrow().segments()[&SEGMENT].pages.map().is_loaded(0);
        assert!(!known(1), "what was lost is not in memory");
        heal(&group, 1);
        until("the block is rebuilt", || known(1)).await;
        same_pages(&group, 1, &writer).await;

        // Lost while it runs and the block is not in memory: a reader gets the page all the same.
        let image = disks[1].image();
        let block = block_in_checkpoint(2, &image).expect("a block");
        let disk = add(&group, 2, image).await;
        heal_and_scrub(&group, 2, Duration::from_secs(3600));
        // Scrubbing has looked by then, and comes again in a minute.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let node = group.node(2);
        node.store.borrow_mut().segment_mut(SEGMENT).expect("there").pages.map_mut().unload(0);
        assert!(!known(2), "what was lost is not in memory");
        rot(&disk, PAGE_FILE, block.slot.0 as usize * PAGE_SIZE + 100);
        let (page, read_point, required_scl) = (PageId(3), writer.last, writer.last);
        let ask = Request::ReadPage { segment: SEGMENT, epochs: epochs(1), page, read_point, required_scl };
        let Reply::Page { image } = group.ask(NodeId(2), ask).await else { panic!("no page") };
        assert_eq!(&image[..], &writer.page(page.0, writer.last).0[..]);
        same_pages(&group, 2, &writer).await;
    });
}

#[test]
fn a_replaced_copy_is_dropped_and_its_space_comes_back() {
    block_on(async {
        let (group, disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 900).await;
        let used = |id| {
            let (bytes, free) = group.node(id).background.pages.borrow().bytes();
            bytes - free
        };
        let has_copy = |id| group.has_copy(id);
        let tell = |epoch, ids: &[u64]| {
            let members: Vec<NodeId> = ids.iter().copied().map(NodeId).collect();
            let full = members.clone();
            group.told.replace(Some(Membership { epoch: MembershipEpoch(epoch), members, full }));
        };
        until("there are images", || used(3) > 20 * PAGE_SIZE as u64).await;
        let before = used(3);
        tell(0, &[1, 2]);
        heal(&group, 3);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(has_copy(3), "an older member set says nothing");

        tell(2, &[1, 2]);
        group.left.borrow_mut().push((NodeId(3), MembershipEpoch(2)));
        until("the copy is dropped", || !has_copy(3)).await;
        until("the node says so", || group.left.borrow().is_empty()).await;
        until("its space is back", || used(3) < before / 5).await;
        let disk = add(&group, 3, disks[2].image()).await;
        assert!(!has_copy(3), "and stays dropped");

        // A member again, with a new copy.
        tell(3, &[1, 2, 3]);
        let member = Epochs { membership: MembershipEpoch(3), ..epochs(1) };
        group
            .ask(
                NodeId(3),
                Request::CreateSegment { segment: SEGMENT, epochs: member, kind: SegmentKind::Full },
            )
            .await;
        heal(&group, 3);
        until("it has everything", || group.scl(3) == writer.last).await;
        same_pages(&group, 3, &writer).await;
        add(&group, 3, disk.image()).await;
        assert_eq!(group.scl(3), writer.last, "of two copies in one log the newer one counts");
        same_pages(&group, 3, &writer).await;
    });
}

#[test]
fn a_dropped_volume_leaves_neither_pages_nor_log() {
    block_on(async {
        let (group, _disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 900).await;
        let held = |id| {
            let node = group.node(id);
            let (bytes, free) = node.background.pages.borrow().bytes();
            let files = node.log.borrow().position().file - node.log.borrow().first_file();
            // A slot for the checkpoint's list of pending records.
            ((bytes - free).saturating_sub(PAGE_SIZE as u64), files)
        };
        until("there are images", || held(3).0 > 20 * PAGE_SIZE as u64).await;
        group.is_unknown.set(true);
        heal(&group, 3);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(group.has_copy(3), "that the volume is not named says nothing");
        group.is_dropped.set(true);
        until("the copy is dropped", || !group.has_copy(3)).await;
        until("its space is back", || held(3) == (0, 0)).await;
        let late = append(1, writer.batch(&[(1, 1)]));
        let refused = group.ask(NodeId(3), late).await;
        assert!(matches!(refused, Reply::Error(SegmentError::UnknownSegment { .. })), "{refused:?}");
        assert!(group.has_copy(1), "each node finds out for itself");
    });
}

#[test]
fn damage_in_an_old_log_file_is_written_once_more_and_the_file_freed() {
    block_on(async {
        let (group, disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 150).await;
        let file = group.node(1).log.borrow().first_file();
        assert!(group.node(1).log.borrow().position().file > file, "the file is full");
        let stored = {
            let node = group.node(1);
            let store = node.store.borrow();
            let chain = store.segments()[&SEGMENT].segment.chain();
            let stored = chain.batches().nth(10).copied();
            stored.expect("a batch")
        };
        assert_eq!(stored.at.file(), file);
        rot(&disks[0], &file_name(file), stored.at.offset() as usize + 200);
        // What is in memory would hide it.
        group.node(1).cache.replace(crate::log::LogCache::new(0));
        heal(&group, 1);
        until("the bad file is gone", || group.node(1).log.borrow().first_file() > file).await;
        same_pages(&group, 1, &writer).await;
        let _disk = add(&group, 1, disks[0].image()).await;
        assert_eq!(group.scl(1), writer.last);
        same_pages(&group, 1, &writer).await;
    });
}

#[test]
fn a_log_file_that_was_read_wrongly_once_is_kept() {
    block_on(async {
        let (group, disks) = group().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 150).await;
        let first = || group.node(1).log.borrow().first_file();
        let file = first();
        assert!(group.node(1).log.borrow().position().file > file, "the file is full");
        disks[0].misread_once(&file_name(file));
        heal(&group, 1);
        until("scrubbing has read it", || disks[0].has_misread()).await;
        let reads = || disks[0].asked().iter().filter(|name| **name == "read").count();
        let before = reads();
        until("it was read again and again", || reads() > before + 20).await;
        assert_eq!(first(), file, "a file was given up that is good");
    });
}

//! The page map and the list of pending records across restarts: little memory, little log read, damage found, old formats
//! refused.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;
use sextant_redo::wire::SegmentError;
use sextant_redo::{Lsn, PAGE_SIZE, PageId};

use super::checkpoint::{self, CHECKPOINT_FILE, CheckpointHead};
use super::store::PAGE_FILE;
use super::tests::{fill, filled, images, round};
use crate::NodeError;
use crate::core::{BLOCK_PAGES, ImageReader, ImageWriter, LogAddress, PendingRecord, Slot, Store};
use crate::disk::memory::Image;
use crate::node::Node;
use crate::recovery::RecoveryError;
use crate::testing::{IDENTITY, SEGMENT, Writer, append, block_on, create, open, read, submit};

fn head(image: &Image) -> (CheckpointHead, Store) {
    let mut store = Store::default();
    let head = checkpoint::decode(&image[CHECKPOINT_FILE], IDENTITY, &mut store).expect("whole");
    (head, store)
}

fn pending(node: &Rc<Node>) -> BTreeMap<PageId, Vec<PendingRecord>> {
    let store = node.store.borrow();
    let pages = store.segments()[&SEGMENT].pages.pending_from(PageId(0));
    pages.map(|(page, chain)| (page, chain.to_vec())).collect()
}

/// Batches over pages of more blocks of the map than memory may hold.
async fn fill_wide(node: &Rc<Node>, writer: &mut Writer, count: u64) {
    for n in 0..count {
        writer.vdl = writer.last;
        writer.pgmrpl = writer.last;
        let page = |c: u64| (n * 31 + c) % 60 * BLOCK_PAGES / 2;
        let changes: Vec<(u64, u8)> = (0..30).map(|c| (page(c), ((n + c) % 200) as u8)).collect();
        submit(node, vec![append(1, writer.batch(&changes))]).await.expect("written");
    }
}

#[test]
fn the_page_map_needs_little_memory_and_survives() {
    block_on(async {
        let (mut node, mut disk) = open(Image::new()).await.expect("new");
        let mut writer = Writer::new(1);
        submit(&node, vec![create(1)]).await.expect("created");
        for n in 0..8 {
            fill_wide(&node, &mut writer, 60).await;
            round(&node).await.expect("works");
            let (cached, dirty) = node.store.borrow().map_blocks();
            let max = node.options.map_blocks_max;
            assert!(cached <= max + dirty, "{cached} blocks in memory, {dirty} of them changed");
            for page in 0..61 {
                let page = page * BLOCK_PAGES / 2;
                assert_eq!(read(&node, page, writer.last).await, writer.page(page, writer.last));
            }
            node.store.borrow().check_invariants();
            if n % 2 == 1 {
                let known = images(&node).await;
                (node, disk) = open(disk.image()).await.expect("restarts");
                let (cached, _) = node.store.borrow().map_blocks();
                assert!(cached <= max, "{cached} blocks in memory");
                let found = images(&node).await;
                let older = |(page, base): (&PageId, &crate::core::PageBase)| known[page].lsn >= base.lsn;
                assert!(found.iter().all(older), "an image that the map never had");
            }
        }
        assert!(images(&node).await.len() > 20);
    });
}

#[test]
fn a_start_reads_only_the_log_behind_the_list() {
    block_on(async {
        let (node, disk, mut writer) = filled(1).await;
        for _ in 0..6 {
            fill(&node, &mut writer, 100).await.expect("filled");
            round(&node).await.expect("works");
        }
        let oldest = node.log.borrow().first_file();
        super::saver::write_checkpoint(&node, oldest).await.expect("written");
        let mut image = disk.image();
        let (head, _) = head(&image);
        let (first, from) = (head.start.file, head.start.scan);
        assert!(from.file > first, "log from {from:?} on is read, and kept from file {first} on");
        let position = node.log.borrow().position();
        assert!(position.file - from.file <= 3, "at {position:?}, log from {from:?} on would be read");
        let (again, _) = open(image.clone()).await.expect("restarts");
        assert!(pending(&again) == pending(&node), "the same records are pending");
        let chains = [&node, &again].map(|node| {
            let store = node.store.borrow();
            let chain = store.segments()[&SEGMENT].segment.chain();
            chain.stored().map(|(batch, fresh)| (*batch, fresh.to_vec())).collect::<Vec<_>>()
        });
        assert!(chains[0] == chains[1], "the same batches are in the log");
        assert_eq!(again.log.borrow().first_sequence(first), node.log.borrow().first_sequence(first));
        // Damage in front is not looked at now; it is found when that log is used.
        let name = crate::log::file_name(first);
        image.get_mut(&name).expect("there")[4096 + 50] ^= 1;
        assert!(open(image.clone()).await.is_ok());
        image.remove(&name);
        let error = open(image).await.map(|_| ()).expect_err("a file is missing").to_string();
        assert!(error.contains(&name), "{error}");
    });
}

#[test]
fn damaged_blocks_and_lists_are_found_at_the_start() {
    block_on(async {
        let (node, disk, mut writer) = filled(1).await;
        fill(&node, &mut writer, 400).await.expect("filled");
        round(&node).await.expect("works");
        let good = disk.image();
        let (head, store) = head(&good);
        let block = store.segments()[&SEGMENT].pages.map().blocks().next().expect("a block");
        let piece = head.list.pieces[0];
        let damage = |slot: Slot| {
            let mut image = good.clone();
            image.get_mut(PAGE_FILE).expect("there")[slot.0 as usize * PAGE_SIZE + 9] ^= 1;
            image
        };
        let error = open(damage(piece.slot)).await.map(|_| ()).expect_err("damage");
        assert!(matches!(&error, NodeError::Recovery(RecoveryError::Damaged { .. })), "{error}");
        assert!(error.to_string().contains(PAGE_FILE), "{error}");

        // Without its block a page is not served; with the block restored it still is not, for its images may be gone.
        let (node, disk) = open(damage(block.slot)).await.expect("opens");
        let page = PageId(block.number * BLOCK_PAGES);
        let served = node.page_at(SEGMENT, page, writer.last).await;
        assert!(matches!(served, Err(SegmentError::Damaged { .. })), "{served:?}");
        disk.put_file(PAGE_FILE, good[PAGE_FILE].clone());
        let served = node.page_at(SEGMENT, page, writer.last).await;
        assert!(matches!(served, Err(SegmentError::Damaged { .. })), "{served:?}");
    });
}

#[test]
fn a_checkpoint_of_another_version_is_refused_by_name() {
    block_on(async {
        let (node, disk, mut writer) = filled(1).await;
        fill(&node, &mut writer, 400).await.expect("filled");
        round(&node).await.expect("works");
        let mut image = disk.image();
        let file = image.get_mut(CHECKPOINT_FILE).expect("there");
        file[4] = 1;
        let body = file.len() - 4;
        let crc = crc32c::crc32c(&file[..body]);
        file[body..].copy_from_slice(&crc.to_le_bytes());
        let error = open(image).await.map(|_| ()).expect_err("another version");
        assert!(matches!(&error, NodeError::Recovery(RecoveryError::Version { found: 1, .. })), "{error}");
    });
}

#[test]
fn a_truncation_makes_the_list_void() {
    block_on(async {
        let (node, _, mut writer) = filled(3).await;
        let mut list = ImageWriter::new(&node.store.borrow());
        assert!(!list.step(&node.store.borrow(), 1), "there is more than one page");
        let range = writer.reopen(2, writer.vdl, 1 << 20);
        let epochs = crate::testing::epochs(2);
        let requests = vec![
            sextant_redo::wire::Request::OpenSegment { segment: SEGMENT, epochs },
            sextant_redo::wire::Request::Truncate { segment: SEGMENT, epochs, ranges: vec![range] },
        ];
        submit(&node, requests).await.expect("written");
        while !list.step(&node.store.borrow(), 7) {}
        assert_eq!(list.finish(&node.store.borrow()), None);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_bytes_are_no_list_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), tag in 0u8..3) {
        let mut list = vec![1, 7, 2, 0, tag];
        list.extend(bytes);
        let (_, mut store) = block_on(async {
            let (node, _, _) = filled(1).await;
            (Lsn::ZERO, node.store.borrow().clone())
        });
        let _ = ImageReader::new(&list, LogAddress(0)).read(&mut store);
    }
}

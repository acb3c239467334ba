//! Pages against a naive model, with the background at work: images, checkpoints, log files used again, restarts,
//! damage.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use sextant_redo::wire::{Append, Request, SegmentError};
use sextant_redo::{Lsn, PAGE_SIZE, PageId, PgId, SegmentId, SegmentKind, VolumeId};

use super::brake::Brake;
use super::checkpoint::{self, CHECKPOINT_FILE};
use super::store::PAGE_FILE;
use super::{keeper, space};
use crate::NodeError;
use crate::core::{BLOCK_PAGES, PageBase, Store};
use crate::disk::memory::trace::Operation;
use crate::disk::memory::{Image, MemoryDisk};
use crate::host::Host;
use crate::node::{Node, NodeOptions};
use crate::recovery::RecoveryError;
use crate::testing::{
    Clock, IDENTITY, SEGMENT, Writer, append, block_on, create, epochs, open, open_with, options, read,
    submit,
};

/// Appends `count` batches to 40 pages; every batch says that everything before it is durable and old.
pub(super) async fn fill(node: &Rc<Node>, writer: &mut Writer, count: u64) -> Result<(), NodeError> {
    for n in 0..count {
        writer.vdl = writer.last;
        writer.pgmrpl = writer.last;
        let changes: Vec<(u64, u8)> = (0..30).map(|c| ((n * 7 + c) % 40, ((n + c) % 200) as u8)).collect();
        submit(node, vec![append(1, writer.batch(&changes))]).await?;
    }
    Ok(())
}

/// One round of the background, and whatever it puts in line for the log.
pub(super) async fn round(node: &Rc<Node>) -> Result<(), NodeError> {
    let write_on = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            submit(node, Vec::new()).await?;
        }
    };
    tokio::select! {
        worked = keeper::round(node) => worked,
        failed = write_on => failed,
    }
}

pub(super) async fn filled(count: u64) -> (Rc<Node>, Rc<MemoryDisk>, Writer) {
    let (node, disk) = open(Image::new()).await.expect("new");
    let mut writer = Writer::new(1);
    submit(&node, vec![create(1)]).await.expect("created");
    fill(&node, &mut writer, count).await.expect("filled");
    (node, disk, writer)
}

async fn check_all(node: &Rc<Node>, writer: &Writer, points: &[Lsn]) {
    for page in 0..42 {
        for point in points {
            assert_eq!(read(node, page, *point).await, writer.page(page, *point), "page {page} at {point}");
        }
    }
}

/// Every image that the page map knows.
pub(super) async fn images(node: &Rc<Node>) -> BTreeMap<PageId, PageBase> {
    let map = |node: &Rc<Node>| node.store.borrow().segments()[&SEGMENT].pages.map().clone();
    let mut images = BTreeMap::new();
    for number in map(node).numbers_from(0) {
        super::blocks::load(node, SEGMENT, PageId(number * BLOCK_PAGES)).await.expect("a good block");
        images.extend(map(node).images(number));
    }
    images
}

fn log_files(image: &Image) -> Vec<u32> {
    image.keys().filter_map(|name| crate::log::file_number(name)).collect()
}

fn makes_log(operation: &Operation) -> bool {
    matches!(operation, Operation::Create { name, .. } if crate::log::file_number(name).is_some())
}

#[test]
fn long_chains_become_images_and_pages_stay_the_same() {
    block_on(async {
        let (node, disk, writer) = filled(120).await;
        let pending = |node: &Rc<Node>| node.store.borrow().segments()[&SEGMENT].pages.pending_records();
        let before = pending(&node);
        round(&node).await.expect("works");
        node.store.borrow().check_invariants();
        assert!(pending(&node) < before / 2, "{} of {before} records still pending", pending(&node));
        assert!(disk.image().contains_key(PAGE_FILE));
        check_all(&node, &writer, &[writer.last, writer.pgmrpl]).await;
    });
}

#[test]
fn the_log_is_used_again_and_nothing_is_lost() {
    block_on(async {
        let (node, disk, mut writer) = filled(1).await;
        let mut highest = 0;
        for _ in 0..12 {
            fill(&node, &mut writer, 100).await.expect("filled");
            round(&node).await.expect("works");
            highest = highest.max(log_files(&disk.image()).len());
            check_all(&node, &writer, &[writer.last, writer.pgmrpl]).await;
            let (again, _) = open(disk.image()).await.expect("restarts");
            assert_eq!(
                again.store.borrow().segments()[&SEGMENT].segment.state(),
                node.store.borrow().segments()[&SEGMENT].segment.state()
            );
            again.store.borrow().check_invariants();
            check_all(&again, &writer, &[writer.last, writer.pgmrpl]).await;
        }
        let last = node.log.borrow().position().file;
        assert!(last > 12, "the log went on over many files: {last}");
        assert!(highest <= node.options.log_files_max(), "but only {highest} files were there at once");
        let made = disk.take_seen().into_iter().filter(makes_log).count();
        assert!(made <= node.options.log_files_max(), "and the others were used again, not {made} made");
        let state = node.store.borrow().segments()[&SEGMENT].segment.state();
        assert!(state.log_start > Lsn::ZERO && state.log_start <= writer.vdl);
        let store = node.store.borrow();
        let segment = &store.segments()[&SEGMENT].segment;
        let refused = segment.admit_log_read(epochs(1), Lsn(state.log_start.0 - 1));
        assert_eq!(refused, Err(SegmentError::ReadPointTooOld { pgmrpl: state.log_start }));
        assert_eq!(segment.admit_log_read(epochs(1), state.log_start), Ok(()));
    });
}

#[test]
fn a_log_that_shrinks_gives_back_what_is_above_its_budget() {
    block_on(async {
        // The background does nothing meanwhile.
        let (node, disk, writer) = filled(600).await;
        let (max, grown) = (node.options.log_files_max(), log_files(&disk.image()).len());
        assert!(grown > max + 2, "{grown} files");
        for _ in 0..5 {
            round(&node).await.expect("works");
        }
        assert_eq!(log_files(&disk.image()).len(), max, "what is within the budget stays, to be used again");
        assert_eq!(node.background.empty_files.borrow().len() + node.log.borrow().file_count(), max);
        check_all(&node, &writer, &[writer.last]).await;
    });
}

#[test]
fn empty_log_files_of_another_length_are_not_used_again() {
    block_on(async {
        let (node, disk, mut writer) = filled(600).await;
        for _ in 0..5 {
            round(&node).await.expect("works");
        }
        let empty: Vec<u32> =
            node.background.empty_files.borrow().iter().map(|(number, _)| *number).collect();
        assert!(empty.len() >= 2, "{empty:?}");
        let mut image = disk.image();
        let name = crate::log::file_name;
        image.insert(name(empty[0]), vec![1; 64 << 10]);
        image.insert(name(empty[1]), vec![1; 512 << 10]);
        let (node, disk) = open(image).await.expect("starts");
        assert_eq!(node.background.empty_files.borrow().len(), empty.len() - 2);
        let left = log_files(&disk.image());
        assert!(!left.contains(&empty[0]) && !left.contains(&empty[1]), "{left:?}");
        fill(&node, &mut writer, 300).await.expect("filled");
        assert!(disk.image().iter().all(|(name, bytes)| {
            crate::log::file_number(name).is_none() || bytes.len() as u64 == options().log_file_bytes
        }));
        let (again, _) = open(disk.image()).await.expect("restarts");
        check_all(&again, &writer, &[writer.last]).await;
    });
}

#[test]
fn log_files_of_another_setting_are_filled_to_their_end_and_no_further() {
    block_on(async {
        for other in [128u64 << 10, 512 << 10] {
            let (node, disk, mut writer) = filled(90).await;
            let before = node.log.borrow().position().file;
            let changed = NodeOptions { log_file_bytes: other, ..options() };
            let node = open_with(disk.clone(), &Clock::default(), changed).await.expect("starts");
            // The disk in memory refuses a write behind the end of a file.
            fill(&node, &mut writer, 300).await.expect("filled");
            assert!(node.log.borrow().position().file > before + 1);
            check_all(&node, &writer, &[writer.last]).await;
            let node = open_with(disk, &Clock::default(), changed).await.expect("starts again");
            check_all(&node, &writer, &[writer.last]).await;
        }
    });
}

#[test]
fn memory_for_pending_records_is_bounded() {
    block_on(async {
        let (node, _, mut writer) = filled(1).await;
        // Many pages with short chains: none is long, and the log is within its budget.
        for n in 0..60u64 {
            writer.vdl = writer.last;
            writer.pgmrpl = writer.last;
            let changes: Vec<(u64, u8)> = (0..150).map(|c| ((n * 150 + c) % 1500, (c % 200) as u8)).collect();
            submit(&node, vec![append(1, writer.batch(&changes))]).await.expect("written");
        }
        let max = node.options.pending_records_max;
        assert!(node.store.borrow().pending_records() > max);
        round(&node).await.expect("works");
        node.store.borrow().check_invariants();
        assert!(node.store.borrow().pending_records() <= max / 2);
        check_all(&node, &writer, &[writer.last, writer.pgmrpl]).await;
    });
}

/// So many records on each of these pages, in turns, with everything before them durable and old.
async fn update(node: &Rc<Node>, writer: &mut Writer, pages: std::ops::Range<u64>, records: usize) {
    let numbers: Vec<u64> = pages.collect();
    for mark in 0..records {
        for some in numbers.chunks(150) {
            writer.vdl = writer.last;
            writer.pgmrpl = writer.last;
            let changes: Vec<(u64, u8)> = some.iter().map(|page| (*page, (mark % 200) as u8)).collect();
            submit(node, vec![append(1, writer.batch(&changes))]).await.expect("written");
        }
    }
}

#[test]
fn an_image_holds_all_that_waits_on_its_page_wherever_in_the_log_it_lies() {
    block_on(async {
        let (node, _, mut writer) = filled(1).await;
        update(&node, &mut writer, 0..600, 20).await;
        assert!(node.log.borrow().position().file > node.log.borrow().first_file());
        let before = node.store.borrow().pending_records();
        round(&node).await.expect("works");
        let made: Vec<PageId> = images(&node).await.into_keys().collect();
        let store = node.store.borrow();
        let slot = &store.segments()[&SEGMENT];
        for page in &made {
            let left = slot.pages.plan(*page, slot.segment.materialise_cap()).records.len();
            assert_eq!(left, 0, "page {page} has an image and {left} records that could be in it");
        }
        let held = before - store.pending_records();
        assert!(!made.is_empty() && held >= 19 * made.len(), "{held} records in {} images", made.len());
    });
}

#[test]
fn where_memory_is_short_the_pages_with_the_most_records_get_an_image() {
    block_on(async {
        let (node, _, mut writer) = filled(1).await;
        update(&node, &mut writer, 1000..4000, 1).await;
        update(&node, &mut writer, 0..400, 15).await;
        let max = node.options.pending_records_max;
        assert!(node.store.borrow().pending_records() > max);
        assert!(node.log.borrow().bytes_used() < node.options.log_budget_bytes, "there is room for log");
        round(&node).await.expect("works");
        assert!(node.store.borrow().pending_records() <= max / 2);
        let few = images(&node).await.into_keys().filter(|page| page.0 >= 1000).count();
        assert_eq!(few, 0, "images hold one record");
        check_all(&node, &writer, &[writer.last, writer.pgmrpl]).await;
    });
}

#[test]
fn the_foreground_waits_where_the_background_would_never_catch_up() {
    block_on(async {
        let roomy = NodeOptions { pending_records_max: 1 << 20, ..options() };
        let disk = Rc::new(MemoryDisk::from_image(Image::new()));
        let node = open_with(disk, &Clock::default(), roomy).await.expect("new");
        let mut writer = Writer::new(1);
        submit(&node, vec![create(1)]).await.expect("created");
        let over =
            |node: &Rc<Node>| node.log.borrow().bytes_used() as f64 / node.options.log_budget_bytes as f64;
        assert_eq!(Brake::default().pause(&node, 1 << 20), Duration::ZERO);
        while over(&node) < 2.0 {
            fill(&node, &mut writer, 50).await.expect("filled");
        }
        let brake = Brake::default().pause(&node, 64 << 10);
        assert!(brake > Duration::ZERO);
        assert!(Brake::default().pause(&node, 128 << 10) > brake, "more log waits longer");
        assert!(Brake::default().pause(&node, 64 << 20) < Duration::from_secs(1), "and not for ever");
        // What only time mends is not mended by waiting.
        node.background.retry_at.set(Some(node.host.now()));
        assert_eq!(Brake::default().pause(&node, 64 << 10), Duration::ZERO);
        node.background.retry_at.set(None);
        for _ in 0..8 {
            round(&node).await.expect("works");
        }
        assert_eq!(Brake::default().pause(&node, 64 << 10), Duration::ZERO, "{} budgets of log", over(&node));
        check_all(&node, &writer, &[writer.last]).await;
    });
}

#[test]
fn the_foreground_slows_down_before_memory_has_no_room() {
    block_on(async {
        let (node, _, mut writer) = filled(1).await;
        let max = node.options.pending_records_max;
        let pending = |node: &Rc<Node>| node.store.borrow().pending_records();
        let of_a_mebibyte = |node: &Rc<Node>| Brake::default().pause(node, 1 << 20);
        let mut waits = Vec::new();
        while pending(&node) < max {
            update(&node, &mut writer, 0..50, 1).await;
            if pending(&node) <= max / 4 * 3 {
                assert_eq!(of_a_mebibyte(&node), Duration::ZERO, "{} of {max}", pending(&node));
            } else {
                waits.push(of_a_mebibyte(&node));
            }
        }
        assert!(waits.len() > 3 && waits.is_sorted() && waits[0] < waits[3], "longer and longer: {waits:?}");
        // Small groups wait as long as a large one of as many bytes, though each too short for a timer.
        let (mut small, mut slept) = (Brake::default(), Duration::ZERO);
        for _ in 0..1 << 8 {
            let pause = small.pause(&node, 1 << 12);
            small.waited(pause);
            slept += pause;
        }
        let whole = of_a_mebibyte(&node);
        assert!(slept <= whole && whole - slept < Duration::from_millis(2), "{slept:?} for {whole:?}");
        round(&node).await.expect("works");
        assert_eq!(of_a_mebibyte(&node), Duration::ZERO);
    });
}

#[test]
fn an_idle_segment_does_not_keep_all_log_behind_it() {
    block_on(async {
        let (node, disk) = open(Image::new()).await.expect("new");
        submit(&node, vec![create(1)]).await.expect("created");
        let mut idle = Writer::new(1);
        fill(&node, &mut idle, 3).await.expect("filled");
        // From here on nothing says that the idle segment's last batch is durable; another segment keeps writing.
        let busy = SegmentId { volume: VolumeId(8), pg: PgId(0) };
        let mut writer = Writer::of(busy, 1);
        submit(
            &node,
            vec![Request::CreateSegment { segment: busy, epochs: epochs(1), kind: SegmentKind::Full }],
        )
        .await
        .expect("created");
        for n in 0..900u64 {
            writer.vdl = writer.last;
            writer.pgmrpl = writer.last;
            let changes: Vec<(u64, u8)> = (0..30).map(|c| ((n + c) % 40, (n % 200) as u8)).collect();
            let append = Append { segment: busy, epochs: epochs(1), batch: writer.batch(&changes) };
            submit(&node, vec![Request::Append(append)]).await.expect("written");
            if n % 200 == 199 {
                round(&node).await.expect("works");
            }
        }
        let first = node.log.borrow().first_file();
        assert!(first > 3, "the first file kept is {first}");
        check_all(&node, &idle, &[idle.last, idle.pgmrpl]).await;
        let (again, _) = open(disk.image()).await.expect("restarts");
        again.store.borrow().check_invariants();
        check_all(&again, &idle, &[idle.last, idle.pgmrpl]).await;
        assert_eq!(again.store.borrow().segments()[&SEGMENT].segment.scl(), idle.last);
    });
}

#[test]
fn a_batch_that_cannot_be_moved_is_not_waited_for() {
    block_on(async {
        let (disk, clock) = (Rc::new(MemoryDisk::default()), Clock::default());
        let node = open_with(disk.clone(), &clock, options()).await.expect("new");
        submit(&node, vec![create(1)]).await.expect("created");
        // Nothing says that the only batch of this segment is durable: it can only be moved, and it cannot be read.
        fill(&node, &mut Writer::new(1), 1).await.expect("filled");
        let (at, len) = {
            let store = node.store.borrow();
            let needed = store.segments()[&SEGMENT].pages.batches_needed(1);
            needed.into_iter().next().expect("it is pending")
        };
        let name = crate::log::file_name(at.file());
        let mut bytes = disk.image()[&name].clone();
        bytes[at.offset() as usize..][..len as usize].fill(0);
        disk.put_file(&name, bytes);
        let busy = SegmentId { volume: VolumeId(8), pg: PgId(0) };
        let mut writer = Writer::of(busy, 1);
        let create = Request::CreateSegment { segment: busy, epochs: epochs(1), kind: SegmentKind::Full };
        submit(&node, vec![create]).await.expect("created");
        for n in 0..400u64 {
            writer.vdl = writer.last;
            writer.pgmrpl = writer.last;
            let changes: Vec<(u64, u8)> = (0..30).map(|c| ((n + c) % 40, (n % 200) as u8)).collect();
            let append = Append { segment: busy, epochs: epochs(1), batch: writer.batch(&changes) };
            submit(&node, vec![Request::Append(append)]).await.expect("written");
        }
        assert!(node.log.borrow().bytes_used() > node.options.log_budget_bytes);
        round(&node).await.expect("works");
        assert_eq!(node.store.borrow().oldest_file_needed(), Some(at.file()), "its log is kept");
        assert!(clock.now() < Duration::from_secs(1), "the background waited {:?}", clock.now());
    });
}

#[test]
fn what_readers_and_truncations_may_need_is_kept() {
    block_on(async {
        let (node, _, mut writer) = filled(40).await;
        let floor = writer.pgmrpl;
        // Readers hold their read point and nothing above the VDL is known to be durable.
        for n in 0..200u64 {
            let changes: Vec<(u64, u8)> = (0..30).map(|c| ((n + c) % 40, (n % 200) as u8)).collect();
            submit(&node, vec![append(1, writer.batch(&changes))]).await.expect("written");
        }
        round(&node).await.expect("works");
        round(&node).await.expect("works");
        for base in images(&node).await.values() {
            assert!(base.lsn <= floor);
        }
        check_all(&node, &writer, &[floor, Lsn(floor.0 + 5000), writer.last]).await;
        let range = writer.reopen(2, floor, 1 << 20);
        let open_it = Request::OpenSegment { segment: SEGMENT, epochs: epochs(2) };
        let truncate = Request::Truncate { segment: SEGMENT, epochs: epochs(2), ranges: vec![range] };
        submit(&node, vec![open_it, truncate]).await.expect("written");
        check_all(&node, &writer, &[writer.last]).await;
    });
}

#[test]
fn damaged_images_are_not_served() {
    block_on(async {
        let (node, disk, _) = filled(120).await;
        round(&node).await.expect("works");
        let bases = images(&node).await;
        let (page, base) = bases.iter().next().expect("an image");
        let (_, other) = bases.iter().nth(1).expect("another");
        let at = base.slot.0 as usize * PAGE_SIZE;
        let misdirected = other.slot.0 as usize * PAGE_SIZE;
        let good = disk.image()[PAGE_FILE].clone();
        type Spoil<'a> = &'a dyn Fn(&mut Vec<u8>);
        let spoils: [Spoil<'_>; 3] = [
            &|file| file[at + 5000] ^= 1,
            &|file| file.copy_within(misdirected..misdirected + PAGE_SIZE, at),
            &|file| file[at..at + PAGE_SIZE].fill(0),
        ];
        for spoil in spoils {
            let mut bad = good.clone();
            spoil(&mut bad);
            disk.put_file(PAGE_FILE, bad);
            let plan = node.store.borrow().segments()[&SEGMENT].pages.plan(*page, Lsn::MAX);
            let made = super::read::make(&node, SEGMENT, plan).await.0;
            assert!(matches!(made, Err(SegmentError::Damaged { .. })), "{made:?}");
        }
        disk.put_file(PAGE_FILE, good);
        let plan = node.store.borrow().segments()[&SEGMENT].pages.plan(*page, Lsn::MAX);
        assert!(super::read::make(&node, SEGMENT, plan).await.0.is_ok());
    });
}

#[test]
fn a_crash_at_any_operation_of_the_background_loses_nothing() {
    block_on(async {
        let (node, disk, mut writer) = filled(1).await;
        fill(&node, &mut writer, 400).await.expect("filled");
        let image = disk.image();
        let before = disk.operations();
        round(&node).await.expect("works");
        let steps = disk.operations() - before;
        assert!(steps > 50, "{steps} operations");
        assert!(disk.image().contains_key(CHECKPOINT_FILE));
        for nth in
            (1..=steps).step_by((steps / 30).max(1) as usize).chain([steps - 3, steps - 2, steps - 1, steps])
        {
            let (node, disk) = open(image.clone()).await.expect("opens");
            disk.fail_nth(nth);
            let _ = round(&node).await;
            disk.fail_nth(u64::MAX);
            let (again, _) = open(disk.image()).await.expect("recovers");
            assert_eq!(again.store.borrow().segments()[&SEGMENT].segment.scl(), writer.last);
            check_all(&again, &writer, &[writer.last, writer.pgmrpl]).await;
        }
    });
}

#[test]
fn a_lost_or_damaged_checkpoint_is_named() {
    block_on(async {
        let (node, disk, mut writer) = filled(1).await;
        fill(&node, &mut writer, 400).await.expect("filled");
        round(&node).await.expect("works");
        // The log behind the list of pending records must reach as far as the checkpoint saw it.
        fill(&node, &mut writer, 5).await.expect("filled");
        let oldest = node.log.borrow().first_file();
        super::saver::write_checkpoint(&node, oldest).await.expect("written");
        let good = disk.image();
        let refuse = async |image: Image, what: &str| {
            let error = open(image).await.map(|_| ()).expect_err(what);
            assert!(matches!(&error, NodeError::Recovery(RecoveryError::Damaged { .. })), "{what}: {error}");
        };
        let mut image = good.clone();
        image.get_mut(CHECKPOINT_FILE).expect("there")[70] ^= 1;
        refuse(image, "a flipped bit").await;
        let mut image = good.clone();
        image.remove(CHECKPOINT_FILE);
        refuse(image, "no checkpoint, and the log does not start at its beginning").await;
        let mut image = good.clone();
        image.remove(PAGE_FILE);
        refuse(image, "no page store").await;
        let mut image = good.clone();
        let newest =
            *log_files(&good).iter().filter(|n| **n <= node.log.borrow().position().file).max().expect("log");
        image.get_mut(&crate::log::file_name(newest)).expect("there").fill(0);
        refuse(image, "the end of the log that the checkpoint saw").await;
    });
}

#[test]
fn a_full_device_stops_images_but_not_reads() {
    block_on(async {
        let (node, disk, writer) = filled(120).await;
        disk.set_full(true);
        round(&node).await.expect("goes on");
        check_all(&node, &writer, &[writer.last]).await;
        assert!(images(&node).await.is_empty());
        disk.set_full(false);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pages_equal_the_model_whatever_the_background_does(
        steps in proptest::collection::vec((0u64..12, 1usize..40, any::<u8>(), any::<bool>(), any::<bool>()), 5..40),
    ) {
        block_on(async {
            let (mut node, mut disk) = open(Image::new()).await.expect("new");
            let mut writer = Writer::new(1);
            submit(&node, vec![create(1)]).await.expect("created");
            let mut points = Vec::new();
            for (page, count, mark, background, restart) in steps {
                let changes: Vec<(u64, u8)> =
                    (0..count as u64).map(|n| ((page + n % 3) % 12, mark.wrapping_add(n as u8) % 200)).collect();
                submit(&node, vec![append(1, writer.batch(&changes))]).await.expect("written");
                points.push(writer.last);
                if mark % 4 == 0 {
                    writer.vdl = writer.last;
                    writer.pgmrpl = points[points.len() / 2];
                }
                if background {
                    round(&node).await.expect("works");
                }
                if restart {
                    (node, disk) = open(disk.image()).await.expect("recovers");
                }
            }
            node.store.borrow().check_invariants();
            let oldest = node.store.borrow().segments()[&SEGMENT].segment.pgmrpl();
            for point in points.iter().filter(|point| **point >= oldest) {
                for page in 0..12 {
                    assert_eq!(read(&node, page, *point).await, writer.page(page, *point));
                }
            }
            let _ = disk;
        });
    }

    #[test]
    fn any_bytes_are_no_checkpoint_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), fix in any::<bool>()) {
        let mut bytes = bytes;
        if fix {
            let mut head = b"SXC1\x03\0\0\0".to_vec();
            head.append(&mut bytes);
            let crc = crc32c::crc32c(&head);
            head.extend_from_slice(&crc.to_le_bytes());
            bytes = head;
        }
        let _ = checkpoint::decode(&Bytes::from(bytes), IDENTITY, &mut Store::default());
    }
}

#[test]
fn space_that_is_free_in_plenty_goes_to_the_device_and_comes_back() {
    block_on(async {
        let (node, disk, _) = filled(1).await;
        let held = |node: &Node| node.background.pages.borrow().bytes();
        let mut taken = Vec::new();
        for _ in 0..2000 {
            taken.push(space::free_slot(&node).await.expect("works").expect("space").1);
        }
        let (most, _) = held(&node);
        let kept = taken.split_off(1500);
        node.background.pages.borrow_mut().release(taken);
        for _ in 0..10 {
            space::give_back(&node).await.expect("given back");
        }
        let (bytes, free) = held(&node);
        assert!(bytes < most / 2 && free <= bytes / 2, "{bytes} of {most}, {free} of them free");
        assert_eq!(disk.image()[PAGE_FILE].len() as u64, most, "the file is as long as it was, with holes");

        // All of it is there for images, but not while the device is full.
        disk.set_full(true);
        let mut again = BTreeSet::new();
        while let Some((_, slot)) = space::free_slot(&node).await.expect("works") {
            assert!(!kept.contains(&slot) && again.insert(slot), "{slot:?} is in use");
        }
        assert_eq!(again.len() as u64 * PAGE_SIZE as u64, free);
        disk.set_full(false);
        while held(&node).0 < most {
            let slot = space::free_slot(&node).await.expect("works").expect("space").1;
            assert!(!kept.contains(&slot) && again.insert(slot), "{slot:?} is in use");
        }
        // Whether what is free has its space is not known at a start: it is taken again before it is used.
        let (node, _) = open(disk.image()).await.expect("opens");
        assert!(held(&node).1 < 1 << 20, "{:?}", held(&node));
    });
}

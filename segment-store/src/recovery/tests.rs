//! Recovery of recorded disks: every prefix and torn variant of what was written, damage, and plain garbage.

use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;
use sextant_redo::Lsn;
use sextant_redo::wire::Request;

use super::*;
use crate::NodeError;
use crate::disk::memory::trace::{Operation, Write};
use crate::disk::memory::{Image, MemoryDisk};
use crate::log::file_name;
use crate::testing::{
    IDENTITY, SEGMENT, Writer, append, block_on, create, epochs, open, open_on, read, submit,
};

/// A run of a node: the disk before anything was written, every write, and the SCL acknowledged behind each.
struct Trace {
    blank: Image,
    writes: Vec<Write>,
    scl: Vec<Lsn>,
    writer: Writer,
}

async fn record(batches: usize, changes: u64) -> Trace {
    let (node, disk) = open(Image::new()).await.expect("a new node");
    let mut writer = Writer::new(1);
    let mut scl = Vec::new();
    submit(&node, vec![create(1)]).await.expect("written");
    scl.push(Lsn::ZERO);
    for n in 0..batches as u64 {
        let list: Vec<(u64, u8)> = (0..changes).map(|c| ((n + c) % 7, ((n * 3 + c) % 200) as u8)).collect();
        submit(&node, vec![append(1, writer.batch(&list))]).await.expect("written");
        scl.push(node.store.borrow().segments()[&SEGMENT].segment.scl());
    }
    let write = |operation| if let Operation::Write(write) = operation { Some(write) } else { None };
    let writes: Vec<Write> = disk.take_seen().into_iter().filter_map(write).collect();
    assert_eq!(writes.len(), scl.len(), "one write a request");
    let blank = disk.image().into_iter().map(|(name, bytes)| (name, vec![0; bytes.len()])).collect();
    Trace { blank, writes, scl, writer }
}

impl Trace {
    /// The disk after `whole` writes, and `part` bytes of the next one.
    fn image(&self, whole: usize, part: usize) -> Image {
        let mut image = self.blank.clone();
        let torn = self
            .writes
            .get(whole)
            .map(|write| Write { bytes: write.bytes[..part].to_vec(), ..write.clone() });
        for write in self.writes[..whole].iter().chain(torn.iter()) {
            let file = image.get_mut(&write.name).expect("made before");
            let at = write.offset as usize;
            file[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        image
    }
}

fn scl(node: &Rc<crate::node::Node>) -> Lsn {
    node.store.borrow().segments().get(&SEGMENT).map_or(Lsn::ZERO, |slot| slot.segment.scl())
}

#[test]
fn every_prefix_and_torn_variant_recovers_what_was_acknowledged() {
    block_on(async {
        let trace = record(80, 40).await;
        assert!(trace.writes.iter().any(|w| w.name == file_name(2)), "the trace spans two files");
        for whole in 0..trace.writes.len() {
            let len = trace.writes[whole].bytes.len();
            for part in [0, 512, 4096, len - 512].into_iter().filter(|part| *part < len) {
                let (node, _) = open(trace.image(whole, part)).await.expect("a torn tail is normal");
                let acknowledged = whole.checked_sub(1).map_or(Lsn::ZERO, |n| trace.scl[n]);
                // What was in flight may be whole: then it is there too.
                let possible = [acknowledged, trace.scl[whole]];
                assert!(
                    possible.contains(&scl(&node)),
                    "{whole} writes and {part} bytes: SCL {}",
                    scl(&node)
                );
            }
        }
    });
}

#[test]
fn a_recovered_node_serves_and_goes_on() {
    block_on(async {
        let trace = record(80, 40).await;
        let mut writer = trace.writer.clone();
        let (node, disk) = open(trace.image(trace.writes.len(), 0)).await.expect("recovers");
        for page in 0..7 {
            assert_eq!(read(&node, page, scl(&node)).await, writer.page(page, scl(&node)));
            let middle = trace.scl[30];
            assert_eq!(read(&node, page, middle).await, writer.page(page, middle));
        }
        for n in 0..30u8 {
            submit(&node, vec![append(1, writer.batch(&[(u64::from(n % 7), n)]))]).await.expect("written");
        }
        let (again, _) = open(disk.image()).await.expect("recovers again");
        assert_eq!(scl(&again), writer.last);
        for page in 0..9 {
            assert_eq!(read(&again, page, Lsn::MAX).await, writer.page(page, Lsn::MAX));
        }
    });
}

#[test]
fn a_torn_tail_is_written_over_and_stays_gone() {
    block_on(async {
        let trace = record(20, 40).await;
        let last = trace.writes.len() - 1;
        let (node, disk) = open(trace.image(last, 512)).await.expect("recovers");
        assert_eq!(scl(&node), trace.scl[last - 1]);
        let mut writer = Writer::new(1);
        let mut smaller = Bytes::new();
        for n in 0..20u64 {
            let list: Vec<(u64, u8)> = (0..40).map(|c| ((n + c) % 7, ((n * 3 + c) % 200) as u8)).collect();
            if n == 19 {
                smaller = writer.clone().batch(&list[..3]);
            }
            writer.batch(&list);
        }
        submit(&node, vec![append(1, smaller)]).await.expect("written");
        let now = scl(&node);
        assert!(now > trace.scl[last - 1] && now < trace.scl[last]);
        let (again, _) = open(disk.image()).await.expect("recovers");
        assert_eq!(scl(&again), now);
    });
}

#[test]
fn a_bad_group_before_good_ones_stops_the_node_and_is_named() {
    block_on(async {
        let trace = record(80, 40).await;
        let count = trace.writes.len();
        for bad in 0..count - 1 {
            let write = &trace.writes[bad];
            let mut image = trace.image(count, 0);
            // Somewhere in the group, not in the file header that the first write of a file begins with.
            let at = write.offset.max(4096) as usize + 45;
            image.get_mut(&write.name).expect("there")[at] ^= 0x40;
            let error = open(image).await.map(|_| ()).expect_err("damage");
            assert!(
                matches!(&error, NodeError::Recovery(RecoveryError::Damaged { .. })),
                "write {bad}: {error}"
            );
            assert!(error.to_string().contains(&write.name), "{error}");
        }
        let mut image = trace.image(count, 0);
        image.get_mut(&file_name(2)).expect("there")[10] ^= 1;
        let (node, _) = open(image).await.expect("a lost file header is made up for by the groups");
        assert_eq!(scl(&node), trace.scl[count - 1]);
    });
}

#[test]
fn a_missing_or_foreign_file_stops_the_node() {
    block_on(async {
        let trace = record(80, 40).await;
        let full = trace.image(trace.writes.len(), 0);
        let mut image = full.clone();
        image.remove(&file_name(1));
        assert!(matches!(
            open(image).await.map(|_| ()),
            Err(NodeError::Recovery(RecoveryError::Damaged { .. }))
        ));
        let mut image = full.clone();
        image.insert(file_name(2), vec![0; full[&file_name(2)].len()]);
        let survivors = open(image).await.map(|(node, _)| scl(&node));
        // The tail of the log vanished without a trace: nothing on this disk can tell.
        assert!(survivors.is_ok_and(|scl| scl < trace.scl[trace.writes.len() - 1]));
        let disk: Rc<dyn Disk> = Rc::new(MemoryDisk::from_image(full));
        let other = LogIdentity { cluster: sextant_redo::ClusterId(1), ..IDENTITY };
        let refused = recover(&*disk, other, LogStart::BEGINNING, &mut Store::default()).await;
        assert!(matches!(refused, Err(RecoveryError::Foreign { .. })));
    });
}

/// A freed file is overwritten from its start: what it held before lies behind the end of the log, whole groups of this very
/// node with good checksums.
#[test]
fn remains_of_an_earlier_use_of_a_file_are_not_log() {
    block_on(async {
        let trace = record(80, 40).await;
        let full = trace.image(trace.writes.len(), 0);
        for old in [1, 2] {
            let mut image = full.clone();
            let spare = image.keys().filter_map(|name| log::file_number(name)).max().expect("log") + 1;
            image.insert(file_name(spare), full[&file_name(old)].clone());
            let (mut node, mut disk) = open(image).await.expect("a file used before is a spare one");
            let mut writer = trace.writer.clone();
            assert_eq!(scl(&node), writer.last);
            assert_eq!(
                node.log.borrow().spares(),
                spare as usize - node.log.borrow().position().file as usize
            );
            let mut left_there = 5;
            for n in 0..400u64 {
                let list: Vec<(u64, u8)> = (0..40).map(|c| ((n + c) % 7, (n % 200) as u8)).collect();
                submit(&node, vec![append(1, writer.batch(&list))]).await.expect("written");
                let there = node.log.borrow().position().file == spare;
                if there {
                    // Every group of the new use stands in front of remains of the old one.
                    (node, disk) = open(disk.image()).await.expect("restarts");
                    assert_eq!(scl(&node), writer.last);
                    assert_eq!(read(&node, n % 7, Lsn::MAX).await, writer.page(n % 7, Lsn::MAX));
                    left_there -= 1;
                }
                if left_there == 0 {
                    break;
                }
            }
            assert_eq!(left_there, 0, "the log came to the file that was used before");
        }
    });
}

#[test]
fn epochs_and_truncations_survive() {
    block_on(async {
        let (node, disk) = open(Image::new()).await.expect("new");
        let mut writer = Writer::new(1);
        let one = writer.batch(&[(1, 1), (2, 2)]);
        let kept = writer.last;
        let two = writer.batch(&[(1, 3), (3, 4)]);
        submit(&node, vec![create(1)]).await.expect("written");
        submit(&node, vec![append(1, one), append(1, two)]).await.expect("written");
        let range = writer.reopen(2, kept, 1000);
        let open_request = Request::OpenSegment { segment: SEGMENT, epochs: epochs(2) };
        let truncate = Request::Truncate { segment: SEGMENT, epochs: epochs(2), ranges: vec![range] };
        submit(&node, vec![open_request, truncate]).await.expect("written");
        submit(&node, vec![append(2, writer.batch(&[(1, 9)]))]).await.expect("written");
        let before = node.store.borrow().segments()[&SEGMENT].segment.state();
        assert_eq!((before.scl, before.epochs), (writer.last, epochs(2)));
        let (again, _) = open(disk.image()).await.expect("recovers");
        assert_eq!(again.store.borrow().segments()[&SEGMENT].segment.state(), before);
        for page in 0..5 {
            assert_eq!(read(&again, page, Lsn::MAX).await, writer.page(page, Lsn::MAX));
        }
    });
}

#[test]
fn a_full_device_refuses_log_and_takes_it_again_later() {
    block_on(async {
        let (node, disk) = open(Image::new()).await.expect("new");
        submit(&node, vec![create(1)]).await.expect("written");
        disk.set_full(true);
        let mut writer = Writer::new(1);
        let mut refused = false;
        for n in 0..200u64 {
            let list: Vec<(u64, u8)> = (0..40).map(|c| (c % 7, ((n + c) % 200) as u8)).collect();
            if let Err(NodeError::Disk { source, .. }) =
                submit(&node, vec![append(1, writer.batch(&list))]).await
            {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                refused = true;
                break;
            }
        }
        assert!(refused);
        disk.set_full(false);
        let node = open_on(disk).await.expect("recovers");
        assert!(scl(&node) > Lsn::ZERO);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        places in proptest::collection::vec((0usize..12, any::<u8>(), any::<bool>()), 0..8),
    ) {
        // A real log with random bytes strewn over it, and a file of random bytes behind.
        block_on(async {
            let trace = record(3, 2).await;
            let mut image = trace.image(trace.writes.len(), 0);
            let file = image.get_mut(&file_name(1)).expect("there");
            for (place, byte, fix) in &places {
                let at = place * 2048 + usize::from(*byte);
                for (offset, byte) in bytes.iter().enumerate().take(64) {
                    file[at + offset] ^= byte;
                }
                if *fix {
                    // A checksum made right, so that what is behind it is looked at.
                    let block = at / 4096 * 4096;
                    let len = u32::from_le_bytes([file[block + 4], file[block + 5], file[block + 6], file[block + 7]]) as usize;
                    if len < 8000 {
                        let group = &file[block..block + 40 + len];
                        let crc = crc32c::crc32c_append(crc32c::crc32c(&group[..32]), &group[40..]);
                        file[block + 32..block + 36].copy_from_slice(&crc.to_le_bytes());
                    }
                }
            }
            let mut junk = vec![0; 8192];
            junk[..bytes.len()].copy_from_slice(&bytes);
            image.insert(file_name(3), junk);
            let _ = open(image).await.map(|_| ());
        });
    }
}

/// A process that ends while it makes its spare file leaves a file that is too short; found by the simulator.
#[test]
fn a_log_file_that_was_being_made_does_not_keep_a_node_from_starting() {
    block_on(async {
        let trace = record(10, 5).await;
        let mut image = trace.image(trace.writes.len(), 0);
        let spare = image.keys().filter_map(|name| log::file_number(name)).max().expect("log") + 1;
        for len in [0, 4096] {
            image.insert(file_name(spare), vec![0; len]);
            let (node, disk) = open(image.clone()).await.expect("it never held log");
            assert_eq!(scl(&node), trace.writer.last);
            assert!(!disk.image().contains_key(&file_name(spare)), "its number is free again");
        }
        // In front of the last file it is damage, and no crash leaves part of a block.
        for (len, next) in [(0, 4096), (100, 0)] {
            let mut image = image.clone();
            image.insert(file_name(spare), vec![0; len]);
            image.insert(file_name(spare + 1), vec![0; next]);
            let refused = open(image).await.err().expect("a file is cut off").to_string();
            assert!(refused.contains(&file_name(spare)), "{refused}");
        }
    });
}

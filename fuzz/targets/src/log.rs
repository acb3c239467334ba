//! A storage node's disk at start-up: log files and checkpoints, arbitrary and damaged.
//!
//! What must hold: no image panics; reading it twice gives the same; an undamaged log gives back everything; of a damaged
//! one either a whole number of its first groups counts, or the node refuses to start.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sextant_redo::patch::Patch;
use sextant_redo::wire::{Epochs, SegmentState};
use sextant_redo::{
    Batch, BatchBuilder, ClusterId, Lsn, MembershipEpoch, Mtr, NodeId, PageId, PgId, RecordLinks, SegmentId,
    SegmentKind, TruncationRange, VolumeEpoch, VolumeId,
};
use sextant_segment_store::core::{Entry, Store};
use sextant_segment_store::disk::{ALIGN, FileId};
use sextant_segment_store::log::{
    FileHeader, GroupHeader, HotLog, LogIdentity, LogPosition, Prepared, Queued,
};
use sextant_segment_store::recovery::{
    LogScan, LogStart, RecoveryError, ScanEnd, apply_entry, read_checkpoint, write_checkpoint,
};

use crate::input::{Input, noise};

const IDENTITY: LogIdentity = LogIdentity { cluster: ClusterId(0xc1), node: NodeId(5) };
const SEGMENT: SegmentId = SegmentId { volume: VolumeId(7), pg: PgId(0) };
const FILE_BYTES: usize = 8 * ALIGN;
const FILES: u32 = 4;

type Image = BTreeMap<u32, Vec<u8>>;

/// What recovery makes of an image.
type Found = Result<(ScanEnd, Vec<SegmentState>), RecoveryError>;

fn states(store: &Store) -> Vec<SegmentState> {
    store.segments().values().map(|slot| slot.segment.state()).collect()
}

fn recover(image: &Image) -> Found {
    let mut store = Store::default();
    let mut scan = LogScan::new(IDENTITY, LogStart::BEGINNING);
    for (number, bytes) in image {
        let mut apply = |entry: &Entry, at| apply_entry(&mut store, entry, at, LogStart::BEGINNING.applied);
        scan.file(*number, &Bytes::copy_from_slice(bytes), &mut apply)?;
    }
    let end = scan.finish()?;
    store.check_invariants();
    Ok((end, states(&store)))
}

/// The same image gives the same, every time.
fn recover_twice(image: &Image) -> Found {
    let found = recover(image);
    match (&found, recover(image)) {
        (Ok(one), Ok(two)) => assert_eq!(*one, two),
        (Err(one), Err(two)) => assert_eq!(one.to_string(), two.to_string()),
        (one, two) => panic!("two outcomes of one image: {one:?} and {two:?}"),
    }
    found
}

/// A log that a node wrote, and what was known behind each of its groups.
struct Written {
    image: Image,
    after: Vec<Vec<SegmentState>>,
}

/// Writes as a program says, with the code that a node writes with.
struct Writer {
    log: HotLog,
    store: Store,
    epoch: u64,
    last: Lsn,
    next: Lsn,
    written: Written,
}

impl Writer {
    fn new() -> Writer {
        let files = (1..=FILES).map(|number| (number, FileId(number))).collect();
        let next = LogPosition { file: 1, offset: 0, sequence: 1 };
        let image = (1..=FILES).map(|number| (number, vec![0; FILE_BYTES])).collect();
        Writer {
            log: HotLog::new(IDENTITY, FILE_BYTES as u64, files, BTreeMap::new(), next, FILE_BYTES as u64),
            store: Store::default(),
            epoch: 1,
            last: Lsn::ZERO,
            next: Lsn(1),
            written: Written { image, after: vec![Vec::new()] },
        }
    }

    fn batch(&mut self, input: &mut Input<'_>) -> Entry {
        let mut builder = BatchBuilder::new(SEGMENT, VolumeEpoch(self.epoch));
        let mut mtr = Mtr::new();
        let vdl = self.last;
        for _ in 0..1 + input.below(4) {
            mtr.clear();
            let at = mtr.add_page(PageId(u64::from(input.u8() % 8)), Lsn::ZERO);
            let len = input.below(1500);
            mtr.patch(at, Patch::Set { offset: 24, bytes: &vec![input.u8(); len] });
            let (lsn, prev) = (self.next, self.last);
            let len = builder
                .push(RecordLinks { lsn, prev_volume: prev, prev_pg: prev, is_cpl: true }, &mtr.changes()[0]);
            (self.last, self.next) = (lsn, lsn.advance(len as u64));
        }
        Entry::Batch(Batch::decode(&builder.seal(vdl, Lsn::ZERO).1).expect("a valid batch"))
    }

    fn epochs(&self) -> Epochs {
        Epochs { volume: VolumeEpoch(self.epoch), membership: MembershipEpoch(1) }
    }

    /// One group; false when the log is full.
    fn group(&mut self, entries: Vec<Entry>) -> bool {
        let mut queue: VecDeque<_> =
            entries.into_iter().map(|entry| Queued { entry: Some(entry), answer: None }).collect();
        while !queue.is_empty() {
            let Ok(Prepared::Group(group)) = self.log.prepare(&mut queue) else { return false };
            let file = self.written.image.get_mut(&group.start.file()).expect("one of the files");
            file[group.offset as usize..][..group.buffer.len()].copy_from_slice(&group.buffer);
            for (queued, at) in &group.members {
                let entry = queued.entry.as_ref().expect("only entries");
                apply_entry(&mut self.store, entry, *at, LogStart::BEGINNING.applied)
                    .expect("an entry of our own");
            }
            self.log.written(&group);
            self.written.after.push(states(&self.store));
        }
        true
    }
}

fn write(input: &mut Input<'_>) -> Writer {
    let mut writer = Writer::new();
    let created = Entry::Created(SEGMENT, writer.epochs(), SegmentKind::Full);
    writer.group(vec![created]);
    for _ in 0..input.below(12) {
        let entries = match input.u8() % 8 {
            0 => {
                writer.epoch += 1;
                let vdl = writer.last;
                let range =
                    TruncationRange { epoch: VolumeEpoch(writer.epoch), from: vdl, to: vdl.advance(1000) };
                writer.next = range.to.advance(1);
                vec![Entry::Epochs(SEGMENT, writer.epochs()), Entry::Truncations(SEGMENT, vec![range])]
            }
            n => (0..=n % 3).map(|_| writer.batch(input)).collect(),
        };
        if !writer.group(entries) {
            break;
        }
    }
    writer
}

/// Arbitrary bytes as log files, with the checksums of file headers and groups put right where the input says so.
pub fn image(data: &[u8]) {
    let mut input = Input::new(data);
    let fix = input.u8();
    let mut image = Image::new();
    for number in 1..=2 {
        let half = if number == 1 { data.len() / 2 } else { data.len() };
        let mut bytes = input.bytes(half).to_vec();
        if fix & 1 != 0 {
            let header = FileHeader { identity: IDENTITY, number, first_sequence: u64::from(number) };
            bytes.splice(0..0, std::iter::repeat_n(0, ALIGN));
            header.encode(&mut bytes[..ALIGN]);
        }
        if fix & 2 != 0 && bytes.len() > ALIGN + GROUP_HEADER {
            let (payload, entries) = ((bytes.len() - ALIGN - GROUP_HEADER) as u32, u32::from(fix >> 4));
            let group = GroupHeader {
                payload,
                sequence: u64::from(number),
                node: IDENTITY.node,
                file: number,
                entries,
            };
            group.encode(&mut bytes[ALIGN..]);
        }
        image.insert(number, bytes);
    }
    let _ = recover_twice(&image);
}

const GROUP_HEADER: usize = 40;

/// Groups of entries of every kind, to be wrapped by [`image`].
#[must_use]
pub fn image_seeds() -> Vec<Vec<u8>> {
    let mut writer = Writer::new();
    let mut groups = vec![vec![Entry::Created(SEGMENT, writer.epochs(), SegmentKind::Full)]];
    let noise = noise(1, 200);
    let batch = writer.batch(&mut Input::new(&noise));
    let range = TruncationRange { epoch: VolumeEpoch(2), from: Lsn(5), to: Lsn(50) };
    groups.push(vec![groups[0][0].clone(), batch.clone()]);
    writer.epoch = 2;
    let opened = Entry::Epochs(SEGMENT, writer.epochs());
    groups.push(vec![groups[0][0].clone(), batch, opened, Entry::Truncations(SEGMENT, vec![range])]);
    let seed = |entries: Vec<Entry>| {
        let mut seed = vec![3 | (entries.len() as u8) << 4];
        seed.extend([0; GROUP_HEADER]);
        entries.iter().for_each(|entry| entry.encode(&mut |bytes| seed.extend_from_slice(bytes)));
        // The first file gets the first half.
        let len = seed.len();
        seed.extend(std::iter::repeat_n(0, len));
        seed
    };
    groups.into_iter().map(seed).collect()
}

/// A log that a node wrote, then damaged as the input says.
pub fn damage(data: &[u8]) {
    let mut input = Input::new(data);
    let mut written = write(&mut input).written;
    let groups = written.after.len() as u64 - 1;
    let whole = recover_twice(&written.image).expect("an undamaged log");
    assert_eq!((whole.0.groups, &whole.1), (groups, &written.after[groups as usize]));
    let mut resealed = false;
    for _ in 0..input.below(4) {
        resealed |= damage_once(&mut written.image, &mut input);
    }
    let found = recover_twice(&written.image);
    // With checksums made right over the damage it is another log.
    if let (Ok((end, states)), false) = (found, resealed) {
        assert!(end.groups <= groups);
        assert_eq!(states, written.after[end.groups as usize], "a whole number of groups counts");
    }
}

/// True when a checksum was put right over it.
fn damage_once(image: &mut Image, input: &mut Input<'_>) -> bool {
    let number = 1 + input.below(FILES as usize) as u32;
    let choice = input.u8() % 8;
    let Some(file) = image.get_mut(&number) else { return false };
    let at = input.below(file.len().max(1));
    match choice {
        0 => file.truncate(at),
        1 => drop(image.remove(&number)),
        2 => file[at..].fill(0),
        3 => {
            let (from, to) = (at / ALIGN * ALIGN, input.below(file.len() / ALIGN + 1) * ALIGN);
            if from + ALIGN <= file.len() && to + ALIGN <= file.len() {
                file.copy_within(from..from + ALIGN, to);
            }
        }
        _ => {
            for (place, byte) in file.iter_mut().skip(at).zip(input.bytes(16)) {
                *place ^= byte;
            }
            return choice >= 6 && reseal(file, at / ALIGN * ALIGN);
        }
    }
    false
}

fn reseal(file: &mut [u8], at: usize) -> bool {
    let Some(group) = file.get_mut(at..).filter(|rest| rest.len() >= GROUP_HEADER) else { return false };
    let payload = u32::from_le_bytes([group[4], group[5], group[6], group[7]]) as usize;
    let Some(group) = group.get_mut(..GROUP_HEADER + payload.min(FILE_BYTES)) else { return false };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&group[..32]), &group[GROUP_HEADER..]);
    group[32..36].copy_from_slice(&crc.to_le_bytes());
    true
}

/// Programs.
#[must_use]
pub fn damage_seeds() -> Vec<Vec<u8>> {
    (0..8).map(|n| noise(n + 10, 60 << (n / 2))).collect()
}

/// A checkpoint: raw, and with its checksum put right.
pub fn checkpoint(data: &[u8]) {
    let _ = read_checkpoint(data, IDENTITY, &mut Store::default());
    let mut sealed = data.to_vec();
    sealed.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    let mut store = Store::default();
    let Ok(start) = read_checkpoint(&sealed, IDENTITY, &mut store) else { return };
    store.check_invariants();
    let again = write_checkpoint(IDENTITY, start, &store);
    let mut second = Store::default();
    assert_eq!(read_checkpoint(&again, IDENTITY, &mut second).ok(), Some(start));
    assert_eq!(states(&second), states(&store));
}

/// Checkpoints of nodes that have written something; without the checksum, which [`checkpoint`] adds.
#[must_use]
pub fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let of = |n: u64| {
        let program = noise(n + 20, 300);
        let store = write(&mut Input::new(&program)).store;
        let mut bytes = write_checkpoint(IDENTITY, LogStart::BEGINNING, &store);
        bytes.truncate(bytes.len() - 4);
        bytes
    };
    let empty = write_checkpoint(IDENTITY, LogStart::BEGINNING, &Store::default());
    (0..4).map(of).chain([empty[..empty.len() - 4].to_vec()]).collect()
}

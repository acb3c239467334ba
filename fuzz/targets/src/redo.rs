//! Redo: patches, records and batches as they come from a disk or a socket, and one record applied to one page.
//!
//! What must hold: no bytes panic; what decodes obeys the format's rules; a batch cut at one of its records is a valid
//! batch of the records before; an error leaves the page as it was; what apply does is what the patches say.

use bytes::Bytes;
use sextant_redo::batch::{BATCH_HEADER, BATCH_MAGIC, BatchRecords, MAX_BATCH, cut_after};
use sextant_redo::codec::Reader;
use sextant_redo::patch::{Patch, Patches};
use sextant_redo::{
    ApplyError, Batch, BatchBuilder, BatchHeader, Lsn, Mtr, PAGE_BODY, PAGE_HEADER, PAGE_SIZE, Page, PageId,
    PgId, Record, RecordLinks, SegmentId, VolumeEpoch, VolumeId, apply, page,
};

use crate::input::{Input, noise};

const CRC_AT: usize = BATCH_HEADER - 4;

/// Patches, records and batches of these bytes, as they are and with what guards them put right.
pub fn decode(data: &[u8]) {
    for patch in Patches::new(data).flatten() {
        assert_eq!(patch.check(), Ok(()), "a decoded patch stays inside the body");
    }
    let mut reader = Reader::new(data);
    while let Ok(record) = Record::decode(&mut reader, Lsn(1000)) {
        check_record(&record);
    }
    batch(&Bytes::copy_from_slice(data));
    if let Some(sealed) = sealed(data) {
        batch(&sealed);
    }
    if let Some(consistent) = consistent(data) {
        batch(&consistent);
    }
    let written = write(&mut Input::new(data));
    assert!(Batch::decode(&written).is_ok(), "what the writer makes is a batch");
    batch(&written);
}

fn check_record(record: &Record<'_>) {
    let RecordLinks { lsn, prev_volume, prev_pg, .. } = record.links;
    assert!(prev_volume < lsn && prev_pg < lsn && record.prev_page < lsn);
}

fn batch(bytes: &Bytes) {
    let Ok(batch) = Batch::decode(bytes) else { return };
    let header = batch.header();
    let records: Vec<_> =
        batch.records().map(|record| record.expect("checked when the batch was decoded")).collect();
    assert_eq!(records.len(), header.records as usize);
    let mut before = header.prev_pg;
    let mut end = BATCH_HEADER;
    for (range, record) in &records {
        check_record(record);
        assert_eq!(
            (record.links.prev_pg, range.start),
            (before, end),
            "one unbroken chain, no byte left out"
        );
        (before, end) = (record.links.lsn, range.end);
    }
    assert_eq!((before, end), (header.last, header.total_len()));
    // Every cut would be quadratic in what a fuzzer grows.
    for (n, (_, record)) in records.iter().enumerate().take(8) {
        let cut = cut_after(&batch, record.links.lsn).expect("a record of the batch");
        let cut = Batch::decode(&cut).expect("a cut batch is a batch");
        assert_eq!((cut.header().last, cut.records().count()), (record.links.lsn, n + 1));
    }
}

fn seal(bytes: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[BATCH_HEADER..]);
    bytes[CRC_AT..BATCH_HEADER].copy_from_slice(&crc.to_le_bytes());
}

/// These bytes with a batch's magic, length and checksum.
fn sealed(data: &[u8]) -> Option<Bytes> {
    if data.len() < BATCH_HEADER || data.len() > MAX_BATCH {
        return None;
    }
    let mut bytes = data.to_vec();
    bytes[0..4].copy_from_slice(&BATCH_MAGIC);
    bytes[4..8].copy_from_slice(&((data.len() - BATCH_HEADER) as u32).to_le_bytes());
    seal(&mut bytes);
    Some(Bytes::from(bytes))
}

/// The same, and the header says of the records what they say themselves.
fn consistent(data: &[u8]) -> Option<Bytes> {
    let mut bytes = sealed(data)?.to_vec();
    let header = BatchHeader::decode(&bytes).ok()?;
    let links: Vec<RecordLinks> =
        BatchRecords::new(&header, &bytes).flatten().map(|(_, r)| r.links).collect();
    let (first, last) = (links.first()?, links.last()?);
    bytes[20..24].copy_from_slice(&(links.len() as u32).to_le_bytes());
    bytes[32..40].copy_from_slice(&first.prev_pg.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&first.lsn.0.to_le_bytes());
    bytes[48..56].copy_from_slice(&last.lsn.0.to_le_bytes());
    seal(&mut bytes);
    Some(Bytes::from(bytes))
}

/// One patch, as a program says it; always inside the body.
fn patch<'a>(input: &mut Input<'a>) -> Patch<'a> {
    let offset = PAGE_HEADER + input.below(PAGE_BODY);
    let room = PAGE_SIZE - offset;
    match input.u8() % 5 {
        0 => {
            let len = input.below(40).min(room);
            Patch::Set { offset, bytes: input.bytes(len) }
        }
        1 => {
            let source = PAGE_HEADER + input.below(PAGE_BODY);
            let len = input.below(PAGE_BODY).min(room).min(PAGE_SIZE - source);
            Patch::Move { offset, source, len }
        }
        2 => Patch::Fill { offset, len: input.below(PAGE_BODY).min(room), byte: input.u8() },
        3 => {
            let len = input.below(PAGE_BODY + 1);
            Patch::Image { body: input.bytes(len) }
        }
        _ => Patch::Stamp { offset: offset.min(PAGE_SIZE - 8) },
    }
}

/// A batch as a writer makes it.
fn write(input: &mut Input<'_>) -> Bytes {
    let segment = SegmentId { volume: VolumeId(input.number()), pg: PgId(u32::from(input.u16())) };
    let mut builder = BatchBuilder::new(segment, VolumeEpoch(input.number()));
    let mut mtr = Mtr::new();
    let mut last = Lsn(input.number() >> 1);
    let mut lsn = last.advance(1 + u64::from(input.u16()));
    for _ in 0..1 + input.below(6) {
        mtr.clear();
        let at = mtr.add_page(PageId(input.number()), Lsn(input.number().min(lsn.0 - 1)));
        for _ in 0..input.below(4) {
            mtr.patch(at, patch(input));
        }
        let links = RecordLinks { lsn, prev_volume: last, prev_pg: last, is_cpl: input.u8() & 1 == 1 };
        let len = builder.push(links, &mtr.changes()[0]);
        (last, lsn) = (lsn, lsn.advance(len as u64));
    }
    builder.seal(last, Lsn::ZERO).1
}

/// Valid batches, and programs that make some.
#[must_use]
pub fn decode_seeds() -> Vec<Vec<u8>> {
    let programs = (0..6).map(|n| noise(n, 24 << n)).collect::<Vec<_>>();
    let batches = programs.iter().map(|program| write(&mut Input::new(program)).to_vec());
    batches.chain(programs.clone()).collect()
}

/// One record, its LSNs and patches from the input, on one page.
pub fn apply_record(data: &[u8]) {
    let mut input = Input::new(data);
    let mut target = Page::zero();
    for (at, byte) in target.0[PAGE_HEADER..].iter_mut().enumerate() {
        *byte = (at * 31) as u8;
    }
    let (page_lsn, lsn) = (Lsn(input.number()), Lsn(input.number()));
    let follows = input.u8() & 3 != 0;
    let prev_page = if follows { page_lsn } else { Lsn(input.number()) };
    page::stamp(&mut target.0, PageId(5), page_lsn);
    let mut made = Vec::new();
    let is_raw = input.u8() & 1 == 0;
    let patches = if is_raw {
        input.remainder()
    } else {
        while !input.is_empty() {
            patch(&mut input).encode(&mut made);
        }
        &made
    };
    let record =
        Record { links: RecordLinks { lsn, ..RecordLinks::default() }, prev_page, page: PageId(5), patches };
    let before = target.clone();
    match apply(&record, &mut target.0) {
        Ok(()) => {
            let expected = naive(&record, &before);
            assert!(target == expected, "apply does what the patches say");
            assert!(matches!(apply(&record, &mut target.0), Err(ApplyError::AlreadyApplied { .. })));
            assert!(target == expected, "applied once");
        }
        Err(error) => {
            assert!(target == before, "{error}: the page stays as it was");
            assert!(is_raw || page_lsn >= lsn || prev_page != page_lsn, "{error}: nothing was wrong with it");
        }
    }
}

/// What a record makes of a page, byte by byte.
fn naive(record: &Record<'_>, before: &Page) -> Page {
    let mut bytes = before.0.to_vec();
    for patch in record.patches() {
        let (at, new) = match patch.expect("it was applied") {
            Patch::Set { offset, bytes } => (offset, bytes.to_vec()),
            Patch::Move { offset, source, len } => (offset, bytes[source..source + len].to_vec()),
            Patch::Fill { offset, len, byte } => (offset, vec![byte; len]),
            Patch::Image { body } => (PAGE_HEADER, [body, &vec![0; PAGE_BODY - body.len()]].concat()),
            Patch::Stamp { offset } => (offset, record.links.lsn.0.to_le_bytes().to_vec()),
        };
        bytes[at..at + new.len()].copy_from_slice(&new);
    }
    let mut after = before.clone();
    after.0.copy_from_slice(&bytes);
    page::stamp(&mut after.0, record.page, record.links.lsn);
    after
}

/// Records with one patch of each kind, encoded and as programs.
#[must_use]
pub fn apply_seeds() -> Vec<Vec<u8>> {
    let head = [10, 20, 1];
    let mut seeds = Vec::new();
    for patch in [
        Patch::Set { offset: 100, bytes: b"abc" },
        Patch::Move { offset: 100, source: 102, len: 50 },
        Patch::Fill { offset: 30, len: 4, byte: 7 },
        Patch::Image { body: b"body" },
        Patch::Stamp { offset: 8184 },
    ] {
        let mut seed = head.to_vec();
        seed.push(0);
        patch.encode(&mut seed);
        seeds.push(seed);
    }
    seeds.extend((0..4).map(|n| [&head[..], &[1], &noise(n, 40 << n)].concat()));
    seeds
}

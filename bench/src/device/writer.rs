//! A volume's writer in small: it links records, keeps some batches in flight on one connection and measures from
//! sending to acknowledgement.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sextant_redo::patch::Patch;
use sextant_redo::wire::{Append, Epochs, Reply, Request};
use sextant_redo::{
    BatchBuilder, Lsn, MembershipEpoch, Mtr, PageId, PgId, RecordLinks, SegmentId, SegmentKind, VolumeEpoch,
    VolumeId,
};

use super::client::Client;
use crate::BenchError;

/// Bytes that a record changes; with its header some 230 bytes of log, as an update of a short row makes.
pub(super) const CHANGE: usize = 200;
/// Most bytes that such a record takes in a batch.
const RECORD_MAX: usize = CHANGE + 64;

/// Epochs of a volume that was opened once.
pub(super) fn epochs() -> Epochs {
    Epochs { volume: VolumeEpoch(1), membership: MembershipEpoch(1) }
}

/// Which pages the next batch changes, and how.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// Records of [`CHANGE`] bytes on pages at random, until the batch has so many bytes.
    Updates(usize),
    /// Whole images of the next so many pages.
    Images(u64),
}

/// What a run gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    /// Bytes of batches acknowledged.
    pub(super) bytes: u64,
    /// Microseconds from sending to acknowledgement, one a batch.
    pub(super) latencies_us: Vec<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    client: Client,
    segment: SegmentId,
    next: Lsn,
    last: Lsn,
    /// SCL that the node acknowledged: one copy is all there is, so it counts as the VDL.
    acknowledged: Lsn,
    /// LSN of each page's last record.
    tails: Vec<Lsn>,
    random: u64,
    image: Vec<u8>,
    next_image: u64,
    /// False: nothing is ever said to be durable, so the node must keep every record in its log.
    says_vdl: bool,
}

impl Writer {
    /// Makes the segment of volume `volume` with room for `pages` pages.
    pub(super) fn new(
        mut client: Client,
        volume: u64,
        pages: u64,
        says_vdl: bool,
    ) -> Result<Writer, BenchError> {
        let segment = SegmentId { volume: VolumeId(volume), pg: PgId(0) };
        client.ask(&Request::CreateSegment { segment, epochs: epochs(), kind: SegmentKind::Full })?;
        let random = 0x9e37_79b9_7f4a_7c15 ^ volume;
        Ok(Writer {
            client,
            segment,
            next: Lsn(1),
            last: Lsn::ZERO,
            acknowledged: Lsn::ZERO,
            tails: vec![Lsn::ZERO; pages as usize],
            random,
            image: vec![7; sextant_redo::PAGE_SIZE - 24],
            next_image: 0,
            says_vdl,
        })
    }

    pub(super) fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Everything acknowledged so far can be read here.
    pub(super) fn read_point(&self) -> Lsn {
        self.acknowledged
    }

    /// The next number of a xorshift sequence.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// One record on `page`.
    fn push(&mut self, builder: &mut BatchBuilder, mtr: &mut Mtr, page: u64, patch: Patch<'_>) {
        mtr.clear();
        let at = mtr.add_page(PageId(page), self.tails[page as usize]);
        mtr.patch(at, patch);
        let links = RecordLinks { lsn: self.next, prev_volume: self.last, prev_pg: self.last, is_cpl: true };
        let len = builder.push(links, &mtr.changes()[0]);
        self.tails[page as usize] = self.next;
        self.last = self.next;
        self.next = self.next.advance(len as u64);
    }

    fn batch(&mut self, load: Load) -> Bytes {
        let mut builder = BatchBuilder::new(self.segment, epochs().volume);
        let mut mtr = Mtr::new();
        match load {
            Load::Updates(bytes) => {
                let change = [self.random as u8; CHANGE];
                while builder.is_empty() || builder.len() + RECORD_MAX <= bytes {
                    let (page, place) = (self.draw() % self.tails.len() as u64, self.draw() % 40);
                    let offset = 24 + place as usize * CHANGE;
                    self.push(&mut builder, &mut mtr, page, Patch::Set { offset, bytes: &change });
                }
            }
            Load::Images(count) => {
                let image = std::mem::take(&mut self.image);
                for _ in 0..count {
                    let page = self.next_image % self.tails.len() as u64;
                    self.next_image += 1;
                    self.push(&mut builder, &mut mtr, page, Patch::Image { body: &image });
                }
                self.image = image;
            }
        }
        let vdl = if self.says_vdl { self.acknowledged } else { Lsn::ZERO };
        builder.seal(vdl, vdl).1
    }

    /// `records` on each of the first `pages` pages, one behind the other.
    pub(super) fn update_evenly(&mut self, pages: u64, records: u64) -> Result<(), BenchError> {
        for _ in 0..records {
            let mut builder = BatchBuilder::new(self.segment, epochs().volume);
            let mut mtr = Mtr::new();
            for page in 0..pages {
                let offset = 24 + (self.draw() % 40) as usize * CHANGE;
                let patch = Patch::Set { offset, bytes: &[3; CHANGE] };
                self.push(&mut builder, &mut mtr, page, patch);
            }
            let batch = builder.seal(self.acknowledged, self.acknowledged).1;
            let append = Append { segment: self.segment, epochs: epochs(), batch };
            if let Reply::Appended { scl, .. } = self.client.ask(&Request::Append(append))? {
                self.acknowledged = self.acknowledged.max(scl);
            }
        }
        Ok(())
    }

    /// Sends batches, at most `window` in flight, until `enough` of them are sent or the time is over, and waits for all.
    pub(super) fn run(
        &mut self,
        load: Load,
        window: usize,
        enough: u64,
        time: Duration,
    ) -> Result<Run, BenchError> {
        let until = Instant::now() + time;
        let (mut run, mut in_flight, mut sent) = (Run::default(), VecDeque::new(), 0);
        loop {
            while in_flight.len() < window && sent < enough && Instant::now() < until {
                let batch = self.batch(load);
                let len = batch.len() as u64;
                let request = Request::Append(Append { segment: self.segment, epochs: epochs(), batch });
                let started = Instant::now();
                in_flight.push_back((self.client.send(&request)?, started, len));
                sent += 1;
            }
            let Some((number, started, len)) = in_flight.pop_front() else {
                return Ok(run);
            };
            match self.client.receive()? {
                (answered, Reply::Appended { scl, .. }) if answered == number => {
                    self.acknowledged = self.acknowledged.max(scl);
                    run.bytes += len;
                    run.latencies_us.push(started.elapsed().as_micros() as u64);
                }
                (_, other) => {
                    return Err(BenchError::Peer(format!("not the answer to an append: {other:?}")));
                }
            }
        }
    }
}

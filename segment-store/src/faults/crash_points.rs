//! The load is recorded once; then the machine crashes at a point of the trace, in one of several ways, and the node opens
//! from what is left. By default every few points; with `SEXTANT_CRASH_POINTS=all` every one.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::every_point;
use super::load::Load;
use crate::disk::memory::trace::{Fate, Operation, Platter};
use crate::disk::memory::{Image, MemoryDisk};
use crate::testing::block_on;

/// Points that the ordinary run takes at least, each in every way.
const POINTS: usize = 60;

/// A way to crash.
#[derive(Debug, Clone, Copy)]
struct Way {
    sector: usize,
    /// Out of 8 writes that were not flushed, so many are kept whole.
    kept: u64,
    /// Out of 8 sectors of a torn write, so many got there.
    sectors: u64,
}

/// Besides being killed: then the system has what it was given, and finishes it.
const WAYS: [Way; 5] = [
    // The power goes, and nothing was written by itself.
    Way { sector: 512, kept: 0, sectors: 0 },
    // All was written by itself but for what was under way.
    Way { sector: 512, kept: 8, sectors: 0 },
    Way { sector: 512, kept: 4, sectors: 4 },
    Way { sector: 4096, kept: 4, sectors: 4 },
    Way { sector: 512, kept: 2, sectors: 6 },
];

/// A way, and the draws in it.
struct Drawn(Way, u64);

impl Drawn {
    /// True `of` times out of 8.
    fn draw(&mut self, of: u64) -> bool {
        self.1 ^= self.1 << 13;
        self.1 ^= self.1 >> 7;
        self.1 ^= self.1 << 17;
        (self.1 >> 32) % 8 < of
    }
}

impl Fate for Drawn {
    fn keeps(&mut self) -> bool {
        self.draw(self.0.kept)
    }

    fn begun(&mut self) -> bool {
        self.draw(self.0.sectors)
    }

    fn sector(&self) -> usize {
        self.0.sector
    }

    fn keeps_sector(&mut self) -> bool {
        self.draw(self.0.sectors)
    }
}

/// A name, and which operations it is for.
type Kind = (&'static str, fn(&Operation) -> bool);

/// What can be done to a disk.
const KINDS: [Kind; 8] = [
    ("create", |o| matches!(o, Operation::Create { .. })),
    ("extend", |o| matches!(o, Operation::Extend { .. })),
    ("rename", |o| matches!(o, Operation::Rename { .. })),
    ("delete", |o| matches!(o, Operation::Delete { .. })),
    ("replace", |o| matches!(o, Operation::Replace { .. })),
    ("append", |o| matches!(o, Operation::Write(write) if write.is_flushed)),
    ("write", |o| matches!(o, Operation::Write(write) if !write.is_flushed)),
    ("sync", |o| matches!(o, Operation::Sync { .. })),
];

/// The points to crash at: every one, or some spread over the trace and the first and last of each kind.
fn points(trace: &[Operation]) -> BTreeSet<usize> {
    let step = if every_point() { 1 } else { (trace.len() / POINTS).max(1) };
    let ends = KINDS.iter().flat_map(|(name, is)| {
        let first = trace.iter().position(is);
        assert!(first.is_some(), "the load never makes the disk {name}");
        first.into_iter().chain(trace.iter().rposition(is))
    });
    (0..=trace.len()).step_by(step).chain(ends).collect()
}

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_acknowledged() {
    block_on(async {
        let disk = Rc::new(MemoryDisk::default());
        let mut load = Load::new(&disk);
        load.run().await.expect("nothing fails");
        let trace = disk.take_seen();
        let points = points(&trace);
        let mut platter = Platter::new(Image::new());
        let mut crashes = 0;
        for at in 0..=trace.len() {
            let under_way = trace.get(at);
            if points.contains(&at) {
                let what = format!("point {at} of {}", trace.len());
                let killed = platter.killed(under_way);
                load.recovers(killed, load.at(at), &format!("{what}, killed")).await;
                for (n, way) in WAYS.into_iter().enumerate() {
                    let seed = (at as u64 * 64 + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                    let left = Platter::new(platter.crash(under_way, &mut Drawn(way, seed)));
                    load.recovers(left, load.at(at), &format!("{what}, {way:?}")).await;
                }
                crashes += 1 + WAYS.len();
            }
            if let Some(operation) = under_way {
                platter.done(operation);
            }
        }
        println!("{crashes} crashes at {} points of a trace of {} operations", points.len(), trace.len());
        assert!(crashes >= 200, "{crashes}");
    });
}

//! A set of byte strings that is filled once and then asked: in memory as long as that suffices, else in a file, in the order of
//! their hashes. There an answer costs one block, for where each block begins is known; blocks that were read lately are kept.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;

use super::file::take_record;
use super::{Budget, Payload, Run, Sorter, SpillFile};
use crate::types::SqlResult;

/// Bytes of an entry of the set in memory beside its own.
const OVERHEAD: usize = 48;
/// Bytes that it takes to know where a block begins.
const PLACE: usize = size_of::<u64>() + 16;

/// A set being filled.
pub(crate) struct SetBuilder {
    keys: HashSet<Vec<u8>>,
    budget: Budget,
    /// All of them, once there was no more room.
    sorter: Option<Sorter<()>>,
    /// Bytes of those.
    bytes: usize,
}

/// What is known of a key that was inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    Known,
    /// Nothing: not all of the set is in memory.
    Unknown,
}

/// A set that is complete.
#[derive(Debug)]
pub(crate) enum KeySet {
    Memory { keys: HashSet<Vec<u8>>, _budget: Budget },
    File(StoredSet),
}

/// Keys in a file.
#[derive(Debug)]
pub(crate) struct StoredSet {
    file: SpillFile,
    run: Run,
    /// The hash of each block's first key.
    firsts: Vec<u64>,
    cache: Mutex<Cache>,
    _budget: Budget,
}

/// Blocks that were read, each in the place that its number leads to, with its number.
#[derive(Debug)]
struct Cache {
    slots: Vec<(usize, Vec<u8>)>,
    block: usize,
}

impl Payload for () {
    fn held(&self) -> usize {
        0
    }

    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &[u8]) -> SqlResult<()> {
        Ok(())
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// What is sorted: the hash, then the key.
fn hashed(key: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(8 + key.len());
    entry.extend_from_slice(&hash(key).to_be_bytes());
    entry.extend_from_slice(key);
    entry
}

impl SetBuilder {
    pub(crate) fn new(budget: Budget) -> SetBuilder {
        SetBuilder { keys: HashSet::new(), budget, sorter: None, bytes: 0 }
    }

    pub(crate) async fn insert(&mut self, key: Vec<u8>) -> SqlResult<Inserted> {
        if self.sorter.is_some() {
            self.sort(&key).await?;
            return Ok(Inserted::Unknown);
        }
        let bytes = key.len() + OVERHEAD;
        if !self.keys.insert(key) {
            return Ok(Inserted::Known);
        }
        self.budget.take(bytes);
        if self.budget.is_full() {
            self.sorter = Some(Sorter::new(self.budget.another(), usize::MAX));
            for key in std::mem::take(&mut self.keys) {
                self.budget.give(key.len() + OVERHEAD);
                self.sort(&key).await?;
            }
            return Ok(Inserted::Unknown);
        }
        Ok(Inserted::New)
    }

    async fn sort(&mut self, key: &[u8]) -> SqlResult<()> {
        let Some(sorter) = &mut self.sorter else { return Ok(()) };
        self.bytes += key.len();
        if sorter.push(hashed(key), ()) {
            sorter.make_room().await?;
        }
        Ok(())
    }

    /// All keys are there.
    pub(crate) async fn finish(mut self) -> SqlResult<KeySet> {
        let Some(sorter) = self.sorter.take() else {
            return Ok(KeySet::Memory { keys: self.keys, _budget: self.budget });
        };
        let mut budget = self.budget.another();
        // Small blocks are read sooner, but there are more of them to know of.
        let block = (4 * PLACE * self.bytes / budget.limit().max(1)).clamp(4 << 10, 64 << 10);
        let file = budget.file_of(block)?;
        let mut sorted = sorter.finish().await?;
        let (mut writer, mut firsts, mut begins) = (file.writer(), Vec::new(), true);
        let mut last = Vec::new();
        while let Some((entry, ())) = sorted.next().await? {
            let Some((hash, key)) = entry.split_first_chunk() else { continue };
            if entry == last {
                continue;
            }
            if begins {
                firsts.push(u64::from_be_bytes(*hash));
            }
            begins = writer.push(|out| out.extend_from_slice(key));
            if begins {
                writer.flush().await?;
            }
            last = entry;
        }
        drop(sorted);
        let run = writer.finish().await?;
        let slots = (budget.limit() / 2 / block).clamp(1, firsts.len().max(1));
        budget.take(slots * block + firsts.len() * PLACE);
        let cache = Cache { slots: vec![(usize::MAX, Vec::new()); slots], block };
        Ok(KeySet::File(StoredSet { file, run, firsts, cache: Mutex::new(cache), _budget: budget }))
    }
}

impl KeySet {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            KeySet::Memory { keys, .. } => keys.is_empty(),
            // It did not fit.
            KeySet::File(_) => false,
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> SqlResult<bool> {
        match self {
            KeySet::Memory { keys, .. } => Ok(keys.contains(key)),
            KeySet::File(stored) => stored.contains(key),
        }
    }
}

impl StoredSet {
    fn contains(&self, key: &[u8]) -> SqlResult<bool> {
        let hash = hash(key);
        // Keys with this hash may begin in the block before the first that begins with it.
        let from = self.firsts.partition_point(|first| *first < hash).saturating_sub(1);
        let mut cache = self.cache.lock();
        for n in from..self.firsts.len() {
            if self.firsts[n] > hash {
                break;
            }
            if holds(cache.block(n, self)?, key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn holds(block: &[u8], key: &[u8]) -> SqlResult<bool> {
    let mut at = 0;
    while at < block.len() {
        if take_record(block, &mut at)? == key {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Cache {
    fn block(&mut self, n: usize, of: &StoredSet) -> SqlResult<&[u8]> {
        let place = n % self.slots.len();
        let (which, bytes) = &mut self.slots[place];
        if *which != n {
            // Until it is read.
            *which = usize::MAX;
            of.file.read_now(&of.run, n, bytes)?;
            *which = n;
            // The block before may have been that of a key much larger than a block.
            bytes.shrink_to(2 * self.block);
        }
        Ok(bytes)
    }
}

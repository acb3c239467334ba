//! Sorting by byte keys: in memory as long as that suffices, else in runs that are merged. Stable: what has equal keys comes
//! out in the order in which it went in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Budget, Run, RunReader, SpillFile};
use crate::types::{SqlError, SqlResult};

/// What goes along with a key.
pub(crate) trait Payload: Sized + Send {
    /// Bytes that it takes in memory, about.
    fn held(&self) -> usize;
    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// Makes it of these.
    fn decode(bytes: &[u8]) -> SqlResult<Self>;
}

type Entry<P> = (Vec<u8>, P);

/// Bytes of an entry beside key and payload.
const OVERHEAD: usize = 64;

fn held<P: Payload>((key, payload): &Entry<P>) -> usize {
    key.len() + payload.held() + OVERHEAD
}

/// Takes entries in any order.
pub(crate) struct Sorter<P> {
    entries: Vec<Entry<P>>,
    budget: Budget,
    /// How many of the first are wanted.
    keep: usize,
    file: Option<SpillFile>,
    runs: Vec<Run>,
}

impl<P: Payload> Sorter<P> {
    pub(crate) fn new(budget: Budget, keep: usize) -> Sorter<P> {
        Sorter { entries: Vec::new(), budget, keep, file: None, runs: Vec::new() }
    }

    /// True when nothing was pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.runs.is_empty()
    }

    /// Takes an entry. True when [`Sorter::make_room`] has to be called before the next.
    pub(crate) fn push(&mut self, key: Vec<u8>, payload: P) -> bool {
        let entry = (key, payload);
        self.budget.take(held(&entry));
        self.entries.push(entry);
        // Now and then what cannot be among the first is dropped.
        self.budget.is_full() || self.entries.len() / 2 > self.keep.saturating_add(256)
    }

    /// Lets go of what is held, as far as that is needed.
    pub(crate) async fn make_room(&mut self) -> SqlResult<()> {
        self.sort();
        if self.budget.is_full() {
            self.write_run().await?;
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        if self.entries.len() > self.keep {
            self.budget.give(self.entries[self.keep..].iter().map(held).sum());
            self.entries.truncate(self.keep);
        }
    }

    async fn write_run(&mut self) -> SqlResult<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(self.budget.file()?),
        };
        let mut writer = file.writer();
        for entry in self.entries.drain(..) {
            self.budget.give(held(&entry));
            if writer.push(|out| put(&entry.0, &entry.1, out)) {
                writer.flush().await?;
            }
        }
        self.runs.push(writer.finish().await?);
        Ok(())
    }

    /// Everything is there: now it can be had in order.
    pub(crate) async fn finish(mut self) -> SqlResult<Sorted<P>> {
        self.sort();
        if self.runs.is_empty() {
            return Ok(Sorted::Memory(self.entries.into_iter()));
        }
        self.write_run().await?;
        let Some(file) = self.file.take() else {
            return Err(SqlError::internal("runs of a sort without a file"));
        };
        let fan_in = self.budget.fan_in();
        let mut runs = self.runs;
        while runs.len() > fan_in {
            let mut merged = Vec::with_capacity(runs.len().div_ceil(fan_in));
            // Neighbours, so that what is equal stays in order.
            for group in runs.chunks(fan_in) {
                let mut merge = Merge::<P>::new(&file, group, &self.budget).await?;
                let (mut writer, mut left) = (file.writer(), self.keep);
                while left > 0
                    && let Some((key, payload)) = merge.next().await?
                {
                    left -= 1;
                    if writer.push(|out| put(&key, &payload, out)) {
                        writer.flush().await?;
                    }
                }
                merged.push(writer.finish().await?);
            }
            runs = merged;
        }
        Ok(Sorted::Merge(Merge::new(&file, &runs, &self.budget).await?))
    }
}

fn put<P: Payload>(key: &[u8], payload: &P, out: &mut Vec<u8>) {
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    payload.encode(out);
}

fn take<P: Payload>(record: &[u8]) -> SqlResult<Entry<P>> {
    let damaged = || SqlError::corrupt("a temporary file is not as it was written");
    let (len, rest) = record.split_first_chunk().ok_or_else(damaged)?;
    let (key, payload) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
    Ok((key.to_vec(), P::decode(payload)?))
}

/// Entries in order.
pub(crate) enum Sorted<P> {
    Memory(std::vec::IntoIter<Entry<P>>),
    Merge(Merge<P>),
}

impl<P: Payload> Sorted<P> {
    /// The next entry.
    pub(crate) async fn next(&mut self) -> SqlResult<Option<Entry<P>>> {
        match self {
            Sorted::Memory(entries) => Ok(entries.next()),
            Sorted::Merge(merge) => merge.next().await,
        }
    }
}

/// Runs being merged.
pub(crate) struct Merge<P> {
    readers: Vec<RunReader>,
    payloads: Vec<Option<P>>,
    /// The least key first, of equal ones that of the earliest run.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    _budget: Budget,
}

impl<P: Payload> Merge<P> {
    async fn new(file: &SpillFile, runs: &[Run], budget: &Budget) -> SqlResult<Merge<P>> {
        let mut budget = budget.another();
        budget.take(runs.len() * budget.block());
        let readers: Vec<RunReader> = runs.iter().map(|run| file.reader(run.clone())).collect();
        let payloads = readers.iter().map(|_| None).collect();
        let mut merge = Merge { readers, payloads, heads: BinaryHeap::new(), _budget: budget };
        for n in 0..merge.readers.len() {
            merge.advance(n).await?;
        }
        Ok(merge)
    }

    async fn advance(&mut self, n: usize) -> SqlResult<()> {
        if let Some(record) = self.readers[n].next().await? {
            let (key, payload) = take(record)?;
            self.payloads[n] = Some(payload);
            self.heads.push(Reverse((key, n)));
        }
        Ok(())
    }

    async fn next(&mut self) -> SqlResult<Option<Entry<P>>> {
        let Some(Reverse((key, n))) = self.heads.pop() else {
            return Ok(None);
        };
        let Some(payload) = self.payloads[n].take() else {
            return Err(SqlError::internal("a run of a merge without its entry"));
        };
        self.advance(n).await?;
        Ok(Some((key, payload)))
    }
}

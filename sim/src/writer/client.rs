//! The workload on a writer: mini-transactions over many pages and groups, from a cache that is filled by page reads;
//! page reads to look; snapshots in the past.

use std::collections::BTreeMap;

use sextant_redo::patch::Patch;
use sextant_redo::wire::{Reply, Request, SegmentError};
use sextant_redo::{Lsn, Mtr, PAGE_HEADER, PAGE_SIZE, Page, PageId, page};

use super::{Call, Out, Timer, Waiting, Writer};
use crate::mutant::Mutant;

/// Copies that a read asks, one after the other, before it starts anew.
const ATTEMPTS: u32 = 12;
/// Pages kept in the cache at most.
const CACHE_PAGES: usize = 24;

/// Why a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// To change it.
    Fill,
    /// To look.
    Look,
    /// To look at the past.
    Snapshot,
    /// To compare at the end.
    Final,
}

pub(super) struct Read {
    page: PageId,
    read_point: Lsn,
    required: Lsn,
    kind: ReadKind,
    attempts: u32,
}

pub(super) struct Snapshot {
    at: Lsn,
    /// The SCL that a copy of each group needs.
    required: Vec<Lsn>,
    reads_left: u32,
}

impl Writer {
    /// What nobody reads below any more.
    pub(super) fn floor(&self) -> Lsn {
        if self.mutant == Some(Mutant::FloorIgnoresSnapshots) { self.vdl() } else { self.oldest_read() }
    }

    /// The lowest point that something here still reads at.
    pub(crate) fn oldest_read(&self) -> Lsn {
        let snapshot = self.snapshot.as_ref().map(|s| s.at);
        let reads = self.reads.values().map(|read| read.read_point);
        snapshot.into_iter().chain(reads).min().unwrap_or(Lsn::MAX).min(self.vdl())
    }

    fn pages(&self) -> u64 {
        let groups = self.log.as_ref().map_or(0, super::Log::groups);
        groups as u64 * self.profile.pages_per_pg
    }

    /// One step of the workload.
    pub(super) fn client(&mut self, out: &mut Vec<Out>) {
        let after = self.rng.exponential(self.profile.commit_gap) + 1;
        out.push(Out::Timer { after, timer: Timer::Commit });
        if !self.working {
            // A reader that has come to its end holds no read point: storage nodes may have no room until it is given up.
            self.snapshot = None;
        }
        if !self.working || self.pages() == 0 {
            return;
        }
        if self.waiting.len() < self.profile.commits_waiting {
            self.change(out);
        }
        if self.reads.len() < 8 {
            self.look(out);
        }
        self.evict();
    }

    /// Logs a mini-transaction over pages that are in the cache; fetches those that are not.
    fn change(&mut self, out: &mut Vec<Out>) {
        let pages = self.pages();
        let wanted = self.rng.between(1, self.profile.mtr_pages as u64);
        let chosen: Vec<PageId> = (0..wanted).map(|_| PageId(self.rng.below(pages))).collect();
        let missing: Vec<PageId> =
            chosen.iter().copied().filter(|page| !self.cache.contains_key(page)).collect();
        if !missing.is_empty() {
            missing.into_iter().for_each(|page| self.fetch(page, out));
            return;
        }
        let mut mtr = Mtr::new();
        for page in chosen {
            self.stage(&mut mtr, page);
        }
        let vdl = self.vdl();
        let Some(log) = &mut self.log else { return };
        if !log.has_room(vdl, mtr.max_log_bytes() as u64) {
            return;
        }
        let first = log.next;
        let cpl = log.append(&mut mtr);
        let mut changes = Vec::with_capacity(mtr.changes().len());
        for change in mtr.changes() {
            if let Some(cached) = self.cache.get_mut(&change.page) {
                apply(cached, change);
                changes.push((change.page, change.lsn, page::checksum(&cached.0)));
            }
        }
        let group = changes.last().map_or(0, |(page, ..)| self.geometry.pg_of(*page).0 as usize);
        self.waiting.push_back(Waiting { first, cpl, group });
        out.push(Out::Logged { first, cpl, changes });
    }

    fn stage(&mut self, mtr: &mut Mtr, page: PageId) {
        if mtr.changes().iter().any(|change| change.page == page) {
            return;
        }
        let Some(cached) = self.cache.get(&page) else { return };
        let index = mtr.add_page(page, cached.lsn());
        let word = self.rng.bits().to_le_bytes();
        let at =
            |rng: &mut crate::rng::Rng, len: usize| PAGE_HEADER + rng.index(PAGE_SIZE - PAGE_HEADER - len);
        match self.rng.below(20) {
            0 => {
                let len = self.rng.between(100, 3000) as usize;
                mtr.patch(index, Patch::Image { body: &word.repeat(len / 8) });
            }
            1 => {
                let (source, offset) = (at(&mut self.rng, 64), at(&mut self.rng, 64));
                mtr.patch(index, Patch::Move { offset, source, len: 64 });
            }
            2 => {
                let offset = at(&mut self.rng, 200);
                mtr.patch(index, Patch::Fill { offset, len: 200, byte: word[0] });
            }
            _ => {
                let offset = at(&mut self.rng, 32);
                mtr.patch(index, Patch::Stamp { offset });
                mtr.patch(index, Patch::Set { offset: offset + 8, bytes: &word });
            }
        }
    }

    /// Forgets a page now and then: one that is durable, as an engine may.
    fn evict(&mut self) {
        let vdl = self.vdl();
        let crowded = self.cache.len() > CACHE_PAGES;
        if (crowded || self.rng.percent(3)) && !self.cache.is_empty() {
            let at = self.rng.index(self.cache.len());
            let page = self.cache.keys().nth(at).copied();
            if let Some(page) = page.filter(|page| self.cache[page].lsn() <= vdl) {
                self.cache.remove(&page);
            }
        }
    }

    fn look(&mut self, out: &mut Vec<Out>) {
        let pages = self.pages();
        if self.rng.percent(20) {
            let page = PageId(self.rng.below(pages));
            self.read(page, ReadKind::Look, out);
        }
        if !self.profile.snapshots {
            return;
        }
        let over = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.reads_left == 0);
        match &mut self.snapshot {
            None if self.rng.percent(5) => self.take_snapshot(),
            None => {}
            Some(_) if over && self.reads.values().all(|read| read.kind != ReadKind::Snapshot) => {
                self.snapshot = None;
            }
            Some(snapshot) if !over && self.rng.percent(15) => {
                snapshot.reads_left -= 1;
                let page = PageId(self.rng.below(pages));
                self.read(page, ReadKind::Snapshot, out);
            }
            Some(_) => {}
        }
    }

    fn take_snapshot(&mut self) {
        let Some(tracker) = &self.tracker else { return };
        let required = (0..self.groups.len()).map(|g| tracker.required_scl(g)).collect();
        let reads_left = self.rng.between(3, 20) as u32;
        self.snapshot = Some(Snapshot { at: tracker.vdl(), required, reads_left });
    }

    fn fetch(&mut self, page: PageId, out: &mut Vec<Out>) {
        if self.reads.values().all(|read| read.page != page || read.kind != ReadKind::Fill) {
            self.read(page, ReadKind::Fill, out);
        }
    }

    /// Reads a page.
    pub(crate) fn read(&mut self, page: PageId, kind: ReadKind, out: &mut Vec<Out>) {
        let group = self.geometry.pg_of(page).0 as usize;
        let Some(tracker) = &self.tracker else { return };
        if group >= self.groups.len() {
            return;
        }
        let (read_point, required) = match (&self.snapshot, kind) {
            (Some(snapshot), ReadKind::Snapshot) => match snapshot.required.get(group) {
                Some(required) => (snapshot.at, *required),
                None => return,
            },
            _ if self.mutant == Some(Mutant::ReadAboveVdl) => {
                (self.log.as_ref().map_or(Lsn::ZERO, |log| log.last), self.groups[group].last)
            }
            _ => (tracker.vdl(), tracker.required_scl(group)),
        };
        let read = self.next_id;
        self.next_id += 1;
        self.reads.insert(read, Read { page, read_point, required, kind, attempts: 0 });
        self.ask_copy(read, out);
    }

    fn ask_copy(&mut self, id: u64, out: &mut Vec<Out>) {
        let Some(read) = self.reads.get_mut(&id) else { return };
        read.attempts += 1;
        let (page, read_point, needed) = (read.page, read.read_point, read.required);
        let index = self.geometry.pg_of(page).0 as usize;
        let group = &self.groups[index];
        let anywhere = self.mutant == Some(Mutant::ReadAnywhere);
        let required = if anywhere { Lsn::ZERO } else { needed };
        let able: Vec<usize> = group
            .members
            .iter()
            .filter(|m| m.kind.is_full() && (anywhere || m.live && m.scl >= required))
            .map(|m| m.node)
            .collect();
        // Nobody is able now: a copy at random says so, and its answer paces the next attempt.
        let node = match able.is_empty() {
            true => {
                let full = |member: &usize| group.members[*member].kind.is_full();
                let members: Vec<usize> = group.membership.members().filter(full).collect();
                group.members[members[self.rng.index(members.len())]].node
            }
            false => able[self.rng.index(able.len())],
        };
        let request = Request::ReadPage {
            segment: group.segment,
            epochs: self.epochs(index),
            page,
            read_point,
            required_scl: required,
        };
        self.call(node, request, Call::Read(id), out);
    }

    pub(super) fn on_read_reply(&mut self, id: u64, reply: Option<Reply>, out: &mut Vec<Out>) {
        let floor = self.oldest_read();
        let Some(read) = self.reads.get(&id) else { return };
        let (page, read_point, kind, attempts) = (read.page, read.read_point, read.kind, read.attempts);
        if let Some(Reply::Error(error)) = &reply {
            out.push(Out::Refused { read_point, floor, error: error.clone() });
        }
        match reply {
            Some(Reply::Page { image }) => {
                self.reads.remove(&id);
                if let (ReadKind::Fill, Ok(bytes)) = (kind, image.as_ref().try_into()) {
                    // It may have been changed meanwhile only if it was in the cache, and then this is older.
                    self.cache.entry(page).or_insert_with(|| Page::copy_of(bytes));
                }
                out.push(Out::Page { page, read_point, image, kind });
            }
            Some(Reply::Error(SegmentError::ReadPointTooOld { .. })) => {
                self.reads.remove(&id);
            }
            _ if attempts >= ATTEMPTS => {
                self.reads.remove(&id);
                match kind {
                    ReadKind::Final => self.read(page, kind, out),
                    ReadKind::Fill | ReadKind::Look | ReadKind::Snapshot => {}
                }
            }
            _ => self.ask_copy(id, out),
        }
    }

    /// Reads every page for the comparison at the end.
    pub(crate) fn read_all(&mut self, out: &mut Vec<Out>) {
        self.reads = BTreeMap::new();
        self.snapshot = None;
        (0..self.pages()).for_each(|page| self.read(PageId(page), ReadKind::Final, out));
    }
}

/// Applies a logged change to the cached page, by redo's own code.
fn apply(cached: &mut Page, change: &sextant_redo::PageChange) {
    for patch in sextant_redo::patch::Patches::new(&change.patches).flatten() {
        patch.apply(&mut cached.0, change.lsn);
    }
    page::stamp(&mut cached.0, change.page, change.lsn);
}

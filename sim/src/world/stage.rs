//! What a script sees of the world and may do to it (see [`crate::scenario`]).

use std::collections::VecDeque;

use sextant_redo::{Lsn, MembershipEpoch, PAGE_SIZE, PageId, PgId, SegmentId, VolumeEpoch, page};
use sextant_segment_store::disk::Disk;

use super::network::{Filter, MetaCut};
use super::{Event, World};
use crate::disk::{Crash, PAGES};
use crate::invariants::{Checked, Violation};
use crate::meta::{MetaRequest, node_at};
use crate::scenario::Step;
use crate::schedule::{MS, Time};

/// How long a run goes on after the script's last step, until all is healed.
const AFTER: Time = 500 * MS;

/// True when a slot of a page store holds a page image.
fn is_image(slot: &[u8]) -> bool {
    let image = <&[u8; PAGE_SIZE]>::try_from(slot);
    image.is_ok_and(|image| page::lsn(image) > Lsn::ZERO && page::verify(image, page::id(image)).is_ok())
}

/// How far a script has come, and what it keeps in mind.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) steps: VecDeque<Step>,
    pub(super) openings_died: u64,
    pub(super) all_ask_the_deposed: bool,
    opening_death_seen: u64,
    answers: u64,
    moment: Time,
    acked: u64,
    ends: Vec<(usize, Vec<Lsn>)>,
}

impl World {
    /// Takes the script's steps whose moment has come.
    pub(super) fn follow_script(&mut self) {
        while self.stage.steps.front().is_some_and(|step| (step.when)(self)) {
            let Some(step) = self.stage.steps.pop_front() else { return };
            self.note(|_| format!("SCRIPT {}", step.what));
            (step.act)(self);
            if self.stage.steps.is_empty() {
                self.schedule.after(AFTER, Event::Heal);
            }
        }
    }

    /// The time for faults is over: so must the script be.
    pub(super) fn script_is_over(&self) -> Checked {
        let Some(step) = self.stage.steps.front() else { return Ok(()) };
        Err(Violation { invariant: "I11", what: format!("the script waits for ever: {}", step.what) })
    }

    /// Commits acknowledged.
    pub(crate) fn acked_count(&self) -> u64 {
        self.stats.acked
    }

    /// Openings that came through.
    pub(crate) fn openings(&self) -> u64 {
        self.stats.openings
    }

    /// Most records in no page that any node knew of at once.
    pub(crate) fn most_pending(&self) -> usize {
        self.nodes.iter().map(|node| node.most_pending).max().unwrap_or(0)
    }

    /// Counts commits from here.
    pub(crate) fn remember_acked(&mut self) {
        self.stage.acked = self.stats.acked;
    }

    /// Commits since then.
    pub(crate) fn acked_since(&self) -> u64 {
        self.stats.acked - self.stage.acked
    }

    /// Measures time from here.
    pub(crate) fn remember_now(&mut self) {
        self.stage.moment = self.schedule.now();
    }

    /// Time since then.
    pub(crate) fn since_remembered(&self) -> Time {
        self.schedule.now() - self.stage.moment
    }

    fn ends(&self, node: usize) -> Vec<Lsn> {
        let groups = self.meta.info().map_or(0, |info| info.pgs.len() as u32);
        let segment = |pg| SegmentId { volume: self.meta.volume, pg: PgId(pg) };
        (0..groups).map(|pg| self.nodes[node].scl(segment(pg))).collect()
    }

    /// Keeps in mind where these nodes stand.
    pub(crate) fn remember_ends(&mut self, nodes: &[usize]) {
        self.stage.ends = nodes.iter().map(|node| (*node, self.ends(*node))).collect();
    }

    /// True when all those nodes stand further in some group.
    pub(crate) fn have_grown(&self) -> bool {
        self.stage.ends.iter().all(|(node, before)| self.ends(*node) > *before)
    }

    /// True when this node stands where those nodes did, or further.
    pub(crate) fn has_reached(&self, node: usize) -> bool {
        let here = self.ends(node);
        let reached = |before: &[Lsn]| before.iter().zip(&here).all(|(there, here)| here >= there);
        self.stage.ends.iter().all(|(_, before)| reached(before))
    }

    /// True while the writer serves.
    pub(crate) fn is_serving(&self) -> bool {
        self.writers.get(&self.current).is_some_and(|process| process.writer.is_serving())
    }

    /// True when the newest truncation range that the node knows is of that epoch.
    pub(crate) fn knows_range_of(&self, node: usize, epoch: VolumeEpoch) -> bool {
        let segment = SegmentId { volume: self.meta.volume, pg: PgId(0) };
        let known = self.nodes[node].copy(segment).and_then(|(state, _)| state.truncations.last().copied());
        known.is_some_and(|range| range.epoch == epoch)
    }

    /// True while a log write of the node is under way.
    pub(crate) fn is_writing(&self, node: usize) -> bool {
        self.nodes[node].up && self.nodes[node].is_writing()
    }

    /// True when the node does not run.
    pub(crate) fn is_down(&self, node: usize) -> bool {
        !self.nodes[node].up
    }

    /// True when the node has given up log of the first group.
    pub(crate) fn has_given_up_log(&self, node: usize) -> bool {
        self.nodes[node].log_start(SegmentId { volume: self.meta.volume, pg: PgId(0) }) > Lsn::ZERO
    }

    /// True when all log of the first group is still on the node.
    pub(crate) fn has_all_log(&self, node: usize) -> bool {
        self.nodes[node].up && !self.has_given_up_log(node)
    }

    /// Loses requests to nodes for which the filter says so.
    pub(crate) fn lose_requests(&mut self, filter: Option<Filter>) {
        self.network.filter = filter;
    }

    /// The node's disk reads nothing any more, until all is healed.
    pub(crate) fn fail_reads(&mut self, node: usize) {
        self.profile.reliability.read_errors_ppm = 1_000_000;
        self.nodes[node].disk.set_reliability(self.profile.reliability);
    }

    /// Page images on the node's disk, old ones too.
    pub(crate) fn page_images(&self, node: usize) -> usize {
        let bytes = self.nodes[node].disk.load(PAGES).ok().flatten().unwrap_or_default();
        bytes.chunks_exact(PAGE_SIZE).filter(|slot| is_image(slot)).count()
    }

    /// A bit flips in each of them.
    pub(crate) fn rot_pages(&mut self, node: usize) {
        self.nodes[node].disk.edit(PAGES, |bytes| {
            let slots = bytes.chunks_exact_mut(PAGE_SIZE).filter(|slot| is_image(slot));
            slots.for_each(|slot| slot[PAGE_SIZE / 2] ^= 1);
        });
    }

    /// True when the node can make every page of the volume as of now.
    pub(crate) fn has_good_pages(&self, node: usize) -> bool {
        let (Some(info), true) = (self.meta.info(), self.nodes[node].up) else { return false };
        info.pgs.iter().all(|pg| {
            let segment = SegmentId { volume: info.id, pg: pg.pg };
            let (first, end) = (info.geometry.first_page(pg.pg).0, self.nodes[node].scl(segment));
            let mut pages = (first..first + self.profile.pages_per_pg).map(PageId);
            pages.all(|page| self.nodes[node].page_at(segment, page, end).is_ok())
        })
    }

    /// These nodes lose power.
    pub(crate) fn power_off(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.nodes[*node].crash(Crash::PowerLoss));
    }

    /// All that are down start.
    pub(crate) fn power_on(&mut self) {
        for node in (0..self.nodes.len()).filter(|node| !self.nodes[*node].up) {
            self.schedule.after(MS, Event::Start { node });
        }
    }

    /// The writer is killed; the supervisor starts another before long.
    pub(crate) fn kill_writer(&mut self) {
        self.writers.remove(&self.current);
    }

    /// The writer stands still for so long.
    pub(crate) fn pause_writer(&mut self, length: Time) {
        let _ = self.stand_still(length);
    }

    /// The writer's client has nothing to do.
    pub(crate) fn stop_work(&mut self) {
        self.writers.values_mut().for_each(|process| process.writer.working = false);
    }

    /// True when everything logged is durable.
    pub(crate) fn is_idle(&self) -> bool {
        self.writers.get(&self.current).is_some_and(|process| process.writer.is_idle())
    }

    /// Another instance is started.
    pub(crate) fn start_other_writer(&mut self) {
        let other = self.writers.get(&self.current).map_or(0, |process| 1 - process.writer.instance);
        self.start_writer(other);
    }

    /// The next opening dies, two answers later than the one before.
    pub(crate) fn kill_openings_later_and_later(&mut self) {
        self.stage.answers += 2;
        self.opening_dies = Some(self.stage.answers);
        self.stage.opening_death_seen = self.stage.openings_died;
    }

    /// Openings die no more.
    pub(crate) fn spare_openings(&mut self) {
        self.opening_dies = None;
    }

    /// True when an opening died since the last word about it.
    pub(crate) fn opening_died(&self) -> bool {
        self.stage.openings_died > self.stage.opening_death_seen
    }

    /// The next grant is applied, and its answer lost.
    pub(crate) fn lose_the_next_grant(&mut self) {
        self.lose_grant = true;
    }

    /// True when that has happened.
    pub(crate) fn grant_was_lost(&self) -> bool {
        !self.lose_grant
    }

    /// Another member of the metadata group leads.
    pub(crate) fn change_meta_leader(&mut self) {
        let next = (self.meta.leader() + 1) % crate::meta::MEMBERS;
        self.meta.elect(next, self.schedule.now());
    }

    /// Another member leads, and the one before does not know it for so long.
    pub(crate) fn depose_meta_leader(&mut self, length: Time) {
        self.meta.depose(self.schedule.now());
        self.schedule.after(length, Event::EndDeposed);
    }

    /// While two members believe that they lead, everybody asks the one before.
    pub(crate) fn all_ask_the_deposed(&mut self) {
        self.stage.all_ask_the_deposed = true;
    }

    /// Neither requests to the metadata service nor its answers arrive, until all is healed.
    pub(crate) fn cut_meta_off(&mut self) {
        self.network.meta_cut = MetaCut { to: true, from: true };
    }

    /// They do again.
    pub(crate) fn end_meta_cut(&mut self) {
        self.network.meta_cut = MetaCut::default();
    }

    /// The operator drops the volume. Refused while a lease runs.
    pub(crate) fn drop_volume(&mut self) {
        self.operate(&MetaRequest::DropVolume);
    }

    /// True when the volume was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.meta.dropped().contains(&self.meta.volume)
    }

    /// True when the node runs, has no copy of anything, and its page store holds nothing but what a checkpoint needs.
    pub(crate) fn has_freed(&self, node: usize) -> bool {
        self.nodes[node].up && self.nodes[node].is_empty()
    }

    /// True when a writer runs, serving or not.
    pub(crate) fn has_writer(&self) -> bool {
        !self.writers.is_empty()
    }

    /// The operator begins to replace the first member of group 0.
    pub(crate) fn begin_replacement(&mut self) {
        let Some(group) = self.meta.info().map(|info| info.pgs[0].clone()) else { return };
        let (pg, membership, old) = (group.pg, group.membership, group.members[0].node);
        self.operate(&MetaRequest::BeginReplacement { pg, membership, old });
    }

    /// The operator takes that back.
    pub(crate) fn revert_replacement(&mut self) {
        let Some(group) = self.meta.info().map(|info| info.pgs[0].clone()) else { return };
        let Some(under_way) = group.replacements.first() else { return };
        let (old, new) = (under_way.old, under_way.new);
        let (pg, membership) = (group.pg, group.membership);
        self.operate(&MetaRequest::RevertReplacement { pg, membership, old, new });
    }

    /// True when the metadata service was told that the successor has everything.
    pub(crate) fn is_hydrated(&self) -> bool {
        let group = self.meta.info().map(|info| info.pgs[0].clone());
        group.is_some_and(|group| group.replacements.first().is_some_and(|r| r.hydrated))
    }

    /// True when all members of group 0 have recorded its newest membership, which is at least that.
    pub(crate) fn have_recorded(&self, membership: MembershipEpoch) -> bool {
        let Some(info) = self.meta.info() else { return false };
        let segment = SegmentId { volume: info.id, pg: PgId(0) };
        let group = &info.pgs[0];
        group.membership >= membership
            && group.members.iter().all(|member| {
                let copy = self.nodes[node_at(member.addr)].copy(segment);
                copy.is_some_and(|(state, _)| state.epochs.membership == group.membership)
            })
    }
}

//! The phases of a run: faults; then everything is healed and within the deadlines the volume commits again and its
//! copies converge; then a last opening, and every page is read and compared.

use std::collections::BTreeSet;

use sextant_redo::{Lsn, SegmentId};
use sextant_segment_store::peers::Membership;

use super::{Event, World};
use crate::invariants::{Checked, Violation, i04_page_truth, i05_convergence, i10_metadata, i11_liveness};
use crate::meta::{MetaRequest, node_at};
use crate::node::peers::Told;
use crate::schedule::{MS, SECOND, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Faults,
    /// Healed at that time; LSNs above belong to later commits. Waits for a commit, then for convergence.
    Healed {
        at: Time,
        end: Lsn,
        committed: bool,
    },
    /// The last opening compares everything.
    Compare,
    Over,
}

/// How long the workload goes on after healing.
const WORK_AFTER: Time = SECOND / 2;
/// Between two looks.
const LOOK: Time = 50 * MS;

impl World {
    /// Keeps a writer running.
    pub(super) fn supervise(&mut self) -> Checked {
        self.schedule.after(50 * MS + self.rng.below(100 * MS), Event::Supervise);
        if !self.writers.contains_key(&self.current) && !self.is_dropped() {
            let instance = usize::from(self.rng.percent(50));
            self.start_writer(instance);
        }
        self.tell_members();
        self.copies_are_sound()
    }

    /// The metadata service tells every node who the members are, as far as it can, and hears which copies are gone.
    fn tell_members(&mut self) {
        if self.meta_away || self.network.meta_cut.from || self.network.meta_cut.to {
            return;
        }
        for node in 0..self.nodes.len() {
            for (segment, membership) in self.nodes[node].peers.take_gone() {
                let gone = MetaRequest::CopyGone { pg: segment.pg, membership, node: self.meta.nodes[node] };
                // Refused when the members have changed since; the node says it again.
                let _ = self.meta.on(self.schedule.now(), &gone, BTreeSet::new());
            }
        }
        let mut told = Told { dropped: self.meta.dropped().clone(), ..Told::default() };
        for pg in self.meta.info().iter().flat_map(|info| &info.pgs) {
            let segment = SegmentId { volume: self.meta.volume, pg: pg.pg };
            let members = pg.members.iter().map(|member| member.node).collect();
            let full = pg.members.iter().filter(|m| m.kind.is_full()).map(|m| m.node).collect();
            told.groups.insert(segment, Membership { epoch: pg.membership, members, full });
            told.former.insert(segment, pg.former.clone());
        }
        self.nodes.iter().for_each(|node| node.peers.learn(told.clone()));
    }

    pub(super) fn heal(&mut self) -> Checked {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        self.script_is_over()?;
        self.end_faults();
        let at = self.schedule.now();
        self.note(|_| "HEALED".to_owned());
        self.phase = Phase::Healed { at, end: self.model.end(), committed: false };
        self.schedule.after(LOOK, Event::Look);
        Ok(())
    }

    /// A commit was acknowledged.
    pub(super) fn acked_after_heal(&mut self, cpl: Lsn) {
        let now = self.schedule.now();
        if let Phase::Healed { at, end, committed } = &mut self.phase
            && cpl > *end
            && !*committed
        {
            *committed = true;
            self.stats.first_commit = self.stats.first_commit.max(now - *at);
        }
    }

    /// Looks how far healing has come.
    pub(super) fn look(&mut self) -> Checked {
        let now = self.schedule.now();
        let Phase::Healed { at, committed, .. } = self.phase else { return Ok(()) };
        self.take_the_serving_writer();
        self.schedule.after(LOOK, Event::Look);
        let since = now - at;
        if self.is_dropped() {
            return self.look_for_leftovers(since);
        }
        i11_liveness::in_time("a new commit", committed, since, i11_liveness::COMMIT_DEADLINE)?;
        if !committed || since < WORK_AFTER {
            return Ok(());
        }
        self.writers.values_mut().for_each(|process| process.writer.working = false);
        let idle = self.writers.get(&self.current).is_some_and(|process| process.writer.is_idle());
        let converged = if idle { self.converged() } else { Ok(()) };
        if idle && converged.is_ok() {
            self.stats.converged = self.stats.converged.max(since);
            return self.compare();
        }
        if since > i11_liveness::CONVERGE_DEADLINE {
            converged?;
        }
        i11_liveness::in_time("everything durable", false, since, i11_liveness::CONVERGE_DEADLINE)
    }

    /// Of a dropped volume nothing is left: no copy on any node, no writer.
    fn look_for_leftovers(&mut self, since: Time) -> Checked {
        let gone = self.writers.is_empty() && (0..self.nodes.len()).all(|node| self.has_freed(node));
        if gone {
            self.stats.converged = self.stats.converged.max(since);
            self.phase = Phase::Over;
        }
        i11_liveness::in_time("nothing is left of the volume", gone, since, i11_liveness::CONVERGE_DEADLINE)
    }

    /// A writer that woke up from a pause may hold the lease, and another one wait for it.
    fn take_the_serving_writer(&mut self) {
        let serving = self.writers.iter().filter(|(_, process)| process.writer.is_serving());
        if let Some((number, _)) = serving.max_by_key(|(_, process)| process.writer.epoch) {
            self.current = *number;
        }
    }

    /// All copies of all groups are complete, but those with a bad disk.
    fn converged(&self) -> Checked {
        let Some(info) = self.meta.info() else { return Ok(()) };
        let Some(process) = self.writers.get(&self.current) else { return Ok(()) };
        for ((segment, last), pg) in process.writer.lasts().into_iter().zip(&info.pgs) {
            let nodes = pg.members.iter().map(|m| node_at(m.addr));
            let sound = nodes.filter(|n| !self.nodes[*n].disk.is_damaged());
            let scls: Vec<Lsn> = sound.clone().map(|node| self.nodes[node].scl(segment)).collect();
            i05_convergence::copies_are_complete(pg.pg, last, &scls)?;
            let copy = |node: usize| Some((self.meta.nodes[node], self.nodes[node].copy(segment)?.0));
            let Some(copies) = sound.map(copy).collect::<Option<Vec<_>>>() else {
                let what = format!("{:?} was not created everywhere", pg.pg);
                return Err(Violation { invariant: "I5", what });
            };
            i05_convergence::copies_are_equal(pg.pg, &copies)?;
        }
        Ok(())
    }

    /// The pages of every copy that has any against the model; then a new writer opens the volume and reads them the usual way.
    fn compare(&mut self) -> Checked {
        self.note(|_| "CONVERGED".to_owned());
        let Some(process) = self.writers.get(&self.current) else { return Ok(()) };
        let (epoch, vdl) = (process.writer.epoch, process.writer.vdl());
        let Some(info) = self.meta.info() else { return Ok(()) };
        for pg in &info.pgs {
            let segment = SegmentId { volume: info.id, pg: pg.pg };
            let first = info.geometry.first_page(pg.pg).0;
            let nodes = pg.members.iter().filter(|m| m.kind.is_full()).map(|m| node_at(m.addr));
            let sound: Vec<usize> = nodes.filter(|n| !self.nodes[*n].disk.is_damaged()).collect();
            for page in (first..first + self.profile.pages_per_pg).map(sextant_redo::PageId) {
                let mut images = Vec::new();
                for node in &sound {
                    let made = self.nodes[*node].page_at(segment, page, vdl);
                    let image =
                        made.map_err(|error| Violation { invariant: "I5", what: error.to_string() })?;
                    i04_page_truth::page_is_its_records(&self.model, epoch, page, vdl, &image)?;
                    self.stats.pages += 1;
                    images.push((self.meta.nodes[*node], image));
                }
                let bytes: Vec<_> = images.iter().map(|(node, image)| (*node, &image.0[..])).collect();
                i05_convergence::pages_are_equal(page, vdl, &bytes)?;
            }
        }
        i10_metadata::replicas_are_equal(self.meta.members_agree())?;
        self.phase = Phase::Compare;
        let instance = process_instance(self);
        self.writers.clear();
        self.start_writer(instance);
        self.compare_when_open()
    }

    /// Runs on until the last opening is through, then reads every page.
    fn compare_when_open(&mut self) -> Checked {
        let deadline = self.schedule.now() + 10 * SECOND;
        loop {
            let open = self.writers.get(&self.current).is_some_and(|p| p.writer.is_serving());
            if open {
                break;
            }
            if self.schedule.now() > deadline {
                return Err(Violation {
                    invariant: "I11",
                    what: "the last opening does not come through".into(),
                });
            }
            let Some(event) = self.schedule.pop() else { break };
            self.stats.events += 1;
            self.dispatch(event)?;
        }
        self.pages_left = self.profile.pages_per_pg * self.writable_groups();
        if self.pages_left == 0 {
            self.phase = Phase::Over;
        }
        self.with_writer(self.current, |writer, _, out| writer.read_all(out))
    }

    pub(crate) fn writable_groups(&self) -> u64 {
        self.writers.get(&self.current).map_or(0, |p| p.writer.lasts().len() as u64)
    }

    /// One of the last page reads was right.
    pub(super) fn compared(&mut self) {
        self.pages_left = self.pages_left.saturating_sub(1);
        if self.pages_left == 0 {
            self.phase = Phase::Over;
        }
    }

    /// Counts what network and disks have seen.
    pub(super) fn finish_stats(&mut self) {
        self.stats.time = self.schedule.now();
        self.stats.faults_add("message lost", self.network.lost);
        self.stats.faults_add("message twice", self.network.duplicated);
        for node in 0..self.nodes.len() {
            let counts = self.nodes[node].disk.counts();
            self.stats.faults_add("read error", counts.read_errors);
            self.stats.faults_add("bit flipped by a read", counts.read_flips);
            self.stats.faults_add("lost write", counts.lost_writes);
            self.stats.faults_add("torn write", counts.torn_writes);
            self.stats.faults_add("misdirected write", counts.misdirected);
            self.stats.faults_add("write error", counts.write_errors);
            self.stats.faults_add("no space", counts.refused_full);
            self.stats.faults_add("file operation interrupted", counts.interrupted);
            self.stats.images += counts.images;
            self.stats.checkpoints += counts.checkpoints;
            self.stats.log_files_freed += counts.log_files_freed;
        }
    }
}

fn process_instance(world: &World) -> usize {
    world.writers.get(&world.current).map_or(0, |process| process.writer.instance)
}

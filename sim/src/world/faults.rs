//! The fault atlas. At most [`Profile::impaired_max`] nodes are down, paused, cut off, full or on a bad disk at once, so
//! at most three of six copies of anything: data must survive. All machines may lose power at once, for their disks keep
//! what was flushed.
//!
//! [`Profile::impaired_max`]: crate::profile::Profile::impaired_max

use super::network::{Cut, MetaCut};
use super::phases::Phase;
use super::{Clocked, Event, World};
use crate::clock::Clock;
use crate::disk::Crash;
use crate::invariants::Checked;
use crate::meta::MEMBERS;
use crate::profile::Fault;
use crate::schedule::{MS, SECOND, Time};

impl World {
    fn is_impaired(&self, node: usize) -> bool {
        let n = &self.nodes[node];
        let away = !n.up || n.resume_at > self.schedule.now() || self.network.is_cut(node);
        away || n.disk.is_failing() || self.is_liar(node) || self.is_stranded(node)
    }

    /// The bad disk counts from the moment it may lose something.
    fn is_liar(&self, node: usize) -> bool {
        let lies = self.profile.lost_writes_ppm > 0 || self.profile.misdirected_ppm > 0;
        node == self.liar && (lies || self.nodes[node].disk.is_damaged())
    }

    /// A copy that was away for longer than the others keep log, or is new, cannot catch up from the log of sound others:
    /// until it has copied pages it is one copy less.
    pub(crate) fn is_stranded(&self, node: usize) -> bool {
        let Some(info) = self.meta.info() else { return false };
        info.pgs.iter().any(|pg| {
            let segment = sextant_redo::SegmentId { volume: info.id, pg: pg.pg };
            let members: Vec<usize> = pg.members.iter().map(|m| crate::meta::node_at(m.addr)).collect();
            let sound = || {
                let others = members.iter().map(|other| &self.nodes[*other]);
                others.filter(|other| !other.disk.is_damaged())
            };
            let end = sound().map(|other| other.scl(segment)).max().unwrap_or_default();
            let mut reached = self.nodes[node].scl(segment);
            while let Some(further) = sound()
                .filter(|other| other.log_start(segment) <= reached && other.scl(segment) > reached)
                .map(|other| other.scl(segment))
                .max()
            {
                reached = further;
            }
            members.contains(&node) && reached < end
        })
    }

    /// A fault of the node's disk may have struck.
    pub(super) fn may_be_damaged(&self, node: usize) -> bool {
        let reads = self.profile.reliability;
        reads.read_errors_ppm > 0 || reads.read_flips_ppm > 0 || self.is_liar(node)
    }

    /// How many more nodes may be taken.
    fn budget(&self) -> usize {
        let impaired = (0..self.nodes.len()).filter(|node| self.is_impaired(*node)).count();
        self.profile.impaired_max.saturating_sub(impaired)
    }

    /// A healthy node, if one may be taken.
    fn victim(&mut self) -> Option<usize> {
        let healthy: Vec<usize> = (0..self.nodes.len()).filter(|node| !self.is_impaired(*node)).collect();
        (self.budget() > 0 && !healthy.is_empty()).then(|| healthy[self.rng.index(healthy.len())])
    }

    /// A tenth of a second to half a minute; each decade is as likely.
    fn pause_time(&mut self) -> Time {
        let decade = [100 * MS, SECOND, 3 * SECOND, 30 * SECOND];
        let at = self.rng.index(3);
        self.rng.between(decade[at], decade[at + 1])
    }

    pub(super) fn repair_time(&mut self) -> Time {
        10 * MS + self.rng.exponential(self.profile.repair)
    }

    /// Draws a fault and the time of the next one.
    pub(super) fn fault(&mut self) -> Checked {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        let after = 5 * MS + self.rng.exponential(self.profile.fault_gap);
        self.schedule.after(after, Event::Fault);
        if let Some(fault) = self.profile.fault(&mut self.rng)
            && let Some(kind) = self.strike(fault)
        {
            self.note(|_| format!("FAULT {kind}"));
            self.stats.fault(kind);
        }
        Ok(())
    }

    /// Lets a fault happen; `None` when the atlas does not allow it now.
    fn strike(&mut self, fault: Fault) -> Option<&'static str> {
        let time = self.repair_time();
        match fault {
            Fault::NodeKill => self.down(Crash::Kill, time).map(|()| "storage kill"),
            Fault::NodePowerLoss => self.down(Crash::PowerLoss, time).map(|()| "storage power loss"),
            Fault::WriteError => {
                let node = self.victim()?;
                self.nodes[node].disk.set_failing(true);
                Some("write error to come")
            }
            Fault::AllPowerLoss => self.all_down().map(|()| "power loss of all"),
            Fault::NodePause => {
                let node = self.victim()?;
                let until = self.schedule.now() + self.pause_time();
                self.nodes[node].resume_at = until;
                self.schedule.at(until, Event::EndPause);
                Some("storage pause")
            }
            Fault::SlowDisk => {
                let node = self.rng.index(self.nodes.len());
                self.nodes[node].slow = self.rng.between(10, 100);
                self.schedule.after(time, Event::EndSlow(node));
                Some("slow disk")
            }
            Fault::FullDisk => {
                let node = self.victim()?;
                self.nodes[node].disk.set_full(true);
                self.schedule.after(time, Event::EndFull(node));
                Some("full disk")
            }
            Fault::Rot => {
                let allowed = self.is_liar(self.liar) || self.budget() > 0;
                (allowed && self.nodes[self.liar].disk.rot()).then_some("bit rot")
            }
            Fault::WriterKill => {
                self.writers.remove(&self.current)?;
                Some("writer kill")
            }
            Fault::Zombie => self.zombie().map(|()| "zombie writer"),
            Fault::WriterPause => {
                let length = self.pause_time();
                self.stand_still(length).map(|()| "writer pause")
            }
            Fault::WriterKillOpening => {
                self.writers.remove(&self.current)?;
                self.opening_dies = Some(self.rng.exponential(40) + 1);
                Some("writer kill, and its successor's while it opens")
            }
            Fault::PartitionNode => {
                let node = self.victim()?;
                self.cut_off(vec![node], true, true, time);
                Some("node cut off")
            }
            Fault::OneWay => {
                let node = self.victim()?;
                let to = self.rng.percent(50);
                self.cut_off(vec![node], to, !to, time);
                Some("node cut off one way")
            }
            Fault::PartitionAz => self.cut_az(false, time).map(|()| "zone cut off"),
            Fault::PartitionAzPlusOne => self.cut_az(true, time).map(|()| "zone and a node cut off"),
            Fault::Clog => {
                let node = self.rng.index(self.nodes.len());
                self.network.clogged.insert(node);
                self.schedule.after(time, Event::EndClog(node));
                Some("clogged link")
            }
            Fault::MetaAway => {
                self.meta_away = true;
                self.schedule.after(time, Event::MetaBack);
                Some("metadata away")
            }
            Fault::MetaOneWay => {
                let to = self.rng.percent(50);
                self.network.meta_cut = MetaCut { to, from: !to };
                self.schedule.after(time, Event::EndMetaCut);
                Some("metadata cut off one way")
            }
            Fault::MetaLeader => {
                let now = self.schedule.now();
                self.meta.depose(now);
                self.schedule.after(time, Event::EndDeposed);
                Some("metadata leader deposed")
            }
            Fault::MetaLeaderKill => {
                let now = self.schedule.now();
                self.lose_grant = self.rng.percent(50);
                self.meta.elect((self.meta.leader() + 1) % MEMBERS, now);
                Some("metadata leader kill")
            }
            Fault::ClockJump => self.jump(),
        }
    }

    fn down(&mut self, crash: Crash, time: Time) -> Option<()> {
        let node = self.victim()?;
        self.nodes[node].crash(crash);
        self.schedule.after(time, Event::Start { node });
        Some(())
    }

    fn all_down(&mut self) -> Option<()> {
        for node in 0..self.nodes.len() {
            self.nodes[node].crash(Crash::PowerLoss);
            let after = MS + self.rng.below(300 * MS);
            self.schedule.after(after, Event::Start { node });
        }
        Some(())
    }

    /// A clock leaps ahead, or stands still.
    fn jump(&mut self) -> Option<&'static str> {
        let now = self.schedule.now();
        let length = self.rng.between(100 * MS, 10 * SECOND);
        let process = match self.rng.index(3) {
            0 => Clocked::Writer(self.current),
            1 => Clocked::Meta(self.rng.index(MEMBERS)),
            _ => Clocked::Meta(self.meta.leader()),
        };
        let ahead = self.rng.percent(50);
        let clock = self.clock(process)?;
        if ahead {
            clock.leap(now, length);
            return Some("clock leaps ahead");
        }
        clock.stop(now, length);
        self.schedule.after(length, Event::EndStandstill(process));
        Some("clock stands still")
    }

    pub(super) fn clock(&mut self, process: Clocked) -> Option<&mut Clock> {
        match process {
            Clocked::Meta(member) => Some(self.meta.clock(member)),
            Clocked::Writer(number) => self.writers.get_mut(&number).map(|process| &mut process.clock),
        }
    }

    /// An opening that is to die after so many answers has had one more.
    pub(super) fn maybe_end_opening(&mut self, writer: usize) {
        let opening = self.writers.get(&writer).is_some_and(|p| p.writer.is_opening());
        let Some(left) = self.opening_dies.filter(|_| opening && writer == self.current) else { return };
        if left > 1 {
            self.opening_dies = Some(left - 1);
            return;
        }
        self.note(|_| format!("writer {writer} is killed while it opens the volume"));
        self.opening_dies = None;
        self.stage.openings_died += 1;
        self.writers.remove(&writer);
    }

    /// The writer stands still, another one is started; later the first one wakes up and goes on.
    fn zombie(&mut self) -> Option<()> {
        let length = SECOND + self.pause_time();
        self.stand_still(length)?;
        self.start_other_writer();
        Some(())
    }

    /// The writer stands still for so long.
    pub(super) fn stand_still(&mut self, length: Time) -> Option<()> {
        let until = self.schedule.now() + length;
        self.writers.get_mut(&self.current)?.writer.resume_at = until;
        self.schedule.at(until, Event::EndPause);
        Some(())
    }

    /// Gives processes that stand still no more what came for them meanwhile.
    pub(super) fn release(&mut self) {
        let now = self.schedule.now();
        self.held.drain(..).for_each(|event| self.schedule.at(now, event));
    }

    fn cut_off(&mut self, nodes: Vec<usize>, to: bool, from: bool, time: Time) {
        let cut = self.network.cut(Cut { nodes: nodes.into_iter().collect(), to, from });
        self.schedule.after(time, Event::EndCut(cut));
    }

    fn cut_az(&mut self, plus_one: bool, time: Time) -> Option<()> {
        let az = self.rng.below(3) as u16;
        let mut nodes: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.meta.az_of(*node).0 == az).collect();
        if plus_one {
            nodes.push(self.rng.index(self.nodes.len()));
        }
        let new = nodes.iter().filter(|node| !self.is_impaired(**node)).count();
        if new > self.budget() {
            return None;
        }
        self.cut_off(nodes, true, true, time);
        Some(())
    }

    /// Ends every fault but damage at rest on the bad disk.
    pub(super) fn end_faults(&mut self) {
        self.network.cuts.clear();
        self.network.clogged.clear();
        (self.network.loss_ppm, self.network.duplicate_ppm) = (0, 0);
        (self.meta_away, self.lose_grant, self.opening_dies) = (false, false, None);
        (self.network.meta_cut, self.network.filter) = (MetaCut::default(), None);
        self.meta.end_deposed();
        let now = self.schedule.now();
        (0..MEMBERS).for_each(|member| self.meta.clock(member).run(now));
        for node in 0..self.nodes.len() {
            let n = &mut self.nodes[node];
            (n.slow, n.resume_at) = (1, now);
            n.disk.set_full(false);
            n.disk.set_failing(false);
            n.disk.set_reliability(Default::default());
            if n.refuses.is_some() {
                n.disk.restore_damage();
            }
            if !n.up {
                self.schedule.after(MS, Event::Start { node });
            }
        }
        for process in self.writers.values_mut() {
            process.writer.resume_at = now;
            process.clock.run(now);
            process.writer.working = true;
        }
        self.release();
    }
}

//! The dangerous structure `T1 -> T2 -> T3`, T3 committed first, and who gives way.
//!
//! Ports and Grittner, section 3: no history is refused unless T3 has committed (or can no longer be refused) before T1 and
//! T2; and where T1 only reads, unless T3 had committed before T1 took its snapshot. Who is refused, section 5.4: nobody
//! before T3 has committed; then T2 if it still can be, so that a repetition of it does not meet T3 again; else T1.

use super::entry::{Entry, Phase};
use super::{Refused, Ssi, Sxact};

impl Ssi {
    /// `reader` missed a write of `writer`, and one of them is `me`: enters the edge, unless that makes a dangerous
    /// structure in which `me` has to give way.
    pub(super) fn conflict(&mut self, reader: Sxact, writer: Sxact, me: Sxact) -> Result<(), Refused> {
        let (Some(r), Some(w)) = (self.txns.get(&reader), self.txns.get(&writer)) else { return Ok(()) };
        // What stands for several has to be judged for each of them.
        if r.missed.contains(&writer) && ![reader, writer].contains(&Sxact::SUMMARY) {
            return Ok(());
        }
        if self.writer_is_pivot(r, w) || self.reader_is_pivot(r, w) {
            let victim = if w.prepared().is_some() { me } else { writer };
            self.doom(victim);
            if victim == me {
                return Err(Refused);
            }
        }
        self.link(reader, writer);
        Ok(())
    }

    pub(super) fn link(&mut self, reader: Sxact, writer: Sxact) {
        if let Some(entry) = self.txns.get_mut(&reader) {
            entry.missed.insert(writer);
        }
        if let Some(entry) = self.txns.get_mut(&writer) {
            entry.missed_by.insert(reader);
        }
    }

    pub(super) fn doom(&mut self, victim: Sxact) {
        if let Some(entry) = self.txns.get_mut(&victim) {
            entry.phase = Phase::Doomed;
        }
    }

    /// `reader -> writer -> T3`.
    fn writer_is_pivot(&self, reader: &Entry, writer: &Entry) -> bool {
        let first = |order: u64| order <= reader.committed() && order <= writer.committed();
        // What is forgotten had committed before the snapshot of everybody who still reads.
        writer.missed_before.is_some_and(first)
            || writer.missed.iter().filter_map(|id| self.txns.get(id)).any(|t3| {
                t3.prepared().is_some_and(first) && (!reader.read_only || t3.may_be_seen_at(reader.snapshot))
            })
    }

    /// `T1 -> reader -> writer`.
    fn reader_is_pivot(&self, reader: &Entry, writer: &Entry) -> bool {
        let Some(order) = writer.prepared() else { return false };
        let in_danger = |t1: &Entry| {
            !t1.is_doomed()
                && t1.committed() >= order
                && (!t1.read_only || writer.may_be_seen_at(t1.snapshot))
        };
        !reader.read_only && reader.missed_by.iter().filter_map(|id| self.txns.get(id)).any(in_danger)
    }

    /// `me` is about to commit, as T3 of whatever structures there are: their pivots are refused, or `me` where one of
    /// them can no longer be.
    pub(super) fn refuse_pivots(&mut self, me: Sxact) -> Result<(), Refused> {
        let Some(entry) = self.txns.get(&me) else { return Ok(()) };
        let mut pivots = Vec::new();
        for near in &entry.missed_by {
            let Some(t2) = self.txns.get(near) else { continue };
            if t2.is_committed() || t2.is_doomed() {
                continue;
            }
            let in_danger = |id: &Sxact| {
                // Who only reads took its snapshot before this commit.
                let may = |t1: &Entry| !t1.is_committed() && !t1.read_only && !t1.is_doomed();
                *id == me || self.txns.get(id).is_some_and(may)
            };
            if t2.missed_by.iter().any(in_danger) {
                if t2.prepared().is_some() {
                    self.doom(me);
                    return Err(Refused);
                }
                pivots.push(*near);
            }
        }
        pivots.into_iter().for_each(|pivot| self.doom(pivot));
        Ok(())
    }
}

//! How long what has committed is kept, and how it is made smaller.
//!
//! A transaction matters as long as somebody runs who began before it was over. When very many are kept, because somebody
//! runs for long, the oldest are summed up in one that stands for all of them: whoever meets it is judged as if by the
//! worst of them.

use super::entry::{Entry, Phase};
use super::ranges::KeyRange;
use super::{Ssi, Sxact, add_read};
use sextant_redo::Lsn;

impl Ssi {
    /// Forgets whatever was over before the oldest snapshot in use, and before any that can still be taken.
    pub(super) fn forget(&mut self) {
        let horizon = self.running.first().map_or(self.newest, |(snapshot, _)| *snapshot);
        while let Some((last, id)) = self.kept.first().copied()
            && last <= horizon
        {
            self.kept.remove(&(last, id));
            self.drop_entry(id);
        }
        if self.txns.get(&Sxact::SUMMARY).is_some_and(|summary| summary.is_over_at(horizon)) {
            self.drop_entry(Sxact::SUMMARY);
            self.summed_ids = Default::default();
        }
        while self.kept.len() > self.limits.kept
            && let Some((_, oldest)) = self.kept.pop_first()
        {
            self.sum_up(oldest);
        }
    }

    /// Takes a transaction out, with its edges. Who missed it remembers when it was prepared.
    pub(super) fn drop_entry(&mut self, id: Sxact) -> Option<Entry> {
        let entry = self.txns.remove(&id)?;
        self.ranges -= entry.reads.values().map(|set| set.len()).sum::<usize>();
        for written in &entry.ids {
            self.ids.remove(written);
        }
        for other in &entry.missed {
            if let Some(other) = self.txns.get_mut(other) {
                other.missed_by.remove(&id);
            }
        }
        for other in &entry.missed_by {
            let Some(other) = self.txns.get_mut(other) else { continue };
            other.missed.remove(&id);
            if let Some(order) = entry.prepared() {
                other.note_missed_before(order);
            }
        }
        Some(entry)
    }

    fn sum_up(&mut self, id: Sxact) {
        let Some(one) = self.txns.get_mut(&id) else { return };
        let (missed, missed_by) = (std::mem::take(&mut one.missed), std::mem::take(&mut one.missed_by));
        for other in missed.iter().chain(&missed_by) {
            if let Some(other) = self.txns.get_mut(other) {
                other.missed.remove(&id);
                other.missed_by.remove(&id);
            }
        }
        let Some(one) = self.drop_entry(id) else { return };
        let Phase::Committed { prepared, order, first, last } = one.phase else { return };
        let summary = self.txns.entry(Sxact::SUMMARY).or_insert_with(|| {
            let nothing =
                Phase::Committed { prepared: u64::MAX, order: 0, first: Lsn(u64::MAX), last: Lsn::ZERO };
            Entry::new(Lsn::ZERO, true, nothing)
        });
        if let Phase::Committed { prepared: p, order: o, first: f, last: l } = &mut summary.phase {
            (*p, *o, *l) = (prepared.min(*p), order.max(*o), last.max(*l));
            if !one.read_only {
                *f = first.min(*f);
            }
        }
        let first_prepare = summary.prepared().unwrap_or(prepared);
        summary.snapshot = summary.snapshot.max(one.snapshot);
        summary.read_only &= one.read_only;
        if let Some(order) = one.missed_before {
            summary.note_missed_before(order);
        }
        // An edge inside the summary can no longer be told from others.
        if missed.contains(&Sxact::SUMMARY) || missed_by.contains(&Sxact::SUMMARY) {
            summary.note_missed_before(first_prepare);
        }
        for (relation, set) in &one.reads {
            for range in set.iter() {
                add_read(&mut summary.reads, *relation, &range, &mut self.ranges, self.limits);
            }
        }
        for written in one.ids {
            self.summed_ids.insert(&KeyRange::numbers(written.0..written.0 + 1));
        }
        if self.summed_ids.len() > self.limits.ranges_of_relation {
            self.summed_ids.coarsen();
        }
        for other in missed.into_iter().filter(|other| *other != Sxact::SUMMARY) {
            self.link(Sxact::SUMMARY, other);
        }
        for other in missed_by.into_iter().filter(|other| *other != Sxact::SUMMARY) {
            self.link(other, Sxact::SUMMARY);
        }
    }
}

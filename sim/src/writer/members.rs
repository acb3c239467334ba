//! Following changes of members, as the driver does: the newer membership epoch goes out with everything at once and is
//! recorded at each segment; a successor joins like any other segment; once it has what is durable, the change is
//! finished. What is counted by meanwhile is [`sextant_volume::membership`]'s to say.

use sextant_meta::{Member as MemberInfo, PgInfo};
use sextant_redo::{Lsn, MembershipEpoch};
use sextant_volume::recovery::Place;

use super::{Call, Member, Out, Writer};
use crate::meta::{MetaReply, MetaRequest, node_at};
use crate::mutant::Mutant;
use crate::schedule::{MS, Time};

/// Between two questions for the members, while nothing is heard of a change.
const ASK_AGAIN: Time = 500 * MS;

impl Member {
    pub(super) fn new(info: &MemberInfo) -> Member {
        Member {
            node: node_at(info.addr),
            id: info.node,
            kind: info.kind,
            created: info.created,
            scl: Lsn::ZERO,
            live: false,
            joining: false,
            join_failures: 0,
            ranges: Vec::new(),
            next: 0,
            sent_to: Lsn::ZERO,
            seen: Lsn::ZERO,
            still: 0,
            told: (Lsn::ZERO, Lsn::ZERO),
            telling: false,
        }
    }
}

impl Writer {
    /// Every so often: looks for changes, and takes the next step of one.
    pub(super) fn follow_members(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.log.is_none() || self.replacing {
            return;
        }
        if let Some(step) = self.next_step().filter(|_| !self.ask_members_first) {
            self.replacing = true;
            self.call_meta(step, Call::Members, out);
        } else if std::mem::take(&mut self.ask_members_first) || now >= self.ask_members_at {
            self.ask_members_at = now + ASK_AGAIN;
            self.call_meta(MetaRequest::Volume, Call::Members, out);
        }
    }

    /// Reports a successor that has everything durable, then ends its replacement.
    fn next_step(&self) -> Option<MetaRequest> {
        let tracker = self.tracker.as_ref()?;
        self.groups.iter().enumerate().filter(|(_, group)| group.membership.is_settled()).find_map(
            |(index, group)| {
                let durable = tracker.pgcl(index).max(tracker.required_scl(index));
                let complete = |new| {
                    let member = group.membership.index_of(new).map(|member| &group.members[member]);
                    member.is_some_and(|member| member.live && member.scl >= durable)
                };
                let ready = group.membership.replacements().iter().find(|r| complete(r.new))?;
                let (pg, membership) = (group.segment.pg, group.membership.epoch());
                let (old, new) = (ready.old, ready.new);
                Some(match ready.hydrated {
                    false => MetaRequest::MarkHydrated { epoch: self.epoch, pg, new },
                    true => MetaRequest::FinishReplacement { pg, membership, old, new },
                })
            },
        )
    }

    pub(super) fn on_members(&mut self, reply: Option<MetaReply>, out: &mut Vec<Out>) {
        self.replacing = false;
        self.ask_members_first = reply.is_none() && self.mutant != Some(Mutant::RepeatStep);
        let Some(MetaReply::Volume(info)) = reply else { return };
        if self.log.is_some() {
            info.pgs.iter().take(self.groups.len()).for_each(|pg| self.learn(pg, out));
        }
    }

    fn learn(&mut self, info: &PgInfo, out: &mut Vec<Out>) {
        let index = info.pg.0 as usize;
        let waits = |member: usize| {
            let at = Place { group: index, member };
            self.tasks.values().any(|task| task.concerns(at))
        };
        let Some(change) = self.groups[index].membership.learn(info, waits) else { return };
        let group = &mut self.groups[index];
        for member in change.left {
            group.members[member].live = false;
        }
        for member in &change.joined {
            let told = info.members.iter().find(|m| group.membership.index_of(m.node) == Some(*member));
            let Some(new) = told.map(Member::new) else { continue };
            match (group.members.get_mut(*member), &mut self.tracker) {
                (Some(slot), Some(tracker)) => {
                    *slot = new;
                    tracker.reuse(index, *member);
                }
                _ => group.members.push(new),
            }
        }
        self.count_by_members(index, out);
        let members: Vec<usize> = self.groups[index].membership.members().collect();
        for member in members {
            let at = Place { group: index, member };
            match change.joined.contains(&member) {
                true => self.join(at, out),
                false => self.record_members(at, out),
            }
        }
    }

    /// A segment has said which membership epoch it has recorded.
    pub(super) fn on_recorded(&mut self, at: Place, epoch: MembershipEpoch, out: &mut Vec<Out>) {
        if self.groups[at.group].membership.recorded(at.member, epoch) {
            self.count_by_members(at.group, out);
        }
    }

    fn count_by_members(&mut self, index: usize, out: &mut Vec<Out>) {
        let group = &self.groups[index];
        let quorums = self.quorums(group.membership.quorums().clone(), false);
        let indices = group.membership.indices();
        if let Some(tracker) = &mut self.tracker
            && tracker.set_quorums(index, quorums, indices)
        {
            out.push(Out::Points { vcl: tracker.vcl(), vdl: tracker.vdl() });
        }
    }
}

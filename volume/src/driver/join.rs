//! Bringing a segment to where new batches can be sent to it: created if it never existed, opened under the volume
//! epoch, told the truncation ranges, brought up to date from a peer where the kept log does not reach back. Everything
//! here may be repeated.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::wire::{Reply, Request, SegmentError, SegmentState};
use sextant_redo::{BatchHeader, Lsn, MembershipEpoch, TruncationRange};

use super::Driver;
use super::link::CallError;
use super::state::Core;
use crate::directory::from_meta;
use crate::recovery::Place;

/// Log asked for at a time. Well below the largest frame.
const COPY_BYTES: u32 = 1024 * 1024;
/// First and longest pause before a segment is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Driver {
    /// Starts to bring a segment up to date, unless that is under way.
    pub(crate) fn spawn_join(self: &Rc<Self>, at: Place) {
        let mut core = self.core.borrow_mut();
        let member = core.member(at);
        if member.live || member.joining || !core.groups[at.group].membership.is_member(at.member) {
            return;
        }
        core.member(at).joining = true;
        drop(core);
        tokio::task::spawn_local(Rc::clone(self).join(at));
    }

    async fn join(self: Rc<Self>, at: Place) {
        let mut pause = PAUSE.0;
        let mut failures = 0;
        loop {
            let node = self.core.borrow().node_of(at);
            if self.core.borrow().stopped || !self.core.borrow().nodes[node].is_ready() {
                break; // whoever connects it next starts again
            }
            if !self.core.borrow().groups[at.group].membership.is_member(at.member) {
                break;
            }
            match self.try_join(at, failures).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(group = at.group, member = at.member, %error, "a segment cannot join yet")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
            failures += 1;
        }
        self.core.borrow_mut().member(at).joining = false;
        self.changed.notify_waiters();
    }

    async fn try_join(self: &Rc<Self>, at: Place, failures: usize) -> Result<(), CallError> {
        let connection = |core: &Core| {
            let node = &core.nodes[core.node_of(at)];
            node.is_ready().then_some(node.generation)
        };
        let ours = connection(&self.core.borrow());
        let mut state = self.open_segment(at).await?;
        let ranges = self.core.borrow().ranges.clone();
        if state.truncations != ranges {
            state = self.truncate_segment(at, ranges).await?;
        }
        let mut scl = state.scl;
        loop {
            {
                let mut core = self.core.borrow_mut();
                if ours.is_none() || connection(&core) != ours {
                    return Err(CallError::Down);
                }
                let membership = &core.groups[at.group].membership;
                if !membership.is_member(at.member) || !membership.has_recorded(at.member) {
                    return Err(CallError::Unexpected("the group's members changed meanwhile".to_owned()));
                }
                if core.go_live(at, scl) {
                    let node = core.node_of(at);
                    core.flush(node);
                    break;
                }
            }
            scl = self.catch_up(at, scl, failures).await?;
        }
        self.settle();
        Ok(())
    }

    /// Creates the segment if it never existed, and records both epochs there.
    pub(crate) async fn open_segment(&self, at: Place) -> Result<SegmentState, CallError> {
        let (node, created, kind, segment, epochs) = {
            let mut core = self.core.borrow_mut();
            let (created, kind) = (core.member(at).created, core.member(at).kind);
            (
                core.node_of(at),
                created,
                kind,
                core.groups[at.group].segment,
                core.epochs(at.group, self.setup.epoch),
            )
        };
        if !created {
            state_of(self.call(node, &Request::CreateSegment { segment, epochs, kind }).await?)?;
            self.mark_created(at, epochs.membership).await?;
        }
        let state = state_of(self.call(node, &Request::OpenSegment { segment, epochs }).await?)?;
        self.core.borrow_mut().on_recorded(at, node, state.epochs.membership);
        Ok(state)
    }

    /// Puts on record that the segment exists: from then on it must never come back empty.
    async fn mark_created(&self, at: Place, membership: MembershipEpoch) -> Result<(), CallError> {
        let (node, pg) = {
            let core = self.core.borrow();
            (core.nodes[core.node_of(at)].id, core.groups[at.group].segment.pg)
        };
        let setup = &self.setup;
        if let Err(error) =
            setup.directory.mark_created(setup.volume, setup.epoch, (pg, membership), node).await
        {
            let error = from_meta(&error, setup.epoch);
            if !error.is_retryable() {
                self.lose(error.clone());
            }
            return Err(CallError::Unexpected(error.to_string()));
        }
        self.core.borrow_mut().member(at).created = true;
        Ok(())
    }

    /// Gives the segment the list of truncation ranges.
    pub(crate) async fn truncate_segment(
        &self,
        at: Place,
        ranges: Vec<TruncationRange>,
    ) -> Result<SegmentState, CallError> {
        let (node, segment, epochs) = {
            let core = self.core.borrow();
            (core.node_of(at), core.groups[at.group].segment, core.epochs(at.group, self.setup.epoch))
        };
        let request = Request::Truncate { segment, epochs, ranges: ranges.clone() };
        let state = state_of(self.call(node, &request).await?)?;
        if state.truncations != ranges {
            let known = state.truncations.len();
            return Err(CallError::Unexpected(format!(
                "the segment keeps a list of {known} truncation ranges where {} were sent",
                ranges.len()
            )));
        }
        Ok(state)
    }

    /// One step of filling what the kept log does not reach; returns the segment's new SCL.
    async fn catch_up(&self, at: Place, scl: Lsn, failures: usize) -> Result<Lsn, CallError> {
        let (from, up_to) = {
            let core = self.core.borrow();
            let group = &core.groups[at.group];
            let peers = group.members.iter().enumerate().filter(|(n, m)| m.live && *n != at.member);
            let Some((member, up_to)) = choose_peer(peers.map(|(n, m)| (n, m.scl)), scl, failures) else {
                return Err(CallError::Unexpected("no peer has the log that the segment lacks".to_owned()));
            };
            (Place { group: at.group, member }, up_to)
        };
        let reached = self.copy_step(from, at, scl, up_to).await?;
        if reached <= scl {
            return Err(CallError::Unexpected(format!(
                "the segment stays at {scl} although log was copied to it"
            )));
        }
        Ok(reached)
    }

    /// Copies all log in `(after, up_to]` from one segment to another; returns the latter's SCL.
    pub(crate) async fn copy_log(
        &self,
        from: Place,
        to: Place,
        after: Lsn,
        up_to: Lsn,
    ) -> Result<Lsn, CallError> {
        let mut reached = after;
        while reached < up_to {
            let scl = self.copy_step(from, to, reached, up_to).await?;
            if scl <= reached {
                return Err(CallError::Unexpected(format!(
                    "the segment stays at {scl} although log was copied to it"
                )));
            }
            reached = scl;
        }
        Ok(reached)
    }

    async fn copy_step(&self, from: Place, to: Place, after: Lsn, up_to: Lsn) -> Result<Lsn, CallError> {
        let (node, request) = {
            let core = self.core.borrow();
            let epochs = core.epochs(from.group, self.setup.epoch);
            let segment = core.groups[from.group].segment;
            (core.node_of(from), Request::ReadLog { segment, epochs, after, up_to, max_bytes: COPY_BYTES })
        };
        let mut batches = match self.call(node, &request).await {
            Ok(Reply::Log { batches, .. }) => batches,
            Ok(other) => return Err(unexpected(&other)),
            Err(CallError::Refused(SegmentError::ReadPointTooOld { pgmrpl })) => {
                return Err(CallError::NeedsPages { log_start: pgmrpl });
            }
            Err(error) => return Err(error),
        };
        let mut reached = after;
        while !batches.is_empty() {
            match self.call_append(to, next_batch(&mut batches)?).await? {
                Reply::Appended { scl, .. } => reached = reached.max(scl),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(reached)
    }
}

/// The peer to copy from and where it stands: the most complete one above `scl`, and after each failure the next one.
/// The most complete one may be damaged, and asking it for ever would leave the segment behind for ever.
fn choose_peer(peers: impl Iterator<Item = (usize, Lsn)>, scl: Lsn, failures: usize) -> Option<(usize, Lsn)> {
    let mut able: Vec<(usize, Lsn)> = peers.filter(|(_, theirs)| *theirs > scl).collect();
    able.sort_by_key(|(_, theirs)| std::cmp::Reverse(*theirs));
    able.get(failures % able.len().max(1)).copied()
}

fn next_batch(batches: &mut Bytes) -> Result<Bytes, CallError> {
    let header = BatchHeader::decode(batches).map_err(|e| CallError::Unexpected(e.to_string()))?;
    if batches.len() < header.total_len() {
        return Err(CallError::Unexpected("a batch in the log is cut short".to_owned()));
    }
    Ok(batches.split_to(header.total_len()))
}

pub(crate) fn state_of(reply: Reply) -> Result<SegmentState, CallError> {
    match reply {
        Reply::State(state) => Ok(state),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> CallError {
    CallError::Unexpected(format!("an answer to another question, kind {}", reply.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_is_not_asked_for_ever() {
        let peers = [(0, Lsn(50)), (1, Lsn(90)), (2, Lsn(10)), (3, Lsn(70))];
        let choice = |failures| choose_peer(peers.into_iter(), Lsn(10), failures).map(|(peer, _)| peer);
        let order: Vec<_> = (0..4).map(choice).collect();
        assert_eq!(order, [Some(1), Some(3), Some(0), Some(1)]);
        assert_eq!(choose_peer(peers.into_iter(), Lsn(90), 3), None);
    }
}

//! The shell around [`Recovery`]: performs its actions on the connections, repeats what fails, gives up at a deadline.

use std::rc::Rc;
use std::time::Duration;

use sextant_redo::Lsn;
use sextant_redo::wire::{Reply, Request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Driver;
use super::link::CallError;
use crate::VolumeError;
use crate::recovery::{Action, Event, Place, Recovery};

/// Links asked for at a time.
const CHAIN_RECORDS: u32 = 100_000;
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the only segment with some record may be away before the opening is begun again without it.
const STUCK: Duration = Duration::from_secs(2);

/// How an opening ended.
pub(crate) enum Opening {
    /// Everything is durable, and the volume can be written.
    Done,
    /// It must be begun again under another epoch.
    Again,
}

impl Driver {
    /// Records the epoch, finds VDL, truncates: everything in front of "serve" (P18 section 2.4).
    pub(crate) async fn open(self: &Rc<Self>, deadline: Instant) -> Result<Opening, VolumeError> {
        let group = |g: &super::state::Group| (g.membership.quorums().clone(), g.members.len());
        let groups = self.core.borrow().groups.iter().map(group).collect();
        let mut recovery = Recovery::new(self.setup.epoch, self.setup.lal, groups);
        let (events, mut answers) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut lost = self.lost.subscribe();
        let mut stuck_since = None;
        loop {
            for action in recovery.actions() {
                tasks.spawn_local(Rc::clone(self).perform(action, events.clone()));
            }
            if let Some(outcome) = recovery.outcome() {
                self.begin_service(&recovery, &outcome);
                return Ok(Opening::Done);
            }
            tokio::select! {
                event = answers.recv() => if let Some(event) = event {
                    recovery.on(event).map_err(|e| VolumeError::Protocol(e.to_string()))?;
                },
                error = lost.wait_for(Option::is_some) => {
                    return Err(error.ok().and_then(|e| e.clone()).unwrap_or(VolumeError::Closed));
                }
                () = tokio::time::sleep(PAUSE) => {}
            }
            while tasks.try_join_next().is_some() {}
            if self.outdated.get() && Instant::now() < deadline {
                tracing::warn!("the members of a group changed since the epoch was granted");
                return Ok(Opening::Again);
            }
            match recovery.stuck() {
                true if *stuck_since.get_or_insert_with(Instant::now) + STUCK < Instant::now() => {
                    tracing::warn!("the only segment with some record is gone");
                    return Ok(Opening::Again);
                }
                true => {}
                false => stuck_since = None,
            }
            if Instant::now() >= deadline {
                return Err(self.no_quorum(&recovery));
            }
        }
    }

    fn no_quorum(&self, recovery: &Recovery) -> VolumeError {
        let (group, answered, needed) = recovery.lacking().unwrap_or((0, 0, 4));
        let pg = self.core.borrow().groups[group].segment.pg;
        VolumeError::NoQuorum { pg, what: "open", answered, needed }
    }

    async fn perform(self: Rc<Self>, action: Action, events: mpsc::UnboundedSender<Event>) {
        let place = action.place();
        let event = match &action {
            Action::Open(place) => self.open_until_done(*place).await,
            _ => self.try_action(&action).await,
        };
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(group = place.group, member = place.member, %error, "a step of opening failed; again");
                tokio::time::sleep(PAUSE).await;
                if let Action::Copy { from, .. } = action
                    && !matches!(error, CallError::NeedsPages { .. })
                {
                    let _ = events.send(Event::Suspect(from));
                }
                Event::Failed(place)
            }
        };
        // The opening may have ended meanwhile.
        let _ = events.send(event);
    }

    /// A segment may be away for as long as the opening takes.
    async fn open_until_done(&self, place: Place) -> Result<Event, CallError> {
        loop {
            let node = self.core.borrow().node_of(place);
            self.connected(node).await;
            match self.open_segment(place).await {
                Ok(state) => return Ok(Event::State(place, state)),
                Err(CallError::Down) => {}
                Err(error) => {
                    tracing::warn!(group = place.group, member = place.member, %error, "a segment does not open; again");
                }
            }
            tokio::time::sleep(PAUSE * 4).await;
        }
    }

    async fn try_action(&self, action: &Action) -> Result<Event, CallError> {
        Ok(match action {
            Action::Open(place) => Event::State(*place, self.open_segment(*place).await?),
            Action::Truncate(place, ranges) => {
                Event::State(*place, self.truncate_segment(*place, ranges.clone()).await?)
            }
            Action::ReadChain { from, after } => self.read_chain(*from, *after).await?,
            Action::Copy { from, to, after, up_to } => {
                Event::Copied { to: *to, scl: self.copy_log(*from, *to, *after, *up_to).await? }
            }
        })
    }

    async fn read_chain(&self, from: Place, after: Lsn) -> Result<Event, CallError> {
        let (node, request) = {
            let core = self.core.borrow();
            let epochs = core.epochs(from.group, self.setup.epoch);
            let segment = core.groups[from.group].segment;
            (core.node_of(from), Request::ReadChain { segment, epochs, after, max_records: CHAIN_RECORDS })
        };
        match self.call(node, &request).await? {
            Reply::Chain { links, complete } if complete || !links.is_empty() => {
                Ok(Event::Chain { from, after, links, complete })
            }
            other => {
                Err(CallError::Unexpected(format!("no links in a chain that goes on: kind {}", other.kind())))
            }
        }
    }
}

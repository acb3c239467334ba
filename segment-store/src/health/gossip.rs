//! The gossip of all segments of a node: now and then each asks one of its peers where it stands, and does what
//! [`crate::core::gossip`] says.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::wire::{Append, Epochs, Reply, Request, SegmentError, SegmentState};
use sextant_redo::{BatchHeader, Lsn, NodeId, SegmentId};

use super::{Failed, Health, wrong};
use crate::core::gossip::{Gossip, Standing, Step};
use crate::disk::{LocalFuture, join_all};
use crate::host;
use crate::metrics::METRICS;
use crate::peers::PeerError;

/// Between two looks at which segments are due.
const TICK: Duration = Duration::from_millis(50);
/// Segments that talk at once.
const TALKS_MAX: usize = 8;
/// Steps of one talk: then another segment may have its turn.
const STEPS_MAX: usize = 64;
/// Log asked for at a time.
const FETCH_BYTES: u32 = 1 << 20;
/// How long a talk waits until fetched log is taken.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// Gossips until the node fails.
pub(super) async fn keep(health: Rc<Health>) {
    let mut after = None;
    while !health.node.has_failed() {
        health.node.host.sleep(TICK).await;
        for segment in due(&health, after) {
            after = Some(segment);
            health.talking.borrow_mut().insert(segment);
            let task = health.clone();
            health.node.host.spawn(Box::pin(async move {
                talk(&task, segment).await;
                task.talking.borrow_mut().remove(&segment);
            }));
        }
    }
}

/// Segments whose time has come, from the one behind `after` on, as many as may talk.
fn due(health: &Health, after: Option<SegmentId>) -> Vec<SegmentId> {
    let (talking, now) = (health.talking.borrow(), health.node.host.now());
    let room = TALKS_MAX.saturating_sub(talking.len());
    let store = health.node.store.borrow();
    let mut gossip = health.gossip.borrow_mut();
    let is_due = |id: &SegmentId| {
        let seed = health.node.identity.node.0 as usize + id.pg.0 as usize;
        let known = gossip.entry(*id).or_insert_with(|| Gossip::new(seed));
        let mine = Standing::of(&store.segments()[id].segment);
        !talking.contains(id) && known.is_due(now, &mine)
    };
    let (before, behind): (Vec<SegmentId>, Vec<SegmentId>) =
        store.segments().keys().copied().partition(|id| after.is_some_and(|after| *id <= after));
    behind.into_iter().chain(before).filter(is_due).take(room).collect()
}

/// One talk with one peer.
async fn talk(health: &Rc<Health>, segment: SegmentId) {
    let others = health.others(segment);
    let turn = health.gossip.borrow().get(&segment).map_or(0, |gossip| gossip.peer(others.len()));
    let Some(peer) = others.get(turn).copied() else {
        return with(health, segment, |gossip, now| gossip.on_rest(now));
    };
    for _ in 0..STEPS_MAX {
        match step(health, segment, peer, others.len()).await {
            Ok(Some(pause)) => {
                with(health, segment, |gossip, now| gossip.on_progress(now, pause));
                health.node.host.sleep(pause).await;
            }
            Ok(None) => return with(health, segment, |gossip, now| gossip.on_rest(now)),
            Err(error) => {
                METRICS.error("gossip");
                tracing::debug!(?segment, %error, "gossip came to nothing");
                return with(health, segment, |gossip, now| gossip.on_rest(now));
            }
        }
        if health.node.has_failed() {
            return;
        }
    }
}

fn with(health: &Health, segment: SegmentId, change: impl FnOnce(&mut Gossip, Duration)) {
    let now = health.node.host.now();
    if let Some(gossip) = health.gossip.borrow_mut().get_mut(&segment) {
        change(gossip, now);
    }
}

/// Compares with the peer and does one thing; says how long to pause, or `None` when there was nothing to do.
async fn step(
    health: &Rc<Health>,
    segment: SegmentId,
    peer: NodeId,
    peers: usize,
) -> Result<Option<Duration>, Failed> {
    let Some(asked) = health.standing(segment) else { return Ok(None) };
    let epochs = asked.state.epochs;
    let theirs = match state_of(health, peer, segment, epochs).await? {
        Told::State(state) => state,
        Told::Newer(newer) => {
            record(health, segment, newer).await?;
            return Ok(Some(Duration::ZERO));
        }
    };
    let Some(mine) = health.standing(segment).filter(|mine| mine.state.epochs == epochs) else {
        return Ok(None);
    };
    let mine = super::copy::with_progress(health, segment, mine);
    super::tail::hear(health, segment, &mine, peer, &theirs);
    let decided = {
        let mut gossip = health.gossip.borrow_mut();
        gossip.entry(segment).or_default().on_state(&mine, &theirs, health.kind(segment, peer), peers)
    };
    let bytes = match decided {
        Step::Rest => return Ok(None),
        Step::Record(newer) => {
            record(health, segment, newer).await?;
            0
        }
        Step::TakeList(ranges) => {
            health.own.ask(&health.node, Request::Truncate { segment, epochs, ranges }).await?;
            0
        }
        Step::Fetch { after, up_to } => fetch(health, segment, epochs, peer, (after, up_to)).await?,
        Step::Begin => match super::tail::begin(health, segment, &mine).await? {
            true => 0,
            false => return Ok(None),
        },
        Step::Copy { at, from } => super::copy::part(health, segment, epochs, peer, (at, from)).await?,
    };
    Ok(Some(Health::pace(bytes, health.options.copy_bytes_per_s)))
}

/// What a peer said.
pub(super) enum Told {
    State(SegmentState),
    /// It has higher epochs.
    Newer(Epochs),
}

/// Where a peer stands.
pub(super) async fn state_of(
    health: &Health,
    peer: NodeId,
    segment: SegmentId,
    epochs: Epochs,
) -> Result<Told, Failed> {
    match health.call(peer, Request::Gossip { segment, epochs }).await {
        Ok(Reply::State(state)) if state.segment == segment => Ok(Told::State(state)),
        Ok(_) => Err(wrong(peer, "an answer to another question")),
        Err(PeerError::Refused { error: SegmentError::Fenced { current }, .. }) => {
            Ok(Told::Newer(Epochs { volume: current, ..epochs }))
        }
        Err(PeerError::Refused { error: SegmentError::StaleMembership { current }, .. }) => {
            health.peers.refresh();
            Ok(Told::Newer(Epochs { membership: current, ..epochs }))
        }
        Err(error) => Err(error.into()),
    }
}

async fn record(health: &Health, segment: SegmentId, epochs: Epochs) -> Result<(), Failed> {
    health.own.ask(&health.node, Request::Gossip { segment, epochs }).await?;
    Ok(())
}

/// Gets log from the peer and appends it as if it came from the writer; the bytes that came.
async fn fetch(
    health: &Rc<Health>,
    segment: SegmentId,
    epochs: Epochs,
    peer: NodeId,
    (after, up_to): (Lsn, Lsn),
) -> Result<usize, Failed> {
    // Where there is no room one batch is enough: it is what pages wait for, so it is taken in time.
    let max_bytes = if health.node.takes_log(segment) { FETCH_BYTES } else { 1 };
    let mut batches = health.log_of(peer, (segment, epochs), (after, up_to), max_bytes).await?;
    let bytes = batches.len();
    if bytes == 0 {
        return Err(wrong(peer, format!("no log above {after}, though it is complete to {up_to}")));
    }
    let mut appends: Vec<LocalFuture<'_, _>> = Vec::new();
    while let Some(batch) = next_batch(&mut batches).map_err(|what| wrong(peer, what))? {
        let append = Request::Append(Append { segment, epochs, batch });
        appends.push(Box::pin(health.own.ask(&health.node, append)));
    }
    // Others have a turn where it waits for long; what waits is not lost.
    let Some(all) = host::timeout(&*health.node.host, ROOM_PATIENCE, join_all(appends)).await else {
        return Err(Failed::NoRoom);
    };
    for appended in all {
        appended?;
    }
    METRICS.gossip_bytes.inc_by(bytes as u64);
    Ok(bytes)
}

/// Takes the next batch off log that a peer sent; its checksums are looked at where it is admitted.
pub(super) fn next_batch(batches: &mut Bytes) -> Result<Option<Bytes>, String> {
    if batches.is_empty() {
        return Ok(None);
    }
    let header = BatchHeader::decode(batches).map_err(|error| error.to_string())?;
    if batches.len() < header.total_len() {
        return Err("a batch is cut short".into());
    }
    Ok(Some(batches.split_to(header.total_len())))
}

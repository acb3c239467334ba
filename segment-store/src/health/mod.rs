//! A copy stays whole by itself, with the help of its peers and without any writer.
//!
//! | module | idea |
//! | --- | --- |
//! | [`gossip`] | asks peers where they stand and takes from them what is missing: epochs, lists, log |
//! | [`copy`] | page images from a peer, where no peer's log reaches back |
//! | [`scrub`] | reads everything again now and then, in search of damage |
//! | [`repair`] | in place of what is damaged, the same from a peer |
//! | [`tail`] | a tail gives up log that every full segment has, or begins behind it |
//! | [`leave`] | a copy that is no member of its group any more, or whose volume was dropped, goes |
//! | [`blocks`] | a block of the page map that is lost, with images of all its pages from a peer |
//!
//! What is decided is in [`crate::core::gossip`], [`crate::core::copying`] and [`crate::core::tail`]. Everything here is background: bounded in
//! bytes a second, and never in the way of an append.

mod blocks;
mod copy;
mod gossip;
mod leave;
pub(crate) mod repair;
mod scrub;
mod tail;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::wire::{Epochs, Reply, Request, SegmentError};
use sextant_redo::{Lsn, NodeId, SegmentId, SegmentKind};

use crate::core::gossip::{Gossip, Standing};
use crate::core::tail::Heard;
use crate::core::{Copied, Entry, LogAddress};
use crate::node::Node;
use crate::peers::{Own, PeerError, Peers};

/// How much of the device and the network this may use.
#[derive(Debug, Clone, Copy)]
pub struct HealthOptions {
    /// Bytes a second that are taken from peers for one segment.
    pub copy_bytes_per_s: u64,
    /// Most bytes a second that scrubbing reads.
    pub scrub_bytes_per_s: u64,
    /// Everything is read once in this time, if the rate above allows.
    pub scrub_period: Duration,
}

/// What the tasks of this module share.
pub(crate) struct Health {
    node: Rc<Node>,
    peers: Rc<dyn Peers>,
    own: Rc<Own>,
    options: HealthOptions,
    gossip: RefCell<BTreeMap<SegmentId, Gossip>>,
    /// What the tails here have heard of their peers.
    heard: RefCell<BTreeMap<SegmentId, Heard>>,
    /// Segments that talk with a peer now.
    talking: RefCell<BTreeSet<SegmentId>>,
    /// How far copies of pages have come since their progress was last made durable.
    copies: RefCell<BTreeMap<SegmentId, copy::Progress>>,
    repairs: repair::Repairs,
    /// Blocks of page maps that are being rebuilt.
    rebuilding: RefCell<BTreeSet<(SegmentId, u64)>>,
    /// Which peer is asked first for a repair.
    turn: Cell<usize>,
}

/// Starts the tasks. They end when the node fails.
pub fn start(node: &Rc<Node>, peers: Rc<dyn Peers>, options: HealthOptions) {
    let health = Rc::new(Health {
        node: node.clone(),
        peers,
        own: Own::connect(node),
        options,
        gossip: RefCell::default(),
        heard: RefCell::default(),
        talking: RefCell::default(),
        copies: RefCell::default(),
        repairs: repair::Repairs::default(),
        rebuilding: RefCell::default(),
        turn: Cell::new(0),
    });
    node.health.replace(Rc::downgrade(&health));
    node.host.spawn(Box::pin(gossip::keep(health.clone())));
    node.host.spawn(Box::pin(leave::keep(health.clone())));
    node.host.spawn(Box::pin(scrub::keep(health)));
}

impl Health {
    /// The other members of the segment's group; empty where this node is none of them.
    fn others(&self, segment: SegmentId) -> Vec<NodeId> {
        let me = self.node.identity.node;
        let members = self.peers.members(segment).map_or_else(Vec::new, |known| known.members);
        if members.contains(&me) {
            members.into_iter().filter(|node| *node != me).collect()
        } else {
            Vec::new()
        }
    }

    /// What a member of the segment's group keeps.
    fn kind(&self, segment: SegmentId, node: NodeId) -> SegmentKind {
        let known = self.peers.members(segment);
        let tail = known.is_some_and(|known| known.members.contains(&node) && !known.full.contains(&node));
        if tail { SegmentKind::Tail } else { SegmentKind::Full }
    }

    /// The segments of this node.
    fn segments(&self) -> Vec<SegmentId> {
        self.node.store.borrow().segments().keys().copied().collect()
    }

    fn standing(&self, segment: SegmentId) -> Option<Standing> {
        self.node.store.borrow().segments().get(&segment).map(|slot| Standing::of(&slot.segment))
    }

    /// Which copy of the segment is here now.
    fn birth(&self, segment: SegmentId) -> Result<LogAddress, Failed> {
        let birth = self.node.store.borrow().birth(segment);
        birth.ok_or(Failed::Own(SegmentError::UnknownSegment { segment }))
    }

    /// Makes the progress of the copy that was born there durable. A copy can be dropped and a new one made at any time: of that
    /// one this would say that it has pages which it never had.
    async fn record_copied(
        &self,
        (segment, born): (SegmentId, LogAddress),
        copied: Copied,
    ) -> Result<(), Failed> {
        if self.birth(segment)? != born {
            return Err(Failed::Own(SegmentError::UnknownSegment { segment }));
        }
        self.own.write(&self.node, Entry::Copied(segment, copied)).await?;
        Ok(())
    }

    async fn call(&self, node: NodeId, request: Request) -> Result<Reply, PeerError> {
        self.peers.call(node, request).await
    }

    /// Log in `(after, up_to]` that a peer holds, whole batches.
    async fn log_of(
        &self,
        peer: NodeId,
        (segment, epochs): (SegmentId, Epochs),
        (after, up_to): (Lsn, Lsn),
        max_bytes: u32,
    ) -> Result<Bytes, Failed> {
        let ask = Request::ReadLog { segment, epochs, after, up_to, max_bytes };
        match self.call(peer, ask).await? {
            Reply::Log { batches, .. } => Ok(batches),
            _ => Err(other_answer(peer)),
        }
    }

    /// Does with one of the peers after the other what must succeed with one. Says who it was.
    async fn with_a_peer(
        &self,
        peers: Vec<NodeId>,
        attempt: impl AsyncFn(NodeId) -> Result<(), Failed>,
    ) -> Result<NodeId, Failed> {
        let mut failed = Failed::Own(SegmentError::Damaged { what: "there is no peer to ask".into() });
        for peer in peers {
            match attempt(peer).await {
                Ok(()) => return Ok(peer),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The other members that keep pages, each time another one first.
    fn full_in_turn(&self, segment: SegmentId) -> Vec<NodeId> {
        let mut peers = self.in_turn(segment);
        peers.retain(|peer| self.kind(segment, *peer).is_full());
        peers
    }

    /// The other members, each time another one first.
    fn in_turn(&self, segment: SegmentId) -> Vec<NodeId> {
        let mut peers = self.others(segment);
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        if !peers.is_empty() {
            let len = peers.len();
            peers.rotate_left(turn % len);
        }
        peers
    }

    /// How long `bytes` may take at most when a second may have `rate` of them.
    fn pace(bytes: usize, rate: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
    }
}

/// Why a step that takes something from a peer came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The peer.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// This node would not take it.
    #[error("not taken here: {0}")]
    Own(#[from] SegmentError),
    /// There is no room for it.
    #[error("no space here")]
    NoSpace,
    /// Log waits until pages were made of earlier log.
    #[error("log has to wait here")]
    NoRoom,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

fn other_answer(node: NodeId) -> Failed {
    wrong(node, "an answer to another question")
}

fn wrong(node: NodeId, what: impl Into<String>) -> Failed {
    Failed::Peer(PeerError::Wrong { node, what: what.into() })
}

//! One connection a node: made, introduced, read from, written to when the socket takes more, and made again when it
//! breaks. Requests of all kinds share it, told apart by their ids.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sextant_node::net;
use sextant_redo::Lsn;
use sextant_redo::frame::{self, Frame};
use sextant_redo::wire::{Append, PeerKind, Reply, Request, SegmentError};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::Driver;
use super::send::batch_group;
use super::state::{Call, Link, Outgoing};
use crate::VolumeError;
use crate::recovery::Place;

/// First and longest pause before a connection is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A connection that brought so many replies before it broke was a good one: the next is tried soon.
const USEFUL_FRAMES: u64 = 8;
/// Pause before a segment that refused a batch joins again.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 64 * 1024;

/// Why a request to a node got no useful answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no connection")]
    Down,
    #[error("no answer in time")]
    TimedOut,
    #[error("{0}")]
    Refused(SegmentError),
    /// What the segment lacks is no longer in any peer's log: it needs a copy of a peer's pages first.
    #[error(
        "the peers' log starts at {log_start}, above what the segment has: it cannot be brought up to date from log alone"
    )]
    NeedsPages { log_start: Lsn },
    #[error("{0}")]
    Unexpected(String),
}

impl Driver {
    /// Keeps a node connected as long as the driver runs and the node has a member.
    pub(crate) async fn run_link(self: Rc<Self>, node: usize) {
        let mut pause = PAUSE.0;
        loop {
            {
                let mut core = self.core.borrow_mut();
                if core.stopped || !core.is_used(node) {
                    core.nodes[node].linked = false;
                    return;
                }
            }
            let addr = self.core.borrow().nodes[node].addr;
            let ended = match net::connect(addr, self.setup.tuning.call_timeout).await {
                Ok(stream) => {
                    if self.core.borrow().nodes[node].generation > 0 {
                        self.core.borrow().nodes[node].counters.reconnects.inc();
                    }
                    self.serve_link(node, Rc::new(stream)).await
                }
                Err(error) => error.to_string(),
            };
            if self.link_down(node, ended) >= USEFUL_FRAMES {
                pause = PAUSE.0;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn serve_link(self: &Rc<Self>, node: usize, stream: Rc<TcpStream>) -> String {
        let want_write = Rc::new(Notify::new());
        self.core.borrow_mut().nodes[node].connect(Link::new(Rc::clone(&stream), Rc::clone(&want_write)));
        tokio::select! {
            ended = self.read_frames(node, &stream) => ended,
            ended = self.write_more(node, &stream, &want_write) => ended,
            ended = self.introduce(node) => ended,
        }
    }

    async fn introduce(self: &Rc<Self>, node: usize) -> String {
        let id = self.core.borrow().nodes[node].id;
        let hello = Request::Hello { cluster: self.setup.cluster, node: id, peer: PeerKind::Engine };
        match self.call(node, &hello).await {
            Ok(Reply::Hello { cluster, node: answered })
                if (cluster, answered) == (self.setup.cluster, id) => {}
            Ok(other) => return format!("the node introduced itself with {other:?}"),
            Err(error) => return format!("the node did not introduce itself: {error}"),
        }
        {
            let mut core = self.core.borrow_mut();
            core.nodes[node].last_error = None;
            if let Some(link) = &mut core.nodes[node].link {
                link.ready = true;
            }
        }
        self.changed.notify_waiters();
        if self.is_serving() {
            let places = self.core.borrow().places_on(node);
            places.into_iter().for_each(|at| self.spawn_join(at));
        }
        std::future::pending().await
    }

    async fn read_frames(self: &Rc<Self>, node: usize, stream: &TcpStream) -> String {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            if let Err(error) = stream.readable().await {
                return error.to_string();
            }
            if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
                buffer.reserve(READ_BYTES);
            }
            match stream.try_read_buf(&mut buffer) {
                Ok(0) => return "the node closed the connection".to_owned(),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return error.to_string(),
            }
            loop {
                match frame::decode(&mut buffer) {
                    Ok(Some(frame)) => {
                        if let Err(error) = self.on_frame(node, frame) {
                            return error;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
            self.settle();
        }
    }

    async fn write_more(&self, node: usize, stream: &TcpStream, want_write: &Notify) -> String {
        loop {
            want_write.notified().await;
            if let Err(error) = stream.writable().await {
                return error.to_string();
            }
            let mut core = self.core.borrow_mut();
            if core.nodes[node].link.as_ref().is_none_or(|l| l.broken) {
                return core.nodes[node]
                    .last_error
                    .clone()
                    .unwrap_or_else(|| "the connection broke".to_owned());
            }
            core.flush(node);
        }
    }

    fn on_frame(self: &Rc<Self>, node: usize, frame: Frame) -> Result<(), String> {
        let reply =
            Reply::decode(frame.kind, &frame.payload).map_err(|e| format!("unreadable reply: {e}"))?;
        let call = self.core.borrow_mut().take_call(node, frame.request);
        match &reply {
            Reply::Appended { segment, scl } => self.core.borrow_mut().on_appended(node, *segment, *scl)?,
            Reply::Error(SegmentError::Fenced { current }) if *current > self.setup.epoch => {
                self.lose(VolumeError::Fenced { ours: self.setup.epoch, current: *current });
            }
            Reply::Error(error) => {
                if matches!(error, SegmentError::StaleMembership { .. }) {
                    self.outdated.set(true);
                    self.ask_members.notify_one();
                }
                self.on_refused(node, frame.request, error);
            }
            _ => {}
        }
        if let Some(call) = call {
            // Whoever asked may have gone: a hedged read was answered by another copy.
            let _ = call.reply.send(reply);
        }
        Ok(())
    }

    /// A batch was not taken: the segment starts again from its true state, after a pause.
    fn on_refused(self: &Rc<Self>, node: usize, request: u64, error: &SegmentError) {
        let Some(group) = batch_group(request) else { return };
        let mut core = self.core.borrow_mut();
        let Some(at) = core.places_on(node).into_iter().find(|at| at.group == group) else { return };
        if std::mem::take(&mut core.member(at).live) {
            tracing::warn!(node = %core.nodes[node].id, group, %error, "a batch was refused; the segment joins again");
            core.set_away(at);
            let driver = Rc::clone(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(REFUSED_PAUSE).await;
                driver.spawn_join(at);
            });
        }
    }

    /// Returns how many replies the connection brought.
    fn link_down(&self, node: usize, why: String) -> u64 {
        let mut core = self.core.borrow_mut();
        let state = &mut core.nodes[node];
        let (was_ready, frames) = state.link.take().map_or((false, 0), |l| (l.ready, l.frames_received));
        state.dirty.clear();
        if was_ready {
            tracing::warn!(node = %state.id, addr = %state.addr, why, "a storage node is away");
        }
        state.last_error = Some(why);
        for at in core.places_on(node) {
            core.set_away(at);
            core.member(at).queued = false;
        }
        drop(core);
        self.changed.notify_waiters();
        frames
    }

    /// Sends a request and returns where its reply arrives.
    pub(crate) fn start_call(
        &self,
        node: usize,
        request: &Request,
    ) -> Result<oneshot::Receiver<Reply>, CallError> {
        let is_read = matches!(request, Request::ReadPage { .. });
        let payload = request.payload();
        self.post(node, request.kind(), &payload, Bytes::new(), is_read)
    }

    fn post(
        &self,
        node: usize,
        kind: u8,
        head: &[u8],
        body: Bytes,
        is_read: bool,
    ) -> Result<oneshot::Receiver<Reply>, CallError> {
        let mut core = self.core.borrow_mut();
        let id = core.next_request;
        core.next_request += 1;
        let link = core.nodes[node].link.as_mut().filter(|l| !l.broken).ok_or(CallError::Down)?;
        let mut front = Vec::with_capacity(frame::FRAME_HEADER + head.len());
        front.extend_from_slice(&frame::header(kind, id, &[head, &body]));
        front.extend_from_slice(head);
        link.push(Outgoing::Frame(front, body));
        let (reply, wait) = oneshot::channel();
        let read_since = is_read.then(Instant::now);
        link.calls.insert(id, Call { reply, read_since });
        core.flush(node);
        Ok(wait)
    }

    /// Sends a request and waits for the reply; error replies are errors.
    pub(crate) async fn call(&self, node: usize, request: &Request) -> Result<Reply, CallError> {
        self.answer(self.start_call(node, request)?).await
    }

    /// Appends a batch outside of the stream of new ones.
    pub(crate) async fn call_append(&self, at: Place, batch: Bytes) -> Result<Reply, CallError> {
        let (node, prefix) = {
            let core = self.core.borrow();
            let epochs = core.epochs(at.group, self.setup.epoch);
            (core.node_of(at), Append::prefix(core.groups[at.group].segment, epochs))
        };
        self.answer(self.post(node, Request::APPEND, &prefix, batch, false)?).await
    }

    async fn answer(&self, reply: oneshot::Receiver<Reply>) -> Result<Reply, CallError> {
        match tokio::time::timeout(self.setup.tuning.call_timeout, reply).await {
            Ok(Ok(Reply::Error(error))) => Err(CallError::Refused(error)),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(CallError::Down),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Resolves when there is a connection to the node.
    pub(crate) async fn connected(&self, node: usize) {
        loop {
            let changed = self.changed.notified();
            if self.core.borrow().nodes[node].is_ready() {
                return;
            }
            changed.await;
        }
    }
}

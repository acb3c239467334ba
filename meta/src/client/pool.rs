//! Connections to the members, and which of them led last.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sextant_node::net::{self, FrameReader};
use sextant_redo::frame;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use crate::api::{KIND_REPLY, KIND_REPLY_PART, KIND_REQUEST, Reply, Request};
use crate::{MetaError, Result};

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer taken, in bytes.
const ANSWER_MAX: usize = 256 << 20;
/// Idle connections kept.
const IDLE_MAX: usize = 8;

/// One attempt at one member.
pub(super) enum Attempt {
    /// It answered; the connection is good.
    Answered(Result<Reply>),
    /// It did not, and what was asked may or may not have happened.
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Pool {
    addrs: Vec<SocketAddr>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The member to ask: told by another, or the last that answered.
    leader: Option<SocketAddr>,
    /// Where to look next when there is none.
    next: usize,
    idle: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    addr: SocketAddr,
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    requests: u64,
}

impl Pool {
    pub(super) fn new(addrs: Vec<SocketAddr>) -> Pool {
        Pool { addrs, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member to ask next.
    pub(super) fn target(&self) -> Result<SocketAddr> {
        let mut state = self.state();
        if let Some(leader) = state.leader {
            return Ok(leader);
        }
        if self.addrs.is_empty() {
            return Err(MetaError::refused("no address of a metadata member was given"));
        }
        let addr = self.addrs[state.next % self.addrs.len()];
        state.next = state.next.wrapping_add(1);
        Ok(addr)
    }

    /// `asked` does not lead; `leader` does, if known. A hint is not replaced by what a member said that was asked
    /// before the hint came.
    pub(super) fn follow(&self, asked: SocketAddr, leader: Option<SocketAddr>) {
        let mut state = self.state();
        if leader.is_some() || state.leader == Some(asked) {
            state.leader = leader;
        }
    }

    /// Sends `request` to `addr` and waits for its answer until `limit`.
    pub(super) async fn attempt(&self, addr: SocketAddr, request: &Request, limit: Instant) -> Attempt {
        let payload = match serde_json::to_vec(request) {
            Ok(payload) if payload.len() <= frame::MAX_PAYLOAD => payload,
            Ok(_) => return Attempt::Answered(Err(MetaError::refused("the request is too long"))),
            Err(error) => return Attempt::Answered(Err(MetaError::refused(error))),
        };
        match tokio::time::timeout_at(limit, self.exchange(addr, &payload)).await {
            Ok(Ok(answer)) => {
                if !matches!(
                    answer,
                    Err(MetaError::NotLeader { .. } | MetaError::Unavailable { .. }) | Ok(Reply::Hello(_))
                ) {
                    self.state().leader = Some(addr);
                }
                Attempt::Answered(answer)
            }
            Ok(Err(reason)) => Attempt::Failed(reason),
            Err(_) => Attempt::Failed("no answer in time".to_owned()),
        }
    }

    async fn exchange(&self, addr: SocketAddr, payload: &[u8]) -> Result<Result<Reply>, String> {
        let pooled = self.take(addr);
        let was_pooled = pooled.is_some();
        let connection = match pooled {
            Some(connection) => connection,
            None => Connection::open(addr).await?,
        };
        match self.exchange_on(connection, payload).await {
            // A pooled connection may have died while idle: one fresh try, requests are idempotent.
            Err(_) if was_pooled => {
                let fresh = Connection::open(addr).await?;
                self.exchange_on(fresh, payload).await
            }
            done => done,
        }
    }

    async fn exchange_on(&self, mut connection: Connection, payload: &[u8]) -> Result<Result<Reply>, String> {
        let answer = connection.exchange(payload).await?;
        let mut state = self.state();
        if state.idle.len() >= IDLE_MAX {
            state.idle.remove(0);
        }
        state.idle.push(connection);
        Ok(answer)
    }

    fn take(&self, addr: SocketAddr) -> Option<Connection> {
        let mut state = self.state();
        let at = state.idle.iter().rposition(|idle| idle.addr == addr)?;
        Some(state.idle.remove(at))
    }
}

impl Connection {
    async fn open(addr: SocketAddr) -> Result<Connection, String> {
        let stream = net::connect(addr, CONNECT_TIMEOUT).await.map_err(|error| error.to_string())?;
        let (reader, writer) = stream.into_split();
        Ok(Connection { addr, reader: FrameReader::new(reader), writer, requests: 0 })
    }

    async fn exchange(&mut self, payload: &[u8]) -> Result<Result<Reply>, String> {
        self.requests += 1;
        let mut out = Vec::with_capacity(frame::FRAME_HEADER + payload.len());
        frame::encode(&mut out, KIND_REQUEST, self.requests, payload);
        self.writer.write_all(&out).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        loop {
            let reply = self.reader.expect_next().await.map_err(|error| error.to_string())?;
            if reply.request != self.requests {
                return Err(format!(
                    "an answer to request {} where {} was asked",
                    reply.request, self.requests
                ));
            }
            answer.extend_from_slice(&reply.payload);
            match reply.kind {
                KIND_REPLY => break,
                KIND_REPLY_PART if answer.len() <= ANSWER_MAX => {}
                kind => return Err(format!("a frame of kind {kind} that is no answer, or too long")),
            }
        }
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }
}

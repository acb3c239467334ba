//! One connection to a storage node, blocking: a load generator needs no more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use sextant_redo::frame::{self, Frame};
use sextant_redo::wire::{PeerKind, Reply, Request};
use sextant_redo::{ClusterId, NodeId};

use crate::BenchError;

/// A node that says nothing for so long is not going to.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    received: BytesMut,
    chunk: Vec<u8>,
    /// Requests that wait to be sent.
    queued: Vec<u8>,
    next: u64,
}

impl Client {
    /// Connects and says Hello.
    pub(super) fn connect(addr: SocketAddr, cluster: ClusterId, node: NodeId) -> Result<Client, BenchError> {
        let what = || format!("cannot connect to the storage node at {addr}");
        let stream = TcpStream::connect(addr).map_err(BenchError::io(what()))?;
        stream.set_nodelay(true).map_err(BenchError::io(what()))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(BenchError::io(what()))?;
        let mut client = Client {
            stream,
            received: BytesMut::new(),
            chunk: vec![0; 256 << 10],
            queued: Vec::new(),
            next: 0,
        };
        client.ask(&Request::Hello { cluster, node, peer: PeerKind::Admin })?;
        Ok(client)
    }

    /// Queues a request, which the next [`Client::flush`] sends, and gives its number.
    pub(super) fn queue(&mut self, request: &Request) -> u64 {
        self.next += 1;
        frame::encode(&mut self.queued, request.kind(), self.next, &request.payload());
        self.next
    }

    /// Sends what is queued, by one system call where the socket takes it.
    pub(super) fn flush(&mut self) -> Result<(), BenchError> {
        if !self.queued.is_empty() {
            let sent = self.stream.write_all(&self.queued);
            sent.map_err(BenchError::io("cannot send to the storage node"))?;
            self.queued.clear();
        }
        Ok(())
    }

    /// Sends a request and gives its number.
    pub(super) fn send(&mut self, request: &Request) -> Result<u64, BenchError> {
        let number = self.queue(request);
        self.flush()?;
        Ok(number)
    }

    /// The next answer if it is here already, whichever it is.
    pub(super) fn received(&mut self) -> Result<Option<(u64, Reply)>, BenchError> {
        let bad = |what: String| BenchError::Peer(format!("the storage node answers nonsense: {what}"));
        let frame = frame::decode(&mut self.received).map_err(|e| bad(e.to_string()))?;
        let Some(Frame { kind, request, payload }) = frame else { return Ok(None) };
        match Reply::decode(kind, &payload).map_err(|e| bad(e.to_string()))? {
            Reply::Error(error) => Err(BenchError::Peer(format!("the storage node refuses: {error}"))),
            reply => Ok(Some((request, reply))),
        }
    }

    /// Waits for the next answer, whichever it is. An error among them ends the benchmark.
    pub(super) fn receive(&mut self) -> Result<(u64, Reply), BenchError> {
        loop {
            if let Some(answer) = self.received()? {
                return Ok(answer);
            }
            let read = self.stream.read(&mut self.chunk);
            match read.map_err(BenchError::io("cannot read from the storage node"))? {
                0 => return Err(BenchError::Peer("the storage node closed the connection".into())),
                n => self.received.extend_from_slice(&self.chunk[..n]),
            }
        }
    }

    /// Sends a request and waits for its answer; nothing else may be under way.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Reply, BenchError> {
        self.send(request)?;
        Ok(self.receive()?.1)
    }
}

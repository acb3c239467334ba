//! Replies on their way out of one connection. They are gathered in memory and sent by one system call where the socket
//! takes them; what it does not take is sent by a task when it can. The same task sends what may wait for the end of the
//! turn: it runs behind everybody whom the turn woke, so pages whose reads ended together leave together.

use std::cell::{Cell, RefCell};
use std::io;

use sextant_redo::frame;
use sextant_redo::wire::Reply;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::ReplySink;

/// A peer that does not read its replies is not read from while more than this waits for it.
const HIGH_WATER: usize = 16 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    socket: OwnedWriteHalf,
    waiting: RefCell<Vec<u8>>,
    sent: Cell<usize>,
    /// There is something for the task to send.
    left: Notify,
    drained: Notify,
    closed: Cell<bool>,
}

impl Outbox {
    pub(crate) fn new(socket: OwnedWriteHalf) -> Outbox {
        Outbox {
            socket,
            waiting: RefCell::default(),
            sent: Cell::new(0),
            left: Notify::new(),
            drained: Notify::new(),
            closed: Cell::new(false),
        }
    }

    /// True when nothing is left.
    fn try_send(&self) -> io::Result<bool> {
        let mut waiting = self.waiting.borrow_mut();
        while self.sent.get() < waiting.len() {
            match self.socket.try_write(&waiting[self.sent.get()..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.sent.set(self.sent.get() + n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        waiting.clear();
        // One large reply must not hold its memory for ever.
        waiting.shrink_to(1 << 20);
        self.sent.set(0);
        self.drained.notify_one();
        Ok(true)
    }

    /// Sends what was left to it, until the connection is closed.
    pub(crate) async fn push_on(&self) {
        while !self.closed.get() {
            self.left.notified().await;
            while !self.closed.get() {
                match self.try_send() {
                    Ok(true) => break,
                    Ok(false) if self.socket.writable().await.is_ok() => {}
                    _ => self.close(),
                }
            }
        }
    }

    /// Resolves when little enough waits to take more requests.
    pub(crate) async fn room(&self) {
        while !self.closed.get() && self.waiting.borrow().len() - self.sent.get() > HIGH_WATER {
            self.drained.notified().await;
        }
    }

    /// Nothing more will be sent.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.left.notify_one();
        self.drained.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

impl ReplySink for Outbox {
    fn push(&self, request: u64, reply: &Reply) {
        let mut waiting = self.waiting.borrow_mut();
        match reply {
            Reply::Page { image } => frame::encode(&mut waiting, reply.kind(), request, image),
            reply => frame::encode(&mut waiting, reply.kind(), request, &reply.payload()),
        }
    }

    /// Sends as much as the socket takes now.
    fn flush(&self) {
        match self.try_send() {
            Ok(true) => {}
            Ok(false) => self.left.notify_one(),
            Err(_) => self.close(),
        }
    }

    fn flush_soon(&self) {
        self.left.notify_one();
    }
}

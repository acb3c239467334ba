//! Frames ([`sextant_redo::frame`]) over TCP: bind, connect, read.
//!
//! A reader hands out whole, checksummed frames and is cancel-safe; bytes that are no frame end the connection, since
//! nothing tells where the next frame would begin.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use sextant_redo::frame::{self, Frame, FrameError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};

/// Room made before each read: many small frames by one system call, without holding much for an idle connection.
const READ_CHUNK: usize = 64 * 1024;

/// Why a connection gives no more frames. The connection is over; what was received before is whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The system's error.
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The bytes received are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer closed between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed in the middle of a frame.
    #[error("the peer closed the connection after {received} bytes of an unfinished frame")]
    Truncated {
        /// Bytes of the frame that did arrive.
        received: usize,
    },
    /// No answer in time.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
}

impl NetError {
    /// Whether a new connection may succeed where this one did not.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, NetError::Frame(_))
    }
}

/// A port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for {what}: {}", self.reason())]
pub struct BindError {
    /// The wanted address.
    pub addr: SocketAddr,
    /// What wanted it.
    pub what: String,
    /// The system's error.
    #[source]
    pub source: std::io::Error,
}

impl BindError {
    fn reason(&self) -> String {
        match self.source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "the port is in use by another process; stop it or choose another port".to_owned()
            }
            _ => self.source.to_string(),
        }
    }
}

impl From<BindError> for std::io::Error {
    fn from(error: BindError) -> Self {
        std::io::Error::new(error.source.kind(), error)
    }
}

/// Opens a listening port; the error names the address and `what` wanted it.
pub async fn bind(listen: SocketAddr, what: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(listen).await.map_err(|source| BindError {
        addr: listen,
        what: what.to_owned(),
        source,
    })
}

/// Connects within `timeout`, without Nagle's delay: every message is a request or reply somebody waits for.
pub async fn connect(addr: SocketAddr, timeout: Duration) -> Result<TcpStream, NetError> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(addr))
        .await
        .map_err(|_| NetError::TimedOut { after: timeout })??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads frames off a byte stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader at the start of a frame.
    pub fn new(inner: R) -> Self {
        FrameReader { inner, buffer: BytesMut::new() }
    }

    /// The next frame; `None` when the peer has closed between two frames. Cancel-safe: bytes that were read stay in
    /// the buffer.
    pub async fn next(&mut self) -> Result<Option<Frame>, NetError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            if self.buffer.capacity() - self.buffer.len() < READ_CHUNK / 4 {
                self.buffer.reserve(READ_CHUNK);
            }
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.len() {
                    0 => Ok(None),
                    received => Err(NetError::Truncated { received }),
                };
            }
        }
    }

    /// The next frame, the peer's closing being an error: for who waits for an answer.
    pub async fn expect_next(&mut self) -> Result<Frame, NetError> {
        self.next().await?.ok_or(NetError::Closed)
    }

    /// A frame that lies whole in the buffer already, without reading.
    pub fn buffered(&mut self) -> Result<Option<Frame>, NetError> {
        Ok(frame::decode(&mut self.buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn wire(frames: &[(u8, u64, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, request, payload) in frames {
            frame::encode(&mut out, *kind, *request, payload);
        }
        out
    }

    #[tokio::test]
    async fn frames_arrive_in_order_then_the_end() {
        let bytes = wire(&[(1, 10, b"first"), (2, 11, b"")]);
        let mut reader = FrameReader::new(&bytes[..]);
        let first = reader.next().await.expect("ok").expect("frame");
        assert_eq!((first.kind, first.request, &first.payload[..]), (1, 10, &b"first"[..]));
        let second = reader.buffered().expect("ok").expect("already in the buffer");
        assert_eq!(second.request, 11);
        assert!(reader.next().await.expect("clean end").is_none());
        assert!(matches!(reader.expect_next().await, Err(NetError::Closed)));
    }

    #[tokio::test]
    async fn a_large_frame_arrives_in_pieces() {
        let payload = vec![7; 300_000];
        let bytes = wire(&[(1, 1, &payload)]);
        let (mut tx, rx) = tokio::io::duplex(1000);
        let sender = tokio::spawn(async move { tx.write_all(&bytes).await });
        let frame = FrameReader::new(rx).next().await.expect("ok").expect("frame");
        assert_eq!(frame.payload.len(), payload.len());
        sender.await.expect("joined").expect("sent");
    }

    #[tokio::test]
    async fn a_cancelled_read_loses_nothing() {
        let bytes = wire(&[(1, 42, b"slow")]);
        let (mut tx, rx) = tokio::io::duplex(1000);
        let mut reader = FrameReader::new(rx);
        for part in bytes.chunks(5) {
            let cancelled = tokio::time::timeout(Duration::from_millis(1), reader.next()).await;
            assert!(cancelled.is_err(), "the frame is not whole yet");
            tx.write_all(part).await.expect("sent");
        }
        assert_eq!(reader.next().await.expect("ok").expect("frame").request, 42);
    }

    #[tokio::test]
    async fn garbage_and_torn_frames_are_told_apart() {
        let mut garbage = FrameReader::new(&b"GET / HTTP/1.1\r\n"[..]);
        assert!(matches!(garbage.next().await, Err(NetError::Frame(FrameError::Magic { .. }))));
        let bytes = wire(&[(1, 1, b"torn")]);
        let mut torn = FrameReader::new(&bytes[..bytes.len() - 1]);
        assert!(
            matches!(torn.next().await, Err(NetError::Truncated { received }) if received == bytes.len() - 1)
        );
    }

    #[tokio::test]
    async fn bind_names_the_port_and_who_wanted_it() {
        let taken = bind("127.0.0.1:0".parse().expect("address"), "a test").await.expect("free");
        let addr = taken.local_addr().expect("address");
        let error = bind(addr, "storage RPC").await.expect_err("taken").to_string();
        assert!(error.contains(&addr.to_string()) && error.contains("storage RPC"), "{error}");
        assert!(error.contains("in use"), "{error}");
    }

    #[tokio::test]
    async fn connect_is_refused_by_a_closed_port() {
        let listener = bind("127.0.0.1:0".parse().expect("address"), "a test").await.expect("free");
        let addr = listener.local_addr().expect("address");
        assert!(connect(addr, Duration::from_secs(5)).await.expect("open").nodelay().expect("option"));
        drop(listener);
        assert!(matches!(connect(addr, Duration::from_secs(5)).await, Err(NetError::Io(_))));
    }
}

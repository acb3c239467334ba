//! A socket with one read buffer and one write buffer.
//!
//! Rules: a frame is cut out whole before it is looked at; the buffer grows with the bytes that arrive, never with the
//! length that a client claims; nothing is sent before [`Wire::flush`], or before the write buffer is [`FULL_BYTES`] long
//! and its owner calls [`Wire::flush_if_full`].

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::startup;

/// The write buffer is sent when it is this long, so that a large result is streamed and its client sets the pace.
pub const FULL_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 8 * 1024;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("connection lost: {0}")]
    Io(#[from] std::io::Error),
    /// End of file in the middle of a message, or where none was expected.
    #[error("unexpected end of file on client connection")]
    Closed,
    /// A length that no message can have: the stream is not this protocol, or no longer in step.
    #[error("invalid message length {0}")]
    Length(i64),
    /// A message above the limit.
    #[error("message of {bytes} bytes is longer than the limit of {limit} bytes")]
    TooLong {
        /// What the client wants to send.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// A message as it came: its type, and its content without the length.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The message's type byte.
    pub tag: u8,
    /// Its content.
    pub body: Bytes,
}

/// See the module.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    input: BytesMut,
    /// What is to be sent. Written by [`super::backend`].
    pub out: BytesMut,
    frame_bytes_max: usize,
    bytes_in: u64,
    bytes_out: u64,
}

impl Wire {
    /// Takes a socket; no frame may be longer than `frame_bytes_max`.
    #[must_use]
    pub fn new(stream: TcpStream, frame_bytes_max: usize) -> Wire {
        Wire {
            stream,
            input: BytesMut::with_capacity(READ_BYTES),
            out: BytesMut::with_capacity(READ_BYTES),
            frame_bytes_max,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Bytes received and sent since the last call.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.bytes_in), std::mem::take(&mut self.bytes_out))
    }

    /// A frame that has already arrived.
    ///
    /// # Errors
    /// [`WireError::Length`] or [`WireError::TooLong`]: the stream is out of step for good.
    pub fn buffered(&mut self) -> Result<Option<Frame>, WireError> {
        cut_frame(&mut self.input, self.frame_bytes_max)
    }

    /// The next frame; `None` when the client closed between two. Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`WireError`].
    pub async fn next(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next startup packet's content after its length; `None` when the client closed instead.
    ///
    /// # Errors
    /// See [`WireError`].
    pub async fn startup(&mut self) -> Result<Option<Bytes>, WireError> {
        loop {
            if let Some(packet) = cut_startup(&mut self.input)? {
                return Ok(Some(packet));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// True when bytes have arrived that no frame was made of. After a plain-text answer to a request for encryption
    /// there must be none, or somebody in between could have put them there (CVE-2021-23214).
    #[must_use]
    pub fn has_unread(&self) -> bool {
        !self.input.is_empty()
    }

    async fn fill(&mut self) -> Result<bool, WireError> {
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await? {
            0 if self.input.is_empty() => Ok(false),
            0 => Err(WireError::Closed),
            read => {
                self.bytes_in += read as u64;
                Ok(true)
            }
        }
    }

    /// Sends what is in the write buffer. Dropping the future keeps what was not sent yet in the buffer.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub async fn flush(&mut self) -> Result<(), WireError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let len = self.out.len() as u64;
        self.stream.write_all_buf(&mut self.out).await?;
        self.bytes_out += len;
        if self.out.capacity() > 4 * FULL_BYTES || self.out.capacity() == 0 {
            // One huge row must not keep its memory for the rest of the session.
            self.out = BytesMut::with_capacity(READ_BYTES);
        }
        Ok(())
    }

    /// Sends the write buffer if it is long: the place where a client that does not read holds its statement back.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub async fn flush_if_full(&mut self) -> Result<(), WireError> {
        if self.out.len() < FULL_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    /// Sends what is left and closes. Errors do not matter any more: the client may be gone.
    pub async fn close(mut self) {
        if self.flush().await.is_ok() {
            self.stream.shutdown().await.ok();
        }
    }
}

/// Takes the next whole frame off the front of `input`; `None` when more bytes are needed.
///
/// # Errors
/// [`WireError::Length`] or [`WireError::TooLong`]: the stream is out of step for good.
pub fn cut_frame(input: &mut BytesMut, frame_bytes_max: usize) -> Result<Option<Frame>, WireError> {
    let Some((head, _)) = input.split_first_chunk::<5>() else {
        return Ok(None);
    };
    let tag = head[0];
    let claimed = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let len = length(claimed, frame_bytes_max)?;
    if input.len() < 1 + len {
        return Ok(None);
    }
    let mut body = input.split_to(1 + len);
    body.advance(5);
    Ok(Some(Frame { tag, body: body.freeze() }))
}

/// Takes a whole startup packet off the front of `input`: its content behind the length.
///
/// # Errors
/// As [`cut_frame`].
pub fn cut_startup(input: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
    let Some((head, _)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let len = length(i32::from_be_bytes(*head), startup::PACKET_BYTES_MAX)?;
    if input.len() < len {
        return Ok(None);
    }
    Ok(Some(input.split_to(len).freeze().slice(4..)))
}

fn length(claimed: i32, limit: usize) -> Result<usize, WireError> {
    let len =
        usize::try_from(claimed).ok().filter(|len| *len >= 4).ok_or(WireError::Length(i64::from(claimed)))?;
    if len > limit {
        return Err(WireError::TooLong { bytes: len, limit });
    }
    Ok(len)
}

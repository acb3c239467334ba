//! The PostgreSQL wire protocol, version 3.0: bytes to messages and messages to bytes; no meaning.
//!
//! * [`startup`]: the untyped first packet (SSLRequest, GSSENCRequest, CancelRequest, StartupMessage).
//! * [`frontend`]: what a client sends, borrowed from its frame: nothing is copied, every length is checked.
//! * [`backend`]: what a server sends, written straight into the connection's write buffer.
//! * [`stream`]: one read buffer and one write buffer over a socket, with framing and limits.
//!
//! No input can panic here: a frame is cut out of the stream before anything looks into it, and [`cursor::Cursor`]
//! answers "too short" instead of reading on.

pub mod backend;
pub mod cursor;
pub mod frontend;
pub mod startup;
pub mod stream;

pub use frontend::{Bind, Frontend, MessageError, Target};
pub use stream::{Frame, Wire, WireError};

//! Messages between an engine (or a peer) and a storage node. Each is the payload of one [`crate::frame`]; the frame's
//! kind names the message. Storage nodes have no vote: they accept what carries a current epoch, and every request is
//! idempotent.

mod error;
mod message;
mod reply;
mod request;

pub use error::SegmentError;
pub use reply::{PagesReply, Reply, SegmentState};
pub use request::{Append, Epochs, PeerKind, Request};

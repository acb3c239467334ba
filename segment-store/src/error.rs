//! Why a storage node does not start, or stops.

use sextant_meta::MetaError;
use sextant_node::identity::IdentityError;
use sextant_node::net::BindError;

use crate::recovery::RecoveryError;

/// An error that ends the node. Whatever was acknowledged before is durable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A setting makes no sense.
    #[error("configuration: {what}")]
    Config {
        /// Which, and what would.
        what: String,
    },
    /// The data folder is not this node's, or is in use.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The port for /metrics and /health is taken.
    #[error("{0}")]
    Http(std::io::Error),
    /// The metadata service refuses this node.
    #[error("the metadata service refuses this node: {0}")]
    Meta(#[from] MetaError),
    /// The disk's contents cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A write or flush failed. Nobody knows what the device holds now, so the node stops at once and acknowledges
    /// nothing more; at the next start it reads what is really there.
    #[error(
        "{what} failed: {source}. What was not acknowledged may be lost on this node (the other copies have it); \
         check the device, then start the node again"
    )]
    Disk {
        /// What was being done, and where.
        what: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The runtime cannot be made.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

impl NodeError {
    /// True when starting again, unchanged, may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            NodeError::Bind(_) | NodeError::Http(_) | NodeError::Runtime(_) | NodeError::Disk { .. } => true,
            NodeError::Meta(error) => error.is_retryable(),
            _ => false,
        }
    }

    pub(crate) fn disk(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> NodeError {
        let what = what.into();
        move |source| NodeError::Disk { what, source }
    }
}

//! The metadata service: who is a member, where the six copies of each protection group lie, which epoch is current and
//! who may write. Three processes, one Raft group, durable in `redb`. Never on the data path: an open volume commits and
//! reads while this service is down; it is asked when a volume is opened, grown, or a writer renews its lease.
//!
//! | module | idea |
//! | --- | --- |
//! | [`mod@api`] | what clients and members say to each other |
//! | [`mod@client`] | [`MetaClient`]: finds the leader, follows it, gives up at a deadline |
//!
//! What must hold:
//! - **Safety is by epoch alone.** A lease only delays a *grant*; whoever has an old volume epoch is refused by storage.
//! - **Every answer that fences is linearizable** (ReadIndex): [`MetaClient::volume`], [`MetaClient::cluster`],
//!   [`MetaClient::acquire_writer`], [`MetaClient::renew`].
//! - **Ids are log indexes**: never reused, even when a machine or a name is.

pub mod api;
pub mod client;
mod config;
mod error;
mod types;

pub use client::MetaClient;
pub use config::MetaConfig;
pub use error::{MetaError, Result};
pub use types::{ClusterView, Grant, Member, MetaMember, NodeInfo, PgInfo, VolumeInfo, WriterInfo};

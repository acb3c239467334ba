//! The metadata service: who is a member, where the six copies of each protection group lie, which epoch is current and
//! who may write. Three processes, one Raft group, durable in `redb`. Never on the data path: an open volume commits and
//! reads while this service is down; it is asked when a volume is opened, grown, or a writer renews its lease.
//!
//! | module | idea |
//! | --- | --- |
//! | [`mod@state`] | the metadata as a pure state machine: commands in, typed answers out |
//! | [`mod@lease`] | writer leases as the leader sees them: a pure core over monotonic time |
//! | [`mod@replacement`] | which silent storage nodes the leader replaces by itself: a pure decision |
//! | `raft` | the one place that names openraft: log store, snapshots, network |
//! | `server` | one TCP port for clients and peers, start-up and its refusals |
//! | [`mod@api`] | what clients and members say to each other |
//! | [`mod@client`] | [`MetaClient`]: finds the leader, follows it, gives up at a deadline |
//! | `metrics` | what is counted |
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
pub mod lease;
mod metrics;
mod raft;
pub mod replacement;
mod server;
pub mod state;
mod types;

pub use client::MetaClient;
pub use config::MetaConfig;
pub use error::{MetaError, Result};
pub use server::run;
pub use types::{
    ClusterView, Grant, Member, MetaMember, NodeInfo, PgInfo, Replacement, VolumeInfo, WriterInfo,
};

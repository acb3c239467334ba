//! The compute node: SQL, transactions and indexes over a volume; it keeps no data of its own.
//!
//! | layer | modules | idea |
//! | --- | --- | --- |
//! | pages | [`buffer`], [`mtr`], [`space`], [`btree`] | synchronous, latched steps over resident pages; a step that misses a page says so, latches nothing, and is redone once the page is there |
//! | transactions | [`txn`], [`table`] | versioned rows, a snapshot is an LSN, row locks that wait |
//! | language | [`types`], [`catalog`], [`sql`], [`spill`] | PostgreSQL's types, grammar and errors; binder, planner and executor of our own |
//! | front | [`wire`], [`session`], [`server`], [`front`], [`run`] | the wire protocol; transaction blocks, prepared statements, portals, COPY; the process |
//!
//! Imports run upwards in this table only.

pub mod btree;
pub mod buffer;
pub mod catalog;
pub mod config;
pub mod front;
pub mod mtr;
pub mod run;
pub mod server;
pub mod session;
pub mod space;
pub mod spill;
pub mod sql;
mod sync;
pub mod table;
pub mod txn;
pub mod types;
pub mod wire;

pub use config::EngineConfig;
pub use run::{EngineError, run};

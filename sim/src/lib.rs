//! A simulator that tries to break the protocol: the real cores of storage nodes, writers and metadata service on one
//! thread, in virtual time, under the faults of disks, networks and processes, all drawn from one seed.
//!
//! | module | idea |
//! | --- | --- |
//! | [`rng`], [`schedule`], `clock` | randomness, virtual time, the clocks of processes |
//! | [`profile`] | what a seed draws: cluster, workload, which faults exist |
//! | [`disk`] | a disk that tears, loses, lies and fills up, behind the storage server's seam |
//! | `executor` | the tasks of one process |
//! | `node` | storage node: the server's own shell over that disk and a host in virtual time |
//! | `meta` | metadata state machine and leases |
//! | `writer` | volume opening, tracker, and a deterministic twin of the driver |
//! | [`model`] | what the volume must hold, naively |
//! | [`invariants`] | one file each |
//! | [`scenario`] | scripted runs over the same world |
//! | `world` | events, network, faults, the two phases of a run |
//! | [`mutant`] | bugs put back, to prove the harness |
//!
//! What must hold: the same seed gives the same run, event by event, on every machine. So no clock, no hash order, no
//! floating point, no thread in here.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod clock;
pub mod disk;
mod executor;
pub mod invariants;
mod meta;
pub mod model;
pub mod mutant;
mod node;
pub mod profile;
pub mod rng;
pub mod scenario;
pub mod schedule;
pub mod stats;
mod world;
mod writer;

pub use world::{Failure, Run, play, run};

//! Real processes under fire: a cluster of real `sextant` processes on loopback, every link through a proxy that commits
//! the faults of a network, processes killed and paused, a disk filled, while a bank works; and an oracle that says what
//! was lost.
//!
//! | module | idea |
//! | --- | --- |
//! | [`proxy`] | TCP with faults, switched at run time |
//! | [`process`], [`ports`], [`disk`] | processes, ports and a small disk of our own |
//! | [`cluster`] | which roles there are, and who is told which address |
//! | [`bank`] | the workload, and what its clients know |
//! | [`plan`] | which fault strikes next, within the fault atlas |
//! | [`storm`] | faults strike and end; what must hold meanwhile |
//! | [`catch_up`] | whether a storage node has what its peers have |
//! | [`full_disk`], [`replace`] | the two faults that take several steps |
//! | [`run`] | the whole run: start, storm, heal, verify, kill everything, verify again |
//! | [`report`] | the oracle's verdict |
//!
//! What must hold: a run is bounded in time, ends by itself, and leaves no process, mount or file behind, however it ends.

pub mod bank;
mod catch_up;
pub mod cluster;
pub mod disk;
mod full_disk;
pub mod plan;
pub mod ports;
pub mod process;
pub mod proxy;
mod replace;
pub mod report;
pub mod run;
pub mod storm;

pub use report::Report;
pub use run::{FireError, Limit, Wish, run};

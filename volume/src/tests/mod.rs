//! The driver against storage nodes that stand in for real ones, on loopback.

mod faults;
mod opening;
mod paths;
mod replacing;

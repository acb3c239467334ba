//! The metadata group as its clients meet it: real sockets, real files, members that are killed.

mod garbage;
mod harness;
mod leases;
mod life;
mod refusals;
mod replacing;

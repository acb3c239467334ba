//! The engine's front door over a volume in memory: raw protocol, real clients, and the tools people use.

mod harness;
mod life;
mod protocol;
mod raw;
mod sql;
mod tools;
mod types;

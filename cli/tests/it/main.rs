//! Tests of whole clusters: real processes on loopback, real clients, real signals.
//!
//! | module | idea |
//! | --- | --- |
//! | [`cluster`] | a cluster for a test, gone when the test ends |
//! | [`bank`] | TPC-B's bank, remembering every acknowledged transaction |
//! | [`dev`] | start, stop, start again; what `sextant dev` promises |
//! | [`status`] | what `sextant status` shows |
//! | [`faults`] | SIGKILL of a zone, of the engine, of everything; a paused engine is fenced |
//! | [`replacing`] | a storage node lost for good is replaced under load |
//! | [`bad_input`] | garbage, unknown keys, foreign folders, taken ports |
//! | [`clients`] | unmodified psql and pgbench, where installed |

mod bad_input;
mod bank;
mod clients;
mod cluster;
mod dev;
mod faults;
mod replacing;
mod status;

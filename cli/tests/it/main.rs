//! Tests of whole clusters: real processes on loopback, real clients, real signals.
//!
//! | module | idea |
//! | --- | --- |
//! | [`cluster`] | a cluster for a test, gone when the test ends |
//! | [`dropping`] | a volume is dropped: nothing is left on storage nodes, its engine ends |
//! | [`dev`] | start, stop, start again; what `sextant dev` promises |
//! | [`status`] | what `sextant status` shows |
//! | [`faults`] | SIGKILL of a zone, of the engine, of everything; a paused engine is fenced |
//! | [`fire`] | half a minute of all faults, and the oracle's verdict |
//! | [`verify`] | `sextant verify` on a healthy cluster and on one that lost a zone |
//! | [`replacing`] | a storage node lost for good is replaced under load |
//! | [`healing`] | storage nodes that were away or rot get what they lack from each other, the engine dead |
//! | [`tails`] | a volume of three full segments and three tails keeps the same promises |
//! | [`bad_input`] | garbage, unknown keys, foreign folders, taken ports |
//! | [`bench`] | every benchmark of whole clusters runs to its end |
//! | [`clients`] | unmodified psql and pgbench, where installed |

mod bad_input;
mod bench;
mod clients;
mod cluster;
mod dev;
mod dropping;
mod faults;
mod fire;
mod healing;
mod replacing;
mod status;
mod tails;
mod verify;

//! What every Sextant process shares: configuration files, logs, `/metrics` and `/health`, frames over TCP,
//! the identity and lock of a data folder, shutdown and exit codes, how often to try what may be in vain.
//!
//! Nothing here knows a role. What must hold: a data folder is used by at most one process at a time, and never by
//! another role or cluster than the one that first wrote to it ([`identity`]); a configuration key that is not known is
//! refused ([`config`]); bytes of a peer that does not speak the protocol end its connection and nothing else ([`net`]).

pub mod config;
pub mod exit;
pub mod http;
pub mod http_get;
pub mod identity;
pub mod logging;
pub mod net;
pub mod shutdown;
pub mod tries;

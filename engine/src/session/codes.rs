//! The SQLSTATE codes of the connection and the session, beside those of [`crate::types::sqlstate`].

/// The client broke the protocol.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// The commit was sent to storage and nobody can say yet whether it holds.
pub const TRANSACTION_RESOLUTION_UNKNOWN: &str = "08007";
/// A name that is no prepared statement.
pub const INVALID_STATEMENT_NAME: &str = "26000";
/// No such user, or none given.
pub const INVALID_AUTHORIZATION: &str = "28000";
/// A name that is no portal.
pub const INVALID_CURSOR_NAME: &str = "34000";
/// A prepared statement of that name exists.
pub const DUPLICATE_STATEMENT: &str = "42P05";
/// A portal of that name exists.
pub const DUPLICATE_CURSOR: &str = "42P03";
/// As many connections as are allowed.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// A setting that cannot be changed.
pub const CANT_CHANGE_PARAMETER: &str = "55P02";
/// The engine stops, or lost its volume.
pub const ADMIN_SHUTDOWN: &str = "57P01";
/// No savepoint of that name.
pub const INVALID_SAVEPOINT: &str = "3B001";
/// A session was idle in a transaction for too long.
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
/// A warning.
pub const WARNING: &str = "01000";

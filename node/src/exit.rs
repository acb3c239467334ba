//! Exit codes that a supervisor can act on. Any other non-zero code is a failure whose reason is in the log.

/// The process served a volume under an epoch that is over: another writer has taken the volume. Nothing that was
/// acknowledged is lost; a restart makes the process wait for the lease like any other candidate.
pub const FENCED: u8 = 3;

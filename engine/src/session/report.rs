//! Errors and notices as messages, and what can go wrong while a message is handled.

use bytes::BytesMut;

use super::metrics;
use crate::types::SqlError;
use crate::wire::{WireError, backend};

/// Why handling a message stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client is told and the session goes on.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The client is told and the session ends.
    #[error("fatal: {0}")]
    Fatal(SqlError),
    /// The connection is of no use any more.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Writes an ErrorResponse; `severity` is ERROR or FATAL.
pub fn error(out: &mut BytesMut, severity: &str, error: &SqlError) {
    metrics::error(error.sqlstate);
    if error.sqlstate.starts_with("XX") || error.sqlstate.starts_with("58") {
        tracing::error!(sqlstate = error.sqlstate, "a statement failed: {}", error.message);
    }
    write(out, b'E', severity, error);
}

/// Writes a NoticeResponse; `severity` is WARNING, NOTICE, INFO ...
pub fn notice(out: &mut BytesMut, severity: &str, notice: &SqlError) {
    write(out, b'N', severity, notice);
}

fn write(out: &mut BytesMut, tag: u8, severity: &str, error: &SqlError) {
    let position = error.position.map(|at| at.to_string());
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(error.sqlstate)),
        (b'M', Some(error.message.as_str())),
        (b'D', error.detail.as_deref()),
        (b'H', error.hint.as_deref()),
        (b'P', position.as_deref()),
        (b's', error.schema.as_deref()),
        (b't', error.table.as_deref()),
        (b'c', error.column.as_deref()),
        (b'd', error.data_type.as_deref()),
        (b'n', error.constraint.as_deref()),
    ];
    let present = fields.into_iter().filter_map(|(code, text)| Some((code, text?)));
    backend::report(out, tag, present);
}

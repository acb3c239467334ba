//! The language: text to statements, statements to plans, plans to rows.
//!
//! | step | module |
//! | --- | --- |
//! | text to syntax trees | [`parse()`] |
//! | names and types bound | `bind` |
//! | plans: how rows are found and made | `plan` |
//! | running them | `exec` |
//!
//! What must hold: a prepared plan is immutable and shared; it names the catalog version that it was made for and is
//! made again when that changed. A statement sees one snapshot, and either all of it happens or its transaction fails.

mod bind;
mod context;
mod database;
pub(crate) mod deferred;
mod exec;
mod explain;
mod expr;
mod formula;
mod names;
mod parse;
mod plan;
mod prepare;
mod statement;
mod subquery;
#[cfg(test)]
mod tests;

pub use context::{SessionContext, SessionInfo};
pub use database::Database;
pub use exec::{CopyIn, reindex, set_constraints, settle, vacuum};
pub(crate) use expr::is_call;
pub use formula::Formula;
pub(crate) use formula::view_columns;
pub(crate) use names::quoted;
pub(crate) use parse::locking::Locking;
pub use parse::parse;
pub(crate) use parse::parse_view;
pub use prepare::{Execution, Prepared, execute, index_concurrently, prepare, type_oids};
pub use statement::{
    Column, ConstraintSettings, CopyFormat, CopySpec, IsolationLevel, Notice, ParsedStatement, ReindexSpec,
    RowBatch, StatementKind, TransactionModes, VacuumSpec,
};

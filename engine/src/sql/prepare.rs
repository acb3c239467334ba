//! Signatures under construction.

use std::sync::Arc;

use super::{
    Column, CopySpec, Database, Notice, ParsedStatement, RowBatch, SessionContext, StatementKind, VacuumSpec,
};
use crate::txn::Transaction;
use crate::types::{Datum, SqlError, SqlResult, SqlType};

/// A statement that is ready to be executed, any number of times.
pub struct Prepared {
    /// Types of the parameters $1, $2 ...
    pub parameters: Vec<SqlType>,
    /// Columns of the result; empty for statements without rows.
    pub columns: Vec<Column>,
    /// What it is.
    pub kind: StatementKind,
}

impl Prepared {
    /// True when the catalog has changed since: prepare again. ([`execute`] does that by itself, and fails with 0A000
    /// when the result's columns are no longer the same.)
    pub fn is_stale(&self, _db: &Database, _txn: Option<&Transaction>) -> bool {
        false
    }

    /// True for statements that change data or schema: refused in a read-only transaction.
    pub fn writes(&self) -> bool {
        false
    }
}

/// Binds and plans a statement whose kind says [`StatementKind::is_executed`]. `declared` are parameter types by OID, 0
/// to infer; it may be shorter than the parameters. `txn` is the session's transaction if there is one: what it changed
/// in the catalog is seen.
pub async fn prepare(
    _db: &Arc<Database>,
    _ctx: &SessionContext,
    _txn: Option<&mut Transaction>,
    _statement: &ParsedStatement,
    _declared: &[u32],
) -> SqlResult<Arc<Prepared>> {
    Err(SqlError::unsupported("this"))
}

/// One run of a statement.
pub struct Execution {}

/// Starts a statement: takes its snapshot ([`Transaction::begin_statement`] is called here). `params` have the types
/// of [`Prepared::parameters`] or are NULL.
pub fn execute(
    _db: &Arc<Database>,
    _ctx: &SessionContext,
    _txn: &mut Transaction,
    _prepared: &Arc<Prepared>,
    _params: Vec<Datum>,
) -> Execution {
    Execution {}
}

impl Execution {
    /// The next rows, `None` at the end. Statements without rows do their work in the first call, which gives `None`.
    pub async fn next_batch(&mut self, _txn: &mut Transaction) -> SqlResult<Option<RowBatch>> {
        Err(SqlError::unsupported("this"))
    }

    /// The command tag, once `next_batch` has said `None`: "UPDATE 1".
    pub fn command_tag(&self) -> String {
        String::new()
    }

    /// Notices since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }
}

/// Takes the rows of COPY FROM STDIN.
pub struct CopyIn {}

impl CopyIn {
    /// Starts; locks the table.
    pub async fn start(
        _db: &Arc<Database>,
        _ctx: &SessionContext,
        _txn: &mut Transaction,
        _spec: &CopySpec,
    ) -> SqlResult<CopyIn> {
        Err(SqlError::unsupported("this"))
    }

    /// The columns that each row brings.
    pub fn columns(&self) -> &[Column] {
        &[]
    }

    /// Adds a row given as text, `None` for NULL, one field for each of [`CopyIn::columns`].
    pub async fn push_text(&mut self, _txn: &mut Transaction, _fields: &[Option<&str>]) -> SqlResult<()> {
        Err(SqlError::unsupported("this"))
    }

    /// Adds a row of values of the columns' types (binary format).
    pub async fn push(&mut self, _txn: &mut Transaction, _values: Vec<Datum>) -> SqlResult<()> {
        Err(SqlError::unsupported("this"))
    }

    /// Ends; the number of rows. The command tag is "COPY n".
    pub async fn finish(self, _txn: &mut Transaction) -> SqlResult<u64> {
        Err(SqlError::unsupported("this"))
    }
}

/// Runs VACUUM or ANALYZE in transactions of its own; the command tag.
pub async fn vacuum(
    _db: &Arc<Database>,
    _ctx: &SessionContext,
    _spec: &VacuumSpec,
) -> SqlResult<&'static str> {
    Err(SqlError::unsupported("this"))
}

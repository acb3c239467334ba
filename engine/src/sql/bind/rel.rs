//! The logical tree: what a query means, not how it is run.

use std::sync::Arc;

use super::AggregateCall;
use crate::catalog::TableInfo;
use crate::sql::expr::Expr;
use crate::txn::{LockWait, RowLock};
use crate::types::SqlType;
use crate::types::key::KeyOrder;

/// One key of a sort.
#[derive(Debug, Clone)]
pub(crate) struct SortKey {
    pub(crate) expr: Expr,
    pub(crate) ty: SqlType,
    pub(crate) order: KeyOrder,
}

/// The kinds of joins. RIGHT joins are left joins with their sides exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
}

/// UNION, INTERSECT, EXCEPT without their ALL variants' difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOperation {
    Union,
    Intersect,
    Except,
}

/// FOR UPDATE and FOR SHARE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowLocking {
    pub(crate) lock: RowLock,
    pub(crate) wait: LockWait,
    pub(crate) skip_locked: bool,
}

/// A table whose rows are looked up again by their ids.
#[derive(Debug, Clone)]
pub(crate) struct LockMark {
    pub(crate) table: Arc<TableInfo>,
    /// The table's name in FROM.
    pub(crate) alias: String,
    /// The column that has the id.
    pub(crate) column: usize,
    /// `None` for a table that is not locked.
    pub(crate) locking: Option<RowLocking>,
}

/// A relation. Expressions are over the columns of its inputs, left to right.
#[derive(Debug, Clone)]
pub(crate) enum Rel {
    /// One row without columns.
    One,
    /// A table's rows, all columns.
    Table {
        table: Arc<TableInfo>,
        alias: String,
        locking: Option<RowLocking>,
        /// One more column: the row's id.
        with_id: bool,
    },
    /// Locks the rows that its input is made of, and makes it again where somebody changed them.
    Lock(Box<Rel>, Vec<LockMark>),
    /// Rows of expressions.
    Values {
        rows: Vec<Vec<Expr>>,
        width: usize,
    },
    /// generate_series(start, stop, step) of int4 or int8.
    Series {
        start: Expr,
        stop: Expr,
        step: Expr,
        ty: SqlType,
    },
    Filter(Box<Rel>, Expr),
    Project(Box<Rel>, Vec<Expr>),
    Join {
        kind: JoinKind,
        left: Box<Rel>,
        right: Box<Rel>,
        on: Option<Expr>,
    },
    /// Groups by keys; the output is the keys, then the aggregates.
    Aggregate {
        input: Box<Rel>,
        keys: Vec<(Expr, SqlType)>,
        calls: Vec<AggregateCall>,
    },
    Sort(Box<Rel>, Vec<SortKey>),
    Limit {
        input: Box<Rel>,
        limit: Option<Expr>,
        offset: Option<Expr>,
    },
    /// Rows without duplicates; the columns' types.
    Distinct(Box<Rel>, Vec<SqlType>),
    /// DISTINCT ON: the first row for each value of the leading columns' keys, of sorted input.
    DistinctOn(Box<Rel>, Vec<(Expr, SqlType)>),
    /// All rows of all.
    Append(Vec<Rel>),
    /// INTERSECT and EXCEPT; true for ALL.
    SetOp {
        operation: SetOperation,
        all: bool,
        left: Box<Rel>,
        right: Box<Rel>,
        types: Vec<SqlType>,
    },
}

impl Rel {
    /// The number of columns.
    pub(crate) fn width(&self) -> usize {
        match self {
            Rel::One => 0,
            Rel::Table { table, with_id, .. } => table.columns.len() + usize::from(*with_id),
            Rel::Values { width, .. } => *width,
            Rel::Series { .. } => 1,
            Rel::Filter(input, _)
            | Rel::Sort(input, _)
            | Rel::Lock(input, _)
            | Rel::Limit { input, .. }
            | Rel::Distinct(input, _)
            | Rel::DistinctOn(input, _) => input.width(),
            Rel::Project(_, exprs) => exprs.len(),
            Rel::Join { left, right, .. } => left.width() + right.width(),
            Rel::Aggregate { keys, calls, .. } => keys.len() + calls.len(),
            Rel::Append(inputs) => inputs.first().map_or(0, Rel::width),
            Rel::SetOp { left, .. } => left.width(),
        }
    }
}

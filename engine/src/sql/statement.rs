//! A parsed statement, and what the session layer must know about it before anything is planned.

use std::sync::Arc;

use sqlparser::ast;

use crate::types::{SqlError, SqlType};

/// One statement of a query string.
#[derive(Debug, Clone)]
pub struct ParsedStatement {
    /// Its text, without the semicolon.
    pub text: Arc<str>,
    /// What it is.
    pub kind: StatementKind,
    pub(crate) body: Body,
}

/// The syntax tree, as far as the planner needs one.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// The session layer acts on the kind alone.
    None,
    Sql(Arc<ast::Statement>),
    /// Definitions of types.
    Type(Arc<TypeStatement>),
}

/// What DDL is run of.
#[derive(Debug, Clone)]
pub(crate) enum Definition {
    Sql(Arc<ast::Statement>),
    Type(Arc<TypeStatement>),
}

/// A schema, if it was named, and a name.
pub(crate) type QualifiedName = (Option<String>, String);

/// CREATE, ALTER or DROP TYPE or DOMAIN.
#[derive(Debug, Clone)]
pub(crate) enum TypeStatement {
    CreateEnum { name: QualifiedName, labels: Vec<String> },
    Alter { name: QualifiedName, change: TypeChange },
    CreateDomain { name: QualifiedName, definition: Box<ast::ColumnDef> },
    AlterDomain { name: QualifiedName, change: DomainChange },
    Drop(DropTypes),
}

/// DROP TYPE, or DROP DOMAIN.
#[derive(Debug, Clone)]
pub(crate) struct DropTypes {
    pub(crate) names: Vec<QualifiedName>,
    pub(crate) domains: bool,
    pub(crate) if_exists: bool,
    pub(crate) cascade: bool,
}

/// What ALTER DOMAIN does.
#[derive(Debug, Clone)]
pub(crate) enum DomainChange {
    /// What ALTER TYPE does, too.
    Type(TypeChange),
    SetDefault(Box<ast::Expr>),
    DropDefault,
    SetNotNull,
    DropNotNull,
    Add {
        name: Option<String>,
        condition: Box<ast::Expr>,
        valid: bool,
    },
    Drop {
        name: String,
        if_exists: bool,
    },
    Validate(String),
    RenameConstraint {
        from: String,
        to: String,
    },
}

/// What ALTER TYPE does.
#[derive(Debug, Clone)]
pub(crate) enum TypeChange {
    AddValue(NewLabel),
    RenameValue {
        from: String,
        to: String,
    },
    Rename(String),
    SetSchema(String),
    /// Everything has one owner.
    Owner,
}

/// ADD VALUE.
#[derive(Debug, Clone)]
pub(crate) struct NewLabel {
    pub(crate) if_not_exists: bool,
    pub(crate) label: String,
    /// BEFORE (true) or AFTER another label; at the end when there is none.
    pub(crate) beside: Option<(bool, String)>,
}

/// What a statement is. Variants without a note are run by [`super::prepare`] and [`super::execute`]; the others steer
/// the session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StatementKind {
    /// Nothing but blanks and comments: answered by EmptyQueryResponse.
    Empty,
    /// SELECT, VALUES, TABLE.
    Query,
    /// INSERT, with rows if RETURNING.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// EXPLAIN: rows of one text column. With ANALYZE, what is run.
    Explain(Option<Box<StatementKind>>),
    /// CREATE, ALTER, DROP, TRUNCATE ...: no rows, transactional.
    Ddl,
    /// CREATE INDEX CONCURRENTLY: run by [`super::index_concurrently`] in transactions of its own.
    CreateIndexConcurrently,
    /// DROP INDEX CONCURRENTLY: the same.
    DropIndexConcurrently,
    /// LOCK TABLE; only inside a transaction block (25P01).
    Lock,
    /// REINDEX: run by [`super::reindex`] in the session's transaction.
    Reindex(ReindexSpec),
    /// VACUUM and ANALYZE: run by [`super::vacuum`] in transactions of their own.
    Vacuum(VacuumSpec),
    /// COPY table FROM STDIN: [`super::CopyIn`] takes the rows.
    CopyFrom(CopySpec),
    /// COPY table or query TO STDOUT: prepare and execute give the rows to write.
    CopyTo(CopySpec),
    /// BEGIN, START TRANSACTION (session).
    Begin(TransactionModes),
    /// COMMIT, END (session).
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT (session).
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT name (session).
    Savepoint(String),
    /// RELEASE SAVEPOINT name (session).
    Release(String),
    /// ROLLBACK TO SAVEPOINT name (session).
    RollbackTo(String),
    /// SET TRANSACTION, SET SESSION CHARACTERISTICS (session).
    SetTransaction {
        /// For the session's transactions to come, not this one.
        session: bool,
        /// The modes.
        modes: TransactionModes,
    },
    /// SET CONSTRAINTS: run by [`super::set_constraints`].
    SetConstraints(ConstraintSettings),
    /// SET name = value (session). Names are in lower case; `SET TIME ZONE` is `timezone`.
    Set {
        /// The setting.
        name: String,
        /// `None` for DEFAULT. Several values are joined by ", ".
        value: Option<String>,
        /// SET LOCAL: until the transaction ends.
        local: bool,
    },
    /// SHOW name (session); `all` for SHOW ALL.
    Show(String),
    /// RESET name, or all (session).
    Reset(Option<String>),
    /// DISCARD ALL, PLANS, SEQUENCES, TEMP (session); in upper case.
    Discard(String),
    /// PREPARE name AS (session).
    Prepare {
        /// The name.
        name: String,
        /// Declared parameter types.
        types: Vec<ast::DataType>,
        /// What is prepared.
        statement: Arc<ParsedStatement>,
    },
    /// EXECUTE name (session).
    Execute {
        /// The name.
        name: String,
        /// A SELECT that computes the parameters, when there are any.
        parameters: Option<Arc<ParsedStatement>>,
    },
    /// DEALLOCATE name, or all (session).
    Deallocate(Option<String>),
    /// DECLARE CURSOR (session).
    Declare {
        /// The name.
        name: String,
        /// WITH HOLD.
        hold: bool,
        /// SCROLL.
        scroll: bool,
        /// The query.
        query: Arc<ParsedStatement>,
    },
    /// FETCH or MOVE (session).
    Fetch {
        /// The cursor.
        name: String,
        /// Rows forward; `None` for ALL.
        count: Option<i64>,
    },
    /// CLOSE name, or all (session).
    Close(Option<String>),
    /// LISTEN channel (session).
    Listen(String),
    /// UNLISTEN channel, or `*` (session).
    Unlisten(String),
    /// NOTIFY channel (session).
    Notify {
        /// The channel.
        channel: String,
        /// The payload, empty if none.
        payload: String,
    },
}

impl StatementKind {
    /// True for what [`super::prepare`] and [`super::execute`] run.
    #[must_use]
    pub fn is_executed(&self) -> bool {
        use StatementKind as K;
        matches!(
            self,
            K::Query | K::Insert | K::Update | K::Delete | K::Explain(_) | K::Ddl | K::Lock | K::CopyTo(_)
        )
    }

    /// The name of a statement that has transactions of its own, and so cannot be part of another.
    #[must_use]
    pub fn own_transactions(&self) -> Option<&'static str> {
        match self {
            StatementKind::Vacuum(spec) if spec.vacuum => Some("VACUUM"),
            StatementKind::CreateIndexConcurrently => Some("CREATE INDEX CONCURRENTLY"),
            StatementKind::DropIndexConcurrently => Some("DROP INDEX CONCURRENTLY"),
            _ => None,
        }
    }

    /// True when a failed transaction block still takes it.
    #[must_use]
    pub fn ends_transaction(&self) -> bool {
        use StatementKind as K;
        matches!(self, K::Commit { .. } | K::Rollback { .. } | K::RollbackTo(_))
    }
}

/// SET CONSTRAINTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintSettings {
    /// (schema, name); all when empty.
    pub names: Vec<(Option<String>, String)>,
    /// DEFERRED or IMMEDIATE.
    pub deferred: bool,
}

/// Transaction modes that were named; `None` where not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// ISOLATION LEVEL.
    pub isolation: Option<IsolationLevel>,
    /// READ ONLY (true) or READ WRITE.
    pub read_only: Option<bool>,
    /// DEFERRABLE (true) or NOT DEFERRABLE.
    pub deferrable: Option<bool>,
}

/// The isolation levels of SQL, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Runs as READ COMMITTED, as in PostgreSQL.
    ReadUncommitted,
    /// The default.
    ReadCommitted,
    /// One snapshot for the transaction.
    RepeatableRead,
    /// Serializable snapshots.
    Serializable,
}

/// VACUUM or ANALYZE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacuumSpec {
    /// False for a bare ANALYZE.
    pub vacuum: bool,
    /// The tables; all when empty. (schema, name)
    pub tables: Vec<(Option<String>, String)>,
}

/// REINDEX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReindexSpec {
    /// All indexes of a table; else the name is an index's.
    pub table: bool,
    /// (schema, name)
    pub name: (Option<String>, String),
}

/// The format of COPY data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Tabs and backslashes.
    Text,
    /// Commas and quotes.
    Csv,
    /// PostgreSQL's binary format.
    Binary,
}

/// COPY's options, with their defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySpec {
    /// How rows are written.
    pub format: CopyFormat,
    /// Between fields.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    /// The first line names the columns.
    pub header: bool,
    /// CSV's quote.
    pub quote: u8,
    /// CSV's escape.
    pub escape: u8,
    pub(crate) table: Option<(Option<String>, String)>,
    pub(crate) columns: Vec<String>,
    pub(crate) query: Option<String>,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// The table it comes from unchanged, or 0.
    pub table_oid: u32,
    /// Its number there from 1, or 0.
    pub attnum: i16,
}

/// Rows, stored one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowBatch {
    width: usize,
    count: usize,
    data: Vec<crate::types::Datum>,
}

impl RowBatch {
    /// No rows, with room for some of so many columns.
    #[must_use]
    pub fn new(width: usize) -> RowBatch {
        RowBatch { width, count: 0, data: Vec::new() }
    }

    /// The number of columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Row `n`.
    #[must_use]
    pub fn row(&self, n: usize) -> &[crate::types::Datum] {
        &self.data[n * self.width..(n + 1) * self.width]
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = &[crate::types::Datum]> {
        (0..self.count).map(|n| self.row(n))
    }

    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = crate::types::Datum>) {
        self.data.extend(row);
        self.count += 1;
        debug_assert_eq!(self.data.len(), self.count * self.width, "a row has the batch's width");
    }

    /// Appends a row that `fill` writes; taken back when it fails or answers false.
    pub(crate) fn push_with<E>(
        &mut self,
        fill: impl FnOnce(&mut Vec<crate::types::Datum>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let start = self.data.len();
        match fill(&mut self.data) {
            Ok(true) => {
                self.count += 1;
                debug_assert_eq!(self.data.len(), self.count * self.width, "a row has the batch's width");
                Ok(true)
            }
            other => {
                self.data.truncate(start);
                other
            }
        }
    }

    /// The last row, for a caller that looks at it before it stays.
    pub(crate) fn pop(&mut self) {
        if self.count > 0 {
            self.count -= 1;
            self.data.truncate(self.count * self.width);
        }
    }

    /// Keeps the rows for which `keep` answers true.
    pub(crate) fn retain<E>(
        &mut self,
        mut keep: impl FnMut(&[crate::types::Datum]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut kept = 0;
        for n in 0..self.count {
            if keep(self.row(n))? {
                for column in 0..self.width {
                    self.data.swap(kept * self.width + column, n * self.width + column);
                }
                kept += 1;
            }
        }
        self.truncate(kept);
        Ok(())
    }

    /// These columns, each named once.
    pub(crate) fn into_columns(mut self, columns: &[usize]) -> RowBatch {
        if self.width == columns.len() && columns.iter().copied().eq(0..self.width) {
            return self;
        }
        let mut out = RowBatch { width: columns.len(), count: self.count, data: Vec::new() };
        out.data.reserve_exact(self.count * columns.len());
        for row in self.data.chunks_exact_mut(self.width.max(1)) {
            let taken = columns.iter().map(|n| std::mem::replace(&mut row[*n], crate::types::Datum::Null));
            out.data.extend(taken);
        }
        out
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        if rows < self.count {
            self.count = rows;
            self.data.truncate(rows * self.width);
        }
    }

    pub(crate) fn skip(&mut self, rows: usize) {
        let rows = rows.min(self.count);
        self.data.drain(..rows * self.width);
        self.count -= rows;
    }

    pub(crate) fn into_rows(self) -> impl Iterator<Item = Vec<crate::types::Datum>> {
        let width = self.width;
        let mut data = self.data.into_iter();
        (0..self.count).map(move |_| data.by_ref().take(width).collect())
    }
}

/// A NOTICE or WARNING for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// NOTICE, WARNING, INFO.
    pub severity: &'static str,
    /// Code, message and the rest.
    pub fields: SqlError,
}

impl Notice {
    pub(crate) fn note(message: impl Into<String>) -> Notice {
        Notice { severity: "NOTICE", fields: SqlError::new("00000", message) }
    }

    pub(crate) fn skipping(message: impl Into<String>) -> Notice {
        Notice { severity: "NOTICE", fields: SqlError::new("42P07", message) }
    }
}

//! What a statement may know about its session.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::txn::SessionLocks;
use crate::types::{TimeZone, now_micros};

/// PostgreSQL's default, for sessions that say nothing.
const MAINTENANCE_WORK_MEM: usize = 64 << 20;

/// The session as SQL sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionContext {
    session: Arc<SessionInfo>,
    /// The values that `nextval` gave this session, by sequence; and the sequence it was last called for.
    sequences: Arc<Mutex<LastValues>>,
    /// Its advisory locks; none outside of a session.
    locks: Option<Arc<SessionLocks>>,
    /// `now()`: when the transaction started, microseconds since 2000-01-01 UTC.
    pub transaction_start: i64,
    /// `statement_timestamp()`: when the statement came.
    pub statement_start: i64,
}

#[derive(Debug, Default)]
struct LastValues {
    by_sequence: BTreeMap<u32, i64>,
    last: Option<u32>,
}

/// What seldom changes in a session.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// The user's name.
    pub user: String,
    /// The database's name.
    pub database: String,
    /// `search_path` without pg_catalog, `"$user"` resolved.
    pub search_path: Vec<String>,
    /// `TimeZone`.
    pub timezone: TimeZone,
    /// For `current_setting()`, by lower-case name.
    pub settings: BTreeMap<String, String>,
    /// For `pg_backend_pid()`.
    pub backend_pid: i32,
    /// `default_transaction_read_only` or READ ONLY: writes are refused (25006).
    pub read_only: bool,
}

impl SessionInfo {
    /// A setting that is an amount of memory, in kilobytes.
    pub(crate) fn memory(&self, name: &str) -> Option<usize> {
        let value = self.settings.get(name)?;
        let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        let factor = match &value[digits..] {
            "" | "kB" => 1,
            "MB" => 1 << 10,
            "GB" => 1 << 20,
            _ => return None,
        };
        value[..digits].parse::<usize>().ok()?.checked_mul(factor)
    }

    /// A setting that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.settings.get(name)?.parse().ok()
    }
}

impl SessionContext {
    /// A session with default settings.
    #[must_use]
    pub fn new(user: &str, database: &str) -> SessionContext {
        let now = now_micros();
        SessionContext {
            session: Arc::new(SessionInfo {
                user: user.to_owned(),
                database: database.to_owned(),
                search_path: vec!["public".to_owned()],
                timezone: TimeZone::default(),
                settings: BTreeMap::new(),
                backend_pid: 0,
                read_only: false,
            }),
            sequences: Arc::default(),
            locks: None,
            transaction_start: now,
            statement_start: now,
        }
    }

    /// Gives the session its advisory locks.
    pub fn set_locks(&mut self, locks: Arc<SessionLocks>) {
        self.locks = Some(locks);
    }

    /// Its advisory locks, to begin its transactions with.
    #[must_use]
    pub fn shared_locks(&self) -> Option<&Arc<SessionLocks>> {
        self.locks.as_ref()
    }

    pub(crate) fn locks(&self) -> Option<&SessionLocks> {
        self.locks.as_deref()
    }

    /// A row was evaluated to its end.
    pub(crate) fn row_done(&self) {
        if let Some(locks) = &self.locks {
            locks.row_done();
        }
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &SessionInfo {
        &self.session
    }

    /// What building an index may hold in memory, in bytes: `maintenance_work_mem`.
    pub(crate) fn maintenance_memory(&self) -> usize {
        let kilobytes = self.session.memory("maintenance_work_mem");
        kilobytes.map_or(MAINTENANCE_WORK_MEM, |kb| kb.saturating_mul(1024))
    }

    /// Changes the session's part.
    pub fn change(&mut self, change: impl FnOnce(&mut SessionInfo)) {
        change(Arc::make_mut(&mut self.session));
    }

    /// `nextval` gave this value.
    pub(crate) fn remember_value(&self, sequence: u32, value: i64) {
        let mut values = self.sequences.lock();
        values.by_sequence.insert(sequence, value);
        values.last = Some(sequence);
    }

    /// `currval`, or `lastval` for `None`.
    pub(crate) fn last_value(&self, sequence: Option<u32>) -> Option<i64> {
        let values = self.sequences.lock();
        values.by_sequence.get(&sequence.or(values.last)?).copied()
    }

    /// A transaction starts now, and with it a statement.
    pub fn start_transaction(&mut self) {
        self.statement_start = now_micros();
        self.transaction_start = self.statement_start;
    }

    /// A statement starts now.
    pub fn start_statement(&mut self) {
        self.statement_start = now_micros();
    }
}

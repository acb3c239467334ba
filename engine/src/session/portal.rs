//! Prepared statements and portals: what has a name in the extended protocol, and in PREPARE and DECLARE.

use std::collections::HashMap;
use std::sync::Arc;

use super::codes;
use super::rows::Formats;
use crate::sql::{Column, Execution, ParsedStatement, Prepared, RowBatch, StatementKind};
use crate::types::{Datum, SqlError, SqlResult};

/// A prepared statement.
pub(super) struct Statement {
    /// `None` for an empty string.
    pub(super) parsed: Option<ParsedStatement>,
    /// What runs it; `None` for the statements that steer the session.
    pub(super) plan: Option<Arc<Prepared>>,
    /// Parameter types as declared, for making the plan anew.
    pub(super) declared: Box<[u32]>,
}

impl Statement {
    /// What an empty string makes.
    pub(super) fn empty() -> Statement {
        Statement { parsed: None, plan: None, declared: Box::new([]) }
    }

    pub(super) fn kind(&self) -> &StatementKind {
        self.parsed.as_ref().map_or(&StatementKind::Empty, |parsed| &parsed.kind)
    }

    /// Types of the parameters.
    pub(super) fn parameters(&self) -> &[crate::types::SqlType] {
        self.plan.as_ref().map_or(&[], |plan| &plan.parameters)
    }
}

/// A statement being run.
pub(super) struct Running {
    pub(super) execution: Execution,
    pub(super) batch: RowBatch,
    /// The next row of `batch` to send.
    pub(super) next: usize,
}

/// How far a portal is.
pub(super) enum Progress {
    /// Not run yet: its parameters.
    Ready(Vec<Datum>),
    /// Run in part.
    Running(Box<Running>),
    /// Run to its end.
    Done,
}

/// A statement with its parameters.
pub(super) struct Portal {
    pub(super) statement: Arc<Statement>,
    /// The plan when the portal was made.
    pub(super) plan: Option<Arc<Prepared>>,
    pub(super) formats: Formats,
    pub(super) progress: Progress,
    /// Rows that the last run sent.
    pub(super) sent: u64,
    /// How many savepoints its block had set when it was made.
    pub(super) serial: u64,
}

impl Portal {
    pub(super) fn new(statement: &Arc<Statement>, parameters: Vec<Datum>, formats: Formats) -> Portal {
        Portal {
            plan: statement.plan.clone(),
            statement: Arc::clone(statement),
            formats,
            progress: Progress::Ready(parameters),
            sent: 0,
            serial: 0,
        }
    }

    pub(super) fn kind(&self) -> &StatementKind {
        self.statement.kind()
    }

    pub(super) fn columns(&self) -> &[Column] {
        self.plan.as_ref().map_or(&[], |plan| &plan.columns)
    }
}

/// The prepared statements of a session. The unnamed one is apart: it is looked up without hashing.
#[derive(Default)]
pub(super) struct Statements {
    unnamed: Option<Arc<Statement>>,
    named: HashMap<Box<str>, Arc<Statement>>,
}

impl Statements {
    pub(super) fn get(&self, name: &str) -> SqlResult<&Arc<Statement>> {
        let found = match name {
            "" => self.unnamed.as_ref(),
            name => self.named.get(name),
        };
        found.ok_or_else(|| match name {
            "" => SqlError::new(codes::INVALID_STATEMENT_NAME, "unnamed prepared statement does not exist"),
            name => SqlError::new(
                codes::INVALID_STATEMENT_NAME,
                format!("prepared statement \"{name}\" does not exist"),
            ),
        })
    }

    /// Refuses a name that is taken (42P05); the unnamed statement is simply replaced.
    pub(super) fn check_free(&self, name: &str) -> SqlResult<()> {
        if !name.is_empty() && self.named.contains_key(name) {
            return Err(SqlError::new(
                codes::DUPLICATE_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        Ok(())
    }

    pub(super) fn put(&mut self, name: &str, statement: Arc<Statement>) {
        match name {
            "" => self.unnamed = Some(statement),
            name => {
                self.named.insert(name.into(), statement);
            }
        }
    }

    /// True when there was one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        match name {
            "" => self.unnamed.take().is_some(),
            name => self.named.remove(name).is_some(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
    }
}

/// The portals of a session; they end with the transaction.
#[derive(Default)]
pub(super) struct Portals {
    unnamed: Option<Portal>,
    named: HashMap<Box<str>, Portal>,
}

impl Portals {
    fn missing(name: &str) -> SqlError {
        SqlError::new(codes::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
    }

    pub(super) fn get(&self, name: &str) -> SqlResult<&Portal> {
        let found = match name {
            "" => self.unnamed.as_ref(),
            name => self.named.get(name),
        };
        found.ok_or_else(|| Portals::missing(name))
    }

    /// Takes a portal out to run it; [`Portals::put`] brings it back.
    pub(super) fn take(&mut self, name: &str) -> SqlResult<Portal> {
        let found = match name {
            "" => self.unnamed.take(),
            name => self.named.remove(name),
        };
        found.ok_or_else(|| Portals::missing(name))
    }

    pub(super) fn check_free(&self, name: &str) -> SqlResult<()> {
        if !name.is_empty() && self.named.contains_key(name) {
            return Err(SqlError::new(codes::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
        }
        Ok(())
    }

    pub(super) fn put(&mut self, name: &str, portal: Portal) {
        match name {
            "" => self.unnamed = Some(portal),
            name => {
                self.named.insert(name.into(), portal);
            }
        }
    }

    /// True when there was one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.take(name).is_ok()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Portal) -> bool) {
        self.unnamed = self.unnamed.take().filter(&keep);
        self.named.retain(|_, portal| keep(portal));
    }

    pub(super) fn clear(&mut self) {
        self.unnamed = None;
        if !self.named.is_empty() {
            self.named.clear();
        }
    }
}

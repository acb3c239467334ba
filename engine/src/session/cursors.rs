//! DECLARE, FETCH and CLOSE: a SQL cursor is a portal with a name.

use std::borrow::Cow;
use std::sync::Arc;

use super::portal::{Portal, Progress, Statement};
use super::rows;
use super::run::{Ran, Tag};
use super::{Failure, Session, codes};
use crate::sql::{ParsedStatement, StatementKind};
use crate::types::{SqlError, SqlResult, sqlstate};
use crate::wire::Wire;

fn no_cursor(name: &str) -> SqlError {
    SqlError::new(codes::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

impl Session {
    /// DECLARE: the query starts now, with the snapshot of now; its rows come with FETCH.
    pub(super) async fn declare(
        &mut self,
        name: &str,
        hold: bool,
        query: &Arc<ParsedStatement>,
        outer: &Portal,
    ) -> Result<Tag, Failure> {
        if hold {
            return Err(SqlError::unsupported("DECLARE CURSOR WITH HOLD").into());
        }
        if !self.block.is_explicit() {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(SqlError::new(sqlstate::NO_ACTIVE_TRANSACTION, message).into());
        }
        self.portals.check_free(name)?;
        let statement: Arc<Statement> =
            self.statement_of(ParsedStatement::clone(query), Box::new([])).await?;
        if !statement.parameters().is_empty() {
            return Err(SqlError::unsupported("DECLARE CURSOR with parameters").into());
        }
        let mut portal = Portal::new(&statement, Vec::new(), outer.formats.clone());
        portal.serial = self.block.serial;
        if let Some(plan) = portal.plan.clone() {
            let mut running = self.start(&plan, &StatementKind::Query, Vec::new())?;
            self.open(&mut running).await?;
            portal.progress = Progress::Running(Box::new(running));
        }
        self.portals.put(name, portal);
        Ok(Cow::Borrowed("DECLARE CURSOR"))
    }

    /// FETCH: rows of a cursor, forward only.
    pub(super) async fn fetch(
        &mut self,
        name: &str,
        count: Option<i64>,
        outer: &Portal,
        describe: bool,
        wire: &mut Wire,
    ) -> Result<Tag, Failure> {
        let mut cursor = self.portals.take(name).map_err(|_| no_cursor(name))?;
        cursor.formats = outer.formats.clone();
        cursor.sent = 0;
        if describe {
            rows::describe(&mut wire.out, cursor.columns(), &cursor.formats);
        }
        match count {
            Some(count) if count < 0 => {
                Err(SqlError::new(sqlstate::OBJECT_NOT_IN_STATE, "cursor can only scan forward").into())
            }
            Some(0) => Ok(Ran::Done(Cow::Borrowed("FETCH 0"))),
            Some(count) => self.run_planned(&mut cursor, count.unsigned_abs(), wire).await,
            None => self.run_planned(&mut cursor, 0, wire).await,
        }?;
        let sent = cursor.sent;
        // One that failed is gone, also where a savepoint lets the block go on.
        self.portals.put(name, cursor);
        Ok(format!("FETCH {sent}").into())
    }

    /// CLOSE.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> SqlResult<Tag> {
        match name {
            None => {
                self.portals.clear();
                Ok(Cow::Borrowed("CLOSE CURSOR ALL"))
            }
            Some(name) if self.portals.remove(name) => Ok(Cow::Borrowed("CLOSE CURSOR")),
            Some(name) => Err(no_cursor(name)),
        }
    }
}

//! The simple query protocol: a string of statements, run one after the other. What is in no block of its own is one
//! implicit transaction, committed before the last statement is called complete.

use std::sync::Arc;
use std::time::Instant;

use super::block::{State, in_failed_block};
use super::portal::{Portal, Statement};
use super::rows::{self, Formats};
use super::run::{Ran, Tag};
use super::{Failure, Session, metrics};
use crate::sql::{self, ParsedStatement, Prepared, StatementKind};
use crate::types::{SqlError, sqlstate};
use crate::wire::{Wire, backend};

impl Session {
    /// A Query message.
    pub(super) async fn simple_query(&mut self, sql: &str, wire: &mut Wire) -> Result<(), Failure> {
        let started = Instant::now();
        self.statements.remove("");
        self.portals.remove("");
        self.prologue();
        match self.run_string(sql, wire).await {
            Err(Failure::Sql(error)) => self.answer_error(&error, wire)?,
            other => other?,
        }
        metrics::SIMPLE.observe(started.elapsed().as_secs_f64());
        self.finish(wire).await
    }

    async fn run_string(&mut self, sql: &str, wire: &mut Wire) -> Result<(), Failure> {
        if let Some(statement) = self.known_plan(sql, &[]) {
            return self.run_one(&statement, true, wire).await;
        }
        let parsed = sql::parse(sql)?;
        let count = parsed.len();
        if count == 0 {
            self.finish_implicit().await?;
            backend::empty_query(&mut wire.out);
        }
        for (n, one) in parsed.into_iter().enumerate() {
            self.refuse_in_failed(&one.kind)?;
            let statement = self.statement_of(one, Box::new([])).await?;
            if let (1, Some(_)) = (count, &statement.plan) {
                self.plans.put(sql, &statement);
            }
            if count > 1 {
                refuse_in_string(statement.kind())?;
            }
            self.run_one(&statement, n + 1 == count, wire).await?;
        }
        Ok(())
    }

    /// A statement kept for this text, with parameters declared like this.
    pub(super) fn known_plan(&mut self, sql: &str, declared: &[u32]) -> Option<Arc<Statement>> {
        if self.block.state == State::Failed {
            return None;
        }
        let statement = self.plans.get(sql, self.settings_in_context)?;
        if statement.plan.as_ref().is_some_and(|plan| self.is_stale(plan)) {
            self.plans.forget(sql);
            return None;
        }
        if *statement.declared != *declared {
            return None;
        }
        metrics::PLANS_REUSED.inc();
        Some(statement)
    }

    /// True when the catalog has changed since the plan was made.
    pub(super) fn is_stale(&self, plan: &Arc<Prepared>) -> bool {
        plan.is_stale(&self.db, self.block.txn.as_ref())
    }

    /// A statement with its plan, if it takes one.
    pub(super) async fn statement_of(
        &mut self,
        parsed: ParsedStatement,
        declared: Box<[u32]>,
    ) -> Result<Arc<Statement>, Failure> {
        let plan = if parsed.kind.is_executed() { Some(self.plan(&parsed, &declared).await?) } else { None };
        Ok(Arc::new(Statement { parsed: Some(parsed), plan, declared }))
    }

    pub(super) fn refuse_in_failed(&self, kind: &StatementKind) -> Result<(), SqlError> {
        if self.block.state == State::Failed && !kind.ends_transaction() {
            return Err(in_failed_block());
        }
        Ok(())
    }

    async fn run_one(
        &mut self,
        statement: &Arc<Statement>,
        last: bool,
        wire: &mut Wire,
    ) -> Result<(), Failure> {
        if !statement.parameters().is_empty() {
            return Err(SqlError::new(sqlstate::UNDEFINED_PARAMETER, "there is no parameter $1").into());
        }
        let kind = statement.kind();
        let mut portal = Portal::new(statement, Vec::new(), Formats::Text);
        let tag = match kind {
            StatementKind::Empty => None,
            StatementKind::CopyTo(_) => Some(Box::pin(self.copy_out(&mut portal, wire)).await?),
            _ if statement.plan.is_some() => {
                if !portal.columns().is_empty() || matches!(kind, StatementKind::Query) {
                    rows::describe(&mut wire.out, portal.columns(), &portal.formats);
                }
                match self.run_planned(&mut portal, 0, wire).await? {
                    Ran::Done(tag) => Some(tag),
                    Ran::Suspended => None,
                }
            }
            _ => Some(self.steer(&portal, true, wire).await?),
        };
        if last {
            self.finish_implicit().await?;
        }
        complete(kind, tag, wire);
        Ok(())
    }

    /// Commits what is in no block of its own.
    pub(super) async fn finish_implicit(&mut self) -> Result<(), SqlError> {
        match self.block.state {
            State::Implicit => self.commit().await,
            _ => Ok(()),
        }
    }
}

/// CommandComplete, or what stands for it.
pub(super) fn complete(kind: &StatementKind, tag: Option<Tag>, wire: &mut Wire) {
    match tag {
        Some(tag) => {
            metrics::statement(kind);
            backend::command_complete(&mut wire.out, &tag);
        }
        None => backend::empty_query(&mut wire.out),
    }
}

/// Statements with transactions of their own cannot share a string.
fn refuse_in_string(kind: &StatementKind) -> Result<(), SqlError> {
    match kind.own_transactions() {
        Some(what) => Err(super::steer::not_in_block(what)),
        None => Ok(()),
    }
}

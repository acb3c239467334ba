//! Statements about the session: its block, its settings, its prepared statements.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use sqlparser::ast;

use super::block::{State, level_name, level_of};
use super::portal::{Portal, Statement};
use super::rows::{self, Formats};
use super::run::{Ran, Tag, guarded};
use super::{Failure, Session};
use crate::sql::{self, Column, ParsedStatement, StatementKind, TransactionModes};
use crate::types::{Datum, EnumTypes, SqlError, SqlResult, SqlType, oids, sqlstate, text_of};
use crate::wire::Wire;

/// "VACUUM cannot run inside a transaction block".
pub(super) fn not_in_block(what: &str) -> SqlError {
    SqlError::new(sqlstate::ACTIVE_TRANSACTION, format!("{what} cannot run inside a transaction block"))
}

/// A result column of text.
pub(super) fn text_column(name: &str) -> Column {
    Column { name: name.to_owned(), ty: SqlType { oid: oids::TEXT, typmod: -1 }, table_oid: 0, attnum: 0 }
}

impl Session {
    /// Runs a statement that has no plan; its command tag. `describe`: rows are preceded by their shape.
    pub(super) async fn steer(
        &mut self,
        portal: &Portal,
        describe: bool,
        wire: &mut Wire,
    ) -> Result<Tag, Failure> {
        use StatementKind as K;
        let statement = Arc::clone(&portal.statement);
        let kind = statement.kind();
        self.refuse_in_failed(kind)?;
        if self.block.state == State::Idle {
            self.block.state = State::Implicit;
        }
        match kind {
            K::Begin(_) | K::Commit { .. } | K::Rollback { .. } | K::SetTransaction { .. } => {
                Ok(Cow::Borrowed(self.steer_block(kind, wire).await?))
            }
            // Boxed, so that what is frequent does not carry the state of what is rare.
            _ => {
                let tag = Box::pin(self.steer_other(kind, portal, describe, wire)).await?;
                self.end_statement();
                Ok(tag)
            }
        }
    }

    async fn steer_other(
        &mut self,
        kind: &StatementKind,
        portal: &Portal,
        describe: bool,
        wire: &mut Wire,
    ) -> Result<Tag, Failure> {
        use StatementKind as K;
        match kind {
            K::Savepoint(name) => Ok(self.set_savepoint(name).map(|()| "SAVEPOINT".into())?),
            K::Release(name) => Ok(self.release_savepoint(name).map(|()| "RELEASE".into())?),
            K::RollbackTo(name) => Ok(self.rollback_to_savepoint(name).map(|()| "ROLLBACK".into())?),
            K::Set { name, value, local } => Ok(self.set(name, value.as_deref(), *local, wire)?),
            K::SetConstraints(settings) => self.set_constraints(settings, wire).await,
            K::Reset(name) => Ok(self.reset(name.as_deref())?),
            K::Show(name) => Ok(self.show(name, portal, describe, wire)?),
            K::Discard(what) => Ok(self.discard(what)?),
            K::Prepare { name, types, statement } => self.prepare_named(name, types, statement).await,
            K::Execute { name, parameters } => {
                let parameters = parameters.as_deref();
                self.execute_named(name, parameters, portal, describe, wire).await
            }
            K::Deallocate(name) => Ok(self.deallocate(name.as_deref())?),
            K::Declare { name, hold, query, .. } => self.declare(name, *hold, query, portal).await,
            K::Fetch { name, count } => self.fetch(name, *count, portal, describe, wire).await,
            K::Close(name) => Ok(self.close_cursor(name.as_deref())?),
            K::Vacuum(spec) => self.vacuum(spec).await,
            K::Reindex(spec) => self.reindex(spec, wire).await,
            K::CreateIndexConcurrently | K::DropIndexConcurrently => {
                self.index_concurrently(kind, portal, wire).await
            }
            K::CopyFrom(spec) => self.copy_in(spec, wire).await,
            K::Listen(_) | K::Unlisten(_) | K::Notify { .. } => {
                Err(SqlError::unsupported("LISTEN and NOTIFY").into())
            }
            _ => Err(SqlError::unsupported("this statement").into()),
        }
    }

    async fn steer_block(&mut self, kind: &StatementKind, wire: &mut Wire) -> Result<&'static str, Failure> {
        match kind {
            StatementKind::Begin(modes) => {
                self.begin(*modes, wire)?;
                Ok("BEGIN")
            }
            StatementKind::Commit { chain } => self.commit_block(*chain, wire).await,
            StatementKind::Rollback { chain } => {
                self.rollback_block(*chain, wire)?;
                Ok("ROLLBACK")
            }
            StatementKind::SetTransaction { session, modes } => {
                self.set_transaction(*session, *modes, wire)?;
                Ok("SET")
            }
            _ => Err(SqlError::internal("not a statement about the transaction block").into()),
        }
    }

    fn set_transaction(&mut self, session: bool, modes: TransactionModes, wire: &mut Wire) -> SqlResult<()> {
        if !session {
            if !self.block.is_explicit() {
                self.warn_no_block("SET TRANSACTION", wire);
            }
            return self.set_modes(modes);
        }
        if let Some(level) = modes.isolation {
            self.settings.set("default_transaction_isolation", Some(level_name(level)), false)?;
        }
        if let Some(read_only) = modes.read_only {
            let value = if read_only { "on" } else { "off" };
            self.settings.set("default_transaction_read_only", Some(value), false)?;
        }
        if let Some(deferrable) = modes.deferrable {
            let value = if deferrable { "on" } else { "off" };
            self.settings.set("default_transaction_deferrable", Some(value), false)?;
        }
        Ok(())
    }

    async fn set_constraints(
        &mut self,
        settings: &sql::ConstraintSettings,
        wire: &mut Wire,
    ) -> Result<Tag, Failure> {
        if !self.block.is_explicit() {
            self.warn_no_block("SET CONSTRAINTS", wire);
        }
        self.ensure_transaction()?;
        let Some(txn) = self.block.txn.as_mut() else { return Ok("SET CONSTRAINTS".into()) };
        let work = pin!(sql::set_constraints(&self.db, &self.context, txn, settings));
        guarded(&self.interrupt, &self.clock, work).await?;
        Ok("SET CONSTRAINTS".into())
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool, wire: &mut Wire) -> SqlResult<Tag> {
        if local && !self.block.is_explicit() {
            self.warn_no_block("SET LOCAL", wire);
        }
        match (name, value) {
            ("transaction_isolation", Some(value)) => {
                let isolation = level_of(value);
                if isolation.is_none() {
                    self.settings.set(name, Some(value), true)?;
                }
                self.set_modes(TransactionModes { isolation, ..TransactionModes::default() })?;
            }
            ("transaction_read_only" | "transaction_deferrable", Some(value)) => {
                // Checked by the settings, kept by the block.
                let mut probe = self.settings.clone();
                probe.set(name, Some(value), true)?;
                let on = Some(probe.get(name) == "on");
                let mut modes = TransactionModes::default();
                if name == "transaction_read_only" {
                    modes.read_only = on;
                } else {
                    modes.deferrable = on;
                }
                self.set_modes(modes)?;
            }
            (name, value) => self.settings.set(name, value, local)?,
        }
        Ok(Cow::Borrowed("SET"))
    }

    fn reset(&mut self, name: Option<&str>) -> SqlResult<Tag> {
        match name {
            None => self.settings.reset_all(),
            Some(name) => self.settings.set(name, None, false)?,
        }
        Ok(Cow::Borrowed("RESET"))
    }

    fn show(&mut self, name: &str, portal: &Portal, describe: bool, wire: &mut Wire) -> SqlResult<Tag> {
        let columns = show_columns(name);
        if describe {
            rows::describe(&mut wire.out, &columns, &Formats::Text);
        }
        let zone = &self.derived.zone;
        if name == "all" {
            for (name, value, about) in self.settings.all() {
                let row = [Datum::text(name), Datum::text(value), Datum::text(about)];
                rows::write(&mut wire.out, &row, &columns, &portal.formats, zone);
            }
        } else {
            let value = match name {
                "transaction_isolation" => level_name(self.isolation()),
                "transaction_read_only" if self.read_only() => "on",
                "transaction_read_only" => "off",
                "transaction_deferrable" if self.deferrable() => "on",
                "transaction_deferrable" => "off",
                name => self.settings.show(name)?.1,
            };
            rows::write(&mut wire.out, &[Datum::text(value)], &columns, &portal.formats, zone);
        }
        Ok(Cow::Borrowed("SHOW"))
    }

    fn discard(&mut self, what: &str) -> SqlResult<Tag> {
        match what {
            "ALL" if self.block.is_explicit() => return Err(not_in_block("DISCARD ALL")),
            "ALL" => {
                self.portals.clear();
                self.statements.clear();
                self.plans.clear();
                self.settings.reset_all();
                if let Some(locks) = self.context.shared_locks() {
                    locks.unlock_all();
                }
                return Ok(Cow::Borrowed("DISCARD ALL"));
            }
            "PLANS" => self.plans.clear(),
            // There are no temporary tables, and sequences cache nothing in a session.
            _ => {}
        }
        Ok(format!("DISCARD {what}").into())
    }

    async fn prepare_named(
        &mut self,
        name: &str,
        types: &[ast::DataType],
        parsed: &Arc<ParsedStatement>,
    ) -> Result<Tag, Failure> {
        self.statements.check_free(name)?;
        let types = sql::type_oids(&self.db, &self.context, self.block.txn.as_mut(), types)?;
        let statement = self.statement_of(ParsedStatement::clone(parsed), types.into()).await?;
        self.statements.put(name, statement);
        Ok(Cow::Borrowed("PREPARE"))
    }

    async fn execute_named(
        &mut self,
        name: &str,
        parameters: Option<&ParsedStatement>,
        outer: &Portal,
        describe: bool,
        wire: &mut Wire,
    ) -> Result<Tag, Failure> {
        let statement = Arc::clone(self.statements.get(name)?);
        if statement.plan.is_none() {
            return Err(SqlError::unsupported("EXECUTE of this kind of statement").into());
        }
        let statement = self.fresh(name, statement).await?;
        let values = match parameters {
            Some(select) => self.values_of(select, &statement).await?,
            None => Vec::new(),
        };
        let needed = statement.parameters().len();
        if values.len() != needed {
            return Err(SqlError::syntax(format!(
                "wrong number of parameters for prepared statement \"{name}\""
            ))
            .detail(format!("Expected {needed} parameters but got {}.", values.len()))
            .into());
        }
        let mut portal = Portal::new(&statement, values, outer.formats.clone());
        if describe && !portal.columns().is_empty() {
            rows::describe(&mut wire.out, portal.columns(), &portal.formats);
        }
        match self.run_planned(&mut portal, 0, wire).await? {
            Ran::Done(tag) => Ok(tag),
            Ran::Suspended => Err(SqlError::internal("a portal without limit was suspended").into()),
        }
    }

    /// The one row of a SELECT without FROM, as values of a statement's parameters.
    async fn values_of(
        &mut self,
        select: &ParsedStatement,
        statement: &Statement,
    ) -> Result<Vec<Datum>, Failure> {
        let types = statement.parameters();
        let none = EnumTypes::default();
        let enums = statement.plan.as_ref().map_or(&none, |plan| &plan.enums);
        let plan = self.plan(select, &[]).await?;
        let mut running = self.start(&plan, &StatementKind::Query, Vec::new())?;
        let mut values = Vec::new();
        while self.pull(&mut running).await? {
            if let Some(row) = running.batch.rows().next() {
                values = row.to_vec();
            }
        }
        let given = plan.columns.iter().map(|column| column.ty);
        for ((value, from), to) in values.iter_mut().zip(given).zip(types) {
            if from.oid != to.oid && !value.is_null() {
                let text = text_of(value, from, &self.derived.zone);
                *value = enums.decode_text(&text, *to, &self.derived.zone)?;
            }
        }
        Ok(values)
    }

    fn deallocate(&mut self, name: Option<&str>) -> SqlResult<Tag> {
        match name {
            None => {
                self.statements.clear();
                Ok(Cow::Borrowed("DEALLOCATE ALL"))
            }
            Some(name) => {
                self.statements.get(name)?;
                self.statements.remove(name);
                Ok(Cow::Borrowed("DEALLOCATE"))
            }
        }
    }

    /// CREATE or DROP INDEX CONCURRENTLY.
    async fn index_concurrently(
        &mut self,
        kind: &StatementKind,
        portal: &Portal,
        wire: &mut Wire,
    ) -> Result<Tag, Failure> {
        let tag = match kind {
            StatementKind::DropIndexConcurrently => "DROP INDEX",
            _ => "CREATE INDEX",
        };
        if self.block.is_explicit() {
            return Err(not_in_block(&format!("{tag} CONCURRENTLY")).into());
        }
        if self.read_only() {
            let message = format!("cannot execute {tag} in a read-only transaction");
            return Err(SqlError::new(sqlstate::READ_ONLY_TRANSACTION, message).into());
        }
        let Some(statement) = &portal.statement.parsed else { return Ok(tag.into()) };
        let limit = self.derived.lock_timeout;
        let work = pin!(sql::index_concurrently(&self.db, &self.context, statement, limit));
        for notice in guarded(&self.interrupt, &self.clock, work).await? {
            self.notify(notice.severity, &notice.fields, wire);
        }
        Ok(tag.into())
    }

    async fn reindex(&mut self, spec: &sql::ReindexSpec, wire: &mut Wire) -> Result<Tag, Failure> {
        self.ensure_transaction()?;
        let Some(txn) = self.block.txn.as_mut() else { return Ok("REINDEX".into()) };
        let told = {
            let work = pin!(sql::reindex(&self.db, &self.context, txn, spec));
            guarded(&self.interrupt, &self.clock, work).await?
        };
        for notice in told {
            self.notify(notice.severity, &notice.fields, wire);
        }
        Ok("REINDEX".into())
    }

    async fn vacuum(&mut self, spec: &sql::VacuumSpec) -> Result<Tag, Failure> {
        if spec.vacuum && self.block.is_explicit() {
            return Err(not_in_block("VACUUM").into());
        }
        let work = pin!(sql::vacuum(&self.db, &self.context, spec));
        Ok(Cow::Borrowed(guarded(&self.interrupt, &self.clock, work).await?))
    }

    /// What `statement` returns, if it returns rows.
    pub(super) fn columns_of(&self, statement: &Statement) -> Option<Cow<'_, [Column]>> {
        let of_plan = |plan: &Option<Arc<sql::Prepared>>| match plan {
            // A SELECT without columns has rows all the same.
            Some(plan) if !plan.columns.is_empty() || matches!(plan.kind, StatementKind::Query) => {
                Some(Cow::Owned(plan.columns.clone()))
            }
            _ => None,
        };
        match statement.kind() {
            StatementKind::CopyTo(_) => None,
            StatementKind::Show(name) => Some(Cow::Owned(show_columns(name))),
            StatementKind::Execute { name, .. } => of_plan(&self.statements.get(name).ok()?.plan),
            StatementKind::Fetch { name, .. } => of_plan(&self.portals.get(name).ok()?.plan),
            _ => of_plan(&statement.plan),
        }
    }

    /// Tells the language layer what the settings are now.
    pub(super) fn share_settings(&mut self) {
        let settings = &self.settings;
        let zone = &self.derived.zone;
        self.context.change(|session| {
            session.search_path = search_path(settings.get("search_path"), &session.user);
            session.timezone = zone.clone();
            session.settings =
                settings.all().map(|(name, value, _)| (name.to_lowercase(), value.to_owned())).collect();
        });
    }
}

fn show_columns(name: &str) -> Vec<Column> {
    if name == "all" {
        return ["name", "setting", "description"].map(text_column).into();
    }
    vec![text_column(super::settings::spelled(name))]
}

/// The schemas of `search_path`: `"$user"` resolved, pg_catalog left out because it is always searched.
fn search_path(value: &str, user: &str) -> Vec<String> {
    value
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .map(|name| if name == "$user" { user } else { name })
        .filter(|name| !name.is_empty() && *name != "pg_catalog")
        .map(str::to_owned)
        .collect()
}

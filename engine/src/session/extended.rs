//! The extended query protocol: Parse, Bind, Describe, Execute, Close, and Sync, which ends the implicit transaction.
//! Nothing is sent here; Sync and Flush do.

use std::sync::Arc;
use std::time::Instant;

use super::block::State;
use super::portal::{Portal, Statement};
use super::rows::{self, Formats};
use super::run::Ran;
use super::simple::complete;
use super::{Failure, Session, codes, metrics};
use crate::sql::{self, StatementKind};
use crate::types::{Datum, EnumTypes, SqlError, SqlResult, SqlType, TimeZone, sqlstate};
use crate::wire::frontend::{Bind, Frontend, Target};
use crate::wire::{Wire, backend};

impl Session {
    /// A message of the extended protocol, other than Sync and Flush.
    pub(super) async fn extended(&mut self, message: Frontend<'_>, wire: &mut Wire) -> Result<(), Failure> {
        match message {
            Frontend::Parse { name, sql, types } => self.parse(name, sql, types.iter().collect(), wire).await,
            Frontend::Bind(bind) => self.bind(&bind, wire).await,
            Frontend::Describe(Target::Statement, name) => Ok(self.describe_statement(name, wire)?),
            Frontend::Describe(Target::Portal, name) => Ok(self.describe_portal(name, wire)?),
            Frontend::Execute { portal, max_rows } => {
                let started = Instant::now();
                self.execute(portal, u64::try_from(max_rows).unwrap_or(0), wire).await?;
                metrics::EXTENDED.observe(started.elapsed().as_secs_f64());
                Ok(())
            }
            Frontend::Close(target, name) => {
                match target {
                    Target::Statement => self.statements.remove(name),
                    Target::Portal => self.portals.remove(name),
                };
                backend::close_complete(&mut wire.out);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sync: the end of a pipeline.
    pub(super) async fn sync(&mut self, wire: &mut Wire) -> Result<(), Failure> {
        if let Err(error) = self.finish_implicit().await {
            self.answer_error(&error, wire)?;
        }
        self.finish(wire).await
    }

    async fn parse(
        &mut self,
        name: &str,
        text: &str,
        declared: Box<[u32]>,
        wire: &mut Wire,
    ) -> Result<(), Failure> {
        self.statements.check_free(name)?;
        let statement = match self.known_plan(text, &declared) {
            Some(statement) => statement,
            None => Box::pin(self.parse_anew(text, declared)).await?,
        };
        self.statements.put(name, statement);
        backend::parse_complete(&mut wire.out);
        Ok(())
    }

    async fn parse_anew(&mut self, text: &str, declared: Box<[u32]>) -> Result<Arc<Statement>, Failure> {
        let mut parsed = sql::parse(text)?;
        if parsed.len() > 1 {
            return Err(SqlError::syntax("cannot insert multiple commands into a prepared statement").into());
        }
        let Some(one) = parsed.pop() else { return Ok(Arc::new(Statement::empty())) };
        self.refuse_in_failed(&one.kind)?;
        let statement = self.statement_of(one, declared).await?;
        if statement.plan.is_some() {
            // A client that parses the same text for every execution (pgbench -M extended, ORMs) pays once.
            self.plans.put(text, &statement);
        }
        Ok(statement)
    }

    async fn bind(&mut self, bind: &Bind<'_>, wire: &mut Wire) -> Result<(), Failure> {
        let statement = Arc::clone(self.statements.get(bind.statement)?);
        self.refuse_in_failed(statement.kind())?;
        self.portals.check_free(bind.portal)?;
        let statement = self.fresh(bind.statement, statement).await?;
        let parameters = parameters(bind, &statement, &self.derived.zone)?;
        let columns = match &statement.plan {
            Some(plan) => plan.columns.len(),
            None => self.columns_of(&statement).map_or(0, |columns| columns.len()),
        };
        let formats = Formats::read(bind.result_formats, columns, "result")?;
        let mut portal = Portal::new(&statement, parameters, formats);
        portal.serial = self.block.serial;
        self.portals.put(bind.portal, portal);
        backend::bind_complete(&mut wire.out);
        Ok(())
    }

    /// The statement with a plan that fits the catalog of now. A client knows the columns it was told: they must not
    /// change.
    pub(super) async fn fresh(
        &mut self,
        name: &str,
        statement: Arc<Statement>,
    ) -> Result<Arc<Statement>, Failure> {
        let (Some(plan), Some(parsed)) = (&statement.plan, &statement.parsed) else {
            return Ok(statement);
        };
        if !self.is_stale(plan) {
            return Ok(statement);
        }
        let made = Box::pin(self.statement_of(parsed.clone(), statement.declared.clone())).await?;
        let same = made.plan.as_ref().is_some_and(|new| {
            let types = |plan: &sql::Prepared| plan.columns.iter().map(|c| c.ty).collect::<Vec<SqlType>>();
            types(new) == types(plan)
        });
        if !same {
            return Err(SqlError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "cached plan must not change result type",
            )
            .into());
        }
        self.statements.put(name, Arc::clone(&made));
        Ok(made)
    }

    fn describe_statement(&mut self, name: &str, wire: &mut Wire) -> SqlResult<()> {
        let statement = Arc::clone(self.statements.get(name)?);
        self.refuse_in_failed(statement.kind())?;
        let types = statement.parameters().iter().map(|ty| ty.oid);
        backend::parameter_description(&mut wire.out, types);
        self.describe_columns(&statement, &Formats::Text, wire);
        Ok(())
    }

    fn describe_portal(&mut self, name: &str, wire: &mut Wire) -> SqlResult<()> {
        let portal = self.portals.get(name)?;
        self.refuse_in_failed(portal.kind())?;
        self.describe_columns(&portal.statement, &portal.formats, wire);
        Ok(())
    }

    fn describe_columns(&self, statement: &Statement, formats: &Formats, wire: &mut Wire) {
        match self.columns_of(statement) {
            Some(columns) => rows::describe(&mut wire.out, &columns, formats),
            None => backend::no_data(&mut wire.out),
        }
    }

    async fn execute(&mut self, name: &str, limit: u64, wire: &mut Wire) -> Result<(), Failure> {
        let mut portal = self.portals.take(name)?;
        self.refuse_in_failed(portal.kind())?;
        let statement = Arc::clone(&portal.statement);
        let ran = match statement.kind() {
            StatementKind::Empty => {
                backend::empty_query(&mut wire.out);
                self.portals.put(name, portal);
                return Ok(());
            }
            StatementKind::CopyTo(_) => Ran::Done(Box::pin(self.copy_out(&mut portal, wire)).await?),
            _ if portal.plan.is_some() => self.run_planned(&mut portal, limit, wire).await?,
            kind => {
                if let Some(what) = kind.own_transactions()
                    && self.block.state == State::Implicit
                {
                    return Err(super::steer::not_in_block(what).into());
                }
                Ran::Done(self.steer(&portal, false, wire).await?)
            }
        };
        // COMMIT and ROLLBACK end the portals, this one too.
        if self.block.state != State::Idle {
            self.portals.put(name, portal);
        }
        match ran {
            Ran::Done(tag) => complete(statement.kind(), Some(tag), wire),
            Ran::Suspended => backend::portal_suspended(&mut wire.out),
        }
        self.send_if_full(wire).await
    }
}

/// The parameter values of a Bind message.
fn parameters(bind: &Bind<'_>, statement: &Statement, zone: &TimeZone) -> SqlResult<Vec<Datum>> {
    let types = statement.parameters();
    let none = EnumTypes::default();
    let enums = statement.plan.as_ref().map_or(&none, |plan| &plan.enums);
    if bind.parameters.len() != types.len() {
        let (got, name, needed) = (bind.parameters.len(), bind.statement, types.len());
        return Err(SqlError::new(
            codes::PROTOCOL_VIOLATION,
            format!(
                "bind message supplies {got} parameters, but prepared statement \"{name}\" requires {needed}"
            ),
        ));
    }
    let formats = Formats::read(bind.parameter_formats, types.len(), "parameter")?;
    let mut values = Vec::with_capacity(types.len());
    for (n, (bytes, ty)) in bind.parameters.iter().zip(types).enumerate() {
        values.push(match bytes {
            None => Datum::Null,
            Some(bytes) if formats.binary(n) => enums.decode_binary(bytes, *ty)?,
            Some(bytes) => enums.decode_text(utf8(bytes)?, *ty, zone)?,
        });
    }
    Ok(values)
}

fn utf8(bytes: &[u8]) -> SqlResult<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(|| {
        SqlError::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\" in a parameter",
        )
    })
}

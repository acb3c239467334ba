//! Sequences and schemas.

use std::sync::Arc;

use sqlparser::ast::{self, SchemaName, SequenceOptions};

use super::Ddl;
use crate::catalog::{NewColumn, NewSequence, SequenceInfo};
use crate::sql::{Notice, names};
use crate::types::{SqlError, SqlResult, SqlType, oids, sqlstate};

/// Options as they were given.
#[derive(Default)]
struct Options {
    start: Option<i64>,
    increment: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    cycle: bool,
}

impl Ddl<'_> {
    pub(super) async fn create_sequence(
        &mut self,
        name: &ast::ObjectName,
        if_not_exists: bool,
        data_type: Option<&ast::DataType>,
        options: &[SequenceOptions],
    ) -> SqlResult<()> {
        let (namespace, name) = self.place(name)?;
        if self.is_taken(namespace, &name, if_not_exists)? {
            return Ok(());
        }
        let ty = data_type.map(names::sql_type).transpose()?.unwrap_or(SqlType::INT8);
        let new = self.new_sequence(namespace, name, ty, options)?;
        self.db.catalog.create_sequence(self.txn, new).await?;
        Ok(())
    }

    /// The sequence of a serial or identity column, and the DEFAULT that draws from it.
    pub(super) async fn column_sequence(
        &mut self,
        namespace: u32,
        table: &str,
        column: &NewColumn,
        options: &[SequenceOptions],
    ) -> SqlResult<(String, Arc<SequenceInfo>)> {
        let name = self.free_name(namespace, &[table, &column.name], "seq");
        let new = self.new_sequence(namespace, name, column.ty, options)?;
        let sequence = self.db.catalog.create_sequence(self.txn, new).await?;
        let schema = self.view().namespace_name(namespace).unwrap_or_default().to_owned();
        let quoted = |s: &str| s.replace('"', "\"\"").replace('\'', "''");
        let default = format!("nextval('\"{}\".\"{}\"'::regclass)", quoted(&schema), quoted(&sequence.name));
        Ok((default, sequence))
    }

    fn new_sequence(
        &mut self,
        namespace: u32,
        name: String,
        ty: SqlType,
        options: &[SequenceOptions],
    ) -> SqlResult<NewSequence> {
        let (low, high) = match ty.oid {
            oids::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            oids::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            oids::INT8 => (i64::MIN, i64::MAX),
            _ => return Err(refused("sequence type must be smallint, integer, or bigint")),
        };
        let given = self.sequence_options(options)?;
        let increment = given.increment.unwrap_or(1);
        let up = increment > 0;
        let min = given.min.unwrap_or(if up { 1 } else { low });
        let max = given.max.unwrap_or(if up { high } else { -1 });
        let start = given.start.unwrap_or(if up { min } else { max });
        if increment == 0 {
            return Err(refused("INCREMENT must not be zero"));
        }
        if min >= max {
            return Err(refused(&format!("MINVALUE ({min}) must be less than MAXVALUE ({max})")));
        }
        if min < low || max > high {
            return Err(refused(&format!(
                "MINVALUE or MAXVALUE is out of range for sequence data type {}",
                ty.name()
            )));
        }
        if start < min {
            return Err(refused(&format!("START value ({start}) cannot be less than MINVALUE ({min})")));
        }
        if start > max {
            return Err(refused(&format!("START value ({start}) cannot be greater than MAXVALUE ({max})")));
        }
        Ok(NewSequence { namespace, name, ty, start, increment, min, max, cycle: given.cycle })
    }

    fn sequence_options(&mut self, options: &[SequenceOptions]) -> SqlResult<Options> {
        let mut given = Options::default();
        let mut binder = self.binder()?;
        let mut number = |e: &ast::Expr| {
            let datum = binder.constant(e, SqlType::INT8)?;
            datum.as_i64().ok_or_else(|| refused("a sequence option is not a number"))
        };
        for option in options {
            match option {
                SequenceOptions::IncrementBy(e, _) => given.increment = Some(number(e)?),
                SequenceOptions::MinValue(e) => given.min = e.as_ref().map(&mut number).transpose()?,
                SequenceOptions::MaxValue(e) => given.max = e.as_ref().map(&mut number).transpose()?,
                SequenceOptions::StartWith(e, _) => given.start = Some(number(e)?),
                // Values are reserved a block at a time anyway.
                SequenceOptions::Cache(_) => {}
                SequenceOptions::Cycle(no) => given.cycle = !no,
            }
        }
        Ok(given)
    }

    pub(super) async fn create_schema(&mut self, name: &SchemaName, if_not_exists: bool) -> SqlResult<()> {
        let SchemaName::Simple(name) = name else {
            return Err(SqlError::unsupported("CREATE SCHEMA with AUTHORIZATION"));
        };
        let (_, name) = names::qualified(name)?;
        if name.starts_with("pg_") {
            return Err(SqlError::new("42939", format!("unacceptable schema name \"{name}\""))
                .detail("The prefix \"pg_\" is reserved for system schemas."));
        }
        if self.view().namespace(&name).is_some() {
            let message = format!("schema \"{name}\" already exists");
            if !if_not_exists {
                return Err(SqlError::new(sqlstate::DUPLICATE_SCHEMA, message));
            }
            self.notices.push(Notice::note(format!("{message}, skipping")));
            return Ok(());
        }
        self.db.catalog.create_namespace(self.txn, &name).await
    }
}

fn refused(message: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

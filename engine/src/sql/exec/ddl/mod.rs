//! DDL: names resolved, locks taken, the catalog changed.
//!
//! What must hold: a relation is described anew after its lock was had, because whoever held it before may have
//! changed it.

mod alter;
mod check;
mod column;
mod column_type;
mod concurrent;
mod create_table;
mod domain;
mod drop;
mod drop_column;
mod foreign_key;
mod index;
mod reindex;
mod rename;
mod rewrite;
mod sequence;
mod type_drop;
mod type_enum;
mod type_label;
mod view;

pub(crate) use view::columns as columns_of_view;

pub(crate) use concurrent::{create_concurrently, drop_concurrently};
pub use reindex::reindex;

use std::sync::Arc;

use sqlparser::ast::{self, Statement};

use crate::catalog::{CatalogView, Relation, TableInfo};
use crate::sql::bind::{Binder, find_relation, undefined_table};
use crate::sql::deferred::Deferred;
use crate::sql::statement::Definition;
use crate::sql::{Database, Notice, SessionContext, names, parse};
use crate::txn::{LockWait, TableLock, Transaction};
use crate::types::{SqlError, SqlResult, sqlstate};

/// A DDL statement being run.
struct Ddl<'a> {
    db: &'a Arc<Database>,
    ctx: &'a SessionContext,
    txn: &'a mut Transaction,
    notices: &'a mut Vec<Notice>,
}

/// Runs a DDL statement; its command tag.
pub(crate) async fn run(
    db: &Arc<Database>,
    ctx: &SessionContext,
    txn: &mut Transaction,
    definition: &Definition,
    notices: &mut Vec<Notice>,
) -> SqlResult<&'static str> {
    let mut ddl = Ddl { db, ctx, txn, notices };
    let statement = match definition {
        Definition::Type(statement) => return ddl.type_statement(statement).await,
        Definition::Sql(statement) => &**statement,
    };
    match statement {
        Statement::CreateTable(create) => ddl.create_table(create).await.map(|()| "CREATE TABLE"),
        Statement::CreateIndex(create) => ddl.create_index(create).await.map(|()| "CREATE INDEX"),
        Statement::CreateSequence {
            temporary,
            if_not_exists,
            name,
            data_type,
            sequence_options,
            owned_by,
        } => {
            if *temporary || owned_by.is_some() {
                return Err(SqlError::unsupported("CREATE SEQUENCE with TEMPORARY or OWNED BY"));
            }
            ddl.create_sequence(name, *if_not_exists, data_type.as_ref(), sequence_options)
                .await
                .map(|()| "CREATE SEQUENCE")
        }
        Statement::CreateSchema { schema_name, if_not_exists, .. } => {
            ddl.create_schema(schema_name, *if_not_exists).await.map(|()| "CREATE SCHEMA")
        }
        Statement::CreateView(create) => ddl.create_view(create).await.map(|()| "CREATE VIEW"),
        Statement::AlterTable(alter) if parse::is_alter_view(alter) => {
            ddl.alter_table(alter).await.map(|()| "ALTER VIEW")
        }
        Statement::AlterTable(alter) => ddl.alter_table(alter).await.map(|()| "ALTER TABLE"),
        Statement::Truncate(truncate) => ddl.truncate(truncate).await.map(|()| "TRUNCATE TABLE"),
        Statement::Drop { object_type, if_exists, names, cascade, .. } => {
            ddl.drop(*object_type, *if_exists, names, *cascade).await
        }
        _ => Err(SqlError::unsupported("this statement")),
    }
}

impl Ddl<'_> {
    fn view(&mut self) -> Arc<CatalogView> {
        self.db.catalog.view(Some(self.txn))
    }

    fn find(&mut self, name: &ast::ObjectName) -> SqlResult<Option<Relation>> {
        let (schema, name) = names::qualified(name)?;
        find_relation(&self.view(), self.ctx, schema.as_deref(), &name)
    }

    /// A binder for the expressions of a definition.
    fn binder(&mut self) -> SqlResult<Binder<'_>> {
        let view = self.view();
        Binder::new(self.db, self.ctx, view, &[])
    }

    /// The schema to create something in, and the name there.
    fn place(&mut self, name: &ast::ObjectName) -> SqlResult<(u32, String)> {
        let (schema, name) = names::qualified(name)?;
        self.place_in(schema.as_deref(), &name)
    }

    fn place_in(&mut self, schema: Option<&str>, name: &str) -> SqlResult<(u32, String)> {
        let view = self.view();
        let namespace = match schema {
            Some(schema) => view.namespace(schema).ok_or_else(|| {
                SqlError::new(sqlstate::INVALID_SCHEMA, format!("schema \"{schema}\" does not exist"))
            })?,
            None => {
                let path = self.ctx.session().search_path.iter();
                let first = path.filter_map(|schema| view.namespace(schema)).next();
                first.ok_or_else(|| {
                    SqlError::new(sqlstate::INVALID_SCHEMA, "no schema has been selected to create in")
                })?
            }
        };
        if namespace == crate::catalog::PG_CATALOG {
            let message = format!("permission denied to create \"pg_catalog.{name}\"");
            return Err(SqlError::new(sqlstate::INSUFFICIENT_PRIVILEGE, message)
                .detail("System catalog modifications are currently disallowed."));
        }
        Ok((namespace, name.to_owned()))
    }

    /// True when the name is taken and that is all right, said in a notice; 42P07 when it is not all right.
    fn is_taken(&mut self, namespace: u32, name: &str, if_not_exists: bool) -> SqlResult<bool> {
        if self.view().find(namespace, name).is_none() {
            return Ok(false);
        }
        let message = format!("relation \"{name}\" already exists");
        if !if_not_exists {
            return Err(SqlError::new(sqlstate::DUPLICATE_TABLE, message));
        }
        self.notices.push(Notice::skipping(format!("{message}, skipping")));
        Ok(true)
    }

    /// Locks a table and describes it as it is then.
    async fn lock(&mut self, name: &ast::ObjectName, lock: TableLock) -> SqlResult<Arc<TableInfo>> {
        loop {
            let table = match self.find(name)? {
                Some(Relation::Table(table)) => table,
                Some(other) => {
                    let message = format!("\"{}\" is not a table", other.name().1);
                    return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
                }
                None => return Err(undefined_table(name)),
            };
            refuse_system(&table)?;
            self.txn.lock_table(table.oid, lock, LockWait::Block).await?;
            // The name may stand for another table now, or for none.
            match self.find(name)? {
                Some(Relation::Table(again)) if again.oid == table.oid => {
                    self.txn.begin_statement();
                    return Ok(again);
                }
                _ => {}
            }
        }
    }

    /// A name for an index, constraint or sequence that is not taken: `t_a_key`, `t_a_key1` ...
    fn free_name(&mut self, namespace: u32, parts: &[&str], label: &str) -> String {
        let view = self.view();
        let base = format!("{}_{label}", parts.join("_"));
        let mut name = base.clone();
        let mut n = 0;
        while view.find(namespace, &name).is_some() {
            n += 1;
            name = format!("{base}{n}");
        }
        name
    }
}

/// A table of which something is still to be asked is not changed.
fn refuse_pending(what: &str, table: &TableInfo, txn: &Transaction) -> SqlResult<()> {
    match txn.attached::<Deferred>() {
        Some(deferred) if deferred.concerns(table.oid) => {
            let message = format!("cannot {what} \"{}\" because it has pending trigger events", table.name);
            Err(SqlError::new(sqlstate::OBJECT_IN_USE, message))
        }
        _ => Ok(()),
    }
}

fn refuse_system(table: &TableInfo) -> SqlResult<()> {
    if table.is_system() {
        return Err(SqlError::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied: \"{}\" is a system catalog", table.name),
        ));
    }
    Ok(())
}

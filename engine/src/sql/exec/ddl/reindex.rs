//! REINDEX: indexes built anew, into trees of their own; the old ones go when the transaction commits.

use std::sync::Arc;

use super::{Ddl, refuse_system};
use crate::catalog::{Relation, TableInfo};
use crate::sql::bind::find_relation;
use crate::sql::{Database, Notice, ReindexSpec, SessionContext};
use crate::txn::{LockWait, TableLock, Transaction};
use crate::types::{SqlError, SqlResult, sqlstate};

/// Runs REINDEX; what it wants to tell. Unlike PostgreSQL, which locks the index alone, it keeps readers from the table.
pub async fn reindex(
    db: &Arc<Database>,
    ctx: &SessionContext,
    txn: &mut Transaction,
    spec: &ReindexSpec,
) -> SqlResult<Vec<Notice>> {
    let mut notices = Vec::new();
    txn.begin_statement();
    let mut ddl = Ddl { db, ctx, txn, notices: &mut notices };
    let (table, indexes) = ddl.what_to_reindex(spec).await?;
    if indexes.is_empty() {
        let message = format!("table \"{}\" has no indexes to reindex", table.name);
        notices.push(Notice::note(message));
    } else {
        db.catalog.rebuild_indexes(txn, &table, &indexes, ctx.maintenance_memory()).await?;
    }
    Ok(notices)
}

impl Ddl<'_> {
    /// The table, locked, and which of its indexes are to be built.
    async fn what_to_reindex(&mut self, spec: &ReindexSpec) -> SqlResult<(Arc<TableInfo>, Vec<u32>)> {
        let (schema, name) = &spec.name;
        loop {
            let found = find_relation(&self.view(), self.ctx, schema.as_deref(), name)?;
            let oid = match (&found, spec.table) {
                (Some(Relation::Table(table)), true) => table.oid,
                (Some(Relation::Index(index)), false) => index.table,
                (None, _) => return Err(undefined(schema.as_deref(), name)),
                (Some(_), table) => {
                    let wanted = if table { "a table or materialized view" } else { "an index" };
                    let message = format!("\"{name}\" is not {wanted}");
                    return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
                }
            };
            self.txn.lock_table(oid, TableLock::AccessExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            // As it is now that the lock is had.
            let view = self.view();
            let again = find_relation(&view, self.ctx, schema.as_deref(), name)?;
            let same = again.as_ref().map(Relation::oid) == found.as_ref().map(Relation::oid);
            let (true, Some(table)) = (same, view.table(oid)) else { continue };
            refuse_system(table)?;
            let indexes = match again {
                Some(Relation::Index(index)) => vec![index.oid],
                _ => table.indexes.iter().map(|index| index.oid).collect(),
            };
            return Ok((table.clone(), indexes));
        }
    }
}

fn undefined(schema: Option<&str>, name: &str) -> SqlError {
    let shown = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
    SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
}

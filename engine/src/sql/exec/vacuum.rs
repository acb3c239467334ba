//! VACUUM and ANALYZE.

use std::sync::Arc;

use crate::catalog::{Relation, TableInfo};
use crate::sql::bind::find_relation;
use crate::sql::{Database, SessionContext, VacuumSpec};
use crate::txn::{Isolation, LockWait, TableLock, TxnError};
use crate::types::{SqlError, SqlResult, sqlstate};

/// Runs VACUUM or ANALYZE, each table in a transaction of its own; the command tag. There are no statistics to gather,
/// so ANALYZE only looks whether its tables exist.
pub async fn vacuum(db: &Arc<Database>, ctx: &SessionContext, spec: &VacuumSpec) -> SqlResult<&'static str> {
    let view = db.catalog.view(None);
    let mut tables: Vec<Arc<TableInfo>> = Vec::new();
    for (schema, name) in &spec.tables {
        match find_relation(&view, ctx, schema.as_deref(), name)? {
            Some(Relation::Table(table)) => tables.push(table),
            Some(_) => {
                let message = format!("\"{name}\" is not a table");
                return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
            }
            None => {
                let message = format!("relation \"{name}\" does not exist");
                return Err(SqlError::new(sqlstate::UNDEFINED_TABLE, message));
            }
        }
    }
    if !spec.vacuum {
        return Ok("ANALYZE");
    }
    let all = tables.is_empty();
    if all {
        tables.extend(view.relations().filter_map(|relation| match relation {
            Relation::Table(table) => Some(table.clone()),
            _ => None,
        }));
    }
    for table in tables {
        one(db, &table, all).await?;
    }
    Ok("VACUUM")
}

/// Vacuums a table by its newest description. When all are vacuumed, one that is locked is left out.
async fn one(db: &Arc<Database>, table: &TableInfo, skip_locked: bool) -> SqlResult<()> {
    let mut txn = db.txns.begin(Isolation::ReadCommitted);
    let wait = if skip_locked { LockWait::NoWait } else { LockWait::Block };
    match txn.lock_table(table.oid, TableLock::ShareUpdateExclusive, wait).await {
        Err(TxnError::LockNotAvailable) if skip_locked => return Ok(()),
        other => other?,
    }
    // Dropped, or truncated, while the lock was waited for.
    let view = db.catalog.view(None);
    if let Some(table) = view.table(table.oid) {
        let indexes: Vec<_> = table.indexes.iter().map(|i| i.store.clone()).collect();
        db.txns.vacuum_table(&table.store, &indexes).await?;
    }
    txn.rollback();
    Ok(())
}

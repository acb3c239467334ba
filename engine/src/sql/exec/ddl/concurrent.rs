//! CREATE and DROP INDEX CONCURRENTLY: in several transactions of their own, between which they wait for those who know the
//! index as it was before. Whatever fails on the way, or an engine that is killed, leaves an index that is not valid, to be
//! dropped.

use std::sync::Arc;
use std::time::Duration;

use sqlparser::ast;

use super::Ddl;
use crate::catalog::{IndexInfo, TableInfo};
use crate::sql::{Database, Notice, SessionContext};
use crate::txn::{Isolation, TableLock, Transaction};
use crate::types::{SqlError, SqlResult, sqlstate};

/// CREATE INDEX CONCURRENTLY.
pub(crate) async fn create_concurrently(
    db: &Arc<Database>,
    ctx: &SessionContext,
    create: &ast::CreateIndex,
    lock_timeout: Option<Duration>,
    notices: &mut Vec<Notice>,
) -> SqlResult<()> {
    // Held to the end: keeps other definitions and vacuum away, and lets writers through.
    let mut guard = db.txns.begin(Isolation::ReadCommitted);
    guard.set_lock_timeout(lock_timeout);
    let mut unused = Vec::new();
    let mut ddl = Ddl { db, ctx, txn: &mut guard, notices: &mut unused };
    let table = ddl.lock(&create.table_name, TableLock::ShareUpdateExclusive).await?;
    guard.end_statement();

    let mut txn = begin(db);
    let mut ddl = Ddl { db, ctx, txn: &mut txn, notices };
    let Some(new) = ddl.index_to_make(&table, create)? else { return Ok(()) };
    let index = db.catalog.declare_index(&mut txn, &table, new).await?;
    txn.commit().await?;
    // Whoever has the table locked since before may write rows without knowing of the index.
    guard.wait_for_table(table.oid, TableLock::Share).await?;

    let Some((table, index)) = current(db, table.oid, index) else { return Ok(()) };
    let mut txn = begin(db);
    txn.set_lock_timeout(lock_timeout);
    if let Err(error) = db.catalog.complete_index(&mut txn, &table, &index).await {
        txn.rollback();
        let mut txn = begin(db);
        db.catalog.give_up_index(&mut txn, &table, &index).await?;
        txn.commit().await?;
        return Err(error);
    }
    txn.commit().await?;
    Ok(())
}

/// DROP INDEX CONCURRENTLY. Readers let go of the index first, while writers keep it for those who still read it; then writers do.
pub(crate) async fn drop_concurrently(
    db: &Arc<Database>,
    ctx: &SessionContext,
    (names, if_exists, cascade): (&[ast::ObjectName], bool, bool),
    lock_timeout: Option<Duration>,
    notices: &mut Vec<Notice>,
) -> SqlResult<()> {
    let refused = |what: &str| {
        let message = format!("DROP INDEX CONCURRENTLY does not support {what}");
        SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
    };
    let [name] = names else { return Err(refused("dropping multiple objects")) };
    if cascade {
        return Err(refused("CASCADE"));
    }
    let mut guard = db.txns.begin(Isolation::ReadCommitted);
    guard.set_lock_timeout(lock_timeout);
    let mut ddl = Ddl { db, ctx, txn: &mut guard, notices };
    let Some((table, index)) = ddl.index_to_drop(name, if_exists).await? else { return Ok(()) };
    guard.end_statement();

    let mut txn = begin(db);
    db.catalog.hide_index(&mut txn, &table, &index).await?;
    txn.commit().await?;
    guard.wait_for_table(table.oid, TableLock::AccessExclusive).await?;
    // Nobody reads it any more; what was read in it is still to be minded while writers tell of it.
    db.txns.index_goes(index.oid, table.oid);

    let Some((table, index)) = current(db, table.oid, index.oid) else { return Ok(()) };
    let mut txn = begin(db);
    db.catalog.give_up_index(&mut txn, &table, &index).await?;
    txn.commit().await?;
    guard.wait_for_table(table.oid, TableLock::AccessExclusive).await?;

    let Some((table, index)) = current(db, table.oid, index.oid) else { return Ok(()) };
    let mut txn = begin(db);
    db.catalog.drop_index(&mut txn, &table, &index).await?;
    txn.commit().await?;
    Ok(())
}

fn begin(db: &Database) -> Transaction {
    let mut txn = db.txns.begin(Isolation::ReadCommitted);
    txn.begin_statement();
    txn
}

/// An index and its table as they are now.
fn current(db: &Database, table: u32, index: u32) -> Option<(Arc<TableInfo>, Arc<IndexInfo>)> {
    let view = db.catalog.view(None);
    let table = view.table(table)?;
    let index = table.indexes.iter().find(|other| other.oid == index)?;
    Some((table.clone(), index.clone()))
}

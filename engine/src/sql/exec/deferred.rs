//! Asking deferrable constraints: at the end of a statement, at COMMIT, by SET CONSTRAINTS.

use std::sync::Arc;

use super::Cx;
use super::foreign::{must_be_there_if_needed, must_not_be_needed};
use crate::catalog::{CatalogView, ForeignAction, Relation, relation};
use crate::sql::deferred::{Check, Deferred};
use crate::sql::statement::ConstraintSettings;
use crate::sql::{Database, SessionContext};
use crate::txn::Transaction;
use crate::types::{SqlError, SqlResult, sqlstate};

/// What a statement has to ask at its end.
pub(crate) async fn end_statement(cx: &mut Cx<'_>) -> SqlResult<()> {
    let checks = match cx.txn.attached_mut::<Deferred>() {
        None => return Ok(()),
        Some(deferred) => deferred.end_statement(),
    };
    ask(checks, cx).await
}

/// Asks everything that waits for COMMIT. To be called before the transaction commits; after an error it can only be rolled
/// back.
pub async fn settle(db: &Arc<Database>, ctx: &SessionContext, txn: &mut Transaction) -> SqlResult<()> {
    ask_due(db, ctx, txn, true).await
}

/// SET CONSTRAINTS.
pub async fn set_constraints(
    db: &Arc<Database>,
    ctx: &SessionContext,
    txn: &mut Transaction,
    settings: &ConstraintSettings,
) -> SqlResult<()> {
    let mut constraints = Vec::new();
    let view = db.catalog.view(Some(txn));
    for (schema, name) in &settings.names {
        let named = named(&view, ctx, schema.as_deref(), name)?;
        if settings.deferred && named.iter().any(|(_, deferrable)| !deferrable) {
            let message = format!("constraint \"{name}\" is not deferrable");
            return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
        }
        constraints.extend(named.into_iter().map(|(oid, _)| Some(oid)));
    }
    if settings.names.is_empty() {
        constraints.push(None);
    }
    for constraint in constraints {
        Deferred::of(txn).set(constraint, settings.deferred);
    }
    if settings.deferred { Ok(()) } else { ask_due(db, ctx, txn, false).await }
}

async fn ask_due(
    db: &Arc<Database>,
    ctx: &SessionContext,
    txn: &mut Transaction,
    at_commit: bool,
) -> SqlResult<()> {
    let checks = match txn.attached_mut::<Deferred>() {
        None => return Ok(()),
        Some(deferred) => deferred.due(at_commit),
    };
    if checks.is_empty() {
        return Ok(());
    }
    txn.begin_statement();
    let snapshot = txn.snapshot();
    ask(checks, &mut Cx::plain(db, ctx, txn, &snapshot)).await
}

async fn ask(checks: Vec<Check>, cx: &mut Cx<'_>) -> SqlResult<()> {
    for check in checks {
        tokio::task::consume_budget().await;
        // What was changed so far is seen.
        cx.txn.begin_statement();
        match check {
            Check::Unique { table, index, row } => {
                let db = cx.db.clone();
                let view = db.catalog.view(Some(cx.txn));
                let Some(table) = view.table(table) else { continue };
                let Some(index) = table.indexes.iter().find(|i| i.oid == index) else { continue };
                relation::ask_unique(&db.txns, cx.txn, table, index, row).await?;
            }
            Check::Refers(link, key) => must_be_there_if_needed(&link, &key, cx).await?,
            Check::Gone(link, key) => must_not_be_needed(&link, &key, ForeignAction::NoAction, cx).await?,
        }
    }
    Ok(())
}

/// The constraints of a name, and whether each is deferrable: those of the first schema of the path that has any.
fn named(
    view: &CatalogView,
    ctx: &SessionContext,
    schema: Option<&str>,
    name: &str,
) -> SqlResult<Vec<(u32, bool)>> {
    let path = &ctx.session().search_path;
    let schemas: Vec<&str> = match schema {
        Some(schema) => vec![schema],
        None => path.iter().map(String::as_str).collect(),
    };
    for namespace in schemas.into_iter().filter_map(|schema| view.namespace(schema)) {
        let mut found = Vec::new();
        for relation in view.relations() {
            let Relation::Table(table) = relation else { continue };
            if table.namespace != namespace {
                continue;
            }
            let keys = table.indexes.iter().filter(|i| i.constraint && i.name == name);
            found.extend(keys.map(|index| (index.oid, index.timing.is_deferrable())));
            let foreign = table.foreign_keys.iter().filter(|key| key.name == name);
            found.extend(foreign.map(|key| (key.oid, key.timing.is_deferrable())));
            found.extend(table.checks.iter().filter(|c| c.name == name).map(|check| (check.oid, false)));
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("constraint \"{name}\" does not exist")))
}

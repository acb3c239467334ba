//! Whether a key is there, and whether one is still referred to.

use super::rows::{child_rows, parent_rows, same_key};
use crate::catalog::{ForeignAction, TableInfo, stored};
use crate::sql::bind::{Link, RowLocking};
use crate::sql::exec::Cx;
use crate::sql::exec::lock::lock_row;
use crate::txn::{LockWait, RowLock, TxnError};
use crate::types::{Datum, SqlError, SqlResult, TimeZone, sqlstate, text_of};

/// The key that must be there for a row of the child's; NULLs refer to nothing.
pub(crate) fn key_to_ask(link: &Link, row: &[Datum]) -> SqlResult<Option<Vec<Datum>>> {
    let key = link.parent_key(row)?;
    let nulls = key.iter().filter(|value| value.is_null()).count();
    if link.key.full && nulls > 0 && nulls < key.len() {
        let mixed = "MATCH FULL does not allow mixing of null and nonnull key values.";
        return Err(refers_to_nothing(link).detail(mixed));
    }
    Ok((nulls == 0).then_some(key))
}

/// `23503` if there is no row for a key, for a caller behind whose lock no key of the parent's goes.
pub(crate) async fn is_there(link: &Link, key: &[Datum], cx: &mut Cx<'_>) -> SqlResult<()> {
    let newest = cx.txn.newest();
    match parent_rows(link, key, &newest, cx).await?.is_empty() {
        true => Err(not_there(link, key)),
        false => Ok(()),
    }
}

/// `23503` if there is no row for a key. The row is locked.
pub(super) async fn must_be_there(link: &Link, key: &[Datum], cx: &mut Cx<'_>) -> SqlResult<()> {
    // A snapshot that is kept counts here, as in PostgreSQL: what it does not see cannot be referred to.
    let snapshot = if cx.txn.isolation().keeps_snapshot() { cx.txn.snapshot() } else { cx.txn.newest() };
    let found = parent_rows(link, key, &snapshot, cx).await?;
    let parent = &link.parent;
    let locking = RowLocking { lock: RowLock::KeyShare, wait: LockWait::Block, skip_locked: false };
    let mut bytes = Vec::new();
    for (id, _) in found {
        if lock_row(cx, parent, locking, id, &mut bytes).await?.is_some() {
            let wanted = |n| link.key.parent_columns.contains(&n);
            let row = stored::decode(&cx.db.txns, parent, id, &bytes, wanted).await?;
            if same_key(link, &link.key_of(&row), key) {
                return Ok(());
            }
        }
    }
    Err(not_there(link, key))
}

/// As [`must_be_there`] for a key that was entered by a statement before: the rows that had it may be gone, and then nobody
/// is waited for. Without an index that finds them they are looked for only where the key is not there.
pub(in crate::sql::exec) async fn must_be_there_if_needed(
    link: &Link,
    key: &[Datum],
    cx: &mut Cx<'_>,
) -> SqlResult<()> {
    if link.child_index.is_some() && !is_needed(link, key, cx).await? {
        return Ok(());
    }
    let Err(error) = must_be_there(link, key, cx).await else { return Ok(()) };
    if error.sqlstate != sqlstate::FOREIGN_KEY_VIOLATION || is_needed(link, key, cx).await? {
        return Err(error);
    }
    Ok(())
}

async fn is_needed(link: &Link, key: &[Datum], cx: &mut Cx<'_>) -> SqlResult<bool> {
    let newest = cx.txn.newest();
    Ok(!child_rows(link, key, &newest, 1, cx).await?.is_empty())
}

/// `23503` if a row refers to a key that went.
pub(in crate::sql::exec) async fn must_not_be_needed(
    link: &Link,
    key: &[Datum],
    action: ForeignAction,
    cx: &mut Cx<'_>,
) -> SqlResult<()> {
    let newest = cx.txn.newest();
    if action == ForeignAction::NoAction && !parent_rows(link, key, &newest, cx).await?.is_empty() {
        return Ok(());
    }
    let child = &link.child;
    let mut bytes = Vec::new();
    loop {
        let newest = cx.txn.newest();
        let Some((id, _)) = child_rows(link, key, &newest, 1, cx).await?.pop() else { return Ok(()) };
        // Somebody may be about to delete it.
        let mark = cx.txn.locks_taken();
        cx.txn.lock_row_key(child.oid, id.0, RowLock::KeyShare, LockWait::Block).await?;
        let refers = cx.db.txns.get(&newest, &child.store, id, &mut bytes).await? && {
            let wanted = |n| link.key.columns.contains(&n);
            let row = stored::decode(&cx.db.txns, child, id, &bytes, wanted).await?;
            same_key(link, &link.parent_key(&row)?, key)
        };
        if refers {
            return Err(still_needed(link, key));
        }
        cx.txn.unlock_to(mark);
        if cx.txn.isolation().keeps_snapshot() {
            return Err(TxnError::Serialization.into());
        }
    }
}

/// `(a, b)=(1, 2)`, with the names that one of the two tables has for it.
fn shown(link: &Link, table: &TableInfo, key: &[Datum]) -> String {
    let own = std::ptr::eq(table, &*link.child);
    let columns = if own { &link.key.columns } else { &link.key.parent_columns };
    let names: Vec<&str> = columns.iter().map(|n| table.columns[*n].name.as_str()).collect();
    let zone = TimeZone::default();
    let text = |(value, n): (&Datum, &usize)| text_of(value, table.columns[*n].ty, &zone);
    let values: Vec<String> = key.iter().zip(columns).map(text).collect();
    format!("({})=({})", names.join(", "), values.join(", "))
}

fn refers_to_nothing(link: &Link) -> SqlError {
    let (table, name) = (&link.child.name, &link.key.name);
    of_child(
        link,
        format!("insert or update on table \"{table}\" violates foreign key constraint \"{name}\""),
    )
}

fn not_there(link: &Link, key: &[Datum]) -> SqlError {
    let key = shown(link, &link.child, key);
    refers_to_nothing(link).detail(format!("Key {key} is not present in table \"{}\".", link.parent.name))
}

fn still_needed(link: &Link, key: &[Datum]) -> SqlError {
    let (parent, child, name) = (&link.parent.name, &link.child.name, &link.key.name);
    let message = format!(
        "update or delete on table \"{parent}\" violates foreign key constraint \"{name}\" on table \"{child}\""
    );
    let key = shown(link, &link.parent, key);
    of_child(link, message).detail(format!("Key {key} is still referenced from table \"{child}\"."))
}

fn of_child(link: &Link, message: String) -> SqlError {
    SqlError::new(sqlstate::FOREIGN_KEY_VIOLATION, message)
        .schema(link.child.schema.clone())
        .table(link.child.name.clone())
        .constraint(link.key.name.clone())
}

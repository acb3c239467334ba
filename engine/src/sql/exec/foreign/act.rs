//! What actions do to the rows that refer to a key which went, or became another.

use super::Changes;
use super::rows::{as_integer, child_rows, same_key};
use crate::catalog::{ForeignAction, relation, stored};
use crate::sql::bind::{Link, Referential, same_keys};
use crate::sql::exec::Cx;
use crate::sql::expr::cast::cast;
use crate::table::LockOutcome;
use crate::txn::{LockWait, RowLock};
use crate::types::{Datum, SqlError, SqlResult, TimeZone, coerce_length, sqlstate};

/// Changes the rows that refer to a key that went or became another.
pub(super) async fn act(
    link: &Link,
    old: &[Datum],
    new: Option<&[Datum]>,
    action: ForeignAction,
    referential: &Referential,
    made: &mut Changes,
    cx: &mut Cx<'_>,
) -> SqlResult<()> {
    let Some(linked) = referential.tables.get(&link.child.oid) else { return Ok(()) };
    let child = &linked.table;
    let newest = cx.txn.newest();
    let deletes = action == ForeignAction::Cascade && new.is_none();
    let of_key = |n: &usize| child.indexes.iter().any(|index| index.is_key() && index.has_column(*n));
    let lock =
        if deletes || link.key.columns.iter().any(of_key) { RowLock::Update } else { RowLock::NoKeyUpdate };
    let db = cx.db.clone();
    let mut bytes = Vec::new();
    for (id, _) in child_rows(link, old, &newest, usize::MAX, cx).await? {
        let locked = db.txns.lock_row(cx.txn, &child.store, id, lock, LockWait::Block, &mut bytes).await?;
        if matches!(locked, LockOutcome::Gone | LockOutcome::SelfModified) {
            continue;
        }
        let row = stored::decode(&db.txns, child, id, &bytes, |_| true).await?;
        if !same_key(link, &link.parent_key(&row)?, old) {
            continue;
        }
        if deletes {
            db.txns.delete(cx.txn, &child.store, id).await?;
            made.note(referential, child.oid, Some(&row), None)?;
            continue;
        }
        let mut changed = row.clone();
        follow(link, new, action, &mut changed, cx).await?;
        linked.rules.ask_domains(&link.key.columns, &changed, cx).await?;
        linked.rules.complete(&mut changed, cx).await?;
        linked.rules.ask(child, &changed, cx).await?;
        relation::update(&db.txns, cx.txn, child, id, &row, &changed).await?;
        made.note(referential, child.oid, Some(&row), Some(&changed))?;
    }
    Ok(())
}

/// Gives a row the key that an action says.
async fn follow(
    link: &Link,
    new: Option<&[Datum]>,
    action: ForeignAction,
    row: &mut [Datum],
    cx: &Cx<'_>,
) -> SqlResult<()> {
    let key: Vec<Datum> = match (action, new) {
        (ForeignAction::SetDefault, _) => {
            cx.evaluate(&mut |eval| {
                link.defaults.iter().map(|value| Ok(value.eval(&[], eval)?.into_owned())).collect()
            })
            .await?
        }
        (ForeignAction::Cascade, Some(new)) => new.to_vec(),
        _ => vec![Datum::Null; link.key.columns.len()],
    };
    for (at, (n, value)) in link.key.columns.iter().zip(key).enumerate() {
        let ty = link.child.columns[*n].ty;
        let from = link.parent.columns[link.key.parent_columns[at]].ty;
        if action == ForeignAction::Cascade && !same_keys(from, ty) && !value.is_null() {
            row[*n] = cast(&value, from, ty, false, &TimeZone::default())?;
            continue;
        }
        let fitting = as_integer(&value, ty).ok_or_else(|| {
            SqlError::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("{} out of range", ty.name()))
        })?;
        row[*n] = coerce_length(fitting, ty, false)?;
    }
    Ok(())
}

//! What actions do to the rows that refer to a key which went, or became another.

use super::Changes;
use super::rows::{as_integer, child_rows, same_key};
use crate::catalog::{ForeignAction, relation, stored};
use crate::sql::bind::{Link, Linked, Referential, same_keys};
use crate::sql::exec::Cx;
use crate::sql::exec::dml::lock_for;
use crate::sql::expr::cast::cast;
use crate::table::{LockOutcome, RowId};
use crate::txn::{LockWait, RowLock, Snapshot};
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
    let deletes = action == ForeignAction::Cascade && new.is_none();
    let following = Following { link, linked, new, action, newest: cx.txn.newest() };
    let db = cx.db.clone();
    for (id, _) in child_rows(link, old, &following.newest, usize::MAX, cx).await? {
        if deletes {
            let Some(row) = following.lock(id, RowLock::Update, cx).await? else { continue };
            if same_key(link, &link.parent_key(&row)?, old) {
                db.txns.delete(cx.txn, &child.store, id).await?;
                made.note(referential, child.oid, Some(&row), None)?;
            }
            continue;
        }
        let Some((row, changed)) = following.lock_to_change(id, old, cx).await? else { continue };
        relation::update(&db.txns, cx.txn, child, id, &row, &changed).await?;
        made.note(referential, child.oid, Some(&row), Some(&changed))?;
    }
    Ok(())
}

/// Rows of a child that follow a change of their parent's key.
struct Following<'a> {
    link: &'a Link,
    linked: &'a Linked,
    /// The parent's new key.
    new: Option<&'a [Datum]>,
    action: ForeignAction,
    /// What the rows were found with.
    newest: Snapshot,
}

impl Following<'_> {
    /// Locks a row: its newest version, `None` when it is gone.
    async fn lock(&self, id: RowId, lock: RowLock, cx: &mut Cx<'_>) -> SqlResult<Option<Vec<Datum>>> {
        let (db, child) = (cx.db.clone(), &self.linked.table);
        let mut bytes = Vec::new();
        let locked = db.txns.lock_row(cx.txn, &child.store, id, lock, LockWait::Block, &mut bytes).await?;
        if matches!(locked, LockOutcome::Gone | LockOutcome::SelfModified) {
            return Ok(None);
        }
        Ok(Some(stored::decode(&db.txns, child, id, &bytes, |_| true).await?))
    }

    /// Locks a row that still has the parent's old key, and makes the new one: both. As UPDATE does it, which see: the lock is
    /// that of what becomes of the row's own keys.
    async fn lock_to_change(
        &self,
        id: RowId,
        old: &[Datum],
        cx: &mut Cx<'_>,
    ) -> SqlResult<Option<(Vec<Datum>, Vec<Datum>)>> {
        let keys = self.keys();
        let seen = if keys.is_empty() { None } else { self.as_seen(id, cx).await? };
        let guess = match seen {
            Some(seen) => Some((self.changed(&seen, cx).await?, seen)),
            None => None,
        };
        let lock = guess.as_ref().map_or(RowLock::NoKeyUpdate, |(new, seen)| lock_for(&keys, seen, new));
        let Some(row) = self.lock(id, lock, cx).await? else { return Ok(None) };
        if !same_key(self.link, &self.link.parent_key(&row)?, old) {
            return Ok(None);
        }
        if let Some((new, seen)) = guess
            && seen == row
        {
            return Ok(Some((row, new)));
        }
        let new = self.changed(&row, cx).await?;
        let stronger = lock_for(&keys, &row, &new);
        if stronger != lock && self.lock(id, stronger, cx).await?.is_none() {
            return Ok(None);
        }
        Ok(Some((row, new)))
    }

    /// Columns of the child's own keys that may become others.
    fn keys(&self) -> Vec<usize> {
        let Linked { table, rules, .. } = self.linked;
        let of_key = |n: &usize| table.indexes.iter().any(|index| index.is_key() && index.has_column(*n));
        let generated = rules.generated.iter().map(|(column, _)| column);
        self.link.key.columns.iter().chain(generated).copied().filter(of_key).collect()
    }

    async fn as_seen(&self, id: RowId, cx: &mut Cx<'_>) -> SqlResult<Option<Vec<Datum>>> {
        let child = &self.linked.table;
        let mut bytes = Vec::new();
        if !cx.db.txns.get(&self.newest, &child.store, id, &mut bytes).await? {
            return Ok(None);
        }
        Ok(Some(stored::decode(&cx.db.txns, child, id, &bytes, |_| true).await?))
    }

    /// What becomes of a row.
    async fn changed(&self, row: &[Datum], cx: &mut Cx<'_>) -> SqlResult<Vec<Datum>> {
        let rules = &self.linked.rules;
        let mut changed = row.to_vec();
        follow(self.link, self.new, self.action, &mut changed, cx).await?;
        rules.ask_domains(&self.link.key.columns, &changed, cx).await?;
        rules.complete(&mut changed, cx).await?;
        rules.ask(&self.linked.table, &changed, cx).await?;
        Ok(changed)
    }
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

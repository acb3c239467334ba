//! Foreign keys at the end of a statement: each new key must refer to something, and to each key that went or changed
//! nothing may refer any more, unless an action sees to that.
//!
//! As in PostgreSQL what an action changed is seen to before the change that came next. The work that is left is a stack
//! of its own, so neither long chains nor cycles of keys need room on the thread's.
//!
//! What must hold: whoever enters a key locks the row it refers to (FOR KEY SHARE) to the end of the transaction, and
//! whoever takes a key away has that row locked in the mode that this excludes. So behind the lock the newest rows say
//! who refers to a key, whatever the transaction's own snapshot sees.
//!
//! | module | idea |
//! | --- | --- |
//! | `check` | whether a key is there, and whether one is still referred to |
//! | `act` | CASCADE, SET NULL, SET DEFAULT |
//! | `rows` | the rows at both ends of a key |

mod act;
mod check;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cx;
use crate::catalog::ForeignAction;
use crate::sql::bind::{Link, Linked, Referential};
use crate::sql::deferred::{Check, Deferred};
use crate::types::{Datum, SqlResult};
use act::act;
use check::must_be_there;
pub(crate) use check::{is_there, key_to_ask};
pub(super) use check::{must_be_there_if_needed, must_not_be_needed};
use rows::{encoded, same_key};

/// Something that is left to see to.
enum Todo {
    /// A key of the child's, which must be there.
    Refers(Arc<Link>, Vec<Datum>),
    /// A key of the parent's that went, or became another.
    Gone { link: Arc<Link>, old: Vec<Datum>, new: Option<Vec<Datum>>, action: ForeignAction },
    /// The same after SET DEFAULT: the default may be the very key that went. Asked at once, as PostgreSQL does, also where
    /// the constraint is deferred: the rows were not changed, so nobody would ask later.
    StillNeeded(Arc<Link>, Vec<Datum>),
}

/// What a statement has changed so far, as far as foreign keys want to know.
#[derive(Default)]
pub(crate) struct Changes {
    todo: Vec<Todo>,
    /// Keys that are asked for already, by constraint.
    asked: BTreeSet<(u32, Vec<u8>)>,
}

impl Changes {
    /// A row was inserted (no `old`), updated or deleted (no `new`).
    pub(crate) fn note(
        &mut self,
        referential: &Referential,
        table: u32,
        old: Option<&[Datum]>,
        new: Option<&[Datum]>,
    ) -> SqlResult<()> {
        let Some(linked) = referential.tables.get(&table) else { return Ok(()) };
        if let Some(old) = old {
            self.note_gone(linked, old, new);
        }
        if let Some(new) = new {
            self.note_new(linked, old, new)?;
        }
        Ok(())
    }

    fn note_gone(&mut self, linked: &Linked, old: &[Datum], new: Option<&[Datum]>) {
        for link in &linked.referred {
            let (before, after) = (link.key_of(old), new.map(|new| link.key_of(new)));
            let stays = after.as_ref().is_some_and(|after| same_key(link, &before, after));
            if stays || before.iter().any(Datum::is_null) {
                continue;
            }
            let action = if after.is_some() { link.key.on_update } else { link.key.on_delete };
            self.todo.push(Todo::Gone { link: link.clone(), old: before, new: after, action });
        }
    }

    fn note_new(&mut self, linked: &Linked, old: Option<&[Datum]>, new: &[Datum]) -> SqlResult<()> {
        for link in &linked.refers {
            let Some(key) = key_to_ask(link, new)? else { continue };
            if let Some(old) = old
                && same_key(link, &link.parent_key(old)?, &key)
            {
                continue;
            }
            if self.asked.insert((link.key.oid, encoded(link, &key))) {
                self.todo.push(Todo::Refers(link.clone(), key));
            }
        }
        Ok(())
    }

    /// Whether there is nothing to see to.
    pub(crate) fn is_empty(&self) -> bool {
        self.todo.is_empty()
    }

    /// Sees to all of it.
    pub(crate) async fn settle(self, referential: &Referential, cx: &mut Cx<'_>) -> SqlResult<()> {
        let mut stack = self.todo;
        stack.reverse();
        while let Some(todo) = stack.pop() {
            tokio::task::consume_budget().await;
            // What was changed so far is seen, and can be changed again.
            cx.txn.begin_statement();
            match todo {
                Todo::Refers(link, key) if waits(&link, cx) => {
                    let timing = link.key.timing;
                    Deferred::of(cx.txn).ask(Check::Refers(link, key), timing);
                }
                Todo::Refers(link, key) => must_be_there(&link, &key, cx).await?,
                Todo::Gone { link, old, new, action } if action.changes() => {
                    let mut made = Changes::default();
                    act(&link, &old, new.as_deref(), action, referential, &mut made, cx).await?;
                    if action == ForeignAction::SetDefault {
                        made.todo.push(Todo::StillNeeded(link, old));
                    }
                    stack.extend(made.todo.into_iter().rev());
                }
                Todo::StillNeeded(link, old) => {
                    must_not_be_needed(&link, &old, ForeignAction::NoAction, cx).await?;
                }
                // RESTRICT waits for nothing.
                Todo::Gone { link, old, action: ForeignAction::NoAction, .. } if waits(&link, cx) => {
                    let timing = link.key.timing;
                    Deferred::of(cx.txn).ask(Check::Gone(link, old), timing);
                }
                Todo::Gone { link, old, action, .. } => must_not_be_needed(&link, &old, action, cx).await?,
            }
        }
        Ok(())
    }
}

/// Whether a key is asked at COMMIT.
fn waits(link: &Link, cx: &Cx<'_>) -> bool {
    let timing = link.key.timing;
    match cx.txn.attached::<Deferred>() {
        Some(deferred) => deferred.waits(link.key.oid, timing),
        None => timing.is_deferred(),
    }
}

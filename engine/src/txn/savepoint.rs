//! Savepoints: marks inside a transaction to which it can be taken back.
//!
//! What is written behind a savepoint carries an id of its own, a *subtransaction's*. Rolling back to the savepoint
//! decides that id as rolled back, in memory, and touches no page: readers skip its versions, as they skip those of any
//! transaction that never happened. The commit record speaks for all ids that are left (`commit_table`).
//!
//! What must hold: an id is handed out for a level at its first write, and the transaction's own id before it; so ids of
//! subtransactions ascend in the order of the list, and what a savepoint covers is a suffix of it. The same is true of
//! locks and changes of the catalog: each is a list, and a savepoint is a set of lengths.

use std::sync::Arc;

use super::active::Active;
use super::{METRICS, Transaction};

/// How long a transaction's lists were when it was set.
pub(super) struct Savepoint {
    /// The id under which is written while this is the innermost savepoint.
    pub(super) id: Option<Arc<Active>>,
    subs: usize,
    locks: usize,
    advisory: usize,
    /// Of each thing that was attached then.
    attached: Vec<usize>,
}

impl Transaction {
    /// Sets a savepoint inside those that there are. Its number: how many there were before.
    pub fn set_savepoint(&mut self) -> usize {
        self.savepoints.push(Savepoint {
            id: None,
            subs: self.subs.len(),
            locks: self.locks.len(),
            advisory: self.session.as_ref().map_or(0, |session| session.mark()),
            attached: self.attached.iter().map(|attached| attached.mark()).collect(),
        });
        self.savepoints.len() - 1
    }

    /// Forgets a savepoint and those inside it; what was done since belongs to the level around it.
    pub fn release_savepoint(&mut self, number: usize) {
        self.savepoints.truncate(number);
    }

    /// Takes back everything done since a savepoint; it stays, those inside it go. Also the way on after an error, or a
    /// cancelled step, of work that began behind it.
    pub fn rollback_to_savepoint(&mut self, number: usize) {
        self.savepoints.truncate(number + 1);
        let Some(to) = self.savepoints.get_mut(number) else {
            return;
        };
        to.id = None;
        // Versions are void first, then locks go: as at the end of a transaction.
        let void = self.subs.split_off(to.subs);
        self.own.truncate(to.subs);
        void.iter().rev().for_each(|active| self.system.commits.end(active));
        METRICS.savepoint_rollbacks.inc();
        self.attached.truncate(to.attached.len());
        for (attached, mark) in self.attached.iter_mut().zip(&to.attached) {
            attached.rollback_to(*mark);
        }
        self.fresh = None;
        let locks = self.locks.split_off(to.locks);
        self.system.locks.retract(self.owner, &locks);
        if let Some(session) = &self.session {
            session.rollback_to(to.advisory);
        }
    }
}

//! Rows in memory, found by key. Rows with equal keys are found in the order in which they came.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, IntoIter};

use crate::spill::Budget;
use crate::sql::exec::spill::held;
use crate::types::Datum;

/// Bytes of a row beside itself: the one behind it, and a mark.
const ROW: usize = 16;
/// Bytes of a key beside its own: its entry in the hash table, which is half empty at times.
const KEY: usize = 80;

/// Behind the last row of a key.
const END: usize = usize::MAX;

/// The first and the last row of a key.
#[derive(Clone, Copy)]
struct Chain {
    first: usize,
    last: usize,
}

/// See the module.
pub(super) struct Table {
    rows: Vec<Vec<Datum>>,
    /// Behind each row the next one of its key.
    next: Vec<usize>,
    chains: HashMap<Vec<u8>, Chain>,
    pub(super) budget: Budget,
}

impl Table {
    pub(super) fn new(budget: Budget) -> Table {
        Table { rows: Vec::new(), next: Vec::new(), chains: HashMap::new(), budget }
    }

    /// Adds a row; one without a key is never found.
    pub(super) fn push(&mut self, key: Option<Vec<u8>>, row: Vec<Datum>) {
        let n = self.rows.len();
        let mut bytes = held(&row) + ROW;
        if let Some(key) = key {
            match self.chains.entry(key) {
                Entry::Occupied(mut chain) => {
                    self.next[chain.get().last] = n;
                    chain.get_mut().last = n;
                }
                Entry::Vacant(slot) => {
                    bytes += slot.key().len() + KEY;
                    slot.insert(Chain { first: n, last: n });
                }
            }
        }
        self.budget.take(bytes);
        self.rows.push(row);
        self.next.push(END);
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn row(&self, n: usize) -> &[Datum] {
        &self.rows[n]
    }

    /// The first row of a key.
    pub(super) fn first(&self, key: &[u8]) -> Option<usize> {
        self.chains.get(key).map(|chain| chain.first)
    }

    /// The row of the same key behind one.
    pub(super) fn after(&self, n: usize) -> Option<usize> {
        Some(self.next[n]).filter(|next| *next != END)
    }

    /// Takes all rows out that have keys.
    pub(super) fn drain(&mut self) -> Drain {
        Drain {
            chains: std::mem::take(&mut self.chains).into_iter(),
            rows: std::mem::take(&mut self.rows),
            next: std::mem::take(&mut self.next),
            key: Vec::new(),
            at: END,
        }
    }
}

/// Rows being taken out of a table, key by key.
pub(super) struct Drain {
    chains: IntoIter<Vec<u8>, Chain>,
    rows: Vec<Vec<Datum>>,
    next: Vec<usize>,
    key: Vec<u8>,
    at: usize,
}

impl Drain {
    /// The next row with its key; the table's budget has it back.
    pub(super) fn next(&mut self, budget: &mut Budget) -> Option<(&[u8], Vec<Datum>)> {
        if self.at == END {
            let (key, chain) = self.chains.next()?;
            budget.give(key.len() + KEY);
            (self.key, self.at) = (key, chain.first);
        }
        let row = std::mem::take(&mut self.rows[self.at]);
        budget.give(held(&row) + ROW);
        self.at = self.next[self.at];
        Some((&self.key, row))
    }
}

//! Outcomes of older transactions, kept in memory once read from the commit table. They do not change any more.

use parking_lot::Mutex;

use super::{Outcome, TxId};

const SHARDS: usize = 32;
/// Outcomes in a shard, direct-mapped.
const SLOTS: usize = 1024;

type Shard = Mutex<Box<[(TxId, Outcome)]>>;

/// See the module.
pub(super) struct Lookaside(Vec<Shard>);

impl Lookaside {
    pub(super) fn new() -> Lookaside {
        let shard = || Mutex::new(vec![(TxId(0), Outcome::Aborted); SLOTS].into_boxed_slice());
        Lookaside((0..SHARDS).map(|_| shard()).collect())
    }

    fn at(&self, id: TxId) -> (&Shard, usize) {
        let n = id.0 as usize;
        (&self.0[n % SHARDS], n / SHARDS % SLOTS)
    }

    pub(super) fn get(&self, id: TxId) -> Option<Outcome> {
        let (shard, at) = self.at(id);
        let (found, outcome) = shard.lock()[at];
        (found == id).then_some(outcome)
    }

    /// Remembers an outcome that is final.
    pub(super) fn put(&self, id: TxId, outcome: Outcome) {
        let (shard, at) = self.at(id);
        shard.lock()[at] = (id, outcome);
    }
}

#[cfg(test)]
mod tests {
    use sextant_redo::Lsn;

    use super::*;

    #[test]
    fn a_younger_entry_takes_the_place_of_an_older_one() {
        let lookaside = Lookaside::new();
        let (old, new) = (TxId(5), TxId(5 + (SHARDS * SLOTS) as u64));
        lookaside.put(old, Outcome::Committed(Lsn(9)));
        assert_eq!(lookaside.get(old), Some(Outcome::Committed(Lsn(9))));
        assert_eq!(lookaside.get(new), None);
        lookaside.put(new, Outcome::Aborted);
        assert_eq!((lookaside.get(old), lookaside.get(new)), (None, Some(Outcome::Aborted)));
    }
}

//! Whether a history is serializable, the plain way: by trying orders.

use std::collections::BTreeMap;

/// A key of the model; its value is who wrote it last, `None` before anybody has.
pub(super) type Key = u8;
pub(super) type State = BTreeMap<Key, usize>;

/// What a transaction did that others can tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// What it read that it had not written itself.
    pub(super) reads: Vec<(Key, Option<usize>)>,
    pub(super) writes: Vec<Key>,
}

/// Whether there is an order in which each transaction, alone with what those before it left, reads what it read, and
/// all of them leave `last`.
pub(super) fn is_serializable(txns: &BTreeMap<usize, Done>, last: &State) -> bool {
    let mut left: Vec<usize> = txns.keys().copied().collect();
    place(txns, &mut left, &State::new(), last)
}

fn place(txns: &BTreeMap<usize, Done>, left: &mut Vec<usize>, state: &State, last: &State) -> bool {
    if left.is_empty() {
        return state == last;
    }
    for n in 0..left.len() {
        let id = left[n];
        let txn = &txns[&id];
        if txn.reads.iter().any(|(key, seen)| state.get(key).copied() != *seen) {
            continue;
        }
        let mut next = state.clone();
        next.extend(txn.writes.iter().map(|key| (*key, id)));
        left.remove(n);
        if place(txns, left, &next, last) {
            return true;
        }
        left.insert(n, id);
    }
    false
}

#[test]
fn write_skew_is_not_serializable_and_its_halves_are() {
    let one = Done { reads: vec![(1, None), (2, None)], writes: vec![1] };
    let two = Done { reads: vec![(1, None), (2, None)], writes: vec![2] };
    let both = BTreeMap::from([(0, one.clone()), (1, two)]);
    assert!(!is_serializable(&both, &State::from([(1, 0), (2, 1)])));
    assert!(is_serializable(&BTreeMap::from([(0, one)]), &State::from([(1, 0)])));
    let two = Done { reads: vec![(1, Some(0)), (2, None)], writes: vec![2] };
    let both = BTreeMap::from([(0, Done { reads: vec![], writes: vec![1] }), (1, two)]);
    assert!(is_serializable(&both, &State::from([(1, 0), (2, 1)])));
}

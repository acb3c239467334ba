//! The order of each list's appends, from the longest read of it; and what needs no cycle to be wrong: reads that are no
//! prefixes of one order, of what was rolled back, of what was not its writer's last, or against a transaction's own steps.

use std::collections::{BTreeMap, HashMap};

use super::history::{Anomaly, End, Key, Level, Op, Txn, Value};

/// Which transaction appended a value.
pub(super) type Writers = HashMap<(Key, Value), usize>;

/// See the module.
pub(super) struct Lists {
    pub(super) writers: Writers,
    /// The appends of each list in order, as far as they were seen.
    pub(super) order: BTreeMap<Key, Vec<Value>>,
}

/// Reads of a transaction's `ops` that show other transactions' work: key, and the list without its own appends.
pub(super) fn outside_reads(ops: &[Op]) -> impl Iterator<Item = (Key, &[Value])> {
    ops.iter().enumerate().filter_map(move |(n, op)| {
        let Op::Read(key, list) = op else { return None };
        let own = ops[..n].iter().filter(|op| matches!(op, Op::Append(k, _) if k == key)).count();
        Some((*key, &list[..list.len().saturating_sub(own)]))
    })
}

/// True for a transaction whose work counts: it committed, or somebody saw what it wrote.
pub(super) fn counts(txns: &[Txn], seen: &[bool], n: usize) -> bool {
    txns[n].end == End::Committed || (txns[n].end == End::Unknown && seen[n])
}

impl Lists {
    pub(super) fn of(txns: &[Txn], anomalies: &mut Vec<Anomaly>) -> Lists {
        let mut lists = Lists { writers: HashMap::new(), order: BTreeMap::new() };
        for (n, txn) in txns.iter().enumerate() {
            for op in &txn.ops {
                if let Op::Append(key, value) = op {
                    lists.writers.insert((*key, *value), n);
                }
            }
        }
        let committed = || txns.iter().filter(|txn| txn.end == End::Committed);
        for (key, list) in committed().flat_map(|txn| outside_reads(&txn.ops)) {
            let longest = lists.order.entry(key).or_default();
            if list.len() > longest.len() {
                *longest = list.to_vec();
            }
        }
        for txn in committed() {
            for (key, list) in outside_reads(&txn.ops) {
                let longest = &lists.order[&key];
                if !longest.starts_with(list) {
                    let what = format!("list {key} was read as {list:?} and as {longest:?}");
                    anomalies.push(Anomaly::new("incompatible-order", what));
                }
            }
        }
        for (key, list) in &lists.order {
            let mut sorted = list.clone();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                anomalies
                    .push(Anomaly::new("duplicate", format!("list {key} holds a value twice: {list:?}")));
            }
        }
        lists
    }

    /// Checks each transaction by itself.
    pub(super) fn check_reads(&self, txns: &[Txn], level: Level, anomalies: &mut Vec<Anomaly>) {
        for (n, txn) in txns.iter().enumerate().filter(|(_, txn)| txn.end == End::Committed) {
            for (key, list) in outside_reads(&txn.ops) {
                self.check_read(txns, n, key, list, anomalies);
            }
            check_internal(n, txn, level, anomalies);
        }
    }

    fn check_read(&self, txns: &[Txn], n: usize, key: Key, list: &[Value], anomalies: &mut Vec<Anomaly>) {
        for value in list {
            match self.writers.get(&(key, *value)) {
                None => {
                    let what = format!("T{n} read {value} in list {key}, which nobody appended");
                    anomalies.push(Anomaly::new("garbage-read", what));
                }
                Some(by) if txns[*by].end == End::Aborted => {
                    let what = format!("T{n} read {value} in list {key}, which T{by} appended and took back");
                    anomalies.push(Anomaly::new("G1a", what));
                }
                Some(_) => {}
            }
        }
        let Some((last, by)) = list.last().and_then(|last| Some((last, *self.writers.get(&(key, *last))?)))
        else {
            return;
        };
        let newest = txns[by].ops.iter().rev().find_map(|op| match op {
            Op::Append(k, value) if *k == key => Some(value),
            _ => None,
        });
        if by != n && newest != Some(last) {
            let what = format!("T{n} read list {key} up to {last}, in the middle of what T{by} appended");
            anomalies.push(Anomaly::new("G1b", what));
        }
    }
}

/// What a transaction read against what it read and wrote before.
fn check_internal(n: usize, txn: &Txn, level: Level, anomalies: &mut Vec<Anomaly>) {
    let mut known: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    let mut own: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    for op in &txn.ops {
        match op {
            Op::Append(key, value) => {
                own.entry(*key).or_default().push(*value);
                if let Some(list) = known.get_mut(key) {
                    list.push(*value);
                }
            }
            Op::Read(key, list) => {
                let ends_right = own.get(key).is_none_or(|own| list.ends_with(own));
                let repeats =
                    level == Level::ReadCommitted || known.get(key).is_none_or(|known| known == list);
                if !ends_right || !repeats {
                    let what =
                        format!("T{n} read list {key} as {list:?}, against its own steps {:?}", txn.ops);
                    anomalies.push(Anomaly::new("internal", what));
                }
                known.insert(*key, list.clone());
            }
        }
    }
}

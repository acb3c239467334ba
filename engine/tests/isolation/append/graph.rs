//! Who must come before whom. Nodes are transactions and, behind them, moments in time: a transaction that had ended leads to
//! the moment of its end, moments lead to later ones, and a moment to every transaction begun after it. So real time
//! costs one edge a transaction.

use super::history::{End, Txn};
use super::lists::{Lists, counts, outside_reads};

/// Why one comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It appended next to the same list.
    Ww,
    /// It read what the first one wrote.
    Wr,
    /// The first one did not see what it wrote.
    Rw,
    /// It began after the first one had ended.
    Time,
}

/// See the module.
pub(super) struct Graph {
    pub(super) edges: Vec<Vec<(usize, Kind)>>,
}

impl Graph {
    pub(super) fn of(txns: &[Txn], lists: &Lists) -> Graph {
        let mut graph = Graph { edges: vec![Vec::new(); txns.len()] };
        let mut seen = vec![false; txns.len()];
        for (key, list) in &lists.order {
            for value in list {
                if let Some(by) = lists.writers.get(&(*key, *value)) {
                    seen[*by] = true;
                }
            }
        }
        for (key, list) in &lists.order {
            let by = |n: usize| list.get(n).and_then(|value| lists.writers.get(&(*key, *value))).copied();
            for n in 1..list.len() {
                graph.add(by(n - 1), by(n), Kind::Ww);
            }
        }
        for (n, txn) in txns.iter().enumerate().filter(|(_, txn)| txn.end == End::Committed) {
            for (key, list) in outside_reads(&txn.ops) {
                let all = lists.order.get(&key).map_or(&[][..], Vec::as_slice);
                let by = |value: &u64| lists.writers.get(&(key, *value)).copied();
                graph.add(list.last().and_then(by), Some(n), Kind::Wr);
                // The next append that is not its own.
                let next = all.get(list.len()..).unwrap_or(&[]).iter().filter_map(by).find(|by| *by != n);
                graph.add(Some(n), next, Kind::Rw);
            }
        }
        graph.add_time(txns, &seen);
        graph
    }

    fn add(&mut self, from: Option<usize>, to: Option<usize>, kind: Kind) {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
            && !self.edges[from].contains(&(to, kind))
        {
            self.edges[from].push((to, kind));
        }
    }

    fn add_time(&mut self, txns: &[Txn], seen: &[bool]) {
        let mut ends: Vec<(u64, usize)> = Vec::new();
        for (n, txn) in txns.iter().enumerate() {
            // What is not known to have ended did not end before anything.
            if txn.end == End::Committed {
                ends.push((txn.completed, n));
            }
        }
        ends.sort_unstable();
        let first = self.edges.len();
        for (at, (_, n)) in ends.iter().enumerate() {
            self.edges.push(Vec::new());
            self.edges[*n].push((first + at, Kind::Time));
            if at > 0 {
                self.edges[first + at - 1].push((first + at, Kind::Time));
            }
        }
        for (n, txn) in txns.iter().enumerate().filter(|(n, _)| counts(txns, seen, *n)) {
            let before = ends.partition_point(|(completed, _)| *completed < txn.invoked);
            if before > 0 {
                self.edges[first + before - 1].push((n, Kind::Time));
            }
        }
    }

    /// A cycle whose edges `follow` allows one after the other (its argument: the kind before, the kind next), as the
    /// nodes and why each leads to the next; `None` when there is none.
    pub(super) fn cycle(&self, follow: impl Fn(Kind, Kind) -> bool) -> Option<Vec<(usize, Kind)>> {
        // A state is a node and the kind of edge by which it was reached.
        let state = |node: usize, kind: Kind| node * 4 + kind as usize;
        let kind_of = |state: usize| [Kind::Ww, Kind::Wr, Kind::Rw, Kind::Time][state % 4];
        let next = |from: usize| -> Vec<usize> {
            let ways = self.edges[from / 4].iter().filter(|(_, kind)| follow(kind_of(from), *kind));
            ways.map(|(to, kind)| state(*to, *kind)).collect()
        };
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.edges.len() * 4];
        for start in 0..marks.len() {
            if marks[start] != Mark::New {
                continue;
            }
            marks[start] = Mark::Open;
            let mut path = vec![(start, next(start))];
            while let Some((at, rest)) = path.last_mut() {
                let Some(to) = rest.pop() else {
                    marks[*at] = Mark::Done;
                    path.pop();
                    continue;
                };
                match marks[to] {
                    Mark::Done => {}
                    Mark::New => {
                        marks[to] = Mark::Open;
                        path.push((to, next(to)));
                    }
                    Mark::Open => {
                        let from = path.iter().position(|(state, _)| *state == to)?;
                        // The kind of a state says how it was reached, so each node's way on is in the state behind it.
                        let states: Vec<usize> = path[from..].iter().map(|(state, _)| *state).collect();
                        let ways = states[1..].iter().chain([&to]).map(|state| kind_of(*state));
                        return Some(states.iter().map(|state| state / 4).zip(ways).collect());
                    }
                }
            }
        }
        None
    }
}

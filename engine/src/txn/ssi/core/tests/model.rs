//! A few keys with versions under snapshot isolation, as the engine has it: a commit is seen once it is durable, which is
//! later than its place in the log is known, which is later than it can be refused.

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::Lsn;

use super::super::{Deferred, KeyRange, Limits, Refused, Safety, Ssi, Sxact};
use super::serial::{Done, Key, State, is_serializable};
use crate::txn::TxId;

/// Keys go up to here.
pub(super) const KEYS: Key = 4;
const RELATION: u32 = 20_000;
/// Transactions of a history: orders of more would take long to try.
const TXNS_MAX: usize = 9;

/// What a session does next, in a new transaction if it has none; what it cannot do now is left out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Begin {
        read_only: bool,
    },
    Read(Key),
    Scan(Key, Key),
    Write(Key),
    Prepare,
    Append,
    Finish,
    Commit,
    Rollback,
    /// Everything in the log becomes durable.
    Durable,
    /// Somebody who reads everything asks for a safe snapshot or, when there is one, uses it.
    Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Runs,
    Prepared,
    Appended,
}

struct Txn {
    sxact: Option<Sxact>,
    snapshot: u64,
    read_only: bool,
    phase: Phase,
    done: Done,
}

struct Version {
    by: usize,
    /// 0: not committed.
    lsn: u64,
}

/// See the module.
pub(super) struct World {
    pub(super) ssi: Ssi,
    /// Refusals are obeyed; without that the model is plain snapshot isolation.
    obeys: bool,
    sessions: BTreeMap<usize, usize>,
    txns: BTreeMap<usize, Txn>,
    versions: BTreeMap<Key, Vec<Version>>,
    begun: usize,
    log_end: u64,
    durable: u64,
    /// The snapshot of a report that waits.
    waiting: Option<(Deferred, u64)>,
    /// Reports do not wait: every snapshot is as good as any.
    pub(super) trusts: bool,
    pub(super) reports: usize,
    pub(super) spoiled: usize,
    pub(super) committed: BTreeMap<usize, Done>,
    pub(super) refused: usize,
}

fn id_of(txn: usize) -> TxId {
    TxId(txn as u64 + 100)
}

impl World {
    pub(super) fn new(limits: Limits, obeys: bool) -> World {
        World {
            ssi: Ssi::new(limits),
            obeys,
            sessions: BTreeMap::new(),
            txns: BTreeMap::new(),
            versions: BTreeMap::new(),
            begun: 0,
            log_end: 0,
            durable: 0,
            waiting: None,
            trusts: false,
            reports: 0,
            spoiled: 0,
            committed: BTreeMap::new(),
            refused: 0,
        }
    }

    pub(super) fn step(&mut self, session: usize, step: Step) {
        if let Step::Durable = step {
            self.durable = self.log_end;
            return;
        }
        if let Step::Report = step {
            return self.report();
        }
        let me = match self.sessions.get(&session) {
            Some(me) => *me,
            None if self.begun < TXNS_MAX => {
                self.begin(session, matches!(step, Step::Begin { read_only: true }))
            }
            None => return,
        };
        let phase = self.txns[&me].phase;
        let result = match (step, phase) {
            (Step::Read(key), Phase::Runs) => self.read(me, key..=key),
            (Step::Scan(from, to), Phase::Runs) => self.read(me, from..=to),
            (Step::Write(key), Phase::Runs) => self.write(me, key),
            (Step::Prepare | Step::Commit, Phase::Runs) => self.prepare(me),
            (Step::Rollback, Phase::Runs) => {
                self.roll_back(me);
                Ok(())
            }
            _ => Ok(()),
        };
        if result.is_err() {
            self.refused += 1;
            if self.obeys {
                self.roll_back(me);
            }
        }
        let phase = self.txns.get(&me).map(|txn| txn.phase);
        if matches!((step, phase), (Step::Append | Step::Commit, Some(Phase::Prepared))) {
            self.append(me);
        }
        let phase = self.txns.get(&me).map(|txn| txn.phase);
        if matches!((step, phase), (Step::Finish | Step::Commit, Some(Phase::Appended))) {
            self.finish(me);
        }
    }

    /// What is in the log is committed, whatever else is not; whether all of it is serializable.
    pub(super) fn ends_serializable(&mut self) -> bool {
        let left: Vec<usize> = self.txns.keys().copied().collect();
        for me in left {
            match self.txns[&me].phase {
                Phase::Appended => self.finish(me),
                Phase::Runs | Phase::Prepared => self.roll_back(me),
            }
        }
        if self.waiting.is_some() {
            self.report();
            assert!(self.waiting.is_none(), "nobody runs, and a report still waits");
        }
        let last: State =
            self.versions.iter().filter_map(|(key, all)| Some((*key, all.last()?.by))).collect();
        is_serializable(&self.committed, &last)
    }

    fn begin(&mut self, session: usize, read_only: bool) -> usize {
        let me = self.begun;
        self.begun += 1;
        let sxact = self.ssi.begin(Lsn(self.durable), read_only);
        self.sessions.insert(session, me);
        let done = Done::default();
        self.txns.insert(me, Txn { sxact, snapshot: self.durable, read_only, phase: Phase::Runs, done });
        me
    }

    fn report(&mut self) {
        let Some((id, snapshot)) = self.waiting.take() else {
            if self.begun < TXNS_MAX {
                self.begun += 1;
                self.waiting = Some((self.ssi.defer(Lsn(self.durable)), self.durable));
            }
            return;
        };
        match self.ssi.safety(id) {
            Safety::Open if !self.trusts => return self.waiting = Some((id, snapshot)),
            Safety::Unsafe { until } if !self.trusts => {
                assert!(until > Lsn(snapshot), "what spoils a snapshot is not in it");
                self.spoiled += 1;
            }
            _ => {
                let mut done = Done::default();
                for (key, all) in &self.versions {
                    let seen = all.iter().rfind(|version| version.lsn != 0 && version.lsn <= snapshot);
                    done.reads.push((*key, seen.map(|version| version.by)));
                }
                // No other has a number above all that may begin.
                self.committed.insert(TXNS_MAX + self.reports, done);
                self.reports += 1;
            }
        }
        self.ssi.judge_no_more(id);
    }

    fn read(&mut self, me: usize, keys: std::ops::RangeInclusive<Key>) -> Result<(), Refused> {
        let Some(txn) = self.txns.get_mut(&me) else { return Ok(()) };
        if let Some(sxact) = txn.sxact {
            use std::ops::Bound::Included;
            let range = KeyRange::between(Included(&[*keys.start()]), Included(&[*keys.end()]));
            self.ssi.read(sxact, RELATION, &range)?;
        }
        let mut missed = BTreeSet::new();
        for key in keys {
            let all = self.versions.get(&key).map_or(&[][..], Vec::as_slice);
            if all.last().is_some_and(|version| version.by == me) {
                continue;
            }
            let behind = all.iter().position(|version| version.lsn == 0 || version.lsn > txn.snapshot);
            let seen = all[..behind.unwrap_or(all.len())].last().map(|version| version.by);
            txn.done.reads.push((key, seen));
            missed.extend(behind.map(|n| all[n].by));
        }
        for by in missed {
            if let Some(sxact) = txn.sxact {
                self.ssi.missed(sxact, id_of(by))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, me: usize, key: Key) -> Result<(), Refused> {
        if self.txns.get(&me).is_none_or(|txn| txn.read_only) {
            return Ok(());
        }
        let all = self.versions.entry(key).or_default();
        match all.last() {
            Some(version) if version.by == me => return Ok(()),
            // It would wait.
            Some(version) if self.txns.contains_key(&version.by) => return Ok(()),
            Some(version) if version.lsn > self.txns[&me].snapshot => {
                self.roll_back(me);
                return Ok(());
            }
            _ => {}
        }
        let txn = self.txns.get_mut(&me).expect("it runs");
        all.push(Version { by: me, lsn: 0 });
        let sxact = txn.sxact.expect("who writes is tracked");
        if txn.done.writes.is_empty() {
            self.ssi.writes_as(sxact, id_of(me));
        }
        txn.done.writes.push(key);
        self.ssi.wrote(sxact, RELATION, &KeyRange::key(&[key]))
    }

    fn prepare(&mut self, me: usize) -> Result<(), Refused> {
        let result = self.txns[&me].sxact.map_or(Ok(()), |sxact| self.ssi.prepare(sxact));
        if (result.is_ok() || !self.obeys)
            && let Some(txn) = self.txns.get_mut(&me)
        {
            txn.phase = Phase::Prepared;
        }
        result
    }

    fn append(&mut self, me: usize) {
        let Some(txn) = self.txns.get_mut(&me) else { return };
        txn.phase = Phase::Appended;
        if !txn.done.writes.is_empty() {
            self.log_end += 10;
        }
        for version in self.versions.values_mut().flatten().filter(|version| version.by == me) {
            version.lsn = self.log_end;
        }
    }

    fn finish(&mut self, me: usize) {
        self.sessions.retain(|_, txn| *txn != me);
        let Some(txn) = self.txns.remove(&me) else { return };
        let lsn = self.versions.values().flatten().find(|version| version.by == me).map(|v| Lsn(v.lsn));
        if let Some(sxact) = txn.sxact {
            self.ssi.committed(sxact, lsn);
        }
        self.committed.insert(me, txn.done);
    }

    fn roll_back(&mut self, me: usize) {
        self.sessions.retain(|_, txn| *txn != me);
        for all in self.versions.values_mut() {
            all.retain(|version| version.by != me);
        }
        if let Some(txn) = self.txns.remove(&me)
            && let Some(sxact) = txn.sxact
        {
            self.ssi.rolled_back(sxact);
        }
    }
}

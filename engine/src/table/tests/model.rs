//! Random schedules of transactions, step by step against a model that keeps every version in a list. Half of the rows have
//! a large value; the cache is small, so its pages come and go.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::large as rows;
use super::*;

const SLOTS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Begin {
        slot: usize,
        repeatable: bool,
    },
    Statement {
        slot: usize,
    },
    Insert {
        slot: usize,
        len: usize,
    },
    Update {
        slot: usize,
        row: usize,
        len: usize,
    },
    /// Changes the row beside its value.
    Touch {
        slot: usize,
        row: usize,
    },
    Delete {
        slot: usize,
        row: usize,
    },
    Get {
        slot: usize,
        row: usize,
    },
    Scan {
        slot: usize,
    },
    Commit {
        slot: usize,
    },
    Rollback {
        slot: usize,
    },
    Remember,
    Tidy,
    Vacuum,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    let row = 0usize..8;
    prop_oneof![
        2 => (slot.clone(), any::<bool>()).prop_map(|(slot, repeatable)| Step::Begin { slot, repeatable }),
        3 => slot.clone().prop_map(|slot| Step::Statement { slot }),
        2 => (slot.clone(), 1usize..30).prop_map(|(slot, len)| Step::Insert { slot, len }),
        5 => (slot.clone(), row.clone(), 1usize..30).prop_map(|(slot, row, len)| Step::Update { slot, row, len }),
        3 => (slot.clone(), row.clone()).prop_map(|(slot, row)| Step::Touch { slot, row }),
        2 => (slot.clone(), row.clone()).prop_map(|(slot, row)| Step::Delete { slot, row }),
        2 => (slot.clone(), row).prop_map(|(slot, row)| Step::Get { slot, row }),
        2 => slot.clone().prop_map(|slot| Step::Scan { slot }),
        2 => slot.clone().prop_map(|slot| Step::Commit { slot }),
        1 => slot.prop_map(|slot| Step::Rollback { slot }),
        1 => Just(Step::Remember),
        1 => Just(Step::Tidy),
        1 => Just(Step::Vacuum),
    ]
}

type Value = Option<Vec<u8>>;

struct ModelTxn {
    real: Transaction,
    repeatable: bool,
    seen: usize,
    command: u32,
    /// (command, row, value), in order.
    writes: Vec<(u32, RowId, Value)>,
    locked: Vec<RowId>,
}

#[derive(Default)]
struct Model {
    commits: usize,
    /// Versions of each row: (commit number, value), in order.
    rows: BTreeMap<RowId, Vec<(usize, Value)>>,
    known: Vec<RowId>,
    remembered: Vec<(Snapshot, BTreeMap<RowId, Vec<u8>>)>,
    written: u64,
}

impl Model {
    fn at(&self, seen: usize) -> BTreeMap<RowId, Vec<u8>> {
        let pick = |versions: &Vec<(usize, Value)>| versions.iter().rev().find(|v| v.0 <= seen)?.1.clone();
        self.rows.iter().filter_map(|(id, v)| Some((*id, pick(v)?))).collect()
    }

    fn seen_by(&self, txn: &ModelTxn) -> BTreeMap<RowId, Vec<u8>> {
        let mut rows = self.at(txn.seen);
        for (_, id, value) in txn.writes.iter().filter(|w| w.0 < txn.command) {
            match value {
                Some(value) => rows.insert(*id, value.clone()),
                None => rows.remove(id),
            };
        }
        rows
    }

    fn fresh(&mut self, len: usize) -> Vec<u8> {
        self.written += 1;
        let len = if len < 15 { len } else { (len - 14) * 1500 };
        let mut row = self.written.to_le_bytes().repeat(2 + len / 8);
        row.truncate(len + 8);
        row
    }

    /// What locking the row says.
    fn lock(&self, slots: &[Option<ModelTxn>], slot: usize, id: RowId) -> Result<LockOutcome, &'static str> {
        let others = || slots.iter().enumerate().filter(|(n, _)| *n != slot).filter_map(|(_, t)| t.as_ref());
        if others().any(|t| t.locked.contains(&id)) {
            return Err("55P03");
        }
        let txn = slots[slot].as_ref().unwrap();
        if let Some((command, _, value)) = txn.writes.iter().rev().find(|w| w.1 == id) {
            return Ok(match value {
                _ if *command >= txn.command => LockOutcome::SelfModified,
                None => LockOutcome::Gone,
                Some(_) => LockOutcome::Locked,
            });
        }
        match self.rows.get(&id).and_then(|v| v.last()) {
            None => Ok(LockOutcome::Gone),
            Some((commit, _)) if *commit > txn.seen && txn.repeatable => Err("40001"),
            Some((_, None)) => Ok(LockOutcome::Gone),
            Some((commit, Some(_))) if *commit > txn.seen => Ok(LockOutcome::Updated),
            Some(_) => Ok(LockOutcome::Locked),
        }
    }

    fn commit(&mut self, txn: &ModelTxn) {
        self.commits += 1;
        for (_, id, value) in &txn.writes {
            let versions = self.rows.entry(*id).or_default();
            versions.push((self.commits, value.clone()));
        }
    }
}

/// What becomes of a row.
enum New {
    Value(usize),
    /// The same value beside another number.
    Beside,
    Nothing,
}

struct Run {
    bed: Bed,
    model: Model,
    slots: Vec<Option<ModelTxn>>,
}

impl Run {
    async fn write(&mut self, slot: usize, row: usize, new: New) {
        let Some(id) = self.model.known.get(row % self.model.known.len().max(1)).copied() else {
            return;
        };
        // An executor locks what its snapshot sees.
        let sees = |txn: &ModelTxn| self.model.seen_by(txn).contains_key(&id);
        if !self.slots[slot].as_ref().is_some_and(sees) {
            return;
        }
        let wanted = self.model.lock(&self.slots, slot, id);
        let fresh = match new {
            New::Value(len) => Some(self.model.fresh(len)),
            New::Beside => Some(self.model.fresh(0)),
            New::Nothing => None,
        };
        let txn = self.slots[slot].as_mut().unwrap();
        let (system, table) = (&self.bed.system, &self.bed.table);
        let mut out = Vec::new();
        let got =
            system.lock_row(&mut txn.real, table, id, RowLock::Update, LockWait::NoWait, &mut out).await;
        assert_eq!(got.as_ref().map_err(TxnError::sqlstate), wanted.as_ref().map_err(|s| *s), "{id:?}");
        match got {
            Ok(outcome) => {
                txn.locked.push(id);
                if matches!(outcome, LockOutcome::Locked | LockOutcome::Updated) {
                    let bytes = match (&fresh, &new) {
                        (None, _) => None,
                        (Some(number), New::Beside) => Some(rows::beside(&out, number)),
                        (Some(value), _) => {
                            Some(rows::encode(&self.bed, &mut txn.real, id, value).await.unwrap())
                        }
                    };
                    let value = match (fresh, &new) {
                        (Some(number), New::Beside) => {
                            let before = rows::value_of(&self.bed, id, &out).await;
                            Some([&number[..8], &before[8..]].concat())
                        }
                        (fresh, _) => fresh,
                    };
                    match &bytes {
                        Some(bytes) => {
                            system.update(&mut txn.real, table, id, rows::row(bytes)).await.unwrap();
                        }
                        None => system.delete(&mut txn.real, table, id).await.unwrap(),
                    }
                    txn.writes.push((txn.command, id, value));
                }
            }
            Err(TxnError::Serialization) => {
                if let Some(txn) = self.slots[slot].take() {
                    txn.real.rollback();
                }
            }
            // Not taken; what was held before stays.
            Err(_) => {}
        }
    }

    async fn apply(&mut self, step: Step) {
        match step {
            Step::Begin { slot, repeatable } if self.slots[slot].is_none() => {
                let isolation = if repeatable { Isolation::RepeatableRead } else { Isolation::ReadCommitted };
                self.slots[slot] = Some(ModelTxn {
                    real: self.bed.begin_at(isolation),
                    repeatable,
                    seen: self.model.commits,
                    command: 1,
                    writes: Vec::new(),
                    locked: Vec::new(),
                });
            }
            Step::Begin { .. } => {}
            Step::Update { slot, row, len } => self.write(slot, row, New::Value(len)).await,
            Step::Touch { slot, row } => self.write(slot, row, New::Beside).await,
            Step::Delete { slot, row } => self.write(slot, row, New::Nothing).await,
            Step::Remember => {
                let rows = self.model.at(self.model.commits);
                self.model.remembered.push((self.bed.now(), rows));
            }
            Step::Tidy => {
                self.bed.system.tidy().await.unwrap();
            }
            Step::Vacuum => {
                self.bed.system.vacuum_table(&self.bed.table, &[]).await.unwrap();
            }
            Step::Statement { slot }
            | Step::Insert { slot, .. }
            | Step::Get { slot, .. }
            | Step::Scan { slot }
            | Step::Commit { slot }
            | Step::Rollback { slot } => {
                if let Some(txn) = self.slots[slot].take() {
                    self.slots[slot] = self.within(txn, step).await;
                }
            }
        }
    }

    async fn within(&mut self, mut txn: ModelTxn, step: Step) -> Option<ModelTxn> {
        match step {
            Step::Statement { .. } => {
                txn.real.begin_statement();
                txn.command += 1;
                if !txn.repeatable {
                    txn.seen = self.model.commits;
                }
            }
            Step::Insert { len, .. } => {
                let value = self.model.fresh(len);
                let id = rows::insert(&self.bed, &mut txn.real, &value).await;
                txn.writes.push((txn.command, id, Some(value)));
                self.model.known.push(id);
            }
            Step::Get { row, .. } => {
                if let Some(id) = self.model.known.get(row % self.model.known.len().max(1)) {
                    let wanted = self.model.seen_by(&txn).remove(id);
                    assert_eq!(rows::get(&self.bed, &txn.real.snapshot(), *id).await, wanted);
                }
            }
            Step::Scan { .. } => {
                let wanted: Vec<_> = self.model.seen_by(&txn).into_iter().collect();
                assert_eq!(rows::scan(&self.bed, &txn.real.snapshot()).await, wanted);
            }
            Step::Commit { .. } => {
                self.model.commit(&txn);
                txn.real.commit().await.unwrap();
                return None;
            }
            _ => {
                txn.real.rollback();
                return None;
            }
        }
        Some(txn)
    }

    async fn check(&mut self) {
        for (snapshot, rows) in &self.model.remembered {
            let wanted: Vec<_> = rows.clone().into_iter().collect();
            assert_eq!(rows::scan(&self.bed, snapshot).await, wanted);
        }
        let wanted: Vec<_> = self.model.at(self.model.commits).into_iter().collect();
        assert_eq!(rows::scan(&self.bed, &self.bed.now()).await, wanted);
        let after = self.bed.crash().await;
        assert_eq!(rows::scan(&after, &after.now()).await, wanted);
        rows::nothing_is_left_over(&after).await;
        // Without a crash, too, once nobody looks back any more.
        self.slots.clear();
        self.model.remembered.clear();
        rows::nothing_is_left_over(&self.bed).await;
        assert_eq!(rows::scan(&self.bed, &self.bed.now()).await, wanted);
    }
}

async fn run(steps: Vec<Step>) {
    let bed = Bed::with_cache(sextant_volume::memory::MemoryStore::new(), 512 << 10).await;
    let mut run = Run { bed, model: Model::default(), slots: (0..SLOTS).map(|_| None).collect() };
    for step in steps {
        run.apply(step).await;
    }
    run.check().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn every_schedule_agrees_with_the_model(steps in proptest::collection::vec(step(), 1..120)) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(run(steps));
    }
}

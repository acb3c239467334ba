//! The bank compared with what its clients know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tokio_postgres::{Client, Error};

use super::load::Outcome;
use super::{balances, sum};

/// What became of the transfers, as the bank's tables tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Transfers whose COMMIT was answered.
    pub acked: u64,
    /// Transfers whose answer was lost: they may be there or not.
    pub unknown: u64,
    /// Those of them that are there.
    pub unknown_there: u64,
    /// Acknowledged and not there, as client and sequence number.
    pub lost: Vec<(i32, i64)>,
    /// There more than once.
    pub duplicated: Vec<(i32, i64)>,
    /// There, and never sent.
    pub strange: Vec<(i32, i64)>,
    /// Clients whose row is at another number than their last transfer in the history: client, row, history.
    pub torn: Vec<(i32, i64, i64)>,
    /// Accounts, tellers, branches, history.
    pub sums: [i64; 4],
}

impl Verdict {
    /// Nothing is lost, twice, invented, half done or wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.duplicated.is_empty()
            && self.strange.is_empty()
            && self.torn.is_empty()
            && self.sums_agree()
    }

    /// Whether all four sums agree.
    #[must_use]
    pub fn sums_agree(&self) -> bool {
        self.sums.iter().all(|sum| *sum == self.sums[0])
    }

    /// The transfers of one client: what it knows against what is there.
    fn judge(&mut self, number: i32, acked: &BTreeSet<i64>, open: &BTreeSet<i64>, seen: &BTreeSet<i64>) {
        self.acked += acked.len() as u64;
        self.unknown += open.len() as u64;
        self.unknown_there += open.intersection(seen).count() as u64;
        self.lost.extend(acked.difference(seen).map(|seq| (number, *seq)));
        let unsent = |seq: &&i64| !acked.contains(seq) && !open.contains(seq);
        self.strange.extend(seen.iter().filter(unsent).map(|seq| (number, *seq)));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { acked, unknown, unknown_there, .. } = self;
        write!(f, "acked {acked}, unknown {unknown} (of which {unknown_there} are there)")?;
        let kinds = [("lost", &self.lost), ("duplicated", &self.duplicated), ("never sent", &self.strange)];
        for (kind, found) in kinds {
            write!(f, ", {kind} {}", found.len())?;
            if let Some((client, seq)) = found.first() {
                write!(f, " (first: client {client}, number {seq})")?;
            }
        }
        let sums = if self.sums_agree() { "agree" } else { "DO NOT AGREE" };
        write!(f, ", half done {}, sums {sums} {:?}", self.torn.len(), self.sums)
    }
}

impl Outcome {
    /// Reads the bank and compares it with what the clients know.
    pub async fn verdict(&self, client: &Client) -> Result<Verdict, Error> {
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let mut verdict = Verdict::default();
        let mut there: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        for row in client.query("SELECT client, seq FROM bank_history", &[]).await? {
            let (number, seq) = (row.get::<_, i32>(0), row.get::<_, i64>(1));
            if !there.entry(number).or_default().insert(seq) {
                verdict.duplicated.push((number, seq));
            }
        }
        for row in client.query("SELECT client, seq FROM bank_clients", &[]).await? {
            let (number, seq) = (row.get::<_, i32>(0), row.get::<_, i64>(1));
            let last = there.get(&number).and_then(BTreeSet::last).copied().unwrap_or(0);
            if seq != last {
                verdict.torn.push((number, seq, last));
            }
        }
        let [accounts, tellers, branches] = balances(client).await?;
        verdict.sums = [accounts, tellers, branches, sum(client, "bank_history", "delta").await?];
        client.batch_execute("COMMIT").await?;
        for (number, ledger) in &self.ledgers {
            let seen = there.remove(number).unwrap_or_default();
            verdict.judge(*number, &ledger.acked, &ledger.open, &seen);
        }
        for (number, seen) in there {
            verdict.judge(number, &BTreeSet::new(), &BTreeSet::new(), &seen);
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_wrong_is_told_apart() {
        let mut verdict = Verdict::default();
        let set = |numbers: &[i64]| numbers.iter().copied().collect::<BTreeSet<_>>();
        verdict.judge(1, &set(&[1, 2, 4]), &set(&[3, 5]), &set(&[1, 2, 3, 4]));
        assert!(verdict.is_clean());
        assert_eq!((verdict.acked, verdict.unknown, verdict.unknown_there), (3, 2, 1));
        verdict.judge(2, &set(&[1, 2]), &set(&[]), &set(&[1, 9]));
        assert_eq!((verdict.lost.clone(), verdict.strange.clone()), (vec![(2, 2)], vec![(2, 9)]));
        assert!(!verdict.is_clean());
        assert!(!Verdict { sums: [1, 1, 1, 2], ..Verdict::default() }.is_clean());
        assert!(!Verdict { torn: vec![(1, 2, 3)], ..Verdict::default() }.is_clean());
        assert!(!Verdict { duplicated: vec![(1, 2)], ..Verdict::default() }.is_clean());
    }
}

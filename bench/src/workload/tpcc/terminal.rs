//! One client: draws a transaction, runs it until it succeeds, counts it, draws the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::dice::Dice;
use super::size::{DISTRICTS, Size};
use super::transactions::{Job, NAMES, Prepared};
use crate::workload::{Measured, Part, Target, buckets};
use crate::{BenchError, sql};

/// Times that one transaction is tried: a server that refuses it more often makes no progress.
const TRIES: u32 = 100;

/// See the module.
pub(super) struct Terminal {
    client: Client,
    prepared: Prepared,
    dice: Dice,
    size: Size,
    w_id: i32,
    d_id: i32,
}

impl Terminal {
    /// Terminals sit in warehouses by turns and keep their district.
    pub(super) async fn connect(target: &Target, size: Size, number: u32) -> Result<Terminal, BenchError> {
        let connected = async {
            let client = sql::connect(target).await?;
            let prepared = Prepared::on(&client).await?;
            Ok((client, prepared))
        };
        let (client, prepared) = connected.await.map_err(sql::failed("cannot prepare TPC-C's statements"))?;
        let turn = number as i32;
        let (w_id, d_id) = (turn % size.warehouses + 1, turn / size.warehouses % DISTRICTS + 1);
        Ok(Terminal { client, prepared, dice: Dice::new(1000 + u64::from(number)), size, w_id, d_id })
    }

    /// Works until so long after `started`.
    pub(super) async fn run(mut self, started: Instant, until: Duration) -> Result<Tally, BenchError> {
        let mut tally = Tally::new(until);
        while started.elapsed() < until {
            let job = Job::draw(&mut self.dice, self.size, self.w_id, self.d_id);
            let began = started.elapsed();
            self.succeed(&job, &mut tally).await?;
            tally.count(job.kind(), began, started.elapsed());
        }
        Ok(tally)
    }

    /// The same again after each abort that says so.
    async fn succeed(&mut self, job: &Job, tally: &mut Tally) -> Result<(), BenchError> {
        for _ in 0..TRIES {
            match self.prepared.run(&mut self.client, job).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let Some(code) = retryable(&error) else {
                        return Err(sql::failed(NAMES[job.kind()])(error));
                    };
                    *tally.aborts.entry(code).or_default() += 1;
                }
            }
        }
        Err(BenchError::Peer(format!("{} was aborted {TRIES} times in a row", NAMES[job.kind()])))
    }
}

/// The code of an error after which the same transaction may succeed.
fn retryable(error: &Error) -> Option<String> {
    let code = error.code()?;
    let again = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    again.contains(code).then(|| code.code().to_owned())
}

/// What terminals have counted.
#[derive(Debug)]
pub(super) struct Tally {
    time: Duration,
    /// Milliseconds that each transaction took, aborts and new tries included, by kind.
    latencies_ms: [Vec<f64>; 5],
    by_second: Vec<f64>,
    aborts: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new(time: Duration) -> Tally {
        let by_second = vec![0.0; time.as_secs() as usize];
        Tally { time, latencies_ms: Default::default(), by_second, aborts: BTreeMap::new() }
    }

    /// What ends after the time is over does not count.
    fn count(&mut self, kind: usize, began: Duration, ended: Duration) {
        if ended < self.time {
            self.latencies_ms[kind].push((ended - began).as_secs_f64() * 1e3);
            self.by_second[ended.as_secs() as usize] += 1.0;
        }
    }

    pub(super) fn add(&mut self, other: Tally) {
        for (mine, theirs) in self.latencies_ms.iter_mut().zip(other.latencies_ms) {
            mine.extend(theirs);
        }
        self.by_second.iter_mut().zip(other.by_second).for_each(|(mine, theirs)| *mine += theirs);
        for (code, count) in other.aborts {
            *self.aborts.entry(code).or_default() += count;
        }
    }

    pub(super) fn measured(self) -> Measured {
        let seconds = self.time.as_secs_f64();
        let all = || self.latencies_ms.iter().flatten().copied();
        let count = all().count() as f64;
        let part = |(name, latencies): (&'static str, &Vec<f64>)| Part {
            name,
            per_s: latencies.len() as f64 / seconds,
            latencies: buckets(latencies.iter().copied()),
        };
        Measured {
            tps: count / seconds,
            latency_ms: if count > 0.0 { all().sum::<f64>() / count } else { 0.0 },
            failed: 0,
            latencies: buckets(all()),
            parts: NAMES.into_iter().zip(&self.latencies_ms).map(part).collect(),
            aborts: self.aborts,
            by_second: self.by_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let ms = Duration::from_millis;
        let (mut sum, mut one) = (Tally::new(ms(2000)), Tally::new(ms(2000)));
        one.count(0, ms(0), ms(10));
        one.count(1, ms(100), ms(1200));
        one.count(0, ms(1990), ms(2001));
        one.aborts.insert("40P01".into(), 2);
        sum.count(0, ms(0), ms(30));
        sum.add(one);
        let measured = sum.measured();
        assert_eq!((measured.tps, measured.parts[0].per_s, measured.parts[1].per_s), (1.5, 1.0, 0.5));
        assert_eq!((measured.by_second, measured.aborts["40P01"]), (vec![2.0, 1.0], 2));
        assert_eq!(measured.latency_ms, 380.0);
    }
}

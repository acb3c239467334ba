//! TPC-C's five transactions, loader and consistency conditions, after the standard's revision 5.11, without think and
//! keying times. It is no TPC result: nothing here was audited, and terminals never wait.
//!
//! | module | idea |
//! | --- | --- |
//! | [`size`] | how much data, and what is left out when it is less than the standard's |
//! | [`dice`] | the standard's random numbers, strings and last names |
//! | [`decimal`] | `numeric` with four places on the wire |
//! | [`schema`], [`load`] | the tables and what is in them at first |
//! | [`transactions`] | the five |
//! | [`terminal`] | one client: what it runs next, what it counts, what it tries again |
//! | [`consistency`] | conditions 1 to 4 of clause 3.3.2, asked at the end |
//!
//! Where a statement of the standard's sample programs joins two tables by keys that the terminal knows, the terminal
//! sends two statements instead, to every server the same.

mod consistency;
mod decimal;
mod dice;
mod load;
mod schema;
mod size;
mod terminal;
mod transactions;

use std::time::{Duration, Instant};

use super::{Measured, Target, Workload};
use crate::{BenchArgs, BenchError, sql};
use size::Size;
use terminal::{Tally, Terminal};

/// See the module.
#[derive(Debug, Clone)]
pub struct Tpcc {
    size: Size,
    clients: u32,
}

impl Tpcc {
    /// With the size that `args` names.
    #[must_use]
    pub fn new(args: &BenchArgs) -> Tpcc {
        Tpcc { size: Size::of(args), clients: args.clients.max(1) }
    }

    async fn terminals(&self, target: &Target, until: Duration) -> Result<Tally, BenchError> {
        let mut terminals = Vec::new();
        for number in 0..self.clients {
            terminals.push(Terminal::connect(target, self.size, number).await?);
        }
        let started = Instant::now();
        let run = |terminal: Terminal| tokio::spawn(terminal.run(started, until));
        let running: Vec<_> = terminals.into_iter().map(run).collect();
        let mut tally = Tally::new(until);
        for terminal in running {
            let ended = terminal.await.map_err(|e| BenchError::Peer(format!("a terminal stopped: {e}")))?;
            tally.add(ended?);
        }
        Ok(tally)
    }
}

impl Workload for Tpcc {
    fn title(&self) -> String {
        format!("TPC-C transactions, {}, {} clients without think time", self.size, self.clients)
    }

    fn load(&self, target: &Target) -> Result<(), BenchError> {
        sql::block_on(load::load(target, self.size))
    }

    fn run(&self, target: &Target, seconds: u32) -> Result<Measured, BenchError> {
        let until = Duration::from_secs(u64::from(seconds));
        Ok(sql::block_on(self.terminals(target, until))?.measured())
    }

    fn check(&self, target: &Target) -> Result<Option<String>, BenchError> {
        sql::block_on(consistency::check(target)).map(Some)
    }
}

//! One storage node beside the device that it runs on: the node as a real process on real TCP, fio on the same file
//! system, in alternating rounds. What the node does more than fio is then what the ratio shows.
//!
//! | module | idea |
//! | --- | --- |
//! | [`node`] | the process under test, its metrics, its disk space |
//! | [`client`] | one connection: frames out, frames in |
//! | [`writer`] | a volume's writer in small: batches of records that the node must chain and index |
//! | [`fio`] | the device's own figures |
//! | [`append`], [`pages`], [`restart`] | the benchmarks |
//! | [`updates`] | the part of `pages` that goes on for minutes |

mod append;
mod client;
mod fio;
mod node;
mod pages;
mod restart;
mod updates;
mod writer;

use std::path::Path;

use crate::table::Table;
use crate::{BenchArgs, BenchError, BenchName};

/// Runs the benchmark that `args` names to its end.
pub(crate) fn run(name: BenchName, args: &BenchArgs, sextant: &Path) -> Result<Table, BenchError> {
    match name {
        BenchName::Append => append::run(args, sextant),
        BenchName::Pages => pages::run(args, sextant),
        _ => restart::run(args, sextant),
    }
}

/// Figures that lie in a sorted list: the one that `share` of them do not exceed.
fn percentile(sorted: &[u64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(0.0, |value| *value as f64)
}

//! Does a transaction cost more when there is more data that it does not touch? One cluster for each size, all of them
//! up at once so that rounds alternate; in each the same number of rows, one a page and spread over all of the table, is
//! read and updated. Nothing but the size differs.

use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;
use tokio_postgres::Error;

use crate::compare::alternate;
use crate::peer::{Peer, SextantCluster};
use crate::report::{Figure, Report, Side};
use crate::rounds::paired_ratio;
use crate::workload::pgbench::{Pgbench, Script};
use crate::workload::{Measured, Target, Workload};
use crate::{BenchArgs, BenchError, sql};

/// Rows that are used, at most.
const HOT_MAX: i64 = 4096;
/// So many rows lie between two that are used, at least: more than a page holds.
const APART: i64 = 8;
/// Seconds that each size runs before it is measured, so that what it uses is in memory.
const WARM_UP_S: u32 = 3;

pub(crate) fn run(args: &BenchArgs, sextant: &Path) -> Result<Report, BenchError> {
    let (rounds, seconds) = args.rounds();
    let mut sizes = args.mib.clone();
    if sizes.is_empty() {
        sizes = if args.quick { vec![64, 256] } else { vec![1024, 4096] };
    }
    sizes.sort_unstable();
    let smallest = sizes.first().copied().unwrap_or(1).max(1);
    let load = HotRows::new(args, i64::from(smallest))?;
    let clusters =
        sizes.iter().map(|_| SextantCluster::start(sextant, args.segments)).collect::<Result<Vec<_>, _>>()?;
    let mut sides: Vec<(&dyn Peer, Side)> = Vec::new();
    for (cluster, mib) in clusters.iter().zip(&sizes) {
        eprintln!("growth: loading {mib} MiB ...");
        load.fill(&cluster.target(), i64::from(*mib))?;
        let name = format!("{mib} MiB");
        let configuration = format!("{name}: {}", cluster.configuration());
        sides.push((cluster, Side { name, configuration, rounds: Vec::new() }));
    }
    for (peer, _) in &sides {
        load.run(&peer.target(), WARM_UP_S)?;
    }
    alternate(&load, &mut sides, rounds, seconds)?;
    let sides: Vec<Side> = sides.into_iter().map(|(_, side)| side).collect();
    let figures = figures(&sides);
    let title = format!("{}, {rounds} rounds of {seconds} s", load.title());
    Ok(Report { name: "growth", title, sides, checks: Vec::new(), figures })
}

/// What a transaction costs in the largest over what it costs in the smallest, and so for the sizes between.
fn figures(sides: &[Side]) -> Vec<Figure> {
    let Some((smallest, larger)) = sides.split_first() else { return Vec::new() };
    let mut figures = Vec::new();
    for side in larger {
        let name = format!("growth_{}_vs_{}", side.name, smallest.name).replace(' ', "_").to_lowercase();
        figures.push(Figure::new(name, paired_ratio(&smallest.tps(), &side.tps()), "ratio"));
    }
    if let Some(largest) = larger.last() {
        figures.push(Figure::new("growth_ratio", paired_ratio(&smallest.tps(), &largest.tps()), "ratio"));
        let cpu = |side: &Side| side.cpu_us().values().sum::<f64>();
        figures.push(Figure::new("growth_cpu_ratio", cpu(largest) / cpu(smallest).max(0.001), "ratio"));
    }
    figures
}

/// The load. Of a table's rows it uses every so many-th; `growth_hot` says which.
struct HotRows {
    pgbench: Pgbench,
    clients: u32,
    hot: i64,
    script: NamedTempFile,
}

impl HotRows {
    fn new(args: &BenchArgs, smallest_mib: i64) -> Result<HotRows, BenchError> {
        let hot = hot_rows(smallest_mib);
        let what = || "cannot write pgbench's script".to_owned();
        let mut script = NamedTempFile::new().map_err(BenchError::io(what()))?;
        script
            .write_all(
                format!(
                    "\\set n random(1, {hot})\nselect id from growth_hot where n = :n \\gset\nbegin;\n\
                     select filler from growth where id = :id;\n\
                     update growth set counter = counter + 1 where id = :id;\nend;\n"
                )
                .as_bytes(),
            )
            .map_err(BenchError::io(what()))?;
        Ok(HotRows { pgbench: Pgbench::new(Script::TpcB, args)?, clients: args.clients, hot, script })
    }

    fn fill(&self, target: &Target, mib: i64) -> Result<(), BenchError> {
        let filled = fill(target, mib * sql::ROWS_PER_MIB, self.hot);
        sql::block_on(async { filled.await.map_err(sql::failed(format!("cannot load {mib} MiB"))) })
    }
}

/// Makes a table of so many rows.
async fn fill(target: &Target, rows: i64, hot: i64) -> Result<(), Error> {
    let client = sql::connect(target).await?;
    for statement in [
        "create table growth (id int8 primary key, counter int not null, filler text not null)",
        "create table growth_hot (n int primary key, id int8 not null)",
    ] {
        client.batch_execute(statement).await?;
    }
    sql::fill(&client, rows, |series| {
        format!("insert into growth select g, 0, repeat('x', 980) from {series}")
    })
    .await?;
    let stride = rows / hot;
    let series = format!("generate_series(1, {hot}) g");
    client.batch_execute(&format!("insert into growth_hot select g, g * {stride} - 1 from {series}")).await?;
    client.batch_execute("vacuum analyze").await
}

impl Workload for HotRows {
    fn title(&self) -> String {
        let HotRows { clients, hot, .. } = self;
        format!(
            "growth: read and update one of {hot} rows, each on a page of its own, {clients} clients, prepared"
        )
    }

    fn load(&self, _: &Target) -> Result<(), BenchError> {
        Ok(())
    }

    fn run(&self, target: &Target, seconds: u32) -> Result<Measured, BenchError> {
        self.pgbench.run_script(target, seconds, &["-f".as_ref(), self.script.path().as_os_str()])
    }
}

/// As many rows as the smallest table has on pages of their own.
fn hot_rows(smallest_mib: i64) -> i64 {
    (smallest_mib * sql::ROWS_PER_MIB / APART).clamp(1, HOT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_use_lie_on_pages_of_their_own_in_every_size() {
        for mib in [1, 4, 64, 1024, 16_384] {
            let hot = hot_rows(mib);
            assert!(mib * sql::ROWS_PER_MIB / hot >= APART && hot <= HOT_MAX, "{mib}");
        }
        assert_eq!(hot_rows(1024), HOT_MAX);
    }
}

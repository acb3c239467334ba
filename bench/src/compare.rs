//! One load on all peers, round about: side A, side B, side C, A ... so that a change of the machine's speed meets all
//! alike. What the servers wrote and which processes used the processor is read around every round.

use std::path::Path;

use crate::cpu::{self, Seconds};
use crate::peer::{Peer, Postgres, Replication, SextantCluster, Written};
use crate::report::{Figure, Report, Round, Side};
use crate::rounds::paired_ratio;
use crate::run::Section;
use crate::workload::{self, Workload};
use crate::{BenchArgs, BenchError, BenchName};

/// Puts the loads on the peers and prints each report when it is done.
pub fn run(
    args: &BenchArgs,
    names: &[BenchName],
    sextant: &Path,
    sections: &mut Vec<Section>,
) -> Result<(), BenchError> {
    // What is missing on this machine is said before anything is started.
    let load = |name: &BenchName| Ok((*name, workload::of(*name, args)?));
    let loads: Vec<(BenchName, Box<dyn Workload>)> =
        names.iter().map(load).collect::<Result<_, BenchError>>()?;
    if loads.is_empty() {
        return Ok(());
    }
    eprintln!("starting Sextant, PostgreSQL quorum and PostgreSQL alone ...");
    let peers: Vec<Box<dyn Peer>> = vec![
        Box::new(SextantCluster::start(sextant, args.segments)?),
        Box::new(Postgres::start(Replication::Quorum)?),
        Box::new(Postgres::start(Replication::Alone)?),
    ];
    for (name, load) in &loads {
        let report = compare(args, *name, load.as_ref(), &peers)?;
        report.print();
        sections.push(Section::Load(report));
    }
    Ok(())
}

fn compare(
    args: &BenchArgs,
    name: BenchName,
    load: &dyn Workload,
    peers: &[Box<dyn Peer>],
) -> Result<Report, BenchError> {
    let (rounds, seconds) = args.rounds();
    eprintln!("{}: loading ...", load.title());
    for peer in peers {
        load.load(&peer.target())?;
    }
    let mut sides: Vec<(&dyn Peer, Side)> =
        peers.iter().map(|peer| (peer.as_ref(), Side::of(peer.as_ref()))).collect();
    alternate(load, &mut sides, rounds, seconds)?;
    let mut checks = Vec::new();
    for peer in peers {
        let checked =
            load.check(&peer.target()).map_err(|e| BenchError::Peer(format!("{}: {e}", peer.name())))?;
        checks.extend(checked.map(|what| format!("{}: {what}", peer.name())));
    }
    let sides: Vec<Side> = sides.into_iter().map(|(_, side)| side).collect();
    let figures = figures(name, args.clients, &sides);
    let title = format!("{}, {rounds} rounds of {seconds} s", load.title());
    Ok(Report { name: name.short(), title, sides, checks, figures })
}

/// Rounds of a load on all sides by turns.
pub(crate) fn alternate(
    load: &dyn Workload,
    sides: &mut [(&dyn Peer, Side)],
    rounds: u32,
    seconds: u32,
) -> Result<(), BenchError> {
    for round in 1..=rounds {
        for (peer, side) in &mut *sides {
            let measured = measure(load, *peer, seconds)?;
            eprintln!("round {round}/{rounds} {:<24} {:>8.0} tps", side.name, measured.measured.tps);
            side.rounds.push(measured);
        }
    }
    Ok(())
}

fn measure(load: &dyn Workload, peer: &dyn Peer, seconds: u32) -> Result<Round, BenchError> {
    let processes = peer.processes()?;
    let (cpu, written): (Seconds, Written) = (cpu::used(&processes), peer.written()?);
    let measured = load.run(&peer.target(), seconds)?;
    if measured.failed > 0 {
        let failed = measured.failed;
        return Err(BenchError::Peer(format!("{}: {failed} transactions failed", peer.name())));
    }
    let transactions = (measured.tps * f64::from(seconds)).max(1.0);
    let cpu = cpu::between(&cpu, &cpu::used(&processes));
    let cpu_us = cpu.into_iter().map(|(role, seconds)| (role, seconds * 1e6 / transactions)).collect();
    let written = peer.written()?.since(&written);
    Ok(Round {
        measured,
        cpu_us,
        log_bytes: written.log_bytes / transactions,
        requests: written.requests.map(|requests| requests / transactions),
    })
}

fn figures(name: BenchName, clients: u32, sides: &[Side]) -> Vec<Figure> {
    let [ours, quorum, alone] = sides else { return Vec::new() };
    let short = name.short();
    let ratio = |other: &Side| paired_ratio(&ours.rate(), &other.rate());
    let one = if clients == 1 { "_one_client" } else { "" };
    let mut figures = vec![
        Figure::new(format!("{short}{one}_vs_pg_quorum"), ratio(quorum), "ratio"),
        Figure::new(format!("{short}{one}_vs_pg_alone"), ratio(alone), "ratio"),
        Figure::new(format!("{short}_tps"), ours.tps().median(), "tps"),
        Figure::new(format!("{short}_p99_ms"), ours.percentile_ms(0.99), "ms"),
        Figure::new(format!("{short}_cpu_us_per_txn"), ours.cpu_us().values().sum(), "us"),
    ];
    if name == BenchName::Tpcc {
        let per_min = |side: &Side| side.rate().median() * 60.0;
        figures.push(Figure::new("tpcc_new_orders_per_min", per_min(ours), "1/min"));
        figures.push(Figure::new("tpcc_pg_quorum_new_orders_per_min", per_min(quorum), "1/min"));
    }
    if ours.log_bytes() > 1.0 {
        figures.push(Figure::new(format!("{short}_redo_bytes_per_txn"), ours.log_bytes(), "bytes"));
        figures.push(Figure::new(format!("{short}_pg_wal_bytes_per_txn"), alone.log_bytes(), "bytes"));
    }
    if let Some(requests) = ours.requests().filter(|requests| *requests > 0.001) {
        figures.push(Figure::new(format!("{short}_requests_per_txn"), requests, "requests"));
    }
    figures
}

//! TPC-B (sort of), as pgbench has it: three updates, a select and an insert a transaction. The same load on the same
//! machine, round about, against PostgreSQL with the same quorum and PostgreSQL alone.

use std::path::Path;

use crate::peer::{Peer, Postgres, Replication, SextantCluster};
use crate::pgbench::Pgbench;
use crate::report::{Figure, Report, Side};
use crate::rounds::{Series, paired_ratio};
use crate::{BenchArgs, BenchError};

/// Runs the comparison and prints it.
pub fn run(args: &BenchArgs, sextant: &Path) -> Result<(), BenchError> {
    let pgbench = Pgbench::find()?;
    let (rounds, seconds) = if args.quick { (3, 5) } else { (5, 20) };
    eprintln!("starting Sextant, PostgreSQL quorum and PostgreSQL alone ...");
    let peers: Vec<Box<dyn Peer>> = vec![
        Box::new(SextantCluster::start(sextant)?),
        Box::new(Postgres::start(Replication::Quorum)?),
        Box::new(Postgres::start(Replication::Alone)?),
    ];
    for peer in &peers {
        eprintln!("loading scale {} into {} ...", args.scale, peer.name());
        pgbench.init(&peer.target(), args.scale)?;
    }
    let mut sides: Vec<Side> = peers.iter().map(|p| side(p.as_ref())).collect();
    for round in 1..=rounds {
        for (peer, side) in peers.iter().zip(&mut sides) {
            let figures = pgbench.tpcb(&peer.target(), args.clients, seconds)?;
            eprintln!("round {round}/{rounds} {:<24} {:>8.0} tps", peer.name(), figures.tps);
            if figures.failed > 0 {
                return Err(BenchError::Peer(format!(
                    "{}: {} transactions failed",
                    peer.name(),
                    figures.failed
                )));
            }
            side.tps.push(figures.tps);
            side.latency_ms.push(figures.latency_ms);
        }
    }
    let report = report(args, seconds, sides);
    report.print();
    args.json.as_deref().map_or(Ok(()), |file| report.write_json(file))
}

fn side(peer: &dyn Peer) -> Side {
    Side {
        name: peer.name().to_owned(),
        configuration: peer.configuration(),
        tps: Series::default(),
        latency_ms: Series::default(),
    }
}

fn report(args: &BenchArgs, seconds: u32, sides: Vec<Side>) -> Report {
    let ratio = |other: usize| paired_ratio(&sides[0].tps, &sides[other].tps);
    let alone = if args.clients == 1 { "tpcb_one_client_vs_pg_alone" } else { "tpcb_vs_pg_alone" };
    let figures = vec![
        Figure { name: "tpcb_vs_pg_quorum", value: ratio(1), unit: "ratio" },
        Figure { name: alone, value: ratio(2), unit: "ratio" },
        Figure { name: "tpcb_tps", value: sides[0].tps.median(), unit: "tps" },
    ];
    let (scale, clients) = (args.scale, args.clients);
    Report {
        title: format!("TPC-B, scale {scale}, {clients} clients, prepared, rounds of {seconds} s"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        sides,
        figures,
    }
}

//! The peer is what it claims to be: six copies, and a commit that waits for four. Skipped where PostgreSQL is not
//! installed.

use clap::{Args, FromArgMatches};
use sextant_bench::BenchArgs;
use sextant_bench::BenchError;
use sextant_bench::peer::{Peer, Postgres, Replication};
use sextant_bench::workload::Workload;
use sextant_bench::workload::pgbench::{Pgbench, Script};

#[test]
fn a_commit_of_the_quorum_peer_waits_for_three_standbys() {
    let postgres = match Postgres::start(Replication::Quorum) {
        Err(error @ BenchError::Missing { .. }) => return println!("skipped: {error}"),
        other => other.expect("PostgreSQL starts"),
    };
    let standbys =
        postgres.sql("select count(*) from pg_stat_replication where sync_state = 'quorum'").expect("query");
    assert_eq!(standbys.trim(), "5");
    let setting = postgres.sql("show synchronous_standby_names").expect("query");
    assert_eq!(setting.trim(), "ANY 3 (s1,s2,s3,s4,s5)");

    let words = ["bench", "tpcb", "--clients", "2", "--scale", "1"];
    let matches = BenchArgs::augment_args(clap::Command::new("bench")).get_matches_from(words);
    let args = BenchArgs::from_arg_matches(&matches).expect("what clap accepted");
    let pgbench = Pgbench::new(Script::TpcB, &args).expect("pgbench comes with the server");
    pgbench.load(&postgres.target()).expect("pgbench -i");
    let measured = pgbench.run(&postgres.target(), 2).expect("pgbench");
    assert!(measured.tps > 0.0 && measured.failed == 0, "{measured:?}");
    assert!(!measured.by_second.is_empty() && measured.percentile_ms(0.5) > 0.0, "{measured:?}");

    let wal = postgres.written().expect("WAL position").log_bytes;
    assert!(wal > 0.0);
    assert_eq!(postgres.processes().expect("process ids").len(), 6);
}

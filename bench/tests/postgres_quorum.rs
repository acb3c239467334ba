//! The peer is what it claims to be: six copies, and a commit that waits for four. Skipped where PostgreSQL is not
//! installed.

use sextant_bench::BenchError;
use sextant_bench::peer::{Peer, Postgres, Replication};
use sextant_bench::pgbench::Pgbench;

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

    let pgbench = Pgbench::find().expect("pgbench comes with the server");
    pgbench.init(&postgres.target(), 1).expect("pgbench -i");
    let figures = pgbench.tpcb(&postgres.target(), 2, 1).expect("pgbench");
    assert!(figures.tps > 0.0 && figures.failed == 0, "{figures:?}");
}

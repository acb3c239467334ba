//! Unmodified clients: psql and pgbench, in all of pgbench's protocol modes. Skipped, and said so, where they are not
//! installed.

use std::process::Command;
use std::time::Duration;

use crate::cluster::{Cluster, connect_to, output};

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} not installed");
    }
    found
}

fn client(cluster: &Cluster, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &cluster.port().to_string(), "-U", "postgres"]);
    // Nothing of the tester's own configuration.
    command.env("PGCONNECT_TIMEOUT", "10").env("PSQLRC", "/dev/null").args(arguments).arg("postgres");
    let (status, said) = output(&mut command, Duration::from_secs(300));
    assert!(status.success(), "{program} {arguments:?}: {said}");
    said
}

#[test]
fn psql_creates_fills_and_reads_a_table() {
    if !installed("psql") {
        return;
    }
    let mut cluster = Cluster::started();
    let psql = |sql: &str| client(&cluster, "psql", &["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
    psql("CREATE TABLE words (id int PRIMARY KEY, word varchar(20))");
    assert_eq!(psql("INSERT INTO words VALUES (1, 'one'), (2, 'two'), (3, NULL)").trim(), "INSERT 0 3");
    assert_eq!(psql("UPDATE words SET word = 'three' WHERE id = 3").trim(), "UPDATE 1");
    assert_eq!(psql("SELECT id, word FROM words ORDER BY id DESC LIMIT 2").trim(), "3|three\n2|two");
    assert_eq!(psql("SELECT count(*), sum(id) FROM words").trim(), "3|6");
    assert_eq!(
        psql("BEGIN; DELETE FROM words; ROLLBACK; SELECT count(*) FROM words").lines().last(),
        Some("3")
    );
    cluster.stop();
}

/// What psql asks the catalog for is SQL of its own: regular expressions, OPERATOR(), tables that nothing is in.
#[test]
fn psql_lists_what_there_is() {
    if !installed("psql") {
        return;
    }
    let mut cluster = Cluster::started();
    let psql =
        |what: &str| client(&cluster, "psql", &["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", what]);
    psql("CREATE TABLE words (id int PRIMARY KEY, word text)");
    psql("CREATE VIEW few AS SELECT word FROM words WHERE id < 3");
    psql("CREATE SEQUENCE numbers");
    for (what, wanted) in [
        ("\\dt", "public|words|table|postgres"),
        ("\\d", "public|few|view|postgres\npublic|numbers|sequence|postgres\npublic|words|table|postgres"),
        ("\\dv", "public|few|view|postgres"),
        ("\\ds", "public|numbers|sequence|postgres"),
        ("\\di", "public|words_pkey|index|postgres|words"),
        ("\\dt w*", "public|words|table|postgres"),
        ("\\dn", "public|postgres"),
        ("\\l", "postgres|postgres|UTF8|C|C||libc|"),
        ("\\db", "pg_default|postgres|\npg_global|postgres|"),
        ("\\df", ""),
        ("\\dx", ""),
    ] {
        assert_eq!(psql(what).trim(), wanted, "{what}");
    }
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_mode() {
    if !installed("pgbench") {
        return;
    }
    let mut cluster = Cluster::started();
    client(&cluster, "pgbench", &["-i", "-s", "1", "-q"]);
    // Without -n pgbench vacuums and empties the history first; the later runs must not, so that the sums agree.
    client(&cluster, "pgbench", &["-b", "select-only", "-t", "10"]);
    for mode in ["simple", "extended", "prepared"] {
        for (script, transactions) in [("tpcb-like", "50"), ("select-only", "250")] {
            let arguments = ["-n", "-M", mode, "-b", script, "-c", "4", "-j", "2", "-t", transactions];
            let said = client(&cluster, "pgbench", &arguments);
            assert!(said.contains("number of failed transactions: 0 (0.000%)"), "{mode} {script}: {said}");
        }
    }
    let client = connect_to(cluster.port()).await;
    let mut sums = Vec::new();
    for (table, column) in
        [("accounts", "abalance"), ("tellers", "tbalance"), ("branches", "bbalance"), ("history", "delta")]
    {
        let query = format!("SELECT sum({column}), count(*) FROM pgbench_{table}");
        let row = client.query_one(&query, &[]).await.expect("a sum");
        sums.push((row.get::<_, Option<i64>>(0), row.get::<_, i64>(1)));
    }
    assert!(sums.iter().all(|(sum, _)| *sum == sums[0].0), "{sums:?}");
    let rows: Vec<i64> = sums.iter().map(|(_, rows)| *rows).collect();
    assert_eq!(rows, [100_000, 10, 1, 3 * 4 * 50]);
    drop(client);
    cluster.stop();
}

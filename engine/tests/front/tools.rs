//! psql and pgbench as they are installed. Where they are not, a line says so and the test passes.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::harness::Front;

/// What a tool printed, and whether it was content.
struct Printed {
    ok: bool,
    out: String,
    errors: String,
}

async fn run(front: &Front, tool: &str, arguments: &[&str]) -> Option<Printed> {
    let mut command = Command::new(tool);
    command
        .args(["-h", "127.0.0.1", "-p", &front.addr.port().to_string(), "-U", "tester"])
        .args(arguments)
        .env("PGCONNECT_TIMEOUT", "5")
        .env("PGDATABASE", "test")
        .env_remove("PGPASSWORD")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(Duration::from_secs(120), command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
        other => panic!("{tool} {arguments:?}: {other:?}"),
    };
    Some(Printed {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn psql(front: &Front, sql: &str) -> Option<Printed> {
    run(front, "psql", &["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_runs_statements() {
    let front = Front::start().await;
    for (sql, expected) in [
        ("create table t (id int primary key, name varchar(10))", "CREATE TABLE"),
        ("insert into t values (1, 'one'), (2, null)", "INSERT 0 2"),
        ("select * from t order by id", "1|one\n2|"),
        ("update t set name = 'two' where id = 2", "UPDATE 1"),
        ("select count(*), sum(id) from t", "2|3"),
    ] {
        let Some(printed) = psql(&front, sql).await else { return };
        assert!(printed.ok, "{sql}: {}", printed.errors);
        assert_eq!(printed.out.trim_end(), expected, "{sql}");
    }
    let printed = psql(&front, "select nope").await.expect("installed");
    assert!(!printed.ok && printed.errors.contains("nope"), "{}", printed.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_mode_without_an_error() {
    let front = Front::start().await;
    let Some(made) = run(&front, "pgbench", &["-i", "-s", "1", "-q"]).await else { return };
    assert!(made.ok, "{}", made.errors);
    // Again, over the tables that are there.
    let made = run(&front, "pgbench", &["-i", "-s", "1", "-q", "--foreign-keys"]).await.expect("installed");
    assert!(made.ok, "{}", made.errors);
    // Without -n it vacuums, and truncates the history.
    let ran = run(&front, "pgbench", &["-t", "1"]).await.expect("installed");
    assert!(ran.ok, "{}", ran.errors);
    for mode in ["simple", "extended", "prepared"] {
        for script in ["tpcb-like", "select-only", "simple-update"] {
            let arguments = ["-n", "-M", mode, "-b", script, "-c", "4", "-j", "2", "-t", "50"];
            let ran = run(&front, "pgbench", &arguments).await.expect("installed");
            assert!(ran.ok, "{mode} {script}: {}", ran.errors);
            assert!(ran.out.contains("number of failed transactions: 0"), "{mode} {script}: {}", ran.out);
            assert!(!ran.errors.contains("ERROR"), "{mode} {script}: {}", ran.errors);
        }
    }
    let client = front.connect().await;
    let total = async |column: &str, table: &str| {
        let sql = format!("select sum({column})::bigint from {table}");
        client.query_one(&sql, &[]).await.expect("summed").get::<_, i64>(0)
    };
    assert_eq!(total("abalance", "pgbench_accounts").await, total("delta", "pgbench_history").await);
    assert_eq!(total("tbalance", "pgbench_tellers").await, total("bbalance", "pgbench_branches").await);
    let transactions = client.query_one("select count(*) from pgbench_history", &[]).await.expect("counted");
    assert_eq!(transactions.get::<_, i64>(0), 3 * 2 * 4 * 50 + 1);
    let keys = client.query_one("select count(*) from pg_constraint where contype = 'f'", &[]).await;
    assert_eq!(keys.expect("counted").get::<_, i64>(0), 5);
}

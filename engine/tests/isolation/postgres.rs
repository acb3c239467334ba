//! The same scripts played by PostgreSQL 15, where it is installed: what is written of them must be what it does, up to the
//! wording of messages. Of SERIALIZABLE only such stories are told in which it does not matter how much of an index or a
//! table a reader locks: PostgreSQL locks pages where we lock ranges of keys.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use crate::player::{Place, play};
use crate::script::Script;

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// PostgreSQL looks for a deadlock once a wait is so old; until then a victim looks like one that waits.
const DEADLOCK_MS: u64 = 20;

/// A server of its own; it ends with the value.
pub(crate) struct Postgres {
    child: Child,
    user: Option<(u32, u32)>,
    data: PathBuf,
    /// Its socket is in here: a TCP port, free a moment ago, may be another test's server by now.
    folder: tempfile::TempDir,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Nothing that it holds is worth keeping.
        let stopped =
            command("pg_ctl", self.user).args(["stop", "-m", "immediate", "-D"]).arg(&self.data).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// PostgreSQL does not run as root: then it is run as the user that its package made.
fn user(folder: &Path) -> Option<(u32, u32)> {
    if std::fs::metadata(folder).ok()?.uid() != 0 {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

fn command(name: &str, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(Path::new(BINARIES).join(name));
    command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

impl Postgres {
    /// None, with a line that says so, where PostgreSQL 15 is not installed.
    pub(crate) async fn start_if_installed() -> Option<Postgres> {
        if Path::new(BINARIES).join("postgres").exists() {
            return Some(Postgres::start().await);
        }
        println!("skipped: PostgreSQL 15 is not installed in {BINARIES}");
        None
    }

    /// A new database, with these of the planner's settings off.
    pub(crate) async fn hall(&self, name: &str, off: &[&str]) -> Hall<'_> {
        let watch = self.try_connect("postgres").await.expect("connected");
        watch.batch_execute(&format!("create database {name}")).await.expect("a database");
        for setting in off {
            let sql = format!("alter database {name} set {setting} = off");
            watch.batch_execute(&sql).await.expect("switched off");
        }
        Hall { postgres: self, name: name.to_owned(), watch }
    }

    async fn start() -> Postgres {
        let folder = tempfile::tempdir().expect("a folder");
        let data: PathBuf = folder.path().join("data");
        let user = user(folder.path());
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("given away");
        }
        let made = command("initdb", user)
            .args(["-U", "tester", "-A", "trust", "--locale=C", "-E", "UTF8", "-N", "-D"])
            .arg(&data)
            .status();
        assert!(made.expect("initdb runs").success(), "initdb makes a cluster");
        let child = command("postgres", user)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .args(["-c", &format!("deadlock_timeout={DEADLOCK_MS}ms")])
            .spawn()
            .expect("postgres starts");
        let postgres = Postgres { child, user, data, folder };
        for _ in 0..500 {
            if postgres.try_connect("postgres").await.is_some() {
                return postgres;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("PostgreSQL does not answer");
    }

    async fn try_connect(&self, database: &str) -> Option<Client> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.folder.path()).user("tester").dbname(database);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }
}

/// A database for one script.
pub(crate) struct Hall<'a> {
    postgres: &'a Postgres,
    name: String,
    watch: Client,
}

impl Place for Hall<'_> {
    async fn connect(&self) -> Arc<Client> {
        Arc::new(self.postgres.try_connect(&self.name).await.expect("connected"))
    }

    async fn waiting(&self) -> usize {
        let seen = self.count().await;
        if seen > 0 {
            // Who closed a cycle is found to be a victim by now, and does not wait.
            tokio::time::sleep(Duration::from_millis(3 * DEADLOCK_MS)).await;
            return self.count().await;
        }
        seen
    }
}

impl Hall<'_> {
    async fn count(&self) -> usize {
        let sql = "select (select count(distinct pid) from pg_locks where not granted)
            + (select count(*) from pg_stat_activity where wait_event = 'SafeSnapshot')";
        let row = self.watch.query_one(sql, &[]).await.expect("counted");
        row.get::<_, i64>(0) as usize
    }
}

/// Without the words of errors.
pub(crate) fn plain(outcome: &str) -> String {
    let line = |line: &str| match line.split_once(" -> ! ") {
        Some((step, error)) => format!("{step} -> ! {}", error.split(' ').next().unwrap_or_default()),
        None => line.to_owned(),
    };
    outcome.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_does_the_same() {
    let Some(postgres) = Postgres::start_if_installed().await else { return };
    let mut wrong = Vec::new();
    let mut n = 0;
    for (path, text) in crate::scripts() {
        let script = Script::parse(&text);
        for level in script.levels() {
            n += 1;
            let hall = postgres.hall(&format!("script{n}"), &[]).await;
            let came = plain(&play(&hall, &script, level).await);
            let written = plain(&text);
            if !written.contains(came.trim()) {
                wrong.push(format!("{}: PostgreSQL:\n{came}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "PostgreSQL does otherwise:\n\n{}", wrong.join("\n\n"));
}

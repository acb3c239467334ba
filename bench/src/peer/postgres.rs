//! PostgreSQL from Debian's packages: alone, or a primary and five standbys with `ANY 3`, so that a commit waits until
//! four of six copies have it: the same durability as ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Crash, Peer, Written, free_ports};
use crate::command::{self, BenchError};
use crate::cpu::Process;
use crate::process;
use crate::workload::Target;

const PACKAGE: &str = "postgresql-15";
const STANDBYS: u16 = 5;
const PRIMARY: &str = "primary";
const QUORUM_LIMIT: Duration = Duration::from_secs(30);
/// How long killed processes may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(30);

/// How many copies a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// One copy, default durability.
    Alone,
    /// Four of six.
    Quorum,
}

/// A running PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: u16,
    replication: Replication,
    clusters: Vec<PathBuf>,
}

impl Postgres {
    /// Starts one and waits until it is ready.
    pub fn start(replication: Replication) -> Result<Postgres, BenchError> {
        let folder = tempfile::tempdir().map_err(BenchError::io("cannot make a temporary folder"))?;
        let port = free_ports(STANDBYS + 1)?;
        let mut postgres = Postgres { folder, port, replication, clusters: Vec::new() };
        postgres.own_folder()?;
        postgres.start_primary()?;
        if replication == Replication::Quorum {
            (1..=STANDBYS).try_for_each(|n| postgres.start_standby(n))?;
            postgres.require_quorum()?;
        }
        Ok(postgres)
    }

    /// PostgreSQL refuses to run as root; Debian's user for it is `postgres`.
    fn as_user(&self, program: &str) -> Result<Command, BenchError> {
        let program = command::find(program, PACKAGE)?;
        let mut command = if is_root() { Command::new("setpriv") } else { Command::new(&program) };
        if is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        }
        command.current_dir(self.folder.path());
        Ok(command)
    }

    fn own_folder(&self) -> Result<(), BenchError> {
        if !is_root() {
            return Ok(());
        }
        command::output(Command::new("chown").arg("postgres:").arg(self.folder.path())).map(|_| ())
    }

    fn start_primary(&mut self) -> Result<(), BenchError> {
        let data = self.folder.path().join(PRIMARY);
        let mut initdb = self.as_user("initdb")?;
        command::output(initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", "postgres"]))?;
        let settings = format!(
            "port={}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\nmax_connections=400\n\
             shared_buffers=1GB\nmax_wal_size=8GB\nmax_wal_senders=20\nwal_level=replica\nhot_standby=on\n",
            self.port
        );
        append(&data.join("postgresql.conf"), &settings)?;
        self.start_server(data)
    }

    fn start_standby(&mut self, n: u16) -> Result<(), BenchError> {
        let data = self.folder.path().join(format!("s{n}"));
        let mut backup = self.as_user("pg_basebackup")?;
        backup.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-R",
            "-X",
            "stream",
            "-D",
        ]);
        command::output(backup.arg(&data))?;
        append(&data.join("postgresql.conf"), &format!("port={}\nshared_buffers=128MB\n", self.port + n))?;
        let auto = format!(
            "primary_conninfo = 'application_name=s{n} host=127.0.0.1 port={} user=postgres'\n",
            self.port
        );
        append(&data.join("postgresql.auto.conf"), &auto)?;
        self.start_server(data)
    }

    fn start_server(&mut self, data: PathBuf) -> Result<(), BenchError> {
        let log = data.with_extension("log");
        let mut start = self.as_user("pg_ctl")?;
        start.arg("-D").arg(&data).arg("-l").arg(&log).args(["-w", "-t", "60", "start"]);
        self.clusters.push(data);
        command::output(&mut start).map(|_| ())
    }

    fn stop_server(&self, data: &Path) -> Result<(), BenchError> {
        let mut stop = self.as_user("pg_ctl")?;
        stop.arg("-D").arg(data).args(["-m", "immediate", "-w", "-t", "20", "stop"]);
        command::output(&mut stop).map(|_| ())
    }

    fn require_quorum(&self) -> Result<(), BenchError> {
        let names = (1..=STANDBYS).map(|n| format!("s{n}")).collect::<Vec<_>>().join(",");
        self.sql(&format!("alter system set synchronous_standby_names = 'ANY 3 ({names})'"))?;
        self.sql("select pg_reload_conf()")?;
        self.wait_for_quorum()
    }

    /// The setting is taken up by each process in its own time, and a standby counts once it streams.
    fn wait_for_quorum(&self) -> Result<(), BenchError> {
        let started = Instant::now();
        let counted =
            "select count(*) from pg_stat_replication where sync_state = 'quorum' and state = 'streaming'";
        while started.elapsed() < QUORUM_LIMIT {
            if self.sql(counted)?.trim() == STANDBYS.to_string() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(BenchError::Peer(format!(
            "PostgreSQL had not {STANDBYS} quorum standbys within {QUORUM_LIMIT:?}"
        )))
    }

    /// Runs one statement and returns its rows as text.
    pub fn sql(&self, statement: &str) -> Result<String, BenchError> {
        let mut psql = Command::new(command::find("psql", "postgresql-client-15")?);
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-qAtc", statement]);
        command::output(&mut psql).map(|output| output.stdout)
    }
}

impl Peer for Postgres {
    fn name(&self) -> &'static str {
        match self.replication {
            Replication::Alone => "PostgreSQL alone",
            Replication::Quorum => "PostgreSQL quorum 4/6",
        }
    }

    fn configuration(&self) -> String {
        let version = self.sql("show server_version").unwrap_or_default();
        let copies = match self.replication {
            Replication::Alone => "one copy",
            Replication::Quorum => "primary and 5 standbys, synchronous_standby_names = ANY 3 (s1..s5)",
        };
        format!("PostgreSQL {}: {copies}, fsync on, shared_buffers 1GB, max_wal_size 8GB", version.trim())
    }

    fn target(&self) -> Target {
        Target { port: self.port, user: "postgres".into(), database: "postgres".into() }
    }

    fn processes(&self) -> Result<Vec<Process>, BenchError> {
        let process = |data: &PathBuf| {
            let file = data.join("postmaster.pid");
            let text = fs::read_to_string(&file)
                .map_err(BenchError::io(format!("cannot read {}", file.display())))?;
            let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
            let pid = pid.ok_or_else(|| BenchError::Peer(format!("no process id in {}", file.display())))?;
            let role = if data.ends_with(PRIMARY) { PRIMARY } else { "standbys" };
            Ok(Process { role: role.to_owned(), pid })
        };
        self.clusters.iter().map(process).collect()
    }

    fn written(&self) -> Result<Written, BenchError> {
        let bytes = self.sql("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")?;
        let log_bytes =
            bytes.trim().parse().map_err(|_| BenchError::Peer(format!("no WAL position: {bytes}")))?;
        Ok(Written { log_bytes, requests: None })
    }
}

impl Crash for Postgres {
    fn server(&self) -> Result<u32, BenchError> {
        let primary = self.processes()?.into_iter().find(|process| process.role == PRIMARY);
        primary.map(|process| process.pid).ok_or_else(|| BenchError::Peer("PostgreSQL has no primary".into()))
    }

    fn settle(&self) -> Result<(), BenchError> {
        self.sql("checkpoint").map(|_| ())
    }

    fn crash(&self) -> Result<Instant, BenchError> {
        let server = self.server()?;
        // Standing still it starts no process that would be missed below.
        super::signal("-STOP", &[server])?;
        let pids = process::tree(server);
        let at = super::signal("-KILL", &[server])?;
        // One of them may have ended by itself meanwhile; those that have not are waited for.
        let _ = super::signal("-KILL", &pids);
        // While one of them is on its way out the memory that they shared keeps a new server from starting.
        while pids.iter().any(|pid| process::of(*pid).is_some_and(|stat| stat.alive)) {
            if at.elapsed() > GONE_LIMIT {
                return Err(BenchError::Peer(format!("PostgreSQL was not gone within {GONE_LIMIT:?}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let data = self.folder.path().join(PRIMARY);
        // A process that is dead, but was not waited for by its parent, is one that runs to PostgreSQL.
        let lock = data.join("postmaster.pid");
        fs::remove_file(&lock).map_err(BenchError::io(format!("cannot remove {}", lock.display())))?;
        let mut start = self.as_user("pg_ctl")?;
        start.arg("-D").arg(&data).arg("-l").arg(data.with_extension("log")).args(["-W", "start"]);
        command::output(&mut start).map(|_| at)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for data in self.clusters.iter().rev() {
            if let Err(error) = self.stop_server(data) {
                eprintln!("cannot stop {}: {error}", data.display());
            }
        }
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn append(file: &Path, text: &str) -> Result<(), BenchError> {
    use std::io::Write;
    let what = || format!("cannot write {}", file.display());
    let mut open = fs::OpenOptions::new().append(true).open(file).map_err(BenchError::io(what()))?;
    open.write_all(text.as_bytes()).map_err(BenchError::io(what()))
}

//! The supervisor of a development cluster: starts all processes, restarts what dies, stops all in order.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use sextant_node::identity::DataDir;
use sextant_node::{exit, net, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::child::{Child, Exited, last_line};
use super::cluster_file::{self, ClusterFile};
use super::layout::{Layout, Role};
use super::{DevError, Wishes};

/// How long a port may still be held by what ran here before: a killed cluster's processes take a moment to go.
const PORT_PATIENCE: Duration = Duration::from_secs(3);
/// How long a process may take to stop by itself before it is killed. The engine flushes its log in that time; a killed
/// process loses nothing that was acknowledged.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at the SQL port.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Length and code of PostgreSQL's SSLRequest: the shortest message that a SQL server answers.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What the loop waits for besides a signal.
enum Event {
    Exited(Exited),
    Restart(usize),
    Ready,
}

struct Supervisor<'a> {
    dir: &'a Path,
    layout: Layout,
    children: Vec<Child>,
    wishes: Wishes,
    ready: bool,
    began: Instant,
    sql_watch: Option<JoinHandle<()>>,
    exits: mpsc::Sender<Exited>,
    events: mpsc::Sender<Event>,
}

/// Runs the cluster until SIGINT or SIGTERM. `lock` keeps other supervisors out of `dir`.
pub(crate) async fn run(dir: &Path, layout: Layout, wishes: Wishes, lock: DataDir) -> Result<(), DevError> {
    let logs = dir.join("logs");
    std::fs::create_dir_all(&logs).map_err(|source| DevError::Io { what: "create", path: logs, source })?;
    check_ports(&layout).await?;
    let (exits, mut exited) = mpsc::channel(64);
    let (events, mut happened) = mpsc::channel(64);
    let mut supervisor = Supervisor {
        dir,
        children: layout.children.iter().cloned().map(Child::new).collect(),
        layout,
        wishes,
        ready: false,
        began: Instant::now(),
        sql_watch: None,
        exits,
        events,
    };
    supervisor.announce();
    let mut stop = std::pin::pin!(shutdown::signal());
    let outcome = match supervisor.start_all() {
        Ok(()) => loop {
            let event = tokio::select! {
                () = &mut stop => break Ok(()),
                Some(exit) = exited.recv() => Event::Exited(exit),
                Some(event) = happened.recv() => event,
            };
            supervisor.on_event(event);
        },
        Err(error) => Err(error),
    };
    say("stopping: engine, then storage, then metadata");
    tokio::select! {
        () = supervisor.stop_all(&mut exited) => {}
        // Asked twice: somebody is in a hurry, and no acknowledged commit needs a clean stop.
        () = shutdown::signal() => supervisor.kill_all(&mut exited).await,
    }
    let written = supervisor.write_file(None);
    drop(lock);
    say("stopped");
    outcome.and(written)
}

impl Supervisor<'_> {
    fn start_all(&mut self) -> Result<(), DevError> {
        for index in 0..self.children.len() {
            self.start(index)?;
        }
        self.changed()
    }

    fn start(&mut self, index: usize) -> Result<(), DevError> {
        let child = &mut self.children[index];
        child
            .start(index, &self.layout, &self.wishes, self.exits.clone())
            .map_err(|source| DevError::Spawn { name: child.spec.name.clone(), source })?;
        if child.spec.role == Role::Engine {
            self.watch_sql();
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Exited(exit) => self.on_exit(exit),
            Event::Restart(index) => {
                self.children[index].restarts += 1;
                if let Err(error) = self.start(index) {
                    say(&error.to_string());
                    let pause = self.children[index].ended();
                    self.restart_after(index, pause);
                }
            }
            Event::Ready => {
                self.ready = self.children.iter().any(|c| c.spec.role == Role::Engine && c.pid.is_some());
                if self.ready {
                    say(&format!("ready after {:.1} s", self.began.elapsed().as_secs_f64()));
                }
            }
        }
        // The processes are worth more than the list of them: a full disk must not stop what runs.
        if let Err(error) = self.changed() {
            say(&error.to_string());
        }
    }

    fn on_exit(&mut self, Exited { index, status }: Exited) {
        let child = &mut self.children[index];
        let pause = child.ended();
        if child.spec.role == Role::Engine {
            self.ready = false;
            self.began = Instant::now();
        }
        let how = match &status {
            Ok(status) if status.code() == Some(i32::from(exit::FENCED)) => "was fenced".to_owned(),
            Ok(status) => match status.signal() {
                Some(signal) => format!("was ended by signal {signal}"),
                None => format!("ended with {status}"),
            },
            Err(error) => format!("is lost: {error}"),
        };
        let next = match self.wishes.restart {
            true => format!("starting it again in {} ms", pause.as_millis()),
            false => "leaving it so".to_owned(),
        };
        say(&format!("{} {how}; {next}", child.spec.name));
        if status.is_ok_and(|status| status.signal().is_none())
            && let Some(line) = last_line(&child.spec.log)
        {
            say(&format!("  its last words: {line}"));
        }
        if self.wishes.restart {
            self.restart_after(index, pause);
        }
    }

    fn restart_after(&self, index: usize, pause: Duration) {
        let events = self.events.clone();
        tokio::spawn(async move {
            sleep(pause).await;
            // A closed channel: the supervisor is stopping.
            let _ = events.send(Event::Restart(index)).await;
        });
    }

    /// Tells when SQL is answered after a start of the engine.
    fn watch_sql(&mut self) {
        let (events, sql) = (self.events.clone(), self.layout.sql());
        let watch = tokio::spawn(async move {
            while !events.is_closed() {
                if timeout(Duration::from_secs(1), answers(sql)).await.unwrap_or(false) {
                    // A closed channel: the supervisor is stopping.
                    let _ = events.send(Event::Ready).await;
                    return;
                }
                sleep(PROBE_EVERY).await;
            }
        });
        if let Some(former) = self.sql_watch.replace(watch) {
            former.abort();
        }
    }

    /// Stops role by role; kills what does not stop in time.
    async fn stop_all(&mut self, exited: &mut mpsc::Receiver<Exited>) {
        self.ready = false;
        for role in [Role::Engine, Role::Segment, Role::Meta] {
            for child in self.children.iter().filter(|child| child.spec.role == role) {
                child.signal(libc::SIGTERM);
                // A paused process would not see the first signal.
                child.signal(libc::SIGCONT);
            }
            if timeout(STOP_PATIENCE, self.all_ended(role, exited)).await.is_err() {
                for child in self.children.iter().filter(|child| child.spec.role == role) {
                    if child.pid.is_some() {
                        say(&format!("{} did not stop in time; killing it", child.spec.name));
                    }
                    child.signal(libc::SIGKILL);
                }
                self.all_ended(role, exited).await;
            }
        }
    }

    async fn kill_all(&mut self, exited: &mut mpsc::Receiver<Exited>) {
        say("killing all");
        self.children.iter().for_each(|child| child.signal(libc::SIGKILL));
        for role in [Role::Engine, Role::Segment, Role::Meta] {
            self.all_ended(role, exited).await;
        }
    }

    async fn all_ended(&mut self, role: Role, exited: &mut mpsc::Receiver<Exited>) {
        while self.children.iter().any(|child| child.spec.role == role && child.pid.is_some()) {
            if let Some(Exited { index, .. }) = exited.recv().await {
                self.children[index].ended();
            }
        }
    }

    fn changed(&self) -> Result<(), DevError> {
        self.write_file(Some(std::process::id()))
    }

    fn write_file(&self, supervisor_pid: Option<u32>) -> Result<(), DevError> {
        let children = self.children.iter().map(|child| cluster_file::Child {
            name: child.spec.name.clone(),
            role: child.spec.role,
            id: child.spec.id,
            az: child.spec.az,
            pid: child.pid,
            restarts: child.restarts,
            address: child.spec.address,
            http: child.spec.http,
            data: child.spec.data.clone(),
            log: child.spec.log.clone(),
        });
        let file = ClusterFile {
            postgres_url: postgres_url(&self.layout),
            base_port: self.layout.base_port,
            segments: self.layout.segments,
            supervisor_pid,
            ready: self.ready,
            children: children.collect(),
        };
        file.write(self.dir)
    }

    fn announce(&self) {
        let port = self.layout.base_port;
        let dir = self.dir.display();
        let storage = 3 * self.layout.nodes_per_az();
        say(&format!(
            "Sextant: 3 metadata processes, {} storage nodes in 3 zones, 1 writer\n  \
             psql   psql -h 127.0.0.1 -p {port} -U postgres postgres\n  \
             url    {}\n  \
             ports  {port} SQL, {} its HTTP; {}-{} metadata, {}-{} HTTP; {}-{} storage, {}-{} HTTP\n  \
             data   {dir} (cluster.json lists every process)\n  \
             logs   {dir}/logs/NAME.log",
            storage,
            postgres_url(&self.layout),
            port + 50,
            port + 11,
            port + 13,
            port + 21,
            port + 23,
            port + 31,
            port + 30 + storage,
            port + 41,
            port + 40 + storage,
        ));
    }
}

/// The URL of the SQL front in libpq's form.
pub(crate) fn postgres_url(layout: &Layout) -> String {
    format!("postgresql://postgres@{}/postgres", layout.sql())
}

/// A line for the user; a closed stdout must not end the cluster.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn answers(sql: SocketAddr) -> bool {
    let probe = async {
        let mut stream = net::connect(sql, Duration::from_secs(1)).await.ok()?;
        stream.write_all(&SSL_REQUEST).await.ok()?;
        stream.read_u8().await.ok()
    };
    probe.await.is_some()
}

/// Finds a taken port before anything is started, and says who wanted it.
async fn check_ports(layout: &Layout) -> Result<(), DevError> {
    let deadline = Instant::now() + PORT_PATIENCE;
    for (addr, what) in layout.ports() {
        while let Err(error) = net::bind(addr, &what).await {
            if Instant::now() >= deadline || error.source.kind() != std::io::ErrorKind::AddrInUse {
                return Err(error.into());
            }
            sleep(PROBE_EVERY).await;
        }
    }
    Ok(())
}

//! Faults strike and end, one tick after the other, and what must hold meanwhile is watched.
//!
//! Whoever calls owns the processes: all of them are started on the thread that runs this, since the kernel ends them with
//! it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sextant_node::{exit, http_get};
use tokio::time::sleep;

use crate::bank::{self, Pace};
use crate::cluster::{Cluster, NODES};
use crate::disk::SmallDisk;
use crate::plan::{Drawn, IMPAIRED_MAX, Impaired, Strike};
use crate::proxy::Fault;
use crate::report::Report;
use crate::{catch_up, full_disk, replace};

const TICK: Duration = Duration::from_millis(100);
/// How long commits may stay away although they must go on: far above a lease, an opening and a client's patience together.
const OVERDUE_MAX: Duration = Duration::from_secs(60);
/// How long until SQL must be answered after a start; ten processes on a busy machine.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a process may need until it is like its peers again.
const RECOVER_LIMIT: Duration = Duration::from_secs(90);
/// Between two lines about how it goes.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// A fault that lasts.
struct Active {
    strike: Strike,
    until: Instant,
}

/// A fault that is over, and whose victims are not yet like their peers.
struct Recovering {
    strike: Strike,
    since: Instant,
    /// What the victims must have; known once their peers were asked.
    target: Option<catch_up::Target>,
}

/// See the module.
pub struct Storm<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) disk: Option<&'a SmallDisk>,
    pub(crate) report: &'a mut Report,
    pace: Arc<Pace>,
    impaired: Impaired,
    active: Vec<Active>,
    recovering: Vec<Recovering>,
    started: Instant,
    said: Instant,
    stuck: bool,
}

impl<'a> Storm<'a> {
    /// A storm over a cluster that serves; `pace` is its workload's.
    pub fn new(
        cluster: &'a mut Cluster,
        disk: Option<&'a SmallDisk>,
        report: &'a mut Report,
        pace: Arc<Pace>,
    ) -> Storm<'a> {
        let now = Instant::now();
        Storm {
            cluster,
            disk,
            report,
            pace,
            impaired: Impaired::default(),
            active: Vec::new(),
            recovering: Vec::new(),
            started: now,
            said: now,
            stuck: false,
        }
    }

    /// Time since the storm began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Processes killed so far; everything at once counts as one.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.report.kills + self.report.whole_kills
    }

    /// What is impaired now.
    #[must_use]
    pub fn impaired(&self) -> &Impaired {
        &self.impaired
    }

    /// Commits have stayed away for too long: nothing more can be learnt by going on.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Lets a fault strike. Those of several steps are over when this returns.
    pub async fn strike(&mut self, drawn: Drawn) -> io::Result<()> {
        let Drawn { strike, lasts } = drawn;
        self.report.fault(strike.kind());
        self.say(&format!("{strike} for {lasts:?}"));
        strike.impair(&mut self.impaired, true);
        self.watch_commits();
        match &strike {
            Strike::KillNodes(victims) => {
                victims.iter().for_each(|victim| self.cluster.nodes[*victim].shoot());
                let killed = victims.iter().filter(|victim| self.cluster.nodes[**victim].reap()).count();
                self.report.kills += killed as u64;
            }
            Strike::PauseNode(victim) => self.cluster.nodes[*victim].pause(),
            Strike::NodeLink(victim, fault) => self.cluster.node_links[*victim].set(*fault),
            Strike::KillMeta(victim) => {
                self.report.kills += u64::from(self.cluster.meta[*victim].kill());
            }
            Strike::PauseMeta(victim) => self.cluster.meta[*victim].pause(),
            Strike::MetaLink(victim, fault) => self.cluster.meta_links[*victim].set(*fault),
            Strike::KillEngine => {
                let writer = self.cluster.writer;
                self.report.kills += u64::from(self.cluster.engines[writer].kill());
            }
            Strike::FullDisk => full_disk::strike(self, lasts).await?,
            Strike::ReplaceEngine => replace::strike(self, lasts).await?,
            Strike::KillEverything => {
                self.kill_everything(lasts).await?;
                return Ok(());
            }
        }
        let until = match strike {
            Strike::FullDisk | Strike::ReplaceEngine => Instant::now(),
            _ => Instant::now() + lasts,
        };
        self.active.push(Active { strike, until });
        Ok(())
    }

    /// Kills every process, and starts all again.
    pub async fn kill_everything(&mut self, pause: Duration) -> io::Result<()> {
        self.pace.expect_commits(false);
        self.cluster.kill_all();
        self.report.whole_kills += 1;
        sleep(pause).await;
        self.cluster.start_all()?;
        self.wait_for_sql().await?;
        // Whoever was behind is behind still.
        let strike = Strike::KillNodes((0..NODES).collect());
        strike.impair(&mut self.impaired, true);
        self.recovering.push(Recovering { strike, since: Instant::now(), target: None });
        Ok(())
    }

    /// Ends what is due, looks after the processes, and waits a little.
    pub async fn tick(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let (over, active) =
            std::mem::take(&mut self.active).into_iter().partition(|a: &Active| a.until <= now);
        self.active = active;
        for Active { strike, .. } in over {
            self.end(strike)?;
        }
        self.look_after_processes()?;
        self.recover().await;
        self.watch_commits();
        if !self.stuck && self.pace.overdue() > OVERDUE_MAX {
            self.stuck = true;
            self.report.finding(format!("no commit for {OVERDUE_MAX:?} although at most {IMPAIRED_MAX} storage nodes, one metadata member and the engine were impaired"));
        }
        if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            self.say(&format!("{} acked, {} kills", self.pace.acks(), self.kills()));
        }
        sleep(TICK).await;
        Ok(())
    }

    /// Ends every fault and waits until everybody is well.
    pub async fn calm(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.active.iter_mut().for_each(|active| active.until = now);
        let deadline = now + RECOVER_LIMIT;
        loop {
            self.tick().await?;
            if self.impaired.is_healthy() {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.report.finding(format!(
                    "after {RECOVER_LIMIT:?} without faults not healthy: {:?}",
                    self.impaired
                ));
                return Ok(());
            }
        }
    }

    /// A line about how it goes.
    pub(crate) fn say(&self, what: &str) {
        println!("{:>7.1} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// Waits until the writer answers SQL, starting it again when it ends; a finding when it takes too long.
    pub(crate) async fn wait_for_sql(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            let port = self.cluster.sql_ports()[0];
            if bank::try_connect_to(port).await.is_some() {
                return Ok(());
            }
            self.look_after_processes()?;
            sleep(TICK).await;
        }
        let writer = &self.cluster.engines[self.cluster.writer];
        self.report.finding(format!(
            "{} does not answer SQL after {START_LIMIT:?}; its log ends with\n{}",
            writer.name,
            writer.last_lines(5)
        ));
        Ok(())
    }

    fn end(&mut self, strike: Strike) -> io::Result<()> {
        match &strike {
            Strike::KillNodes(victims) => {
                victims.iter().try_for_each(|victim| self.cluster.nodes[*victim].start())?;
            }
            Strike::PauseNode(victim) => self.cluster.nodes[*victim].resume(),
            Strike::NodeLink(victim, _) => self.cluster.node_links[*victim].set(Fault::None),
            Strike::KillMeta(victim) => self.cluster.meta[*victim].start()?,
            Strike::PauseMeta(victim) => self.cluster.meta[*victim].resume(),
            Strike::MetaLink(victim, _) => self.cluster.meta_links[*victim].set(Fault::None),
            Strike::KillEngine => self.cluster.engines[self.cluster.writer].start()?,
            Strike::FullDisk | Strike::ReplaceEngine | Strike::KillEverything => {}
        }
        self.recovering.push(Recovering { strike, since: Instant::now(), target: None });
        Ok(())
    }

    /// Starts again what ended by itself. A storage node or a member never does; an engine may give up, and is then
    /// started again by whoever runs it.
    fn look_after_processes(&mut self) -> io::Result<()> {
        let storage_and_meta = self.cluster.nodes.iter_mut().chain(&mut self.cluster.meta);
        for role in storage_and_meta {
            if let Some(status) = role.ended() {
                let (name, log) = (&role.name, role.last_lines(5));
                self.report.finding(format!("{name} ended by itself ({status}); its log ends with\n{log}"));
                role.start()?;
            }
        }
        for place in 0..2 {
            let role = &mut self.cluster.engines[place];
            let Some(status) = role.ended() else { continue };
            let (name, log) = (role.name.clone(), role.last_lines(5));
            match status.code() {
                Some(code) if code == i32::from(exit::FENCED) => self.report.event("engine ended as fenced"),
                Some(1) => {
                    self.report.event("engine gave up and was started again");
                    self.report.note(format!("{name} gave up: {}", log.lines().last().unwrap_or_default()));
                }
                _ => self.report.finding(format!("{name} ended with {status}; its log ends with\n{log}")),
            }
            if place == self.cluster.writer {
                self.cluster.engines[place].start()?;
            }
        }
        Ok(())
    }

    /// Looks which victims are like their peers again.
    async fn recover(&mut self) {
        for mut one in std::mem::take(&mut self.recovering) {
            if self.is_well(&one.strike, &mut one.target).await {
                one.strike.impair(&mut self.impaired, false);
                self.report.recovered(one.since.elapsed());
            } else if one.since.elapsed() > RECOVER_LIMIT {
                one.strike.impair(&mut self.impaired, false);
                self.report.finding(format!(
                    "{RECOVER_LIMIT:?} after \"{}\" its victims are not as before",
                    one.strike
                ));
            } else {
                self.recovering.push(one);
            }
        }
    }

    async fn is_well(&self, strike: &Strike, target: &mut Option<catch_up::Target>) -> bool {
        match strike {
            Strike::KillNodes(victims) => catch_up::done(self.cluster, victims, target).await,
            Strike::PauseNode(victim) => catch_up::done(self.cluster, &[*victim], target).await,
            // A flipped bit must have ended the connection that it went over.
            Strike::NodeLink(victim, _) => {
                self.cluster.node_links[*victim].tainted() == 0
                    && catch_up::done(self.cluster, &[*victim], target).await
            }
            Strike::FullDisk => catch_up::done(self.cluster, &[crate::cluster::SMALL_NODE], target).await,
            Strike::KillMeta(victim) | Strike::PauseMeta(victim) | Strike::MetaLink(victim, _) => {
                let health = http_get::health(&self.cluster.meta_http(*victim), catch_up::PATIENCE).await;
                self.cluster.meta_links[*victim].tainted() == 0
                    && health.is_ok_and(|health| health["ok"] == true)
            }
            Strike::KillEngine | Strike::ReplaceEngine => {
                bank::try_connect_to(self.cluster.sql_ports()[0]).await.is_some()
            }
            Strike::KillEverything => true,
        }
    }

    fn watch_commits(&self) {
        self.pace.expect_commits(self.impaired.nodes_down() <= IMPAIRED_MAX);
    }
}

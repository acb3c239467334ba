//! The driver: one thread that owns the tracker, the connections (one a storage node), and the log that is kept for
//! segments that lack it. Everything else talks to it by messages, or reads what it publishes in [`Shared`].
//!
//! | module | idea |
//! | --- | --- |
//! | `state` | groups, members, nodes, connections; nothing waits |
//! | `send` | rounds of batches, vectored writes |
//! | `link` | a connection: introduction, frames in, frames out, again |
//! | `join` | bringing one segment to where batches can be sent to it |
//! | `members` | following changes of members, and finishing them |
//! | `opening` | performs what [`crate::recovery`] asks for |
//! | `read` | page reads with a hedge |
//! | `upkeep` | lease, stalls, growth, status |
//!
//! Nothing is held across an await: each step borrows the state, changes it, and lets go.

mod join;
mod link;
mod members;
mod opening;
mod read;
mod send;
mod state;
mod upkeep;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use sextant_meta::VolumeInfo;
use sextant_redo::{ClusterId, Geometry, Lsn, Page, PageId, PgId, SegmentId, VolumeEpoch, VolumeId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::VolumeError;
use crate::commit::CommitQueue;
use crate::directory::{Directory, Instance};
use crate::log::Log;
use crate::recovery::{Outcome, Place, Recovery};
use crate::status::{GroupStatus, NodeStatus};
use crate::tracker::Tracker;
use opening::Opening;
use state::Core;

/// Times and sizes that tests change.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// How long a node may take to answer a request.
    pub(crate) call_timeout: Duration,
    /// How long a page is tried for.
    pub(crate) read_deadline: Duration,
    /// How long a new protection group may take to become writable.
    pub(crate) grow_deadline: Duration,
    /// Seconds of silence where answers are due before a connection is given up.
    pub(crate) stalled_ticks: u32,
    /// Log kept for segments that lack it, in bytes, once it is durable. What is not durable is kept in any case; the
    /// LSN allocation limit bounds it.
    pub(crate) retained_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            call_timeout: Duration::from_secs(5),
            read_deadline: Duration::from_secs(10),
            grow_deadline: Duration::from_secs(20),
            stalled_ticks: 5,
            retained_bytes: 32 * 1024 * 1024,
        }
    }
}

/// What the driver is told at its start.
pub(crate) struct Setup {
    pub(crate) cluster: ClusterId,
    pub(crate) volume: VolumeId,
    pub(crate) name: String,
    pub(crate) epoch: VolumeEpoch,
    pub(crate) geometry: Geometry,
    pub(crate) instance: Instance,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) lal: u64,
    pub(crate) lease_ms: u64,
    pub(crate) tuning: Tuning,
}

/// What the driver's thread and everybody else both see of an open volume.
pub(crate) struct Shared {
    pub(crate) log: Log,
    pub(crate) commits: CommitQueue,
    pub(crate) lost: watch::Receiver<Option<VolumeError>>,
    pub(crate) members: Mutex<(Vec<GroupStatus>, Vec<NodeStatus>)>,
    vcl: AtomicU64,
    read_floor: AtomicU64,
}

impl Shared {
    pub(crate) fn vcl(&self) -> Lsn {
        Lsn(self.vcl.load(SeqCst))
    }

    pub(crate) fn read_floor(&self) -> Lsn {
        Lsn(self.read_floor.load(SeqCst))
    }

    pub(crate) fn set_read_floor(&self, lsn: Lsn) {
        self.read_floor.fetch_max(lsn.0, SeqCst);
    }
}

/// What the driver is asked.
pub(crate) enum Command {
    Read {
        page: PageId,
        reply: oneshot::Sender<Result<Page, VolumeError>>,
    },
    Grow {
        pg: PgId,
        reply: oneshot::Sender<Result<(), VolumeError>>,
    },
    /// Stop now and give the lease back.
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// The volume is open, or why not.
pub(crate) type Opened = Result<Ready, VolumeError>;

/// How the driver's opening ended.
pub(crate) enum Ready {
    Serving(Arc<Shared>),
    /// Open again under another epoch.
    Again,
}

pub(crate) struct Driver {
    pub(crate) setup: Setup,
    pub(crate) core: RefCell<Core>,
    /// A connection or a member changed: whoever waits for one looks again.
    pub(crate) changed: Notify,
    pub(crate) lost: watch::Sender<Option<VolumeError>>,
    pub(crate) shared: OnceCell<Arc<Shared>>,
    pub(crate) growing: tokio::sync::Mutex<()>,
    /// A segment knows a newer membership.
    pub(crate) outdated: Cell<bool>,
    /// Wakes the one who asks for the members.
    pub(crate) ask_members: Notify,
}

/// Starts the driver on a thread of its own. It ends when `commands` is closed or the volume is lost.
pub(crate) fn spawn(
    setup: Setup,
    info: VolumeInfo,
    deadline: Instant,
    commands: mpsc::UnboundedReceiver<Command>,
    opened: oneshot::Sender<Opened>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("volume-driver".to_owned()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, Driver::run(setup, info, deadline, commands, opened));
    })?;
    Ok(())
}

impl Driver {
    async fn run(
        setup: Setup,
        info: VolumeInfo,
        deadline: Instant,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut opened: oneshot::Sender<Opened>,
    ) {
        let lease_ms = setup.lease_ms;
        let driver = Rc::new(Driver {
            setup,
            core: RefCell::new(Core::new()),
            changed: Notify::new(),
            lost: watch::Sender::new(None),
            shared: OnceCell::new(),
            growing: tokio::sync::Mutex::new(()),
            outdated: Cell::new(false),
            ask_members: Notify::new(),
        });
        for pg in &info.pgs {
            let segment = SegmentId { volume: driver.setup.volume, pg: pg.pg };
            driver.core.borrow_mut().add_group(segment, pg);
        }
        driver.connect_members();
        tokio::task::spawn_local(Rc::clone(&driver).keep_lease(lease_ms));
        tokio::task::spawn_local(Rc::clone(&driver).follow_volume());
        let answer = tokio::select! {
            answer = driver.open(deadline) => answer,
            () = opened.closed() => Err(VolumeError::Closed),
        };
        let answer = answer.map(|opening| match (opening, driver.shared.get()) {
            (Opening::Done, Some(shared)) => Ready::Serving(Arc::clone(shared)),
            _ => Ready::Again,
        });
        let serving = matches!(answer, Ok(Ready::Serving(_)));
        if opened.send(answer).is_ok() && serving {
            driver.serve(&mut commands).await;
        }
        driver.lose(VolumeError::Closed);
    }

    /// Starts a connection to every node that has a member and none yet.
    pub(crate) fn connect_members(self: &Rc<Self>) {
        let unlinked = self.core.borrow_mut().unlinked();
        for node in unlinked {
            tokio::task::spawn_local(Rc::clone(self).run_link(node));
        }
    }

    /// From here on there is a tracker, and the log can be appended to.
    fn begin_service(self: &Rc<Self>, recovery: &Recovery, outcome: &Outcome) {
        let setup = &self.setup;
        let vdl = outcome.points.vdl;
        let base = outcome.base();
        let log = Log::new(setup.epoch, setup.geometry, vdl, base.advance(1), base, setup.lal);
        let mut tracker = Tracker::new(vdl);
        let mut core = self.core.borrow_mut();
        for (group, last) in core.groups.iter_mut().zip(&outcome.points.last) {
            group.last = *last;
            tracker.add_group(group.membership.quorums().clone(), group.members.len(), *last);
            log.add_group(group.segment, *last);
        }
        core.tracker = Some(tracker);
        core.ranges.clone_from(&outcome.ranges);
        let shared = Arc::new(Shared {
            log,
            commits: CommitQueue::new(vdl),
            lost: self.lost.subscribe(),
            members: Mutex::default(),
            vcl: AtomicU64::new(vdl.0),
            read_floor: AtomicU64::new(0),
        });
        let _ = self.shared.set(shared);
        let places: Vec<Place> = (0..core.nodes.len()).flat_map(|node| core.places_on(node)).collect();
        let mut lagging = Vec::new();
        for at in places {
            let done = recovery.state(at).filter(|s| s.truncations == outcome.ranges);
            let connected = core.nodes[core.node_of(at)].is_ready();
            let live = connected && done.is_some_and(|state| core.go_live(at, state.scl));
            if connected && !live {
                lagging.push(at);
            }
        }
        drop(core);
        lagging.into_iter().for_each(|at| self.spawn_join(at));
        self.tick(false);
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.shared.get().is_some()
    }

    async fn serve(self: &Rc<Self>, commands: &mut mpsc::UnboundedReceiver<Command>) {
        let Some(shared) = self.shared.get().cloned() else { return };
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0u32;
        let mut lost = self.lost.subscribe();
        loop {
            let look_at = self.core.borrow().look_at;
            tokio::select! {
                () = shared.log.logged() => self.pump(),
                () = until(look_at) => self.pump(),
                command = commands.recv() => match command {
                    Some(Command::Close { reply }) => return self.close(reply).await,
                    Some(command) => self.obey(command),
                    None => return,
                },
                _ = ticks.tick() => {
                    count = count.wrapping_add(1);
                    self.tick(count.is_multiple_of(5));
                }
                _ = lost.wait_for(Option::is_some) => return self.tick(false),
            }
        }
    }

    fn obey(self: &Rc<Self>, command: Command) {
        let driver = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // Whoever asked may have gone meanwhile.
            match command {
                Command::Read { page, reply } => drop(reply.send(driver.read_page(page).await)),
                Command::Grow { pg, reply } => drop(reply.send(driver.grow(pg).await)),
                Command::Close { reply } => drop(reply.send(())),
            }
        });
    }

    async fn close(&self, reply: oneshot::Sender<()>) {
        self.lose(VolumeError::Closed);
        let setup = &self.setup;
        let release = setup.directory.release(setup.volume, &setup.instance, setup.epoch);
        match tokio::time::timeout(setup.tuning.call_timeout, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not given back; it lapses by itself"),
            Err(_) => tracing::warn!("the lease was not given back in time; it lapses by itself"),
        }
        let _ = reply.send(());
    }

    /// Acknowledgements have come in: publishes the points and sends what has gathered.
    pub(crate) fn settle(self: &Rc<Self>) {
        let Some(shared) = self.shared.get() else { return };
        let (vcl, vdl) = {
            let mut core = self.core.borrow_mut();
            let Some(tracker) = core.tracker.as_ref().filter(|_| !core.stopped) else { return };
            let (vcl, vdl) = (tracker.vcl(), tracker.vdl());
            if core.on_the_way.take_if(|last| *last <= vcl).is_some() {
                core.commits.end(std::time::Instant::now(), shared.log.gathered().waiting);
                shared.log.set_busy(false);
            }
            (vcl, vdl)
        };
        shared.vcl.fetch_max(vcl.0, SeqCst);
        if vdl > shared.commits.vdl() {
            shared.commits.advance(vdl);
            shared.log.space.advance(vdl);
        }
        self.pump();
        if self.core.borrow().look_at.is_some() {
            // `serve` sleeps without that time: a round was on the way.
            shared.log.look_again();
        }
    }

    /// The volume is lost to this instance, or closed: nothing is sent any more, and everybody who waits is told.
    pub(crate) fn lose(&self, error: VolumeError) {
        if self.lost.borrow().is_some() {
            return;
        }
        if error != VolumeError::Closed {
            tracing::error!(%error, "the volume is lost to this instance");
        }
        let mut core = self.core.borrow_mut();
        core.stopped = true;
        for link in core.nodes.iter_mut().filter_map(|n| n.link.as_mut()) {
            link.out.clear();
            link.broken = true;
            link.want_write.notify_one();
        }
        drop(core);
        if let Some(shared) = self.shared.get() {
            shared.log.space.fail(&error);
            shared.commits.fail(&error);
        }
        self.lost.send_replace(Some(error));
        self.changed.notify_waiters();
    }
}

/// Resolves at that time; never without one.
async fn until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

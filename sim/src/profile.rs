//! What a seed draws before it starts: which faults exist at all, how often, and the shape of cluster and workload.
//! Drawing the set of faults per seed ("swarm testing") finds more than all faults at once: some bugs hide behind
//! others.

use std::time::Duration;

use sextant_redo::Segments;
use sextant_segment_store::health::HealthOptions;

use crate::disk::Reliability;
use crate::rng::Rng;
use crate::schedule::{MS, SECOND, Time};

/// Makes another stream of a seed.
const TAILS: u64 = 0x7461_696c_7461_696c;

/// A kind of fault that strikes at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A storage process is killed; its kernel lives.
    NodeKill,
    /// A storage machine loses power.
    NodePowerLoss,
    /// All storage machines lose power at once, and come back.
    AllPowerLoss,
    /// A storage process stands still for a while.
    NodePause,
    /// The disk of a node becomes 10 to 100 times slower.
    SlowDisk,
    /// The disk of a node is full for a while.
    FullDisk,
    /// A write fails: the process ends.
    WriteError,
    /// A bit rots on the one bad disk.
    Rot,
    /// The writer is killed.
    WriterKill,
    /// The writer stands still, another is started, the first one wakes up.
    Zombie,
    /// A node is cut off.
    PartitionNode,
    /// A zone is cut off.
    PartitionAz,
    /// A zone and one more node are cut off.
    PartitionAzPlusOne,
    /// Messages to or from a node are lost in one direction.
    OneWay,
    /// Messages to a node take long.
    Clog,
    /// The metadata service does not answer.
    MetaAway,
    /// Requests to the metadata service, or its answers, are lost.
    MetaOneWay,
    /// Another member of the metadata group leads; the one before may not know for a while.
    MetaLeader,
    /// The metadata leader applies what it is asked next and dies before it answers.
    MetaLeaderKill,
    /// The clock of a process leaps ahead, or stands still.
    ClockJump,
    /// The writer stands still for a while; nobody takes its place unless its lease lapses.
    WriterPause,
    /// The writer is killed, and its successor while it opens the volume.
    WriterKillOpening,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Fault; 22] = [
        Fault::NodeKill,
        Fault::NodePowerLoss,
        Fault::AllPowerLoss,
        Fault::NodePause,
        Fault::SlowDisk,
        Fault::FullDisk,
        Fault::WriteError,
        Fault::Rot,
        Fault::WriterKill,
        Fault::Zombie,
        Fault::PartitionNode,
        Fault::PartitionAz,
        Fault::PartitionAzPlusOne,
        Fault::OneWay,
        Fault::Clog,
        Fault::MetaAway,
        Fault::MetaOneWay,
        Fault::MetaLeader,
        Fault::MetaLeaderKill,
        Fault::ClockJump,
        Fault::WriterPause,
        Fault::WriterKillOpening,
    ];

    /// How often it is drawn among those that exist.
    fn weight(self) -> u64 {
        match self {
            Fault::NodeKill | Fault::WriterKill => 8,
            Fault::NodePowerLoss | Fault::Zombie | Fault::PartitionNode | Fault::NodePause => 6,
            Fault::OneWay | Fault::Clog | Fault::WriteError | Fault::PartitionAz => 4,
            Fault::MetaLeader | Fault::MetaLeaderKill | Fault::ClockJump | Fault::WriterKillOpening => 3,
            _ => 2,
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Storage nodes in each of three zones.
    pub nodes_per_az: usize,
    /// Protection groups that the volume grows to.
    pub groups: u32,
    /// Pages in each.
    pub pages_per_pg: u64,
    /// What the segments of each are.
    pub segments: Segments,
    /// LSN allocation limit.
    pub lal: u64,
    /// Bytes of a log file.
    pub log_file_bytes: u64,
    /// Log files that hold what a node may keep of log.
    pub log_budget_files: u64,
    /// Records in no page image, and batches in the log, that a node knows of at most before it makes images.
    pub pending_records_max: usize,
    /// Blocks of page maps that a node holds in memory.
    pub map_blocks_max: usize,
    /// Bytes of newest log kept in memory by a node.
    pub log_cache_bytes: usize,
    /// Storage nodes do not hear one another: only writers help a copy, so all log is kept.
    pub peers_silent: bool,
    /// How fast nodes take from one another, and how often they look for damage.
    pub health: HealthOptions,
    /// Bytes of sent log kept by the writer.
    pub retained_bytes: usize,
    /// Torn writes tear at this size.
    pub sector: usize,
    /// Mean of one message's way.
    pub delay: Time,
    /// Messages lost, in millionths.
    pub loss_ppm: u64,
    /// Messages that come twice, in millionths.
    pub duplicate_ppm: u64,
    /// Messages may overtake one another on a link.
    pub reorder: bool,
    /// Mean of one log write.
    pub write_time: Time,
    /// Reads that fail or lie.
    pub reliability: Reliability,
    /// Completed writes that never happen on the one bad disk, in millionths.
    pub lost_writes_ppm: u64,
    /// Completed writes that land elsewhere on the one bad disk, in millionths.
    pub misdirected_ppm: u64,
    /// Mean time between two commits.
    pub commit_gap: Time,
    /// Pages of an MTR at most.
    pub mtr_pages: usize,
    /// Commits waiting at most.
    pub commits_waiting: usize,
    /// Snapshots are held open in the past.
    pub snapshots: bool,
    /// An operator replaces members, where there are spare nodes.
    pub replacements: bool,
    /// How long faults strike.
    pub fault_time: Time,
    /// Mean time between two faults.
    pub fault_gap: Time,
    /// Kinds that exist, with weights.
    pub faults: Vec<(Fault, u64)>,
    /// Copies that may be down or cut off at once.
    pub impaired_max: usize,
    /// Mean time until what is down comes back.
    pub repair: Time,
}

impl Profile {
    /// The world of a scripted run: nothing goes wrong by itself.
    #[must_use]
    pub(crate) fn quiet() -> Profile {
        Profile {
            nodes_per_az: 2,
            groups: 2,
            pages_per_pg: 4,
            segments: Segments::Full,
            lal: 1 << 20,
            log_file_bytes: 128 << 10,
            log_budget_files: 100_000,
            pending_records_max: 100_000,
            map_blocks_max: 100,
            log_cache_bytes: 1 << 20,
            peers_silent: false,
            health: HealthOptions {
                copy_bytes_per_s: 64 << 20,
                scrub_bytes_per_s: 64 << 20,
                scrub_period: Duration::from_millis(500),
            },
            retained_bytes: 1 << 20,
            sector: 512,
            delay: MS,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder: false,
            write_time: 500,
            reliability: Reliability::default(),
            lost_writes_ppm: 0,
            misdirected_ppm: 0,
            commit_gap: 5 * MS,
            mtr_pages: 3,
            commits_waiting: 80,
            snapshots: false,
            replacements: false,
            fault_time: 20 * SECOND,
            fault_gap: SECOND,
            faults: Vec::new(),
            impaired_max: 3,
            repair: SECOND,
        }
    }

    /// The one of a seed. Which seeds have tails is drawn from a stream of its own: what a seed without them means does not
    /// depend on that.
    #[must_use]
    pub(crate) fn of_seed(seed: u64, rng: &mut Rng) -> Profile {
        let mut profile = Profile::draw(rng);
        if Rng::new(seed ^ TAILS).percent(40) {
            profile.segments = Segments::FullTail;
        }
        profile
    }

    /// Draws one.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Profile {
        let exists = |rng: &mut Rng, percent| rng.percent(percent);
        let lossy = exists(rng, 50);
        let faults =
            Fault::ALL.iter().filter(|_| rng.percent(45)).map(|fault| (*fault, fault.weight())).collect();
        let bad_reads = exists(rng, 30);
        let nodes_per_az = if rng.percent(70) { 2 } else { 3 };
        let peers_silent = exists(rng, 25);
        let mut profile = Profile {
            nodes_per_az,
            groups: rng.between(1, 4) as u32,
            pages_per_pg: rng.between(2, 10),
            segments: Segments::Full,
            lal: [4 << 10, 16 << 10, 128 << 10, 1 << 20][rng.index(4)],
            log_file_bytes: [64 << 10, 128 << 10, 512 << 10][rng.index(3)],
            log_budget_files: [2, 4, 16, 64][rng.index(4)],
            pending_records_max: [100, 400, 2_000, 100_000][rng.index(4)],
            map_blocks_max: [1, 4, 100][rng.index(3)],
            log_cache_bytes: [0, 16 << 10, 1 << 20][rng.index(3)],
            peers_silent,
            health: HealthOptions {
                copy_bytes_per_s: [256 << 10, 4 << 20, 64 << 20][rng.index(3)],
                scrub_bytes_per_s: [1 << 20, 64 << 20][rng.index(2)],
                scrub_period: Duration::from_millis([200, 2_000, 60_000][rng.index(3)]),
            },
            retained_bytes: [0, 4 << 10, 64 << 10, 1 << 20][rng.index(4)],
            sector: [512, 4096][rng.index(2)],
            delay: [200, MS, 3 * MS, 10 * MS][rng.index(4)],
            loss_ppm: if lossy { [1_000, 10_000, 20_000, 50_000, 100_000, 300_000][rng.index(6)] } else { 0 },
            duplicate_ppm: if exists(rng, 40) { [1_000, 30_000, 150_000][rng.index(3)] } else { 0 },
            reorder: rng.percent(60),
            write_time: [100, 500, 3 * MS][rng.index(3)],
            reliability: Reliability {
                read_errors_ppm: if bad_reads { 5_000 } else { 0 },
                read_flips_ppm: if bad_reads { 10_000 } else { 0 },
                ..Reliability::default()
            },
            lost_writes_ppm: if exists(rng, 15) { 3_000 } else { 0 },
            misdirected_ppm: if exists(rng, 10) { 3_000 } else { 0 },
            commit_gap: [2 * MS, 5 * MS, 12 * MS][rng.index(3)],
            mtr_pages: rng.between(1, 6) as usize,
            commits_waiting: [4, 20, 80, 300][rng.index(4)],
            snapshots: exists(rng, 40),
            replacements: true,
            fault_time: rng.between(4, 10) * SECOND,
            fault_gap: [100 * MS, 300 * MS, 700 * MS][rng.index(3)],
            faults,
            impaired_max: rng.between(1, 3) as usize,
            repair: [100 * MS, 500 * MS, 2 * SECOND][rng.index(3)],
        };
        if peers_silent {
            profile.keep_all_log();
        }
        profile
    }

    /// No node frees log: neither because there is much, nor because scrubbing found some of it damaged.
    fn keep_all_log(&mut self) {
        self.log_budget_files = self.log_budget_files.max(100_000);
        self.pending_records_max = self.pending_records_max.max(1_000_000);
        self.reliability = Reliability::default();
        (self.lost_writes_ppm, self.misdirected_ppm) = (0, 0);
        self.faults.retain(|(fault, _)| *fault != Fault::Rot);
    }

    /// The next fault's kind.
    #[must_use]
    pub fn fault(&self, rng: &mut Rng) -> Option<Fault> {
        let total: u64 = self.faults.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.below(total);
        self.faults.iter().find_map(|(fault, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here.then_some(*fault)
        })
    }
}

//! Protocol bugs that can be put back, to prove that the simulator would find them. They live around the cores and around
//! the storage node: in the writer's twin, in what a node is asked and answers, in its disk. The code under test knows
//! nothing of them.

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant { $($(#[$doc])* $name,)* }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// Its name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Mutant::$name => $text,)* }
            }
        }
    };
}

mutants! {
    /// The writer takes three of six copies for durable.
    AckAtThree = "ack-at-3-of-6",
    /// An opening is content with three of six copies, so it may miss what was acknowledged.
    OpenAtTwo = "open-at-2-of-6",
    /// The commit is acknowledged when its own group has it, not when the VDL passed it.
    AckAtPgcl = "ack-at-pgcl",
    /// Every record claims to end a mini-transaction.
    VdlInsideMtr = "vdl-inside-mtr",
    /// A storage node answers before its write is durable.
    ReplyBeforeFlush = "reply-before-flush",
    /// A storage node acknowledges the highest LSN it has, holes or not.
    AckHighest = "ack-highest",
    /// A storage node lets any epoch append.
    NoEpochCheck = "no-epoch-check",
    /// A storage node does not log the epochs it promised.
    EpochNotDurable = "epoch-not-durable",
    /// A storage node keeps truncation ranges that void nothing.
    NoTruncation = "no-truncation",
    /// The writer allocates LSNs without the allocation limit.
    NoAllocationLimit = "no-allocation-limit",
    /// An opening voids less than an older writer may have sent.
    ShortRange = "short-range",
    /// Recovery believes a torn group.
    IgnoreTornGroup = "ignore-torn-group",
    /// Recovery does not flush what it found in the kernel's cache.
    NoSyncAfterRecovery = "no-sync-after-recovery",
    /// A storage node finds damage and serves a page all the same.
    ServeUnchecked = "serve-unchecked",
    /// The checksum of a page image is believed whatever it is.
    PageUnchecked = "page-unchecked",
    /// A checkpoint names page images that were never flushed.
    PagesNotFlushed = "pages-not-flushed",
    /// Slots and log files are used again before the checkpoint that frees them is durable.
    CheckpointNotDurable = "checkpoint-not-durable",
    /// Pages are read from any copy, complete or not.
    ReadAnywhere = "read-anywhere",
    /// Batches claim a VDL that is their own last record.
    VdlAhead = "vdl-ahead",
    /// The writer says that nobody reads below its VDL, though snapshots are open.
    FloorIgnoresSnapshots = "floor-ignores-snapshots",
    /// The writer never sends again what got lost.
    NoResend = "no-resend",
    /// The client is answered when the first record of its mini-transaction is durable.
    AckBeforeMtrEnds = "ack-before-the-mtr-ends",
    /// Pages are read at the last LSN logged, not at the VDL.
    ReadAboveVdl = "read-above-vdl",
    /// An opening reads record links from any copy of a group, not from the most complete one.
    LaggingChain = "chain-from-a-lagging-copy",
    /// An opening does not align the copies' truncation ranges before it counts their records.
    NoAlign = "no-align",
    /// An opening takes a truncation for recorded, whether an answer came or not.
    TruncateUnheard = "truncate-unheard",
    /// An opening adds its truncation ranges to those of a copy, instead of replacing them.
    MergeRanges = "merge-ranges",
    /// A lagging copy asks the same peer again, whatever that answered.
    SamePeer = "ask-the-same-peer",
    /// The writer repeats a step of a replacement that was refused, and does not look what the members are now.
    RepeatStep = "repeat-a-refused-step",
    /// Gossip takes a truncation list of an older opening for the current one's.
    TakeOldList = "gossip-takes-an-old-list",
    /// Images that come from a peer replace pages that are newer.
    CopyOverwrites = "copy-overwrites",
    /// Scrubbing reads damaged pages and does not see it.
    ScrubBlind = "scrub-sees-nothing",
    /// A storage node drops its copy of a volume that the metadata service does not name, without asking whether it was dropped.
    DropUnnamed = "drop-unnamed",
    /// The writer takes three tails for as good as three full segments.
    TailCountsAsFull = "tail-counts-as-full",
    /// A tail gives its log up once one full segment has it.
    TailFreesEarly = "tail-frees-early",
    /// The writer tells how far the volume is durable only with its batches.
    TellNothing = "tell-nothing",
    /// A storage node takes log whether memory has room for it or not.
    TakeAllLog = "take-all-log",
    /// The metadata service hands the volume over when the lease has lapsed, without a new epoch.
    LeaseInsteadOfEpoch = "lease-instead-of-epoch",
    /// A metadata leader answers without asking whether it still has a quorum.
    MetaWithoutQuorum = "meta-without-quorum",
}

impl std::str::FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Mutant, String> {
        let known = Mutant::ALL.iter().find(|mutant| mutant.name() == name).copied();
        known.ok_or_else(|| {
            let all: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
            format!("no mutant is called {name}; there are {}", all.join(", "))
        })
    }
}

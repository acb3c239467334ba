//! What a link can do to the bytes that pass through it.

use std::fmt;
use std::time::Duration;

/// The state of a link, switched at run time. It holds for connections that exist and for new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Passes everything at once.
    #[default]
    None,
    /// Each read of the proxy arrives an exponentially distributed time later, in order.
    Delay {
        /// Mean of that time.
        mean: Duration,
    },
    /// Loss as what TCP makes of it: nothing arrives for a while, and then the connection is reset.
    Loss {
        /// Chance that a read of the proxy (up to 16 KiB) meets it, in hundredths.
        percent: u8,
        /// How long the connection stalls before it is reset.
        stall: Duration,
    },
    /// Connections are accepted and kept, but bytes of these ways wait until the fault is over.
    HalfOpen(Silence),
    /// Bytes trickle.
    Slow {
        /// Bytes per second, each way of each connection.
        bytes_per_second: u64,
    },
    /// Connections are reset, new ones as soon as they are made.
    Reset,
    /// One bit is flipped now and then. Whoever receives it must close the connection.
    Corrupt {
        /// Mean distance of two flipped bits, in bytes.
        every_bytes: u64,
    },
}

/// Which ways are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// What is sent to the process behind the proxy.
    ToTarget,
    /// What that process answers.
    FromTarget,
    /// Both.
    Both,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToTarget,
    FromTarget,
}

impl Fault {
    /// Whether bytes of this way wait.
    pub(super) fn silences(self, way: Way) -> bool {
        match self {
            Fault::HalfOpen(Silence::Both) => true,
            Fault::HalfOpen(Silence::ToTarget) => way == Way::ToTarget,
            Fault::HalfOpen(Silence::FromTarget) => way == Way::FromTarget,
            _ => false,
        }
    }

    /// Its kind, for counting.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Delay { .. } => "delay",
            Fault::Loss { .. } => "loss",
            Fault::HalfOpen(Silence::Both) => "silence",
            Fault::HalfOpen(_) => "half-open",
            Fault::Slow { .. } => "slow",
            Fault::Reset => "reset",
            Fault::Corrupt { .. } => "corruption",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Delay { mean } => write!(f, "delay of {mean:?}"),
            Fault::Loss { percent, stall } => write!(f, "loss of {percent} %, stalling {stall:?}"),
            Fault::HalfOpen(Silence::ToTarget) => f.write_str("silence towards it"),
            Fault::HalfOpen(Silence::FromTarget) => f.write_str("silence from it"),
            Fault::HalfOpen(Silence::Both) => f.write_str("silence both ways"),
            Fault::Slow { bytes_per_second } => write!(f, "{bytes_per_second} bytes per second"),
            Fault::Corrupt { every_bytes } => write!(f, "a flipped bit every {every_bytes} bytes"),
            Fault::None | Fault::Reset => f.write_str(self.kind()),
        }
    }
}

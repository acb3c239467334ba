//! Newtypes for every number that crosses a crate boundary, so that none can be taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

newtype!(
    /// Log sequence number: the place of a record in its volume's log, in bytes of encoded log. One monotonic space
    /// per volume, allocated by the one writer only. `Lsn(0)` means "none": no record has it.
    Lsn(u64), "lsn:"
);
newtype!(
    /// A page's number in its volume, counted in 8 KiB pages from 0.
    PageId(u64), "page:"
);
newtype!(
    /// A protection group's number in its volume, from 0.
    PgId(u32), "pg:"
);
newtype!(
    /// A volume; allocated by the metadata service, never reused.
    VolumeId(u64), "vol:"
);
newtype!(
    /// A storage node; allocated by the metadata service, never reused, even when the machine is.
    NodeId(u64), "node:"
);
newtype!(
    /// An availability zone, 0 to 2 in a three-AZ cluster.
    AzId(u16), "az:"
);
newtype!(
    /// Raised by every opening of a volume for write; carried on every read and write. Storage refuses a lower one.
    VolumeEpoch(u64), "epoch:"
);
newtype!(
    /// Raised by each step of a membership change of one protection group.
    MembershipEpoch(u64), "membership:"
);
newtype!(
    /// Raised by each protection group added to a volume.
    GeometryEpoch(u64), "geometry:"
);
/// A cluster's random identity, drawn once when its metadata group is first started. Written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster:{self}")
    }
}

impl Serialize for ClusterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(ClusterId).map_err(serde::de::Error::custom)
    }
}

impl Lsn {
    /// "No record": the back-link of a first record, the LSN of a page that was never written.
    pub const ZERO: Lsn = Lsn(0);
    /// Above every record.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The LSN `bytes` further on.
    #[must_use]
    pub fn advance(self, bytes: u64) -> Lsn {
        Lsn(self.0.saturating_add(bytes))
    }

    /// Bytes of log from `earlier` to here; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One copy of one protection group. Which node it lies on is not part of its name: at most one of the six is on
/// any node, so a node knows its segments by this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId {
    /// The volume.
    pub volume: VolumeId,
    /// The protection group in it.
    pub pg: PgId,
}

/// How a volume's pages are spread over its protection groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Pages in one protection group. 1,310,720 (10 GiB) unless a test asks for less.
    pub pages_per_pg: u64,
}

impl Geometry {
    /// 10 GiB of 8 KiB pages.
    pub const DEFAULT: Geometry =
        Geometry { pages_per_pg: 10 * 1024 * 1024 * 1024 / crate::PAGE_SIZE as u64 };

    /// The protection group that holds `page`.
    #[must_use]
    pub fn pg_of(&self, page: PageId) -> PgId {
        PgId(u32::try_from(page.0 / self.pages_per_pg.max(1)).unwrap_or(u32::MAX))
    }

    /// The first page of `pg`.
    #[must_use]
    pub fn first_page(&self, pg: PgId) -> PageId {
        PageId(self.pages_per_pg.saturating_mul(u64::from(pg.0)))
    }
}

impl Default for Geometry {
    fn default() -> Self {
        Geometry::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_map_to_their_groups() {
        let geometry = Geometry { pages_per_pg: 100 };
        assert_eq!(geometry.pg_of(PageId(99)), PgId(0));
        assert_eq!(geometry.pg_of(PageId(100)), PgId(1));
        assert_eq!(geometry.first_page(PgId(3)), PageId(300));
        assert_eq!(Geometry::DEFAULT.pages_per_pg, 1_310_720);
    }
}

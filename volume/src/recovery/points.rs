//! VCL and VDL of a volume from the record links of its groups: a pure function.

use sextant_redo::{Lsn, RecordLinks};

/// What the log of a volume holds, found when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Points {
    /// Volume complete LSN: end of the unbroken volume chain.
    pub vcl: Lsn,
    /// Volume durable LSN: the highest consistency point at or below the VCL.
    pub vdl: Lsn,
    /// Of each group, the last record at or below the VDL.
    pub last: Vec<Lsn>,
}

/// One group's part of the log.
#[derive(Debug, Clone, Default)]
pub struct GroupLog {
    /// Its records above the low mark, in order, without a hole.
    pub links: Vec<RecordLinks>,
    /// Its last record at or below the low mark, when there is none above.
    pub end: Lsn,
}

impl GroupLog {
    fn last_at(&self, vdl: Lsn) -> Lsn {
        match self.links.partition_point(|l| l.lsn <= vdl) {
            0 => self.links.first().map_or(self.end, |first| first.prev_pg),
            n => self.links[n - 1].lsn,
        }
    }
}

/// Follows the volume chain over all groups from `low`, a point that is known to be durable, as far as it goes.
#[must_use]
pub fn points(low: Lsn, groups: &[GroupLog]) -> Points {
    let mut all: Vec<RecordLinks> = groups.iter().flat_map(|g| g.links.iter().copied()).collect();
    all.sort_unstable_by_key(|l| l.lsn);
    let (mut vcl, mut vdl) = (low, low);
    for link in all {
        if link.prev_volume != vcl {
            break;
        }
        vcl = link.lsn;
        if link.is_cpl {
            vdl = link.lsn;
        }
    }
    let last = groups.iter().map(|g| g.last_at(vdl)).collect();
    Points { vcl, vdl, last }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A volume's log: of each record its group and whether it ends a mini-transaction.
    fn log(records: &[(usize, bool)], groups: usize, low: u64) -> Vec<(usize, RecordLinks)> {
        let mut last = vec![Lsn(low / 2); groups];
        let mut volume = Lsn(low);
        let mut out = Vec::new();
        for (n, (group, is_cpl)) in records.iter().enumerate() {
            let lsn = Lsn(low + 1 + 3 * n as u64);
            let links = RecordLinks { lsn, prev_volume: volume, prev_pg: last[*group], is_cpl: *is_cpl };
            out.push((*group, links));
            (volume, last[*group]) = (lsn, lsn);
        }
        out
    }

    proptest! {
        /// Each group's log breaks off somewhere; the points are what the definitions say.
        #[test]
        fn points_agree_with_the_definitions(
            records in proptest::collection::vec((0usize..4, any::<bool>()), 0..60),
            keep in proptest::collection::vec(0usize..30, 4),
        ) {
            let log = log(&records, 4, 100);
            let mut groups = vec![GroupLog { links: Vec::new(), end: Lsn(50) }; 4];
            for (group, link) in &log {
                if groups[*group].links.len() < keep[*group] {
                    groups[*group].links.push(*link);
                }
            }
            let found = points(Lsn(100), &groups);
            let (mut vcl, mut vdl, mut last) = (Lsn(100), Lsn(100), vec![Lsn(50); 4]);
            let mut upto = last.clone();
            for (group, link) in &log {
                if !groups[*group].links.contains(link) {
                    break;
                }
                vcl = link.lsn;
                upto[*group] = link.lsn;
                if link.is_cpl {
                    vdl = link.lsn;
                    last.clone_from(&upto);
                }
            }
            prop_assert_eq!(found, Points { vcl, vdl, last });
        }
    }
}

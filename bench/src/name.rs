//! The benchmarks there are.

/// A benchmark, by the name under which its load is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum BenchName {
    /// pgbench's TPC-B script.
    Tpcb,
    /// pgbench's select-only script.
    Select,
    /// sysbench: inserts by primary key.
    OltpInsert,
    /// sysbench: reads and writes in one transaction.
    OltpReadWrite,
    /// sysbench: point selects and ranges in one transaction.
    OltpReadOnly,
    /// sysbench: two updates, a delete and an insert in one transaction.
    OltpWriteOnly,
    /// sysbench: one select by primary key.
    OltpPointSelect,
    /// sysbench: updates of an indexed column.
    OltpUpdateIndex,
    /// sysbench: updates of a column without an index.
    OltpUpdateNonIndex,
    /// sysbench: deletes by primary key.
    OltpDelete,
    /// sysbench: selects of ten keys of a secondary index.
    SelectRandomPoints,
    /// sysbench: sums over ten ranges of a secondary index.
    SelectRandomRanges,
    /// The five transactions of TPC-C, without think time.
    Tpcc,
    /// Everything, one after the other.
    All,
    /// One storage node: log appends beside fio.
    Append,
    /// One storage node: page reads beside fio, background work, amplification.
    Pages,
    /// One storage node: start after a kill.
    NodeRestart,
    /// Crashes under load: time to the first commit.
    Restart,
    /// The same working set in more and more data.
    Growth,
    /// A large table is dropped beside commits.
    Drop,
}

impl BenchName {
    /// True when it measures a storage node on its device, not SQL.
    #[must_use]
    pub fn is_of_device(self) -> bool {
        matches!(self, BenchName::Append | BenchName::Pages | BenchName::NodeRestart)
    }

    /// True when it puts a load on all peers.
    #[must_use]
    pub fn is_load(self) -> bool {
        let other = matches!(self, BenchName::All | BenchName::Restart | BenchName::Growth | BenchName::Drop);
        !other && !self.is_of_device()
    }

    /// The benchmarks that it stands for.
    #[must_use]
    pub fn parts(self) -> Vec<BenchName> {
        use clap::ValueEnum;
        match self {
            BenchName::All => Self::value_variants().iter().copied().filter(|name| *name != self).collect(),
            one => vec![one],
        }
    }

    /// The script's name in sysbench; none for pgbench's loads.
    #[must_use]
    pub fn script(self) -> Option<&'static str> {
        Some(match self {
            BenchName::OltpInsert => "oltp_insert",
            BenchName::OltpReadWrite => "oltp_read_write",
            BenchName::OltpReadOnly => "oltp_read_only",
            BenchName::OltpWriteOnly => "oltp_write_only",
            BenchName::OltpPointSelect => "oltp_point_select",
            BenchName::OltpUpdateIndex => "oltp_update_index",
            BenchName::OltpUpdateNonIndex => "oltp_update_non_index",
            BenchName::OltpDelete => "oltp_delete",
            BenchName::SelectRandomPoints => "select_random_points",
            BenchName::SelectRandomRanges => "select_random_ranges",
            _ => return None,
        })
    }

    /// What its figures are called by.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self.script() {
            Some(script) => script.trim_start_matches("oltp_").trim_start_matches("select_random_"),
            None if self == BenchName::Tpcb => "tpcb",
            None if self == BenchName::Select => "select",
            None if self == BenchName::Tpcc => "tpcc",
            None if self == BenchName::Append => "append",
            None if self == BenchName::Pages => "pages",
            None if self == BenchName::NodeRestart => "node_restart",
            None if self == BenchName::Restart => "restart",
            None if self == BenchName::Growth => "growth",
            None if self == BenchName::Drop => "drop",
            None => "all",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_stands_for_everything_once() {
        let parts = BenchName::All.parts();
        assert_eq!(parts.iter().filter(|name| name.is_load()).count(), 13);
        let mut names: Vec<_> = parts.iter().map(|load| load.short()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 19, "figures of two benchmarks would have one name");
    }
}

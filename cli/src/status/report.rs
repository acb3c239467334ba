//! What `sextant status` found out. The structures are the JSON output; `Display` is the screen.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use serde::Serialize;
use sextant_meta::{PgInfo, Replacement};
use sextant_redo::{
    AzId, ClusterId, GeometryEpoch, Lsn, MembershipEpoch, NodeId, PgId, SegmentKind, Segments, VolumeEpoch,
    VolumeId,
};
use sextant_volume::quorum::{MemberSet, QuorumSet};

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) cluster: ClusterId,
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) volumes: Vec<Volume>,
    /// Copies that nobody needs and that are not gone yet.
    pub(crate) leftovers: Vec<Leftover>,
}

/// A copy of a volume that was dropped, or on a node that is no member of its group any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Leftover {
    pub(crate) node: NodeId,
    pub(crate) volume: VolumeId,
    pub(crate) pg: PgId,
}

/// What a storage node holds of its device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Space {
    /// The hot log.
    pub(crate) log_bytes: u64,
    /// The page store.
    pub(crate) page_bytes: u64,
    /// Of that, what nothing is in.
    pub(crate) page_free_bytes: u64,
}

/// A metadata process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
}

/// A storage node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) az: AzId,
    pub(crate) address: SocketAddr,
    pub(crate) http: SocketAddr,
    /// The metadata leader hears its heartbeat.
    pub(crate) alive: bool,
    /// Null when it did not tell.
    pub(crate) space: Option<Space>,
    /// Why it did not answer just now; null when it did.
    pub(crate) error: Option<String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) name: String,
    pub(crate) epoch: VolumeEpoch,
    pub(crate) geometry_epoch: GeometryEpoch,
    /// What the segments of its protection groups are.
    pub(crate) segments: Segments,
    pub(crate) writer: Option<Writer>,
    pub(crate) pgs: Vec<Pg>,
}

/// The instance that was last granted the right to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Writer {
    pub(crate) instance: String,
    pub(crate) address: String,
    pub(crate) epoch: VolumeEpoch,
    /// Volume durable LSN as the writer knows it.
    pub(crate) vdl: Option<Lsn>,
    /// Why it did not answer just now; null when it did.
    pub(crate) error: Option<String>,
}

/// A protection group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pg {
    pub(crate) pg: PgId,
    pub(crate) membership: MembershipEpoch,
    /// Copies that answer.
    pub(crate) up: usize,
    /// Whether enough do for commits.
    pub(crate) writable: bool,
    /// Whether enough do for nothing to be lost.
    pub(crate) recoverable: bool,
    /// Members that are being replaced; until that ends their successors are copies too.
    pub(crate) replacements: Vec<Replacement>,
    pub(crate) segments: Vec<Segment>,
}

/// One copy of a protection group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Segment {
    pub(crate) node: NodeId,
    pub(crate) az: AzId,
    /// Whether it has pages, or log alone.
    pub(crate) kind: SegmentKind,
    /// Volume epoch recorded there.
    pub(crate) epoch: Option<VolumeEpoch>,
    /// Complete to here; null when the copy does not answer.
    pub(crate) scl: Option<Lsn>,
    /// Why it has no SCL; null when it has.
    pub(crate) error: Option<String>,
}

impl Pg {
    /// Judges a protection group by its copies.
    pub(crate) fn new(info: &PgInfo, segments: Vec<Segment>) -> Pg {
        let of = |node| segments.iter().position(|segment| segment.node == node).unwrap_or(segments.len());
        let quorums = QuorumSet::of_group(info, of);
        let answers = |(at, segment): (usize, &Segment)| segment.scl.map(|_| at);
        let up: MemberSet = segments.iter().enumerate().filter_map(answers).collect();
        Pg {
            pg: info.pg,
            membership: info.membership,
            up: up.len(),
            writable: quorums.write.met(up),
            recoverable: quorums.read.met(up),
            replacements: info.replacements.clone(),
            segments,
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.writable, self.recoverable) {
            (true, _) if self.up == self.segments.len() => "healthy",
            (true, _) => "writable, degraded",
            (false, true) => "NOT WRITABLE: commits wait; nothing is lost",
            (false, false) => "UNAVAILABLE: too few copies answer to know what is durable",
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let leader = self.leader.map_or("none".to_owned(), |id| id.to_string());
        writeln!(f, "cluster {}", self.cluster)?;
        writeln!(f, "\nmetadata   leader {leader}, term {}", self.term)?;
        for member in &self.members {
            let mark = if Some(member.id) == self.leader { "  leader" } else { "" };
            writeln!(f, "  {:<4} {}{mark}", member.id, member.address)?;
        }
        let alive = self.nodes.iter().filter(|node| node.alive).count();
        writeln!(f, "\nstorage    {alive} of {} nodes alive", self.nodes.len())?;
        for node in &self.nodes {
            let state = if node.alive { "alive" } else { "SILENT" };
            let note = node.error.as_ref().map(|error| format!("  ({error})")).unwrap_or_default();
            let space = node.space.map(|space| format!("  {space}")).unwrap_or_default();
            writeln!(
                f,
                "  {:<4} az {:<2} {:<21} {state}{space}{note}",
                node.id.0,
                node.az.0,
                node.address.to_string()
            )?;
        }
        self.volumes.iter().try_for_each(|volume| write!(f, "\n{volume}"))?;
        if !self.leftovers.is_empty() {
            writeln!(f, "\nleft over   copies that nobody needs; their nodes are dropping them")?;
        }
        for Leftover { node, volume, pg } in &self.leftovers {
            writeln!(f, "    node {:<4} volume {volume}, pg {pg}", node.0)?;
        }
        Ok(())
    }
}

impl Display for Space {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let Space { log_bytes, page_bytes, page_free_bytes } = *self;
        write!(
            f,
            "log {} MiB, pages {} MiB",
            mib(log_bytes),
            mib(page_bytes - page_free_bytes.min(page_bytes))
        )?;
        if page_free_bytes >> 20 > 0 { write!(f, " and {} MiB free", page_free_bytes >> 20) } else { Ok(()) }
    }
}

impl Display for Volume {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "volume     \"{}\" ({}), epoch {}, geometry epoch {}, segments {}",
            self.name, self.id, self.epoch, self.geometry_epoch, self.segments
        )?;
        match &self.writer {
            None => writeln!(f, "  writer   none")?,
            Some(writer) => {
                let vdl = writer.vdl.map_or("unknown".to_owned(), |vdl| vdl.to_string());
                let note = writer.error.as_ref().map(|error| format!("  ({error})")).unwrap_or_default();
                let Writer { instance, address, epoch, .. } = writer;
                writeln!(f, "  writer   {instance} at {address}, epoch {epoch}, VDL {vdl}{note}")?;
            }
        }
        for pg in &self.pgs {
            let total = pg.segments.len();
            let Pg { pg: PgId(id), membership, up, .. } = pg;
            writeln!(f, "  pg {id:<5} {up}/{total} copies, {}, membership epoch {membership}", pg.verdict())?;
            for Replacement { old, new, hydrated, automatic } in &pg.replacements {
                let state = if *hydrated { "complete" } else { "not complete yet" };
                let why = if *automatic { ", begun by the metadata leader" } else { "" };
                writeln!(f, "    replacing node {old} by node {new}, {state}{why}")?;
            }
            for segment in &pg.segments {
                let state = match (segment.scl, segment.epoch, &segment.error) {
                    (Some(scl), Some(epoch), _) => format!("SCL {scl}, epoch {epoch}"),
                    (.., Some(error)) => format!("DOWN ({error})"),
                    _ => "DOWN".to_owned(),
                };
                let kind = if segment.kind.is_full() { "" } else { "tail, " };
                writeln!(f, "    node {:<4} az {:<2} {kind}{state}", segment.node.0, segment.az.0)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pg(up: usize) -> Pg {
        let segment = |index: usize| Segment {
            node: NodeId(index as u64 + 1),
            az: AzId(index as u16 / 2),
            kind: if index.is_multiple_of(2) { SegmentKind::Full } else { SegmentKind::Tail },
            epoch: (index < up).then_some(VolumeEpoch(3)),
            scl: (index < up).then_some(Lsn(700)),
            error: (index >= up).then(|| "connection refused".to_owned()),
        };
        Pg::new(&info(vec![]), (0..6).map(segment).collect())
    }

    fn info(replacements: Vec<Replacement>) -> PgInfo {
        let member = |index: u64| sextant_meta::Member {
            node: NodeId(index + 1),
            az: AzId(index as u16 / 2),
            addr: "127.0.0.1:1".parse().expect("address"),
            created: true,
            kind: sextant_redo::SegmentKind::Full,
        };
        let members = (0..6 + replacements.len() as u64).map(member).collect();
        PgInfo { pg: PgId(0), membership: MembershipEpoch(1), members, replacements, former: Vec::new() }
    }

    #[test]
    fn during_a_replacement_both_quorums_count() {
        let (old, new) = (NodeId(6), NodeId(7));
        let info = info(vec![Replacement { old, new, hydrated: false, automatic: true }]);
        let segment = |node: u64, up: bool| Segment {
            node: NodeId(node),
            az: AzId(0),
            kind: SegmentKind::Full,
            epoch: up.then_some(VolumeEpoch(3)),
            scl: up.then_some(Lsn(700)),
            error: None,
        };
        let with =
            |up: &[u64]| Pg::new(&info, (1..=7).map(|node| segment(node, up.contains(&node))).collect());
        assert!(with(&[1, 2, 3, 4]).writable && with(&[1, 2, 3, 6, 7]).writable);
        assert!(!with(&[1, 2, 3, 6]).writable && with(&[1, 2, 3]).recoverable);
        let report = Report { volumes: vec![volume(with(&[1, 2, 3, 4]))], ..report() };
        let screen = report.to_string();
        assert!(screen.contains("replacing node 6 by node 7, not complete yet, begun by"), "{screen}");
    }

    #[test]
    fn quorums_are_judged_by_the_copies_that_answer() {
        let judged: Vec<_> = (0..=6).map(|up| (pg(up).writable, pg(up).recoverable)).collect();
        let (no, read, write) = ((false, false), (false, true), (true, true));
        assert_eq!(judged, [no, no, no, read, write, write, write]);
        assert_eq!(pg(6).verdict(), "healthy");
        assert!(pg(5).verdict().contains("degraded"));
        assert!(pg(3).verdict().contains("NOT WRITABLE"));
        assert!(pg(2).verdict().contains("UNAVAILABLE"));
    }

    fn report() -> Report {
        Report {
            cluster: ClusterId(0xabc),
            leader: Some(2),
            term: 5,
            members: vec![Member { id: 2, address: "127.0.0.1:5452".parse().expect("address") }],
            nodes: vec![node()],
            volumes: vec![volume(pg(4))],
            leftovers: vec![Leftover { node: NodeId(5), volume: VolumeId(8), pg: PgId(1) }],
        }
    }

    fn node() -> Node {
        Node {
            id: NodeId(5),
            az: AzId(1),
            address: "127.0.0.1:5460".parse().expect("address"),
            http: "127.0.0.1:5461".parse().expect("address"),
            alive: true,
            space: Some(Space { log_bytes: 64 << 20, page_bytes: 20 << 20, page_free_bytes: 3 << 20 }),
            error: None,
        }
    }

    fn volume(pg: Pg) -> Volume {
        Volume {
            id: VolumeId(9),
            name: "main".into(),
            epoch: VolumeEpoch(3),
            geometry_epoch: GeometryEpoch(1),
            segments: Segments::FullTail,
            writer: Some(Writer {
                instance: "engine-1".into(),
                address: "127.0.0.1:5440".into(),
                epoch: VolumeEpoch(3),
                vdl: Some(Lsn(712)),
                error: None,
            }),
            pgs: vec![pg],
        }
    }

    #[test]
    fn the_screen_shows_the_points_that_matter() {
        let report = report();
        let screen = report.to_string();
        for part in [
            "leader 2, term 5",
            "\"main\" (9), epoch 3",
            "VDL 712",
            "4/6 copies",
            "SCL 700",
            "segments full-tail",
            "az 0  tail, SCL 700",
            "DOWN (connection refused)",
            "alive  log 64 MiB, pages 17 MiB and 3 MiB free",
            "node 5    volume 8, pg 1",
        ] {
            assert!(screen.contains(part), "{part} in\n{screen}");
        }
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["volumes"][0]["segments"], "full-tail");
        assert_eq!(json["volumes"][0]["pgs"][0]["segments"][1]["kind"], "tail");
        assert_eq!(json["volumes"][0]["pgs"][0]["up"], 4);
        assert_eq!(json["volumes"][0]["writer"]["vdl"], 712);
    }
}

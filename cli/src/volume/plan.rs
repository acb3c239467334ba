//! What dropping a volume means and what came of it. The structure is the JSON output; `Display` is the plan for people.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use sextant_meta::VolumeInfo;
use sextant_redo::{NodeId, VolumeEpoch, VolumeId};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Nothing was changed.
    Planned,
    /// Nobody can open it any more.
    Dropped,
    /// And no storage node that answers has a copy.
    Freed,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Plan {
    pub(super) volume: String,
    pub(super) id: VolumeId,
    pub(super) epoch: VolumeEpoch,
    /// Who was granted it last, unless that one gave it back.
    pub(super) writer: Option<String>,
    pub(super) pgs: usize,
    /// Nodes that hold copies.
    pub(super) nodes: Vec<NodeId>,
    pub(super) state: State,
    /// Nodes of these that did not answer.
    pub(super) away: Vec<NodeId>,
}

impl Plan {
    pub(super) fn of(volume: &VolumeInfo) -> Plan {
        let members = volume.pgs.iter().flat_map(|pg| &pg.members).map(|member| member.node);
        let nodes: BTreeSet<NodeId> = members.collect();
        Plan {
            volume: volume.name.clone(),
            id: volume.id,
            epoch: volume.epoch,
            writer: volume.writer.as_ref().map(|w| format!("{} at {}", w.instance, w.advertise)),
            pgs: volume.pgs.len(),
            nodes: nodes.into_iter().collect(),
            state: State::Planned,
            away: Vec::new(),
        }
    }

    /// The last line.
    pub(super) fn end(&self) -> String {
        match self.state {
            State::Planned => "nothing was changed: --dry-run".to_owned(),
            State::Dropped => "dropped; the storage nodes free its space".to_owned(),
            State::Freed if self.away.is_empty() => "dropped; no storage node has a copy any more".to_owned(),
            State::Freed => {
                let away: Vec<String> = self.away.iter().map(NodeId::to_string).collect();
                let away = away.join(", ");
                format!("dropped; node {away} did not answer, and drops its copies when it is back")
            }
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Plan { volume, id, epoch, pgs, nodes, .. } = self;
        writeln!(f, "volume \"{volume}\" ({id}), epoch {epoch}")?;
        match &self.writer {
            Some(writer) => writeln!(f, "  last writer  {writer}; refused while its lease runs")?,
            None => writeln!(f, "  last writer  none, or it gave the volume back")?,
        }
        write!(
            f,
            "  to be gone   {pgs} protection groups on {} storage nodes, and all data in them",
            nodes.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_says_what_will_be_gone_and_the_end_who_did_not_hear_of_it() {
        let mut plan = Plan {
            volume: "main".to_owned(),
            id: VolumeId(20),
            epoch: VolumeEpoch(3),
            writer: Some("engine at db:5432".to_owned()),
            pgs: 2,
            nodes: (1..8).map(NodeId).collect(),
            state: State::Planned,
            away: Vec::new(),
        };
        let text = plan.to_string();
        for part in ["\"main\"", "engine at db:5432", "2 protection groups on 7 storage nodes"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json = serde_json::to_value(&plan).expect("JSON");
        assert_eq!((json["pgs"].as_u64(), json["state"].as_str()), (Some(2), Some("planned")));
        (plan.state, plan.away) = (State::Freed, vec![NodeId(4), NodeId(5)]);
        assert!(plan.end().contains("4, 5"), "{}", plan.end());
    }
}

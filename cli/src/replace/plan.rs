//! What a replacement is to do and what came of it. The structure is the JSON output; `Display` is the plan for people.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use sextant_meta::{NodeInfo, VolumeInfo};
use sextant_redo::{MembershipEpoch, NodeId, PgId};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Nothing was changed.
    Planned,
    /// Both nodes are members.
    Begun,
    /// The new node is a member, the old one is not.
    Finished,
    /// Under way, to be undone; nothing was changed.
    ToRevert,
    /// The old node is a member, the new one is not.
    Reverted,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Plan {
    pub(super) volume: String,
    pub(super) pg: PgId,
    /// Membership epoch of the group.
    pub(super) membership: MembershipEpoch,
    pub(super) old: NodeId,
    pub(super) new: NodeId,
    pub(super) old_node: Option<NodeInfo>,
    pub(super) new_node: Option<NodeInfo>,
    pub(super) state: State,
}

impl Plan {
    /// The volume as it is now.
    pub(super) fn follow(&mut self, volume: &VolumeInfo, state: State) {
        self.state = state;
        if let Some(group) = volume.pgs.iter().find(|group| group.pg == self.pg) {
            self.membership = group.membership;
        }
    }

    /// The last line.
    pub(super) fn end(&self) -> &'static str {
        match self.state {
            State::Planned | State::ToRevert => "nothing was changed: --dry-run",
            State::Begun => "begun; the writer brings the new copy up to date and finishes",
            State::Finished => "finished; the old node holds no member of this group any more",
            State::Reverted => "reverted; the new node holds no member of this group any more",
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Plan { volume, pg, membership, old, new, .. } = self;
        writeln!(f, "protection group {pg} of volume \"{volume}\", membership epoch {membership}")?;
        writeln!(f, "  old copy  {}", described(*old, self.old_node.as_ref()))?;
        writeln!(f, "  new copy  {}", described(*new, self.new_node.as_ref()))?;
        match self.state {
            State::ToRevert | State::Reverted => write!(f, "  the old copy stays, the new one leaves"),
            _ => write!(
                f,
                "  until the new copy has everything that is durable, writes need four of six with either; then the old one \
                 leaves"
            ),
        }
    }
}

fn described(id: NodeId, node: Option<&NodeInfo>) -> String {
    match node {
        Some(node) => {
            let state = if node.alive { "alive" } else { "SILENT" };
            format!("node {id}, az {}, {}, {state}", node.az, node.addr)
        }
        None => format!("node {id}, not registered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_names_both_nodes_and_what_it_means() {
        let plan = Plan {
            volume: "main".to_owned(),
            pg: PgId(3),
            membership: MembershipEpoch(1),
            old: NodeId(7),
            new: NodeId(9),
            old_node: None,
            new_node: None,
            state: State::Planned,
        };
        let text = plan.to_string();
        for part in
            ["group 3 of volume \"main\"", "old copy  node 7", "new copy  node 9", "four of six with either"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json = serde_json::to_value(&plan).expect("JSON");
        assert_eq!((json["old"].as_u64(), json["state"].as_str()), (Some(7), Some("planned")));
    }
}

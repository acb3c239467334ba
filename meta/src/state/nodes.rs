//! Members of the metadata group and storage nodes.

use sextant_redo::{ClusterId, NodeId};

use super::{AZS, Applied, MetaState, NodeRecord};
use crate::{MetaError, Result};

/// Longest name or uuid that is accepted, in bytes: everything here is kept in memory and in every snapshot.
pub(super) const NAME_MAX: usize = 200;

/// Storage nodes at most: the set of those that live must fit a log entry.
const NODES_MAX: usize = 4096;

impl MetaState {
    pub(super) fn join_member(&mut self, id: u64, uuid: &str) -> Result<Applied> {
        check_name("uuid", uuid)?;
        match self.members.get(&id) {
            Some(known) if known != uuid => Err(MetaError::refused(format!(
                "metadata member {id} is on record with data folder {known}, not {uuid}: its folder was lost or \
                 exchanged. A member that forgot its votes can undo committed changes; give the machine a new member id"
            ))),
            Some(_) => Ok(Applied::Done),
            None => {
                self.members.insert(id, uuid.to_owned());
                Ok(Applied::Done)
            }
        }
    }

    pub(super) fn register_node(
        &mut self,
        index: u64,
        node: &NodeRecord,
        theirs: Option<ClusterId>,
    ) -> Result<Applied> {
        let ours = self.cluster()?;
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            return Err(MetaError::WrongCluster { ours, theirs });
        }
        check_name("uuid", &node.uuid)?;
        if usize::from(node.az.0) >= AZS {
            return Err(MetaError::refused(format!(
                "availability zone {} does not exist; zones are 0 to {}",
                node.az,
                AZS - 1
            )));
        }
        let known =
            self.nodes.iter().find(|(_, known)| known.uuid == node.uuid).map(|(id, known)| (*id, known.az));
        let id = match known {
            None if self.nodes.len() >= NODES_MAX => {
                return Err(MetaError::refused(format!(
                    "the cluster has {NODES_MAX} storage nodes, which is the limit"
                )));
            }
            None => NodeId(index),
            Some((id, az)) if az == node.az => id,
            Some((id, az)) => {
                return Err(MetaError::refused(format!(
                    "node {id} is on record in zone {az}, not {}: its copies were placed for that zone. Start it there, \
                     or with an empty folder as a new node",
                    node.az
                )));
            }
        };
        self.nodes.insert(id, node.clone());
        Ok(Applied::Node(ours, id))
    }
}

/// Refuses what cannot be a name.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(MetaError::refused(format!(
            "{what} must have 1 to {NAME_MAX} bytes and has {}",
            name.len()
        )));
    }
    Ok(())
}

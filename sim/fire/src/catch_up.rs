//! Whether storage nodes have what their peers have, as all of them say in `/health`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sextant_node::http_get;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, NODES};

/// How long a process may take to say how it is.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// A segment, as volume and protection group.
type Segment = (u64, u64);
/// Where a copy stands: volume epoch, then SCL.
type Place = (u64, u64);
/// By segment: where the most complete copy stood when the fault was over. A copy of an older opening does not count: what
/// it has beyond the others may be void.
pub(crate) type Target = BTreeMap<Segment, Place>;

/// Whether the victims have what their peers had when first asked: that becomes `target`. What an opening has truncated
/// since then nobody has.
pub(crate) async fn done(cluster: &Cluster, victims: &[usize], target: &mut Option<Target>) -> bool {
    let nodes = ask(cluster).await;
    let mut best = Target::new();
    for (segment, place) in nodes.values().flatten() {
        let known = best.entry(*segment).or_default();
        *known = (*known).max(*place);
    }
    let target = target.get_or_insert_with(|| best.clone());
    victims.iter().all(|victim| {
        let Some(copies) = nodes.get(victim) else { return false };
        target.iter().all(|(segment, wanted)| {
            let needed = best.get(segment).map_or(*wanted, |now| (*now).min(*wanted));
            copies.get(segment).is_some_and(|place| *place >= needed)
        })
    })
}

/// Where the copies of every node stand that answers and is well.
async fn ask(cluster: &Cluster) -> BTreeMap<usize, Target> {
    let mut asking = JoinSet::new();
    for node in 0..NODES {
        let address = cluster.node_http(node);
        asking.spawn(async move { (node, http_get::health(&address, PATIENCE).await) });
    }
    let answers = asking.join_all().await.into_iter();
    answers.filter_map(|(node, health)| Some((node, places(&health.ok()?)?))).collect()
}

fn places(health: &Value) -> Option<Target> {
    if health["ok"] != true {
        return None;
    }
    let place = |segment: &Value| {
        let name = (segment["volume"].as_u64()?, segment["pg"].as_u64()?);
        Some((name, (segment["epoch"].as_u64()?, segment["scl"].as_u64()?)))
    };
    health["detail"]["segments"].as_array()?.iter().map(place).collect()
}

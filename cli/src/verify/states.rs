//! What must hold of the states of a cluster's copies, by looking twice and then waiting until copies that lag have what
//! the most complete one had.

use std::time::{Duration, Instant};

use sextant_meta::{MetaClient, MetaError};
use sextant_node::http_get;
use sextant_redo::{Lsn, NodeId, VolumeId};
use sextant_sim::invariants::i08_membership::Membership;
use sextant_sim::invariants::i10_metadata::{Asked, Said, is_linearizable};
use sextant_sim::invariants::{i01_durability, i02_points, i03_fencing, i05_convergence, i08_membership};
use tokio::time::sleep;

use super::PATIENCE;
use super::look::{Group, Look, Nodes};
use super::report::Report;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Checks, and returns the last look.
pub(crate) async fn check(
    meta: &MetaClient,
    patience: Duration,
    report: &mut Report,
) -> Result<Look, MetaError> {
    let first = Look::take(meta).await?;
    let durable = what_writers_say(&first).await;
    let second = Look::take(meta).await?;
    two_looks(&first, &second, report);
    let mut nodes = Nodes::connect(&second.view).await;
    for group in second.groups() {
        let vdl = durable.iter().find(|(volume, _)| *volume == group.volume.id).map(|(_, vdl)| vdl.clone());
        match vdl.unwrap_or_else(|| Err("the volume is new".to_owned())) {
            Ok(vdl) => durability(&group, vdl, &mut nodes, report).await,
            Err(why) => report.unchecked("I1", format!("volume {}: {why}", group.volume.name)),
        }
    }
    convergence(meta, second, patience, report).await
}

/// By volume: the VDL that its writer tells, or why there is none.
async fn what_writers_say(look: &Look) -> Vec<(VolumeId, Result<Lsn, String>)> {
    let mut out = Vec::new();
    for volume in &look.view.volumes {
        let said = match &volume.writer {
            None => Err("it has no writer".to_owned()),
            Some(writer) => match http_get::health(&writer.http, PATIENCE).await {
                Ok(health) => {
                    health["detail"]["vdl"].as_u64().map(Lsn).ok_or("its writer is opening it".to_owned())
                }
                Err(error) => Err(format!("writer {}: {error}", writer.instance)),
            },
        };
        out.push((volume.id, said));
    }
    out
}

fn two_looks(first: &Look, second: &Look, report: &mut Report) {
    for group in first.groups() {
        // The second view is newer than the first states.
        let Some(volume) = second.view.volumes.iter().find(|volume| volume.id == group.volume.id) else {
            continue;
        };
        let Some(info) = volume.pgs.iter().find(|info| info.pg == group.info.pg) else { continue };
        let (before, now) = (Membership::of(group.info), Membership::of(info));
        let mut membership = i08_membership::is_sound(&now).and(i08_membership::step_is_sound(&before, &now));
        for (node, state) in &group.copies {
            membership = membership.and(i08_membership::copy_is_not_ahead(&now, *node, state));
            match second.copy(*node, group.segment) {
                Some(later) => report.checked("I2", i02_points::copy_advances(*node, state, later)),
                None => report.unchecked("I2", format!("node {node} does not answer twice")),
            }
        }
        report.checked("I8", membership);
        report.checked("I3", i03_fencing::copies_know_one_opening(volume.epoch, &group.copies));
        group.silent.iter().for_each(|why| report.unchecked("I3", why.clone()));
    }
    for volume in &first.view.volumes {
        let Some(later) = second.view.volumes.iter().find(|later| later.id == volume.id) else { continue };
        let asked = |look: &Look, epoch| Asked {
            sent: micros(first, look.asked),
            answered: micros(first, look.answered),
            said: Said::Current(epoch),
        };
        let history = [asked(first, volume.epoch), asked(second, later.epoch)];
        report.checked("I10", is_linearizable(&history));
    }
}

fn micros(first: &Look, at: Instant) -> u64 {
    at.duration_since(first.asked).as_micros() as u64
}

/// The writer called everything up to `vdl` durable before the group's copies were asked.
async fn durability(group: &Group<'_>, vdl: Lsn, nodes: &mut Nodes, report: &mut Report) {
    let name = format!("group {} of volume {}", group.info.pg, group.volume.name);
    let (Some(quorum_scl), Some((best, state))) = (group.quorum_scl(), group.best()) else {
        report.unchecked("I1", format!("{name}: too few copies answer: {}", group.silent.join("; ")));
        return;
    };
    let Some(client) = nodes.client(*best) else {
        report.unchecked("I1", format!("{name}: node {best} does not answer again"));
        return;
    };
    match client.read_chain(group.segment, state.epochs, quorum_scl, 1).await {
        Ok(links) => {
            let next = links.first().map(|links| links.lsn);
            let copies: Vec<Lsn> = group.copies.iter().map(|(_, state)| state.scl).collect();
            report.checked("I1", i01_durability::nothing_durable_is_rare(group.info.pg, vdl, next, &copies));
        }
        Err(error) => report.unchecked("I1", format!("{name}: node {best} does not tell its chain: {error}")),
    }
}

/// Waits until every copy that answers has what the most complete one had.
async fn convergence(
    meta: &MetaClient,
    start: Look,
    patience: Duration,
    report: &mut Report,
) -> Result<Look, MetaError> {
    let deadline = Instant::now() + patience;
    let mut look = Look::take(meta).await?;
    while !start.groups().all(|group| lagging(&group, &look).is_empty()) && Instant::now() < deadline {
        sleep(PAUSE).await;
        look = Look::take(meta).await?;
    }
    for group in start.groups() {
        let Some((_, best)) = group.best() else { continue };
        let lagging = lagging(&group, &look);
        for (node, _) in &group.copies {
            let scl = lagging.iter().find(|(lags, _)| lags == node).map_or(best.scl, |(_, scl)| *scl);
            report.checked("I5", i05_convergence::copy_has_caught_up(group.info.pg, *node, best.scl, scl));
        }
        group.silent.iter().for_each(|why| report.unchecked("I5", why.clone()));
    }
    Ok(look)
}

/// Copies that answered at the start and are not yet where the best one was then, and where they are.
fn lagging(group: &Group<'_>, now: &Look) -> Vec<(NodeId, Lsn)> {
    let Some((_, best)) = group.best() else { return Vec::new() };
    let scl = |node| match now.copy(node, group.segment) {
        // A later opening may have truncated what the best copy had.
        Some(state) if state.epochs.volume > best.epochs.volume => best.scl,
        Some(state) => state.scl,
        None => Lsn::ZERO,
    };
    let scls = group.copies.iter().map(|(node, _)| (*node, scl(*node)));
    scls.filter(|(_, scl)| *scl < best.scl).collect()
}

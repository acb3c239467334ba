//! The disk of one storage node is filled: the node must refuse log by its typed error, go on serving reads, and take log
//! again once there is space.

use std::io;
use std::time::{Duration, Instant};

use sextant_meta::MetaClient;
use sextant_node::http_get;
use sextant_redo::wire::SegmentError;
use sextant_redo::{PAGE_SIZE, PageId, page};
use sextant_segment_store::admin::{AdminClient, AdminError};
use tokio::time::sleep;

use crate::bank;
use crate::catch_up::PATIENCE;
use crate::cluster::SMALL_NODE;
use crate::storm::Storm;

/// How long until the node's log needs a file that it cannot have. When it does not come to that the run says so.
const REFUSED_LIMIT: Duration = Duration::from_secs(20);
/// How long until the node takes log again. It looks for space every second.
const ACCEPTED_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for one statement of the log's filler.
const STATEMENT_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pages read while the disk is full.
const PAGES: u64 = 32;
/// Refusals by [`SegmentError::DeviceFull`], in the node's metrics.
const REFUSALS: &str = "sextant_segment_errors_total{kind=\"device_full\"}";

/// Fills the disk, and gives the space back `lasts` after the node has refused log.
pub(crate) async fn strike(storm: &mut Storm<'_>, lasts: Duration) -> io::Result<()> {
    let Some(disk) = storm.disk else { return Ok(()) };
    disk.fill()?;
    let refused = refuses(storm).await;
    if refused {
        storm.report.event("full disk: log refused");
        match read_pages(storm).await {
            Ok(pages) => storm.report.events("full disk: pages read", pages),
            Err(why) => {
                storm.report.finding(format!("a node whose disk is full does not serve reads: {why}"))
            }
        }
        sleep(lasts).await;
    } else {
        storm.report.event("full disk: not noticed in time");
    }
    disk.relieve()?;
    let deadline = Instant::now() + ACCEPTED_LIMIT;
    while !is_well(storm).await {
        if Instant::now() > deadline {
            let node = &storm.cluster.nodes[SMALL_NODE];
            let what = format!(
                "{} takes no log {ACCEPTED_LIMIT:?} after its disk has space again; its log ends with\n{}",
                node.name,
                node.last_lines(5)
            );
            storm.report.finding(what);
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn refusals(storm: &Storm<'_>) -> f64 {
    let http = storm.cluster.node_http(SMALL_NODE);
    http_get::metric(&http, REFUSALS, PATIENCE).await.ok().flatten().unwrap_or(0.0)
}

async fn is_well(storm: &Storm<'_>) -> bool {
    let health = http_get::health(&storm.cluster.node_http(SMALL_NODE), PATIENCE).await;
    health.is_ok_and(|health| health["ok"] == true && health["detail"]["device_full"] == false)
}

/// Writes log until the node has refused some; false when it does not within the limit.
async fn refuses(storm: &Storm<'_>) -> bool {
    let before = refusals(storm).await;
    let ports = storm.cluster.sql_ports();
    let filling = tokio::spawn(fill_log(ports));
    let deadline = Instant::now() + REFUSED_LIMIT;
    let mut refused = false;
    while !refused && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
        refused = refusals(storm).await > before;
    }
    filling.abort();
    refused
}

/// Changes the same rows again and again: megabytes of log, and pages that are there already.
async fn fill_log(ports: [u16; 2]) {
    let Some(client) = bank::connect_within(&ports, REFUSED_LIMIT).await else { return };
    let create = "CREATE TABLE fire_bulk (id int PRIMARY KEY, filler text)";
    // There already after the first time.
    let _ = client.batch_execute(create).await;
    for id in 0..200 {
        let _ = client.execute("INSERT INTO fire_bulk VALUES ($1, '')", &[&id]).await;
    }
    for round in 0u64.. {
        let filler = char::from(b'a' + (round % 26) as u8).to_string().repeat(3000);
        let update = async { client.execute("UPDATE fire_bulk SET filler = $1", &[&filler]).await };
        if !matches!(tokio::time::timeout(STATEMENT_LIMIT, update).await, Ok(Ok(_))) {
            return;
        }
    }
}

/// Reads the first pages of the node's first segment at its own VDL; returns how many there were.
async fn read_pages(storm: &Storm<'_>) -> Result<u64, String> {
    let text = |error: AdminError| error.to_string();
    let meta = MetaClient::new(storm.cluster.meta_addresses());
    let view = meta.cluster().await.map_err(|error| error.to_string())?;
    let address = storm.cluster.node_address(SMALL_NODE);
    let http = storm.cluster.node_http(SMALL_NODE);
    let known = view.nodes.iter().find(|node| node.http.to_string() == http);
    let node = known.ok_or("it is not registered")?.id;
    let mut client = AdminClient::connect(address, view.cluster, node, PATIENCE * 4).await.map_err(text)?;
    let states = client.status().await.map_err(text)?;
    let state = states.iter().min_by_key(|state| state.segment.pg).ok_or("it has no segment")?;
    let read_point = state.vdl.min(state.scl);
    let mut pages = 0;
    for id in (0..PAGES).map(PageId) {
        match client.read_page(state.segment, state.epochs, id, read_point, read_point).await {
            Ok(image) => {
                let bytes: &[u8; PAGE_SIZE] = image[..].try_into().map_err(|_| "a page of another size")?;
                page::verify(bytes, id).map_err(|error| error.to_string())?;
                pages += 1;
            }
            // The readers have moved on from there.
            Err(AdminError::Refused(SegmentError::ReadPointTooOld { .. })) => {}
            Err(error) => return Err(format!("page {id}: {error}")),
        }
    }
    Ok(pages)
}

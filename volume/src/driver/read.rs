//! Page reads: no quorum, one full segment whose SCL covers the need (P18 section 3.1). The fastest by its usual time; now
//! and then another one, to keep the measure fresh; a second one when the first is slow; the next one when a copy
//! refuses or is damaged.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use sextant_redo::wire::{Reply, Request};
use sextant_redo::{Page, PageId, page};
use tokio::sync::oneshot;

use super::Driver;
use super::link::CallError;
use super::state::Member;
use crate::VolumeError;
use crate::metrics::METRICS;

/// One read in so many goes to another segment than the fastest.
const REFRESH: u64 = 64;
/// A read is slow when it takes so many times the node's usual time ...
const SLOW: u32 = 3;
/// ... but at least this long.
const SLOW_MIN: Duration = Duration::from_millis(2);
/// ... or so many times that once too many second requests were sent lately: when everything is slow, more requests
/// make it slower.
const SPENT: u32 = 10;
/// When the copies that could answer have all failed: pause before they are asked again.
const PAUSE: Duration = Duration::from_millis(10);
/// An answer that takes this long will not come: all copies are asked again.
const ROUND: Duration = Duration::from_secs(1);

/// How many second requests may be sent: one for ten reads, and a few at once when a node stops answering.
pub(crate) struct HedgeBudget(u32);

impl HedgeBudget {
    const COST: u32 = 10;
    const MOST: u32 = 20 * Self::COST;

    pub(crate) fn full() -> HedgeBudget {
        HedgeBudget(Self::MOST)
    }

    fn earn(&mut self) {
        self.0 = (self.0 + 1).min(Self::MOST);
    }

    fn spend(&mut self) {
        self.0 = self.0.saturating_sub(Self::COST);
    }

    fn spent(&self) -> bool {
        self.0 < Self::COST
    }
}

type Flying = (usize, oneshot::Receiver<Reply>);

impl Driver {
    /// Reads a page at the current VDL.
    pub(crate) async fn read_page(self: Rc<Self>, page: PageId) -> Result<Page, VolumeError> {
        let started = Instant::now();
        let mut last = "no segment with the log that is needed is connected".to_owned();
        loop {
            if let Some(image) = self.read_round(page, &mut last).await {
                return Ok(image);
            }
            if let Some(error) = self.lost.borrow().clone() {
                return Err(error);
            }
            if started.elapsed() > self.setup.tuning.read_deadline {
                return Err(VolumeError::Unreadable { page, last });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks the copies, one after the other as each fails or is slow.
    async fn read_round(&self, page: PageId, last: &mut String) -> Option<Page> {
        let (request, mut copies) = self.plan_read(page, last)?;
        copies.reverse();
        let started = Instant::now();
        let mut flying: Vec<Flying> = Vec::with_capacity(2);
        let mut patience = ROUND;
        loop {
            if flying.is_empty() {
                let node = copies.pop()?;
                patience = self.ask(node, &request, &mut flying, last).unwrap_or(patience);
                continue;
            }
            let left = ROUND.saturating_sub(started.elapsed());
            let wait = if copies.is_empty() { left } else { patience.min(left) };
            match tokio::time::timeout(wait, next_reply(&mut flying)).await {
                Ok((node, reply)) => match self.judge(node, page, reply, started) {
                    Ok(image) => return Some(image),
                    Err(error) => *last = error,
                },
                Err(_) if started.elapsed() >= ROUND => {
                    self.penalise(flying.iter().map(|(slow, _)| *slow), ROUND);
                    *last = "no answer in time".to_owned();
                    return None;
                }
                Err(_) => {
                    let node = copies.pop()?;
                    self.count_hedge(flying.iter().map(|(slow, _)| *slow), started.elapsed());
                    patience = self.ask(node, &request, &mut flying, last).unwrap_or(patience);
                }
            }
        }
    }

    /// What to ask, and of which nodes, the best first.
    fn plan_read(&self, page: PageId, last: &mut String) -> Option<(Request, Vec<usize>)> {
        let mut core = self.core.borrow_mut();
        core.reads += 1;
        core.hedges.earn();
        let refresh = core.reads.is_multiple_of(REFRESH);
        let turn = (core.reads / REFRESH) as usize;
        let group = self.setup.geometry.pg_of(page).0 as usize;
        let tracker = core.tracker.as_ref()?;
        let Some(of) = core.groups.get(group) else {
            *last = format!("{page:?} has no protection group yet");
            return None;
        };
        let (read_point, required_scl) = (tracker.vdl(), tracker.required_scl(group));
        let complete = |m: &&Member| m.live && m.scl >= required_scl && core.nodes[m.node].is_ready();
        let able = of.members.iter().filter(|m| m.kind.is_full()).filter(complete);
        let mut copies: Vec<usize> = able.map(|m| m.node).collect();
        // Those never measured come first: they get their measure that way.
        copies.sort_by_key(|n| core.nodes[*n].read_latency);
        if refresh && copies.len() > 1 {
            let other = 1 + turn % (copies.len() - 1);
            copies.swap(0, other);
        }
        let request = Request::ReadPage {
            segment: of.segment,
            epochs: core.epochs(group, self.setup.epoch),
            page,
            read_point,
            required_scl,
        };
        Some((request, copies))
    }

    /// Sends the request; says how long to wait before another copy is asked too.
    fn ask(
        &self,
        node: usize,
        request: &Request,
        flying: &mut Vec<Flying>,
        last: &mut String,
    ) -> Option<Duration> {
        match self.start_call(node, request) {
            Ok(reply) => {
                flying.push((node, reply));
                let core = self.core.borrow();
                let usual = core.nodes[node].read_latency;
                let slow = usual.map_or(SLOW_MIN, |usual| (usual * SLOW).max(SLOW_MIN));
                Some(if core.hedges.spent() { slow * SPENT } else { slow })
            }
            Err(error) => {
                *last = error.to_string();
                None
            }
        }
    }

    /// The ones asked so far are slow: the next read goes elsewhere, even if they never answer.
    fn penalise(&self, slow: impl Iterator<Item = usize>, time: Duration) {
        let mut core = self.core.borrow_mut();
        slow.for_each(|node| core.nodes[node].took(time));
    }

    fn count_hedge(&self, slow: impl Iterator<Item = usize>, time: Duration) {
        self.penalise(slow, time);
        self.core.borrow_mut().hedges.spend();
        METRICS.hedges.inc();
    }

    fn judge(
        &self,
        node: usize,
        page: PageId,
        reply: Result<Reply, CallError>,
        started: Instant,
    ) -> Result<Page, String> {
        let id = self.core.borrow().nodes[node].id;
        let label = id.to_string();
        let count = |result| METRICS.page_reads.with_label_values(&[label.as_str(), result]).inc();
        let image = match reply {
            Ok(Reply::Page { image }) => image,
            Ok(Reply::Error(error)) => {
                count("refused");
                return Err(format!("{id:?}: {error}"));
            }
            Ok(other) => {
                count("failed");
                return Err(format!("{id:?}: an answer to another question, kind {}", other.kind()));
            }
            Err(error) => {
                count("failed");
                return Err(format!("{id:?}: {error}"));
            }
        };
        let image =
            Page::copy_of(image.as_ref().try_into().map_err(|_| "a page of another size".to_owned())?);
        if let Err(error) = page::verify(&image.0, page) {
            count("damaged");
            tracing::error!(node = %id, %page, %error, "a storage node sent a damaged page; another copy is asked");
            return Err(format!("{id:?}: {error}"));
        }
        count("ok");
        let time = started.elapsed().as_secs_f64();
        METRICS.page_read_seconds.with_label_values(&[label.as_str()]).observe(time);
        Ok(image)
    }
}

/// The first reply of those on their way; it is taken out of the list.
async fn next_reply(flying: &mut Vec<Flying>) -> (usize, Result<Reply, CallError>) {
    poll_fn(|cx| {
        for at in 0..flying.len() {
            let (node, reply) = &mut flying[at];
            if let Poll::Ready(reply) = Pin::new(reply).poll(cx) {
                let node = *node;
                flying.swap_remove(at);
                return Poll::Ready((node, reply.map_err(|_| CallError::Down)));
            }
        }
        Poll::Pending
    })
    .await
}

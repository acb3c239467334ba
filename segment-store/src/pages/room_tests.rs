//! A page store that does not keep up: log waits at the door, and nothing else does.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use sextant_redo::wire::{Reply, Request, SegmentError};
use sextant_redo::{Lsn, PageId};

use super::keeper;
use crate::core::Ticket;
use crate::disk::memory::{Image, MemoryDisk};
use crate::node::{Node, NodeOptions};
use crate::server::ReplySink;
use crate::testing::{
    Clock, SEGMENT, Writer, append, block_on, create, epochs, open_with, options, read, submit,
};

const ROOM: usize = 100;
/// Records of each batch here.
const BATCH: usize = 30;
const CONNECTION: u64 = 1;

#[derive(Debug, Default)]
struct Replies(RefCell<Vec<(u64, Reply)>>);

impl ReplySink for Replies {
    fn push(&self, request: u64, reply: &Reply) {
        self.0.borrow_mut().push((request, reply.clone()));
    }

    fn flush(&self) {}
}

/// A node with little room, and somebody who talks to it.
struct Talk {
    node: Rc<Node>,
    disk: Rc<MemoryDisk>,
    clock: Clock,
    replies: Rc<Replies>,
    writer: Writer,
    /// Most records in no page so far.
    most: usize,
    asked: u64,
}

impl Talk {
    async fn on(image: Image, writer: Writer) -> Talk {
        let disk = Rc::new(MemoryDisk::from_image(image));
        let options = NodeOptions { pending_records_max: ROOM, ..options() };
        let clock = Clock::default();
        let node = open_with(disk.clone(), &clock, options).await.expect("opens");
        let replies = Rc::new(Replies::default());
        node.connect(CONNECTION, replies.clone());
        Talk { node, disk, clock, replies, writer, most: 0, asked: 0 }
    }

    async fn new() -> Talk {
        let talk = Talk::on(Image::new(), Writer::new(1)).await;
        submit(&talk.node, vec![create(1)]).await.expect("created");
        talk
    }

    /// A batch that says that all before it is durable, and old if `old`.
    fn batch(&mut self, n: u64, old: bool) -> Request {
        self.writer.vdl = self.writer.last;
        if old {
            self.writer.pgmrpl = self.writer.last;
        }
        self.more(n)
    }

    /// A batch that says nothing new of what is durable.
    fn more(&mut self, n: u64) -> Request {
        let changes: Vec<(u64, u8)> =
            (0..BATCH as u64).map(|c| ((n * 7 + c) % 40, ((n + c) % 200) as u8)).collect();
        append(1, self.writer.batch(&changes))
    }

    /// Asks, and lets the log be written; the request's number.
    async fn ask(&mut self, request: Request) -> u64 {
        self.asked += 1;
        self.node.on_request(Ticket { connection: CONNECTION, request: self.asked }, request);
        self.write().await;
        self.asked
    }

    /// As [`Talk::ask`], of so many batches.
    async fn ask_batches(&mut self, numbers: Range<u64>, old: bool) -> Vec<u64> {
        let mut asked = Vec::new();
        for n in numbers {
            let batch = self.batch(n, old);
            asked.push(self.ask(batch).await);
        }
        asked
    }

    async fn write(&mut self) {
        submit(&self.node, Vec::new()).await.expect("written");
        self.most = self.most.max(self.node.store.borrow().pending_records());
    }

    /// The background goes round once, beside the writing of the log.
    async fn round(&mut self) {
        let node = self.node.clone();
        let work = keeper::round(&node);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done.expect("works"),
                () = tokio::task::yield_now() => self.write().await,
            }
        }
    }

    async fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round().await;
            self.write().await;
        }
    }

    /// The answer to a request, if it is there.
    fn answer(&self, request: u64) -> Option<Reply> {
        let replies = self.replies.0.borrow();
        replies.iter().find(|(of, _)| *of == request).map(|(_, reply)| reply.clone())
    }

    /// Requests among these that were taken, in the order of the answers.
    fn taken(&self, requests: &[u64]) -> Vec<u64> {
        let replies = self.replies.0.borrow();
        let taken =
            |(of, reply): &&(u64, Reply)| requests.contains(of) && matches!(reply, Reply::Appended { .. });
        replies.iter().filter(taken).map(|(of, _)| *of).collect()
    }

    fn scl(&self) -> Lsn {
        self.node.store.borrow().segments()[&SEGMENT].segment.scl()
    }

    fn waits(&self) -> bool {
        self.node.inflow.borrow().is_waited_for()
    }

    async fn check_pages(&self) {
        for page in 0..42 {
            let at = self.writer.last;
            assert_eq!(read(&self.node, page, at).await, self.writer.page(page, at), "page {page}");
        }
    }
}

#[test]
fn log_waits_while_pages_lag_and_the_bound_is_never_passed() {
    block_on(async {
        let mut talk = Talk::new().await;
        let asked = talk.ask_batches(0..20, true).await;
        assert_eq!(talk.taken(&asked), asked[..3], "there is room for three, and nobody made pages");
        assert!(
            talk.waits() && talk.replies.0.borrow().len() == 3,
            "the others are neither taken nor refused"
        );
        // Nothing else waits.
        let (scl, epochs) = (talk.scl(), epochs(1));
        let (segment, page, read_point) = (SEGMENT, PageId(3), talk.writer.last);
        let page = Request::ReadPage { segment, epochs, page, read_point, required_scl: scl };
        for request in [page, Request::Gossip { segment: SEGMENT, epochs }, Request::Status] {
            let kind = request.kind();
            let asked = talk.ask(request).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let good = talk.answer(asked).is_some_and(|reply| !matches!(reply, Reply::Error(_)));
            assert!(good, "a request of kind {kind} waits behind log");
        }
        talk.rounds(60).await;
        assert_eq!(talk.taken(&asked), asked, "all are taken, as they came");
        assert!(!talk.waits() && talk.scl() == talk.writer.last);
        assert!(talk.most <= ROOM, "{} records were in no page at once", talk.most);
        talk.check_pages().await;
        let again = Talk::on(talk.disk.image(), talk.writer.clone()).await;
        assert_eq!(again.scl(), again.writer.last, "what was answered is durable");
        again.check_pages().await;
    });
}

#[test]
fn log_that_nobody_may_make_pages_of_yet_waits_until_the_writer_tells_that_they_may_be_made() {
    block_on(async {
        let mut talk = Talk::new().await;
        let asked = talk.ask_batches(0..6, false).await;
        talk.rounds(20).await;
        assert_eq!(talk.taken(&asked), asked[..3], "a reader holds everything back");
        let told = talk.writer.last;
        let advance = Request::Advance { segment: SEGMENT, epochs: epochs(1), vdl: told, pgmrpl: told };
        let answered = talk.ask(advance).await;
        assert!(matches!(talk.answer(answered), Some(Reply::State(state)) if state.vdl == told));
        talk.rounds(20).await;
        assert_eq!(talk.taken(&asked), asked);
        assert!(talk.most <= ROOM, "{} records were in no page at once", talk.most);
        talk.check_pages().await;
    });
}

#[test]
fn log_that_fills_a_hole_is_taken_when_everything_behind_it_fills_the_room() {
    block_on(async {
        let mut talk = Talk::new().await;
        let missing = talk.batch(0, true);
        let mut asked = talk.ask_batches(1..6, true).await;
        talk.rounds(5).await;
        assert_eq!((talk.taken(&asked).len(), talk.scl()), (3, Lsn::ZERO));
        asked.push(talk.ask(missing).await);
        talk.rounds(20).await;
        let mut taken = talk.taken(&asked);
        taken.sort_unstable();
        assert_eq!((taken, talk.scl()), (asked, talk.writer.last));
        assert!(talk.most <= ROOM + BATCH, "{} records were in no page at once", talk.most);
        talk.check_pages().await;
    });
}

#[test]
fn what_the_vdl_waits_for_is_taken_little_by_little() {
    block_on(async {
        let mut talk = Talk::new().await;
        let mut asked = Vec::new();
        for n in 0..6 {
            let batch = talk.more(n);
            asked.push(talk.ask(batch).await);
        }
        for taken in 4..=6 {
            talk.rounds(10).await;
            assert_eq!(talk.taken(&asked), asked[..taken], "one, and then time for the writer to tell");
            talk.clock.pass(Duration::from_millis(500));
        }
        assert_eq!(talk.scl(), talk.writer.last);
        talk.check_pages().await;
    });
}

#[test]
fn a_node_opens_with_more_log_than_it_would_take_and_takes_more_once_there_is_room() {
    block_on(async {
        let mut talk = Talk::new().await;
        for n in 0..10 {
            let batch = talk.batch(n, true);
            // With room for all of it.
            submit(&talk.node, vec![batch]).await.expect("written");
        }
        let mut again = Talk::on(talk.disk.image(), talk.writer.clone()).await;
        assert_eq!(again.node.store.borrow().pending_records(), 10 * BATCH);
        let batch = again.batch(10, true);
        let asked = again.ask(batch).await;
        assert!(again.answer(asked).is_none() && again.waits());
        again.rounds(20).await;
        assert_eq!(again.taken(&[asked]), [asked]);
        assert!(again.node.store.borrow().pending_records() <= ROOM);
        again.check_pages().await;
    });
}

#[test]
fn an_opener_passes_log_that_waits_which_is_refused_then() {
    block_on(async {
        let mut talk = Talk::new().await;
        let asked = talk.ask_batches(0..5, true).await;
        let opened = talk.ask(Request::OpenSegment { segment: SEGMENT, epochs: epochs(2) }).await;
        assert!(matches!(talk.answer(opened), Some(Reply::State(state)) if state.epochs == epochs(2)));
        let scl = talk.scl();
        talk.rounds(20).await;
        assert_eq!(talk.scl(), scl, "an opener was told what there is");
        for waited in &asked[3..] {
            assert!(matches!(talk.answer(*waited), Some(Reply::Error(SegmentError::Fenced { .. }))));
        }
    });
}

#[test]
fn log_that_waits_is_refused_while_the_device_is_full_and_taken_once_there_is_space() {
    block_on(async {
        let mut talk = Talk::new().await;
        let batches: Vec<Request> = (0..6).map(|n| talk.batch(n, true)).collect();
        let mut asked = Vec::new();
        for batch in &batches[..5] {
            asked.push(talk.ask(batch.clone()).await);
        }
        assert!(talk.waits() && talk.answer(asked[3]).is_none());
        talk.disk.set_full(true);
        talk.round().await;
        let full = |reply: Option<Reply>| matches!(reply, Some(Reply::Error(SegmentError::DeviceFull)));
        assert!(
            full(talk.answer(asked[3])) && full(talk.answer(asked[4])),
            "they are told, and may try again"
        );
        assert!(!talk.waits());
        let scl = talk.scl();
        for page in 0..42 {
            assert_eq!(read(&talk.node, page, scl).await, talk.writer.page(page, scl), "reads go on");
        }
        let again = talk.ask(batches[3].clone()).await;
        talk.round().await;
        assert!(full(talk.answer(again)) && talk.scl() == scl, "so is whoever tries too soon");
        talk.disk.set_full(false);
        // Until then space is not looked for again.
        talk.clock.pass(keeper::STUCK);
        let mut asked = Vec::new();
        for batch in &batches[3..] {
            asked.push(talk.ask(batch.clone()).await);
        }
        talk.rounds(20).await;
        assert_eq!((talk.taken(&asked), talk.scl()), (asked, talk.writer.last));
        assert!(talk.most <= ROOM, "{} records were in no page at once", talk.most);
        talk.check_pages().await;
        let again = Talk::on(talk.disk.image(), talk.writer.clone()).await;
        again.check_pages().await;
    });
}

#[test]
fn who_has_gone_leaves_nothing_that_waits() {
    block_on(async {
        let mut talk = Talk::new().await;
        talk.ask_batches(0..5, true).await;
        assert!(talk.waits());
        talk.node.disconnect(CONNECTION);
        assert!(!talk.waits());
    });
}

//! The n-th operation of the disk fails, for every n. A failed write, flush or change of a file stops the node with an
//! error that names the file; a failed read is an error to whoever asked, never wrong data. From the disk that is left,
//! with and without what was not flushed, the node opens and has all that it acknowledged.

use std::rc::Rc;

use super::load::{Load, open};
use crate::NodeError;
use crate::disk::memory::trace::{Gone, Platter};
use crate::disk::memory::{Image, MemoryDisk};
use crate::recovery::RecoveryError;
use crate::testing::{Clock, block_on};

fn names_the_file(error: &NodeError) -> bool {
    let said = error.to_string();
    let names = [".sxl", "page store", "checkpoint", "data folder", "pages.sxp"];
    let typed = matches!(error, NodeError::Disk { .. } | NodeError::Recovery(RecoveryError::Io { .. }));
    typed && names.iter().any(|name| said.contains(name))
}

/// The disk that is left, with all that was written, and with what was flushed alone.
fn survivors(disk: &MemoryDisk, start: &Image) -> [Platter; 2] {
    let mut platter = Platter::new(start.clone());
    disk.take_seen().iter().for_each(|operation| platter.done(operation));
    assert!(platter.image() == disk.image(), "the trace is what happened");
    let flushed = Platter::new(platter.crash(None, &mut Gone));
    [platter, flushed]
}

/// Runs the load, the `n`-th operation failing.
async fn run_failing(n: u64) -> (Rc<MemoryDisk>, Load, Result<(), NodeError>) {
    let disk = Rc::new(MemoryDisk::default());
    disk.fail_nth(n);
    let mut load = Load::new(&disk);
    let ended = load.run().await;
    (disk, load, ended)
}

#[test]
fn a_run_survives_the_failure_of_any_operation() {
    block_on(async {
        let (disk, _, ended) = run_failing(u64::MAX).await;
        ended.expect("nothing failed");
        let asked = disk.asked();
        let mut refused = 0;
        for (n, kind) in (1..).zip(asked.iter().copied()) {
            let what = format!("operation {n}, {kind}");
            let (disk, load, ended) = run_failing(n).await;
            assert!(disk.has_failed(), "{what}: every run is the same up to its failure");
            match ended {
                // Whoever asked heard of it; nobody needs to stop.
                Ok(()) => assert_eq!(kind, "read", "{what} failed, and the node went on"),
                Err(error) => assert!(kind != "read" && names_the_file(&error), "{what}: {error}"),
            }
            refused += load.refused_reads;
            for (left, how) in survivors(&disk, &Image::new()).into_iter().zip(["all kept", "flushed alone"])
            {
                load.recovers(left, load.at(usize::MAX), &format!("{what}, {how}")).await;
            }
        }
        println!("each of {} operations failed, {refused} reads refused", asked.len());
        assert!(refused > 0, "a read that fails is seen");
    });
}

#[test]
fn a_start_survives_the_failure_of_any_operation() {
    block_on(async {
        let (disk, load, ended) = run_failing(u64::MAX).await;
        ended.expect("nothing failed");
        let (image, moment) = (disk.image(), load.at(usize::MAX));
        for n in 1.. {
            let disk = Rc::new(MemoryDisk::from_image(image.clone()));
            disk.fail_nth(n);
            let opened = open(&disk, &Clock::default()).await;
            if !disk.has_failed() {
                opened.expect("nothing failed");
                println!("a start is {} operations", n - 1);
                assert!(n > 8, "a start is more than {n} operations");
                return load.recovers(Platter::new(image), moment, "a clean start").await;
            }
            let error = opened.map(|_| ()).expect_err("an operation failed");
            assert!(names_the_file(&error), "operation {n}: {error}");
            for left in survivors(&disk, &image) {
                load.recovers(left, moment, &format!("operation {n} of a start")).await;
            }
        }
    });
}

//! One operation: what it does when its time has come, and what is left of it when the node dies before.

use std::io;

use sextant_redo::{PAGE_SIZE, page};
use sextant_segment_store::disk::{AlignedBuf, FileId, Transfer};
use tokio::sync::oneshot::Sender;

use super::files::{Inode, Write};
use super::{Inner, MISDIRECTED_MAX};
use crate::mutant::Mutant;
use crate::node::sabotage;

/// Bytes to which places of writes are aligned.
const ALIGN: usize = 4096;
/// The file of page images.
pub(crate) const PAGES: &str = "pages.sxp";

/// In flight. Whoever waits hears of it through `tell`.
pub(super) enum Operation {
    Write {
        file: Inode,
        offset: usize,
        bytes: AlignedBuf,
        durable: bool,
        tell: Sender<Transfer>,
    },
    Read {
        file: Inode,
        offset: usize,
        into: AlignedBuf,
        tell: Sender<Transfer>,
    },
    /// Covers the writes done when it was asked for.
    Sync {
        file: Inode,
        writes: u64,
        tell: Sender<io::Result<()>>,
    },
    Create {
        name: String,
        len: usize,
        tell: Sender<io::Result<FileId>>,
    },
    Extend {
        file: Inode,
        len: usize,
        tell: Sender<io::Result<()>>,
    },
    /// Space of the file is given back or taken again: nothing is there.
    Wipe {
        file: Inode,
        offset: usize,
        len: usize,
        takes_space: bool,
        tell: Sender<io::Result<()>>,
    },
    Rename {
        from: String,
        to: String,
        tell: Sender<io::Result<()>>,
    },
    Delete {
        name: String,
        tell: Sender<io::Result<()>>,
    },
    Replace {
        name: String,
        bytes: Vec<u8>,
        tell: Sender<io::Result<()>>,
    },
}

fn failed(what: &str) -> io::Error {
    io::Error::other(format!("the simulated disk failed a {what}"))
}

impl Inner {
    /// Does the operation. A task that no longer waits hears nothing.
    pub(super) fn complete(&mut self, operation: Operation) {
        match operation {
            Operation::Write { file, offset, bytes, durable, tell } => {
                let result = self.write(file, Write { offset, bytes: bytes.to_vec() }, durable);
                let _ = tell.send((result, bytes));
            }
            Operation::Read { file, offset, mut into, tell } => {
                let result = self.read(file, offset, &mut into);
                let _ = tell.send((result, into));
            }
            Operation::Sync { file, writes, tell } => {
                let _ = tell.send(self.sync(file, writes));
            }
            Operation::Create { name, len, tell } => {
                let made = self.space().map(|()| {
                    let inode = self.files.put_file(&name, vec![0; len]);
                    self.add(inode)
                });
                let _ = tell.send(made);
            }
            Operation::Extend { file, len, tell } => {
                let _ = tell.send(self.space().map(|()| self.files.resize(file, len)));
            }
            Operation::Wipe { file, offset, len, takes_space, tell } => {
                let space = if takes_space { self.space() } else { Ok(()) };
                let wiped =
                    space.map(|()| self.files.write(file, Write { offset, bytes: vec![0; len] }, true));
                let _ = tell.send(wiped);
            }
            Operation::Rename { from, to, tell } => {
                let found = self.files.rename(&from, &to);
                self.counts.log_files_freed += u64::from(found);
                let _ = tell.send(if found { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) });
            }
            Operation::Delete { name, tell } => {
                self.counts.log_files_freed += u64::from(self.files.find(&name).is_some());
                self.files.name(&name, None);
                let _ = tell.send(Ok(()));
            }
            Operation::Replace { name, bytes, tell } => {
                let result = self.space().map(|()| {
                    self.counts.checkpoints += 1;
                    self.replaced = Some((name.clone(), self.files.find(&name)));
                    self.files.put_file(&name, bytes);
                });
                let _ = tell.send(result);
            }
        }
    }

    /// The node dies with the operation in flight.
    pub(super) fn interrupt(&mut self, operation: Operation) {
        match operation {
            Operation::Write { file, offset, bytes, .. } => {
                let write = Write { offset, bytes: bytes.to_vec() };
                let kept = self.files.tear(file, &write, self.sector, &mut self.rng);
                self.counts.torn_writes += u64::from(kept);
            }
            Operation::Read { .. } | Operation::Sync { .. } => {}
            Operation::Create { name, len, .. } => {
                self.counts.interrupted += 1;
                if !self.full && self.rng.percent(75) {
                    let len = self.part_of(len);
                    self.files.put_file(&name, vec![0; len]);
                }
            }
            Operation::Extend { file, len, .. } => {
                self.counts.interrupted += 1;
                let before = self.files.len(file).unwrap_or(len);
                let longer = self.part_of(len - before.min(len));
                if !self.full {
                    self.files.resize(file, before + longer);
                }
            }
            Operation::Wipe { file, offset, len, .. } => {
                self.counts.interrupted += 1;
                let len = self.part_of(len);
                self.files.write(file, Write { offset, bytes: vec![0; len] }, true);
            }
            Operation::Rename { from, to, .. } => {
                self.counts.interrupted += 1;
                if self.rng.percent(50) {
                    self.files.rename(&from, &to);
                }
            }
            Operation::Delete { name, .. } => {
                self.counts.interrupted += 1;
                if self.rng.percent(50) {
                    self.files.name(&name, None);
                }
            }
            Operation::Replace { name, bytes, .. } => {
                self.counts.interrupted += 1;
                if !self.full && self.rng.percent(50) {
                    self.files.put_file(&name, bytes);
                }
            }
        }
    }

    /// How far a file has come that was being made longer: not at all, all the way, or to a block between.
    fn part_of(&mut self, len: usize) -> usize {
        match self.rng.below(3) {
            0 => 0,
            1 => len,
            _ => self.rng.index(len / ALIGN + 1) * ALIGN,
        }
    }

    fn space(&mut self) -> io::Result<()> {
        self.counts.refused_full += u64::from(self.full);
        if self.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn fails_now(&mut self) -> bool {
        let failing = std::mem::take(&mut self.failing);
        self.failed |= failing;
        self.counts.write_errors += u64::from(failing);
        failing
    }

    fn write(&mut self, file: Inode, mut write: Write, durable: bool) -> io::Result<()> {
        if self.fails_now() {
            self.files.tear(file, &write, self.sector, &mut self.rng);
            self.failed_append = durable.then_some(write.bytes);
            return Err(failed("write"));
        }
        self.counts.images += u64::from(!durable);
        if self.mutant == Some(Mutant::EpochNotDurable) && durable {
            sabotage::forget_epochs(&mut write.bytes);
        }
        if self.rng.ppm(self.reliability.lost_writes_ppm) {
            self.counts.lost_writes += 1;
            self.files.note_damage(file, write);
            return Ok(());
        }
        if self.counts.misdirected < MISDIRECTED_MAX
            && self.rng.ppm(self.reliability.misdirected_ppm)
            && self.misdirect(file, &write)
        {
            return Ok(());
        }
        let durable = durable && self.mutant != Some(Mutant::ReplyBeforeFlush);
        self.files.write(file, write, durable);
        Ok(())
    }

    /// Lets a write land elsewhere in its file; false when the file is too short for another place.
    fn misdirect(&mut self, file: Inode, write: &Write) -> bool {
        let len = write.bytes.len();
        let places = self.files.len(file).unwrap_or(0).saturating_sub(len) / ALIGN;
        let offset = self.rng.index(places + 1) * ALIGN;
        let mut before = vec![0; len];
        if offset == write.offset || !self.files.read(file, offset, &mut before) {
            return false;
        }
        self.counts.misdirected += 1;
        self.files.write(file, Write { offset, bytes: write.bytes.clone() }, true);
        self.files.note_damage(file, write.clone());
        self.files.note_damage(file, Write { offset, bytes: before });
        true
    }

    fn read(&mut self, file: Inode, offset: usize, into: &mut [u8]) -> io::Result<()> {
        if !self.recovering && self.rng.ppm(self.reliability.read_errors_ppm) {
            self.counts.read_errors += 1;
            return Err(failed("read"));
        }
        if !self.files.read(file, offset, into) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.recovering && self.rng.ppm(self.reliability.read_flips_ppm) {
            self.counts.read_flips += 1;
            let at = self.rng.index(into.len());
            into[at] ^= 1 << self.rng.below(8);
        }
        if self.mutant == Some(Mutant::PageUnchecked)
            && self.files.name_of(file) == PAGES
            && let Ok(image) = <&mut [u8; PAGE_SIZE]>::try_from(into)
        {
            page::seal(image);
        }
        Ok(())
    }

    fn sync(&mut self, file: Inode, writes: u64) -> io::Result<()> {
        if self.fails_now() {
            return Err(failed("flush"));
        }
        let pages = self.files.name_of(file) == PAGES;
        let ignored = match self.mutant {
            Some(Mutant::NoSyncAfterRecovery) => !pages,
            Some(Mutant::PagesNotFlushed) => pages,
            _ => false,
        };
        if !ignored {
            self.files.flush(file, writes);
        }
        Ok(())
    }
}

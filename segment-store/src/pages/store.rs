//! The page store: one file of 8 KiB slots. A new image always goes to a free slot and the page index is switched to it
//! afterwards, so a torn write never hurts an image in use and nothing is written twice.
//!
//! When much is free, whole runs of free slots are given back to the device, wherever in the file they lie: the file stays as
//! long as it is, with holes in it.
//!
//! What must hold: a slot that the last durable checkpoint names, or that a reader may still read, is not free. A slot that
//! is free has its space on the device: writing to it never finds the device full.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use sextant_redo::wire::SegmentError;
use sextant_redo::{PAGE_SIZE, Page, PageId, page};

use crate::NodeError;
use crate::core::{PageBase, Slot};
use crate::disk::{AlignedBuf, Disk, FileId};
use crate::metrics::METRICS;
use crate::recovery::RecoveryError;

use super::free_slots::{FreeSlots, RUN, Run};
use super::page_buf::PageBuf;

/// Name of the file.
pub(crate) const PAGE_FILE: &str = "pages.sxp";
/// Slots by which the file grows at least.
const GROW_MIN: u32 = RUN;
/// Slots that wait for a checkpoint at most: 512 MiB, and a quarter of a megabyte of memory to list them.
const SUPERSEDED_MAX: usize = 1 << 16;
/// Slots by which the file grows at most: 64 MiB.
const GROW_MAX: u32 = 8192;
/// Bytes of a run.
const RUN_BYTES: u64 = RUN as u64 * PAGE_SIZE as u64;
/// Free slots that are not worth giving back.
const KEEP_MIN: usize = 2 * GROW_MIN as usize;

/// Which slots are there, and which are free.
#[derive(Debug, Default)]
pub(crate) struct PageStore {
    file: Option<FileId>,
    slots: u32,
    free: FreeSlots,
    /// Runs whose space is the device's: to be reserved before they are free.
    given_back: BTreeSet<Run>,
    /// Freed since the last checkpoint: it still names them.
    superseded: Vec<Slot>,
}

impl PageStore {
    /// The store with every slot free: [`PageStore::mark_used`] says which are not.
    pub(crate) fn open(disk: &dyn Disk) -> Result<PageStore, RecoveryError> {
        let io = |source| RecoveryError::Io { file: PAGE_FILE.into(), source };
        let mut store = PageStore::default();
        if disk.list().map_err(io)?.iter().any(|name| name == PAGE_FILE) {
            let file = disk.open(PAGE_FILE).map_err(io)?;
            let len = disk.len(file).map_err(io)?;
            store.set_slots(file, u32::try_from(len / PAGE_SIZE as u64).unwrap_or(u32::MAX));
        }
        Ok(store)
    }

    /// A checkpoint names this slot.
    pub(crate) fn mark_used(&mut self, slot: Slot) -> Result<(), RecoveryError> {
        if self.free.remove(slot) {
            return Ok(());
        }
        let what = if slot.0 < self.slots {
            format!("slot {} is in use twice", slot.0)
        } else {
            format!("slot {} is in use, but the file has {} slots", slot.0, self.slots)
        };
        Err(damaged_slot(slot, what))
    }

    pub(crate) fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Bytes that the file holds of the device, and those of its free slots.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let of = |slots: usize| slots as u64 * PAGE_SIZE as u64;
        (of(self.held()), of(self.free.count()))
    }

    fn held(&self) -> usize {
        self.slots as usize - self.given_back.len() * RUN as usize
    }

    /// What is in use was marked. Whether the rest of the file has its space nobody knows any more.
    pub(crate) fn settled(&mut self) {
        while let Some(run) = self.free.take_run() {
            self.given_back.insert(run);
        }
    }

    /// A run to give back, if more is free than will soon be used again. Nobody is handed its slots from now on.
    pub(super) fn run_to_give_back(&mut self) -> Option<Run> {
        let (free, held) = (self.free.count(), self.held());
        if free <= 2 * KEEP_MIN || free <= held / 2 {
            return None;
        }
        let run = self.free.take_run()?;
        self.given_back.insert(run);
        Some(run)
    }

    /// A run to reserve; to be told of by [`PageStore::reserved`].
    pub(super) fn run_to_reserve(&self) -> Option<Run> {
        self.given_back.first().copied()
    }

    /// The run has its space again.
    pub(super) fn reserved(&mut self, run: Run) {
        if self.given_back.remove(&run) {
            self.release(run.slots());
        }
    }

    /// True when a quarter of the file, or much of a large one, waits for a checkpoint to become free.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.superseded.len() > (self.slots as usize / 4).clamp(2 * GROW_MIN as usize, SUPERSEDED_MAX)
    }

    pub(crate) fn take_free(&mut self) -> Option<Slot> {
        self.free.pop()
    }

    /// Nothing is at these slots any more.
    pub(crate) fn supersede(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.superseded.extend(slots);
    }

    /// What the checkpoint being written no longer names.
    pub(crate) fn take_superseded(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.superseded)
    }

    /// These slots may be used again.
    pub(crate) fn release(&mut self, slots: impl IntoIterator<Item = Slot>) {
        slots.into_iter().for_each(|slot| self.free.insert(slot));
    }

    /// How long the file should become.
    pub(crate) fn grown(&self) -> u32 {
        self.slots.saturating_add((self.slots / 8).clamp(GROW_MIN, GROW_MAX))
    }

    /// The file has `slots` slots now.
    pub(crate) fn set_slots(&mut self, file: FileId, slots: u32) {
        self.file = Some(file);
        self.release((self.slots..slots).map(Slot));
        self.slots = slots;
    }
}

/// Makes the file longer, or makes it at all. `Ok(None)`: the device is full.
pub(crate) async fn grow(
    disk: &dyn Disk,
    file: Option<FileId>,
    slots: u32,
) -> Result<Option<FileId>, NodeError> {
    let bytes = u64::from(slots) * PAGE_SIZE as u64;
    let result = match file {
        Some(file) => disk.extend(file, bytes).await.map(|()| file),
        None => disk.create(PAGE_FILE, bytes).await,
    };
    match result {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(None),
        Err(error) => Err(NodeError::disk("making the page store longer")(error)),
    }
}

/// Takes the space of a run again. False: the device is full.
pub(super) async fn reserve(disk: &dyn Disk, file: FileId, run: Run) -> Result<bool, NodeError> {
    match disk.reserve(file, offset_of(run.first()), RUN_BYTES).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(false),
        Err(error) => Err(NodeError::disk("taking space for the page store")(error)),
    }
}

/// Gives the space of a run back.
pub(super) async fn give_back(disk: &dyn Disk, file: FileId, run: Run) -> Result<(), NodeError> {
    let released = disk.release(file, offset_of(run.first()), RUN_BYTES).await;
    released.map_err(NodeError::disk("giving space of the page store back"))
}

/// Damage that keeps a node from starting.
pub(crate) fn damaged_slot(slot: Slot, what: String) -> RecoveryError {
    RecoveryError::Damaged { file: PAGE_FILE.into(), offset: offset_of(slot), what }
}

/// A slot that the file does not have is damage. A device that does not give one back says nothing about what it holds.
pub(super) fn unreadable_slot(slot: Slot, source: std::io::Error) -> RecoveryError {
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof => damaged_slot(slot, source.to_string()),
        _ => RecoveryError::Io { file: format!("{PAGE_FILE} at offset {}", offset_of(slot)), source },
    }
}

fn offset_of(slot: Slot) -> u64 {
    u64::from(slot.0) * PAGE_SIZE as u64
}

/// Writes the copy of a sealed image; durable only behind a flush of the file.
pub(super) async fn write(disk: &dyn Disk, file: FileId, slot: Slot, image: &Page) -> Result<(), NodeError> {
    let mut buffer = AlignedBuf::for_overwrite(PAGE_SIZE);
    buffer.copy_from_slice(&image.0[..]);
    write_slot(disk, file, slot, buffer).await
}

/// Writes what a slot is to hold; durable only behind a flush of the file.
pub(super) async fn write_slot(
    disk: &dyn Disk,
    file: FileId,
    slot: Slot,
    buffer: AlignedBuf,
) -> Result<(), NodeError> {
    METRICS.page_store_written.inc_by(PAGE_SIZE as u64);
    let (result, _) = disk.write(file, offset_of(slot), buffer).await;
    result.map_err(NodeError::disk(format!("writing slot {} of the page store", slot.0)))
}

fn no_store() -> std::io::Error {
    std::io::Error::new(ErrorKind::NotFound, "there is no page store")
}

/// Reads a slot as it is.
pub(super) async fn read_slot(
    disk: &dyn Disk,
    file: Option<FileId>,
    slot: Slot,
) -> std::io::Result<AlignedBuf> {
    let file = file.ok_or_else(no_store)?;
    let (result, buffer) = disk.read(file, offset_of(slot), AlignedBuf::for_overwrite(PAGE_SIZE)).await;
    result.map(|()| buffer)
}

/// Reads an image and checks that it is the one that the index means: checksum, page id, page LSN.
pub(crate) async fn read(
    disk: &dyn Disk,
    file: Option<FileId>,
    number: PageId,
    base: PageBase,
) -> Result<PageBuf, SegmentError> {
    check(read_slot(disk, file, base.slot).await, number, base)
}

/// The same for who has time: it does not get in the way of anybody else's reads.
pub(crate) async fn read_background(
    disk: &dyn Disk,
    file: Option<FileId>,
    number: PageId,
    base: PageBase,
) -> Result<PageBuf, SegmentError> {
    let read = match file {
        Some(file) => {
            let buffer = AlignedBuf::for_overwrite(PAGE_SIZE);
            let (result, buffer) = disk.read_background(file, offset_of(base.slot), buffer).await;
            result.map(|()| buffer)
        }
        None => Err(no_store()),
    };
    check(read, number, base)
}

fn check(read: std::io::Result<AlignedBuf>, number: PageId, base: PageBase) -> Result<PageBuf, SegmentError> {
    let damaged = |what: String| SegmentError::Damaged {
        what: format!("page {number} in slot {} of the page store: {what}", base.slot.0),
    };
    let buffer = read.map_err(|error| damaged(error.to_string()))?;
    let image = PageBuf::of(buffer).ok_or_else(|| damaged("it is no page".into()))?;
    page::verify(&image, number).map_err(|error| damaged(error.to_string()))?;
    if image.lsn() != base.lsn {
        return Err(damaged(format!("it is at LSN {}, not {}", image.lsn(), base.lsn)));
    }
    Ok(image)
}

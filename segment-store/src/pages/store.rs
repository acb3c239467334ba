//! The page store: one file of 8 KiB slots. A new image always goes to a free slot and the page index is switched to it
//! afterwards, so a torn write never hurts an image in use and nothing is written twice.
//!
//! What must hold: a slot that the last durable checkpoint names, or that a reader may still read, is not free.

use std::io::ErrorKind;

use sextant_redo::wire::SegmentError;
use sextant_redo::{PAGE_SIZE, Page, PageId, page};

use crate::NodeError;
use crate::core::{PageBase, Slot};
use crate::disk::{AlignedBuf, Disk, FileId};
use crate::metrics::METRICS;
use crate::recovery::RecoveryError;

/// Name of the file.
pub(crate) const PAGE_FILE: &str = "pages.sxp";
/// Slots by which the file grows at least.
const GROW_MIN: u32 = 128;
/// Slots that wait for a checkpoint at most: 512 MiB, and a quarter of a megabyte of memory to list them.
const SUPERSEDED_MAX: usize = 1 << 16;
/// Slots by which the file grows at most: 64 MiB.
const GROW_MAX: u32 = 8192;

/// Slots that are free, one bit each. The lowest are handed out first: the file stays short.
#[derive(Debug, Default)]
struct FreeSlots {
    words: Vec<u64>,
    count: usize,
    /// No slot of a word in front of it is free.
    first: usize,
}

impl FreeSlots {
    fn insert(&mut self, slot: Slot) {
        let (word, bit) = (slot.0 as usize / 64, slot.0 % 64);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let was_free = self.words[word] >> bit & 1 == 1;
        debug_assert!(!was_free, "slot {} is freed twice", slot.0);
        self.words[word] |= 1 << bit;
        self.count += usize::from(!was_free);
        self.first = self.first.min(word);
    }

    /// True when the slot was free.
    fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot.0 as usize / 64, slot.0 % 64);
        let found = self.words.get(word).is_some_and(|bits| bits >> bit & 1 == 1);
        if found {
            self.words[word] &= !(1 << bit);
            self.count -= 1;
        }
        found
    }

    fn pop(&mut self) -> Option<Slot> {
        while let Some(bits) = self.words.get(self.first) {
            if *bits != 0 {
                let slot = Slot((self.first * 64) as u32 + bits.trailing_zeros());
                self.remove(slot);
                return Some(slot);
            }
            self.first += 1;
        }
        None
    }
}

/// Which slots are there, and which are free.
#[derive(Debug, Default)]
pub(crate) struct PageStore {
    file: Option<FileId>,
    slots: u32,
    free: FreeSlots,
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

    /// Bytes of the file, and of its free slots.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let of = |slots: usize| slots as u64 * PAGE_SIZE as u64;
        (of(self.slots as usize), of(self.free.count))
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

/// Writes a sealed image; durable only behind a flush of the file.
pub(crate) async fn write(disk: &dyn Disk, file: FileId, slot: Slot, image: &Page) -> Result<(), NodeError> {
    let mut buffer = AlignedBuf::zeroed(PAGE_SIZE);
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
    let (result, buffer) = disk.read(file, offset_of(slot), AlignedBuf::zeroed(PAGE_SIZE)).await;
    result.map(|()| buffer)
}

/// Reads an image and checks that it is the one that the index means: checksum, page id, page LSN.
pub(crate) async fn read(
    disk: &dyn Disk,
    file: Option<FileId>,
    number: PageId,
    base: PageBase,
) -> Result<Page, SegmentError> {
    check(read_slot(disk, file, base.slot).await, number, base)
}

/// The same for who has time: it does not get in the way of anybody else's reads.
pub(crate) async fn read_background(
    disk: &dyn Disk,
    file: Option<FileId>,
    number: PageId,
    base: PageBase,
) -> Result<Page, SegmentError> {
    let read = match file {
        Some(file) => {
            let buffer = AlignedBuf::zeroed(PAGE_SIZE);
            let (result, buffer) = disk.read_background(file, offset_of(base.slot), buffer).await;
            result.map(|()| buffer)
        }
        None => Err(no_store()),
    };
    check(read, number, base)
}

fn check(read: std::io::Result<AlignedBuf>, number: PageId, base: PageBase) -> Result<Page, SegmentError> {
    let damaged = |what: String| SegmentError::Damaged {
        what: format!("page {number} in slot {} of the page store: {what}", base.slot.0),
    };
    let buffer = read.map_err(|error| damaged(error.to_string()))?;
    let mut image = Page::zero();
    image.0.copy_from_slice(&buffer);
    page::verify(&image.0, number).map_err(|error| damaged(error.to_string()))?;
    if image.lsn() != base.lsn {
        return Err(damaged(format!("it is at LSN {}, not {}", image.lsn(), base.lsn)));
    }
    Ok(image)
}

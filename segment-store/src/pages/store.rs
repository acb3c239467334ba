//! The page store: one file of 8 KiB slots. A new image always goes to a free slot and the page index is switched to it
//! afterwards, so a torn write never hurts an image in use and nothing is written twice.
//!
//! What must hold: a slot that the last durable checkpoint names, or that a reader may still read, is not free.

use sextant_redo::wire::SegmentError;
use sextant_redo::{PAGE_SIZE, Page, PageId, page};

use crate::NodeError;
use crate::core::{PageBase, Slot};
use crate::disk::{AlignedBuf, Disk, FileId};
use crate::metrics::METRICS;

/// Name of the file.
pub(crate) const PAGE_FILE: &str = "pages.sxp";
/// Slots by which the file grows at least.
const GROW_MIN: u32 = 128;
/// Slots by which the file grows at most: 64 MiB.
const GROW_MAX: u32 = 8192;

/// Which slots are there, and which are free.
#[derive(Debug, Default)]
pub(crate) struct PageStore {
    file: Option<FileId>,
    slots: u32,
    free: Vec<Slot>,
    /// Freed since the last checkpoint: it still names them.
    superseded: Vec<Slot>,
}

impl PageStore {
    /// The store in which `used` (ascending) are in use.
    pub(crate) fn open(
        disk: &dyn Disk,
        used: impl Iterator<Item = Slot>,
    ) -> Result<PageStore, crate::recovery::RecoveryError> {
        use crate::recovery::RecoveryError;
        let io = |source| RecoveryError::Io { file: PAGE_FILE.into(), source };
        let names = disk.list().map_err(io)?;
        let (file, slots) = match names.iter().any(|name| name == PAGE_FILE) {
            true => {
                let file = disk.open(PAGE_FILE).map_err(io)?;
                let len = disk.len(file).map_err(io)?;
                (Some(file), u32::try_from(len / PAGE_SIZE as u64).unwrap_or(u32::MAX))
            }
            false => (None, 0),
        };
        let mut taken = vec![false; slots as usize];
        for slot in used {
            let Some(taken) = taken.get_mut(slot.0 as usize) else {
                let what = format!("slot {} is in use, but the file has {slots} slots", slot.0);
                let offset = u64::from(slot.0) * PAGE_SIZE as u64;
                return Err(RecoveryError::Damaged { file: PAGE_FILE.into(), offset, what });
            };
            if std::mem::replace(taken, true) {
                let what = format!("slot {} is in use by two pages", slot.0);
                return Err(RecoveryError::Damaged { file: PAGE_FILE.into(), offset: 0, what });
            }
        }
        // The lowest slots are handed out first: the file stays short.
        let free = (0..slots).rev().filter(|n| !taken[*n as usize]).map(Slot).collect();
        Ok(PageStore { file, slots, free, superseded: Vec::new() })
    }

    pub(crate) fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Bytes of the file, and of its free slots.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let of = |slots: usize| slots as u64 * PAGE_SIZE as u64;
        (of(self.slots as usize), of(self.free.len()))
    }

    /// True when a quarter of the file waits for a checkpoint to become free.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.superseded.len() > (self.slots as usize / 4).max(2 * GROW_MIN as usize)
    }

    pub(crate) fn take_free(&mut self) -> Option<Slot> {
        self.free.pop()
    }

    /// No page is at `slot` any more.
    pub(crate) fn supersede(&mut self, slot: Slot) {
        self.superseded.push(slot);
    }

    /// What the checkpoint being written no longer names.
    pub(crate) fn take_superseded(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.superseded)
    }

    /// The checkpoint could not be written: the one before still counts.
    pub(crate) fn give_back(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.superseded.extend(slots);
    }

    /// These slots may be used again.
    pub(crate) fn release(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.free.extend(slots);
    }

    /// How long the file should become.
    pub(crate) fn grown(&self) -> u32 {
        self.slots.saturating_add((self.slots / 8).clamp(GROW_MIN, GROW_MAX))
    }

    /// The file has `slots` slots now.
    pub(crate) fn set_slots(&mut self, file: FileId, slots: u32) {
        self.file = Some(file);
        self.free.extend((self.slots..slots).rev().map(Slot));
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
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(None),
        Err(error) => Err(NodeError::disk("making the page store longer")(error)),
    }
}

/// Writes a sealed image; durable only behind a flush of the file.
pub(crate) async fn write(disk: &dyn Disk, file: FileId, slot: Slot, image: &Page) -> Result<(), NodeError> {
    let mut buffer = AlignedBuf::zeroed(PAGE_SIZE);
    buffer.copy_from_slice(&image.0[..]);
    METRICS.page_store_written.inc_by(PAGE_SIZE as u64);
    let (result, _) = disk.write(file, u64::from(slot.0) * PAGE_SIZE as u64, buffer).await;
    result.map_err(NodeError::disk(format!("writing slot {} of the page store", slot.0)))
}

/// Reads an image and checks that it is the one that the index means: checksum, page id, page LSN.
pub(crate) async fn read(
    disk: &dyn Disk,
    file: Option<FileId>,
    number: PageId,
    base: PageBase,
) -> Result<Page, SegmentError> {
    let damaged = |what: String| SegmentError::Damaged {
        what: format!("page {number} in slot {} of the page store: {what}", base.slot.0),
    };
    let file = file.ok_or_else(|| damaged("there is no page store".into()))?;
    let offset = u64::from(base.slot.0) * PAGE_SIZE as u64;
    let (result, buffer) = disk.read(file, offset, AlignedBuf::zeroed(PAGE_SIZE)).await;
    result.map_err(|error| damaged(error.to_string()))?;
    let mut image = Page::zero();
    image.0.copy_from_slice(&buffer);
    page::verify(&image.0, number).map_err(|error| damaged(error.to_string()))?;
    if image.lsn() != base.lsn {
        return Err(damaged(format!("it is at LSN {}, not {}", image.lsn(), base.lsn)));
    }
    Ok(image)
}

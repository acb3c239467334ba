//! Where the log is written: which file, which offset, which sequence number comes next; how waiting entries become a
//! group. No I/O here: the shell writes the buffers that this hands out, one at a time.

use std::collections::{BTreeMap, VecDeque};

use crate::core::{Answer, Entry, LogAddress, Ticket};
use crate::disk::{ALIGN, AlignedBuf, FileId};

use super::layout::{FILE_HEADER, GROUP_HEADER};
use super::{FileHeader, GroupHeader, LogIdentity};

/// Most bytes of one group: bounds the wait of who comes next.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Something that waits for the log: an entry to write, or only its turn to be answered.
#[derive(Debug)]
pub struct Queued {
    /// What to write.
    pub entry: Option<Entry>,
    /// Whom to answer, and how.
    pub answer: Option<(Ticket, Answer)>,
}

/// Where the next group goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// File number.
    pub file: u32,
    /// Byte offset; below the first group's place when the file's header is not written yet.
    pub offset: u64,
    /// Sequence number.
    pub sequence: u64,
}

/// A group ready to be written.
#[derive(Debug)]
pub struct Group {
    /// Into which file.
    pub file: FileId,
    /// At which offset.
    pub offset: u64,
    /// These bytes.
    pub buffer: AlignedBuf,
    /// Where the buffer starts in the log.
    pub start: LogAddress,
    /// What is in it, each with the address of its bytes, in order.
    pub members: Vec<(Queued, LogAddress)>,
    /// Where the log goes on behind it.
    next: LogPosition,
}

/// What to do with what waits.
#[derive(Debug)]
pub enum Prepared {
    /// Write this group.
    Group(Group),
    /// Nothing to write: these only waited for their turn to be answered.
    Turns(Vec<Queued>),
}

/// The next entry does not fit into what is left of the files at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFull;

/// See the module.
#[derive(Debug)]
pub struct HotLog {
    identity: LogIdentity,
    file_bytes: u64,
    /// Files with log that is kept, and empty ones behind the active one.
    files: BTreeMap<u32, FileId>,
    /// Sequence of the first group of each file that holds log.
    first_sequences: BTreeMap<u32, u64>,
    first_file: u32,
    next: LogPosition,
    /// Bytes of the active file: one that was begun under another setting may be shorter.
    active_bytes: u64,
    /// Something did not fit, and no file was added since.
    waits: bool,
}

impl HotLog {
    /// A log that goes on at `next`. `files` holds at least the file of `next`, which has `active_bytes`.
    #[must_use]
    pub fn new(
        identity: LogIdentity,
        file_bytes: u64,
        files: BTreeMap<u32, FileId>,
        first_sequences: BTreeMap<u32, u64>,
        next: LogPosition,
        active_bytes: u64,
    ) -> HotLog {
        let first_file = files.first_key_value().map_or(next.file, |(number, _)| *number);
        let active_bytes = active_bytes.min(file_bytes);
        HotLog { identity, file_bytes, files, first_sequences, first_file, next, active_bytes, waits: false }
    }

    /// The handle of file `number`.
    #[must_use]
    pub fn file(&self, number: u32) -> Option<FileId> {
        self.files.get(&number).copied()
    }

    /// Where the next group goes.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.next
    }

    /// Files with log that is kept or may still be read, and empty ones behind the active one.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Empty files behind the active one.
    #[must_use]
    pub fn spares(&self) -> usize {
        self.files.range(self.next.file + 1..).count()
    }

    /// The number that the next new file gets.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        self.files.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    /// Adds an empty file, whose number is [`HotLog::next_number`].
    pub fn add_spare(&mut self, number: u32, file: FileId) {
        self.files.insert(number, file);
        self.waits = false;
    }

    /// How much of the next file should be there by now: it is whole when the active one is half full.
    #[must_use]
    pub fn spare_due(&self) -> u64 {
        if self.waits {
            return self.file_bytes;
        }
        let part = u128::from(self.file_bytes) * 2 * u128::from(self.next.offset);
        u64::try_from(part / u128::from(self.active_bytes.max(1))).unwrap_or(u64::MAX)
    }

    /// The oldest file whose log is kept.
    #[must_use]
    pub fn first_file(&self) -> u32 {
        self.first_file
    }

    /// Bytes of the files that hold log.
    #[must_use]
    pub fn bytes_used(&self) -> u64 {
        let full = self.files.range(self.first_file..self.next.file).count() as u64;
        full * self.file_bytes + self.next.offset
    }

    /// Sequence of the first group of a file.
    #[must_use]
    pub fn first_sequence(&self, number: u32) -> Option<u64> {
        self.first_sequences.get(&number).copied()
    }

    /// The log below file `first` is freed. Its files can still be read until they are forgotten.
    pub fn free_below(&mut self, first: u32) -> Vec<(u32, FileId)> {
        let freed = self.files.range(self.first_file..first).map(|(number, file)| (*number, *file)).collect();
        self.first_file = self.first_file.max(first);
        freed
    }

    /// A file is no longer part of the log.
    pub fn forget_file(&mut self, number: u32) {
        self.files.remove(&number);
        self.first_sequences.remove(&number);
    }

    fn room(&self) -> usize {
        let start = self.next.offset.max(FILE_HEADER as u64);
        let left = self.active_bytes.saturating_sub(start) as usize;
        (left / ALIGN * ALIGN).saturating_sub(GROUP_HEADER).min(GROUP_BYTES_MAX)
    }

    /// Makes a group of what waits, as much as fits, in order.
    pub fn prepare(&mut self, queue: &mut VecDeque<Queued>) -> Result<Prepared, LogFull> {
        let first = queue.iter().find_map(|queued| queued.entry.as_ref());
        let Some(first) = first else {
            return Ok(Prepared::Turns(queue.drain(..).collect()));
        };
        if first.encoded_len() > self.room() {
            if !self.files.contains_key(&(self.next.file + 1)) {
                self.waits = true;
                return Err(LogFull);
            }
            self.next.file += 1;
            self.next.offset = 0;
            self.active_bytes = self.file_bytes;
            if first.encoded_len() > self.room() {
                return Err(LogFull);
            }
        }
        Ok(Prepared::Group(self.gather(queue)))
    }

    fn gather(&mut self, queue: &mut VecDeque<Queued>) -> Group {
        let room = self.room();
        let (mut payload, mut taken, mut entries) = (0, 0, 0);
        for queued in queue.iter() {
            let len = queued.entry.as_ref().map_or(0, Entry::encoded_len);
            if payload + len > room {
                break;
            }
            payload += len;
            taken += 1;
            entries += u32::from(len > 0);
        }
        let LogPosition { file, offset, sequence } = self.next;
        let head = if offset == 0 { FILE_HEADER } else { 0 };
        let mut buffer = AlignedBuf::for_overwrite(head + GROUP_HEADER + payload);
        if head > 0 {
            let header = FileHeader { identity: self.identity, number: file, first_sequence: sequence };
            header.encode(&mut buffer);
        }
        let start = LogAddress::new(file, offset as u32);
        let mut at = head + GROUP_HEADER;
        let mut members = Vec::with_capacity(taken);
        for queued in queue.drain(..taken) {
            let address = start.advance((at + Entry::HEADER) as u32);
            if let Some(entry) = &queued.entry {
                entry.encode(&mut |bytes| {
                    buffer[at..at + bytes.len()].copy_from_slice(bytes);
                    at += bytes.len();
                });
            }
            members.push((queued, address));
        }
        buffer[at..].fill(0);
        let node = self.identity.node;
        let header = GroupHeader { payload: payload as u32, sequence, node, file, entries };
        header.encode(&mut buffer[head..]);
        let next = LogPosition { file, offset: offset + buffer.len() as u64, sequence: sequence + 1 };
        Group { file: self.files[&file], offset, buffer, start, members, next }
    }

    /// The group is durable: the log goes on behind it.
    pub fn written(&mut self, group: &Group) {
        self.first_sequences.entry(group.start.file()).or_insert(self.next.sequence);
        self.next = group.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_is_due_with_the_active_one_and_at_once_when_log_waits_for_it() {
        let identity = LogIdentity { cluster: sextant_redo::ClusterId(1), node: sextant_redo::NodeId(1) };
        let log = |offset, active_bytes| {
            let next = LogPosition { file: 1, offset, sequence: 1 };
            let files = BTreeMap::from([(1, FileId(0))]);
            HotLog::new(identity, 64 << 20, files, BTreeMap::new(), next, active_bytes)
        };
        assert_eq!(log(0, 64 << 20).spare_due(), 0);
        assert_eq!(log(16 << 20, 64 << 20).spare_due(), 32 << 20);
        assert_eq!(log(32 << 20, 64 << 20).spare_due(), 64 << 20);
        // A shorter file is full earlier.
        assert_eq!(log(1 << 20, 4 << 20).spare_due(), 32 << 20);
        let mut full = log(0, ALIGN as u64);
        let entry = Entry::Dropped(crate::testing::SEGMENT);
        let mut queue = VecDeque::from([Queued { entry: Some(entry), answer: None }]);
        assert!(full.prepare(&mut queue).is_err());
        assert_eq!(full.spare_due(), 64 << 20);
        full.add_spare(2, FileId(1));
        assert_eq!(full.spare_due(), 0);
    }
}

//! Reading log files in order, without I/O: which groups count, where the log ends, and whether that end is a torn
//! tail or damage. Total: arbitrary bytes give entries or a typed error, never a panic.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::core::{Entry, LogAddress};
use crate::disk::ALIGN;
use crate::log::layout::{FILE_HEADER, GROUP_HEADER};
use crate::log::{FileHeader, GroupHeader, LayoutError, LogIdentity, LogPosition, file_name};

use super::{LogStart, RecoveryError};

/// Hears of every entry, with the address of its bytes.
type Apply<'a> = dyn FnMut(&Entry, LogAddress) -> Result<(), RecoveryError> + 'a;

/// Where the log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanEnd {
    /// Where it goes on.
    pub next: LogPosition,
    /// Sequence of the first group of each file that holds log.
    pub first_sequences: BTreeMap<u32, u64>,
    /// Groups read.
    pub groups: u64,
    /// Entries applied.
    pub entries: u64,
    /// A group was begun here and never completed.
    pub torn: Option<LogAddress>,
}

/// See the module. Files are given in order of their numbers, every file there is.
#[derive(Debug)]
pub struct LogScan {
    identity: LogIdentity,
    start: LogStart,
    end: ScanEnd,
    /// The number that the next file must have.
    expected_file: u32,
    /// Set once a file came that holds no log: no later one may hold any.
    over: bool,
    /// What stopped the last file that held log, for the message if it turns out to be damage.
    stopped: Option<String>,
}

impl LogScan {
    /// Starts at `start`.
    #[must_use]
    pub fn new(identity: LogIdentity, start: LogStart) -> LogScan {
        let end =
            ScanEnd { next: start.scan, first_sequences: BTreeMap::new(), groups: 0, entries: 0, torn: None };
        LogScan { identity, start, end, expected_file: start.scan.file, over: false, stopped: None }
    }

    fn damaged(&self, what: String) -> RecoveryError {
        let LogPosition { file, offset, .. } = self.end.next;
        RecoveryError::Damaged { file: file_name(file), offset, what }
    }

    /// Reads one file.
    pub fn file(&mut self, number: u32, bytes: &Bytes, apply: &mut Apply<'_>) -> Result<(), RecoveryError> {
        if number != self.expected_file {
            let what =
                format!("{} is missing, but {} is there", file_name(self.expected_file), file_name(number));
            return Err(self.damaged(what));
        }
        self.expected_file = number + 1;
        if number == self.start.scan.file && self.start.scan.offset > 0 {
            // In the middle of a file, whose header was read when the checkpoint's list was begun.
            return self.groups(number, bytes, apply);
        }
        match FileHeader::decode(bytes) {
            Ok(header) if header.number == number => self.check_header(&header)?,
            Err(LayoutError::Version { found }) => {
                let what = format!("log format version {found} is not known to this program");
                return Err(RecoveryError::Foreign { file: file_name(number), what });
            }
            // The header is lost, torn off the first write or damaged later, but what it announces is there.
            _ if self.goes_on_in(number, bytes) => {}
            // Empty, or used before under another number and not begun again.
            _ => {
                self.over = true;
                return self.refuse_later_groups(number, bytes, 0);
            }
        }
        if self.over {
            return Err(self.damaged(format!("the log stops here, but {} holds log too", file_name(number))));
        }
        self.end.first_sequences.insert(number, self.end.next.sequence);
        self.end.next = LogPosition { file: number, offset: FILE_HEADER as u64, ..self.end.next };
        self.end.torn = None;
        self.groups(number, bytes, apply)
    }

    /// True when the first group of the file is whole and the next in sequence.
    fn goes_on_in(&self, number: u32, bytes: &Bytes) -> bool {
        let first = GroupHeader::decode(bytes.get(FILE_HEADER..).unwrap_or_default());
        first.is_ok_and(|group| {
            group.node == self.identity.node
                && group.file == number
                && group.sequence == self.end.next.sequence
        })
    }

    fn check_header(&self, header: &FileHeader) -> Result<(), RecoveryError> {
        if header.identity != self.identity {
            let what = format!("node {} of cluster {}", header.identity.node, header.identity.cluster);
            return Err(RecoveryError::Foreign { file: file_name(header.number), what });
        }
        if header.first_sequence != self.end.next.sequence {
            let why = self.stopped.as_deref().unwrap_or("no such group");
            let what = format!(
                "group {} cannot be read ({why}), but {} goes on with group {}",
                self.end.next.sequence,
                file_name(header.number),
                header.first_sequence
            );
            return Err(self.damaged(what));
        }
        Ok(())
    }

    fn groups(&mut self, number: u32, bytes: &Bytes, apply: &mut Apply<'_>) -> Result<(), RecoveryError> {
        loop {
            let offset = self.end.next.offset as usize;
            let rest = bytes.slice(offset.min(bytes.len())..);
            if rest.is_empty() {
                self.stopped = Some("the file is full".into());
                return Ok(());
            }
            match self.group(number, offset, &rest, apply) {
                Ok(space) => self.end.next.offset += space as u64,
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::NotAGroup(why)) => {
                    self.stopped = Some(why);
                    if GroupHeader::looks_begun(&rest, self.end.next.sequence) {
                        self.end.torn = Some(LogAddress::new(number, offset as u32));
                    }
                    return self.refuse_later_groups(number, bytes, offset + ALIGN);
                }
            }
        }
    }

    /// One group; the bytes that it takes.
    fn group(
        &mut self,
        number: u32,
        offset: usize,
        rest: &Bytes,
        apply: &mut Apply<'_>,
    ) -> Result<usize, Stop> {
        let not = |why: String| Stop::NotAGroup(why);
        let header = GroupHeader::decode(rest).map_err(|e| not(e.to_string()))?;
        if header.node != self.identity.node || header.file != number {
            return Err(not(LayoutError::Foreign { what: "file" }.to_string()));
        }
        if header.sequence != self.end.next.sequence {
            return Err(not(format!("group {} stands there", header.sequence)));
        }
        let group = rest.slice(..GROUP_HEADER + header.payload as usize);
        let mut entries = Vec::with_capacity(header.entries.min(1024) as usize);
        let mut at = GROUP_HEADER;
        while at < group.len() {
            // The group's checksum is right, so this was written so: a bug, or made on purpose.
            let (entry, end) =
                Entry::decode(&group, at).map_err(|e| Stop::Fatal(self.damaged(e.to_string())))?;
            entries.push((entry, LogAddress::new(number, (offset + at + Entry::HEADER) as u32)));
            at = end;
        }
        if entries.len() != header.entries as usize {
            return Err(Stop::Fatal(
                self.damaged("a group has another number of entries than it says".into()),
            ));
        }
        for (entry, at) in &entries {
            apply(entry, *at).map_err(Stop::Fatal)?;
        }
        self.end.groups += 1;
        self.end.entries += entries.len() as u64;
        self.end.next.sequence += 1;
        Ok(header.space().min(rest.len()))
    }

    /// Behind the end of the log there may be remains of older use, but no group that comes later in the sequence.
    fn refuse_later_groups(&self, number: u32, bytes: &Bytes, from: usize) -> Result<(), RecoveryError> {
        for at in (from..bytes.len()).step_by(ALIGN) {
            let Ok(later) = GroupHeader::decode(&bytes[at..]) else {
                continue;
            };
            let ours = later.node == self.identity.node && later.file == number;
            if ours && later.sequence >= self.end.next.sequence {
                let why = self.stopped.as_deref().unwrap_or("nothing is there");
                let what = format!(
                    "group {} cannot be read ({why}), but group {} follows at offset {at} of {}",
                    self.end.next.sequence,
                    later.sequence,
                    file_name(number)
                );
                return Err(self.damaged(what));
            }
        }
        Ok(())
    }

    /// All files have been read.
    pub fn finish(self) -> Result<ScanEnd, RecoveryError> {
        let reached = self.end.next.sequence - 1;
        if reached < self.start.reached {
            let what = format!(
                "the log ends at group {reached}, but group {} was durable when the checkpoint was written",
                self.start.reached
            );
            return Err(self.damaged(what));
        }
        Ok(self.end)
    }
}

enum Stop {
    NotAGroup(String),
    Fatal(RecoveryError),
}

//! Bugs of a storage node that are put back from outside: into what it is asked, what it answers, and what stands on its
//! disk. The node's own code knows nothing of them.

use bytes::Bytes;
use sextant_redo::wire::{Append, Epochs, Reply, Request, SegmentError};
use sextant_redo::{PAGE_SIZE, Page, page};
use sextant_segment_store::core::{Entry, Store, Ticket};
use sextant_segment_store::disk::Disk;
use sextant_segment_store::log::{self, FileHeader, GroupHeader};

use crate::disk::SimDisk;
use crate::mutant::Mutant;

/// Bytes in front of a group's entries, and of a log file's first group.
const GROUP_HEADER: usize = 40;
const FILE_HEADER: usize = 4096;

/// Changes a request before the node sees it.
pub(super) fn request(mutant: Mutant, store: &Store, request: &mut Request) {
    if let (Mutant::NoEpochCheck, Request::Append(Append { segment, epochs, .. })) = (mutant, request)
        && let Some(slot) = store.segments().get(segment)
    {
        *epochs = slot.segment.state().epochs;
    }
}

/// Changes an answer on its way out; `reads_page` says what was asked.
pub(super) fn reply(mutant: Mutant, store: &Store, reads_page: bool, reply: &mut Reply) {
    match (mutant, &mut *reply) {
        (Mutant::AckHighest, Reply::Appended { segment, scl }) => {
            if let Some(slot) = store.segments().get(segment) {
                *scl = slot.segment.chain().highest();
            }
        }
        (Mutant::ServeUnchecked, Reply::Error(SegmentError::Damaged { .. })) if reads_page => {
            let mut made = Page::zero();
            page::seal(&mut made.0);
            *reply = Reply::Page { image: Bytes::copy_from_slice(&made.0[..]) };
        }
        _ => {}
    }
}

/// Changes what a peer answers, before the node hears it.
pub(super) fn answer(mutant: Mutant, reply: &mut Reply) {
    match (mutant, reply) {
        (Mutant::CopyOverwrites, Reply::Pages(part)) => {
            let mut images = part.images.to_vec();
            for bytes in images.chunks_exact_mut(PAGE_SIZE) {
                if let Ok(image) = <&mut [u8; PAGE_SIZE]>::try_from(bytes) {
                    page::stamp(image, page::id(image), part.pgmrpl);
                    page::seal(image);
                }
            }
            part.images = images.into();
        }
        (Mutant::TakeOldList, Reply::State(state)) => {
            if let Some(last) = state.truncations.last_mut() {
                last.epoch = state.epochs.volume;
            }
        }
        _ => {}
    }
}

/// True when an answer to this request is a page.
pub(super) fn reads_page(request: &Request) -> bool {
    matches!(request, Request::ReadPage { .. })
}

/// Whose page is being read.
pub(super) type Reads = std::collections::BTreeSet<Ticket>;

/// The entries of the groups in a log write.
pub(super) fn entries(bytes: &[u8]) -> Vec<Entry> {
    groups(bytes).into_iter().flat_map(|(at, header)| located(bytes, at, header)).map(|(_, e)| e).collect()
}

fn groups(bytes: &[u8]) -> Option<(usize, GroupHeader)> {
    let at = if FileHeader::decode(bytes).is_ok() { FILE_HEADER } else { 0 };
    Some((at, GroupHeader::decode(bytes.get(at..)?).ok()?))
}

fn located(bytes: &[u8], at: usize, header: GroupHeader) -> Vec<(usize, Entry)> {
    let group = Bytes::copy_from_slice(&bytes[at..at + GROUP_HEADER + header.payload as usize]);
    let (mut found, mut next) = (Vec::new(), GROUP_HEADER);
    while let Ok((entry, end)) = Entry::decode(&group, next) {
        found.push((at + next, entry));
        next = end;
    }
    found
}

/// Writes epochs of zero where a log write holds epochs: they are promised and not kept.
pub(crate) fn forget_epochs(bytes: &mut [u8]) {
    let Some((at, header)) = groups(bytes) else { return };
    for (mut place, entry) in located(bytes, at, header) {
        if let Entry::Epochs(segment, _) = entry {
            Entry::Epochs(segment, Epochs::default()).encode(&mut |part| {
                bytes[place..place + part.len()].copy_from_slice(part);
                place += part.len();
            });
        }
    }
    header.encode(&mut bytes[at..]);
}

/// Makes the checksum of a torn group right.
pub(super) fn believe_torn_group(disk: &SimDisk) {
    let names = disk.list().unwrap_or_default();
    let mut files: Vec<(u32, String)> =
        names.into_iter().filter_map(|name| Some((log::file_number(&name)?, name))).collect();
    files.sort();
    for (number, name) in files {
        disk.edit(&name, |bytes| {
            let Ok(header) = FileHeader::decode(bytes) else { return };
            let (mut at, mut sequence) = (FILE_HEADER, header.first_sequence);
            while at < bytes.len() && GroupHeader::looks_begun(&bytes[at..], sequence) {
                let word = |from| u32::from_le_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
                let (payload, entries, node) = (word(at + 4), word(at + 28), header.identity.node);
                let group = GroupHeader { payload, sequence, node, file: number, entries };
                if at + group.space() > bytes.len() {
                    return;
                }
                group.encode(&mut bytes[at..]);
                at += group.space();
                sequence += 1;
            }
        });
    }
}

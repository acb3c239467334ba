//! What the files of a simulated disk hold: durable bytes, and over them writes that are not flushed. A crash keeps any
//! subset of their sectors. Also what went wrong silently, with the true bytes, so that an operator can bring them back.

use std::collections::BTreeMap;

use crate::rng::Rng;

/// Bytes at a place of a file.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
}

impl Write {
    /// Writes over `target`, which starts at byte `start` of the file, where the two overlap.
    fn onto(&self, target: &mut [u8], start: usize) {
        let from = self.offset.max(start);
        let to = (self.offset + self.bytes.len()).min(start + target.len());
        if from < to {
            target[from - start..to - start]
                .copy_from_slice(&self.bytes[from - self.offset..to - self.offset]);
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    /// By the order in which they were done.
    dirty: Vec<(u64, Write)>,
}

/// A file's number, which its name may change over.
pub(super) type Inode = u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Files {
    contents: BTreeMap<Inode, Content>,
    names: BTreeMap<String, Inode>,
    next: Inode,
    writes_done: u64,
    damage: Vec<(Inode, Write)>,
    /// Stays set: what the node made of it is not undone by bringing the bytes back.
    pub(super) was_damaged: bool,
}

impl Files {
    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Inode> {
        self.names.get(name).copied()
    }

    pub(super) fn name_of(&self, file: Inode) -> &str {
        self.names.iter().find(|(_, inode)| **inode == file).map_or("", |(name, _)| name)
    }

    /// The file as it is called, newly made of `bytes`, which are durable; whatever had the name before is gone.
    pub(super) fn put_file(&mut self, name: &str, bytes: Vec<u8>) -> Inode {
        self.next += 1;
        self.contents.insert(self.next, Content { durable: bytes, dirty: Vec::new() });
        self.names.insert(name.to_owned(), self.next);
        self.next
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let moved = self.names.remove(from);
        moved.map(|inode| self.names.insert(to.to_owned(), inode)).is_some()
    }

    /// Gives a name back to a file that lost it; `None` takes the name away.
    pub(super) fn name(&mut self, name: &str, inode: Option<Inode>) {
        match inode {
            Some(inode) => self.names.insert(name.to_owned(), inode),
            None => self.names.remove(name),
        };
    }

    pub(super) fn len(&self, file: Inode) -> Option<usize> {
        self.contents.get(&file).map(|content| content.durable.len())
    }

    pub(super) fn resize(&mut self, file: Inode, len: usize) {
        if let Some(content) = self.contents.get_mut(&file) {
            content.durable.resize(len, 0);
        }
    }

    /// The bytes as the kernel shows them; false when the file ends before.
    pub(super) fn read(&self, file: Inode, offset: usize, into: &mut [u8]) -> bool {
        let Some(content) = self.contents.get(&file) else { return false };
        let Some(durable) = content.durable.get(offset..offset + into.len()) else { return false };
        into.copy_from_slice(durable);
        content.dirty.iter().for_each(|(_, write)| write.onto(into, offset));
        true
    }

    pub(super) fn load(&self, name: &str) -> Option<Vec<u8>> {
        let file = self.find(name)?;
        let mut bytes = vec![0; self.len(file)?];
        self.read(file, 0, &mut bytes).then_some(bytes)
    }

    /// A write is done: durably, or as far as the drive's cache.
    pub(super) fn write(&mut self, file: Inode, write: Write, durable: bool) {
        self.writes_done += 1;
        let Some(content) = self.contents.get_mut(&file) else { return };
        let end = write.offset + write.bytes.len();
        content.durable.resize(content.durable.len().max(end), 0);
        // What is brought back later must not undo this.
        let damaged_here = self.damage.iter_mut().filter(|(inode, _)| *inode == file);
        damaged_here.for_each(|(_, truth)| write.onto(&mut truth.bytes, truth.offset));
        if durable {
            write.onto(&mut content.durable, 0);
            content.dirty.iter_mut().for_each(|(_, older)| write.onto(&mut older.bytes, older.offset));
        } else {
            content.dirty.push((self.writes_done, write));
        }
    }

    /// How many writes were done so far.
    pub(super) fn writes_done(&self) -> u64 {
        self.writes_done
    }

    /// Makes durable what was done up to `writes`, a count of [`Files::writes_done`].
    pub(super) fn flush(&mut self, file: Inode, writes: u64) {
        let Some(content) = self.contents.get_mut(&file) else { return };
        let later = content.dirty.partition_point(|(done, _)| *done <= writes);
        for (_, write) in content.dirty.drain(..later) {
            write.onto(&mut content.durable, 0);
        }
    }

    /// What of the write was begun when the process ended.
    pub(super) fn tear(&mut self, file: Inode, write: &Write, sector: usize, rng: &mut Rng) -> bool {
        let kept = torn(write, sector, rng);
        let any = !kept.is_empty();
        kept.into_iter().for_each(|part| self.write(file, part, false));
        any
    }

    /// The machine loses power: of what is not flushed, any sectors.
    pub(super) fn lose_power(&mut self, sector: usize, rng: &mut Rng) {
        for content in self.contents.values_mut() {
            for (_, write) in std::mem::take(&mut content.dirty) {
                torn(&write, sector, rng).iter().for_each(|part| part.onto(&mut content.durable, 0));
            }
        }
    }

    /// Files that have no name and are not open any more are gone.
    pub(super) fn forget_nameless(&mut self) {
        let named: std::collections::BTreeSet<Inode> = self.names.values().copied().collect();
        self.contents.retain(|inode, _| named.contains(inode));
        self.damage.retain(|(inode, _)| named.contains(inode));
    }

    /// Flips a bit of a durable byte that is not zero, in any file; false when there is none.
    pub(super) fn rot(&mut self, rng: &mut Rng) -> bool {
        let files: Vec<Inode> = self.names.values().copied().collect();
        if files.is_empty() {
            return false;
        }
        let file = files[rng.index(files.len())];
        let Some(content) = self.contents.get_mut(&file) else { return false };
        for _ in 0..64 {
            let at = rng.index(content.durable.len().max(1));
            if let Some(byte) = content.durable.get_mut(at).filter(|byte| **byte != 0) {
                let truth = Write { offset: at, bytes: vec![*byte] };
                *byte ^= 1 << rng.below(8);
                self.note_damage(file, truth);
                return true;
            }
        }
        false
    }

    /// The bytes that should be at a place, and are not.
    pub(super) fn note_damage(&mut self, file: Inode, truth: Write) {
        self.was_damaged = true;
        self.damage.push((file, truth));
    }

    /// Brings back what silently went wrong.
    pub(super) fn restore_damage(&mut self) {
        // The latest damage first: each truth is what stood there before that damage.
        for (file, truth) in std::mem::take(&mut self.damage).into_iter().rev() {
            if let Some(content) = self.contents.get_mut(&file) {
                truth.onto(&mut content.durable, 0);
                content.dirty.iter_mut().for_each(|(_, write)| truth.onto(&mut write.bytes, write.offset));
            }
        }
    }

    /// Changes a file's bytes from outside.
    pub(super) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut [u8])) {
        if let Some(file) = self.find(name) {
            self.flush(file, u64::MAX);
            if let Some(content) = self.contents.get_mut(&file) {
                edit(&mut content.durable);
            }
        }
    }
}

/// What a crash leaves of a write: nothing, all, a prefix or any subset of its sectors.
fn torn(write: &Write, sector: usize, rng: &mut Rng) -> Vec<Write> {
    let sectors = write.bytes.len().div_ceil(sector);
    let prefix = match rng.below(5) {
        0 => return Vec::new(),
        1 => return vec![write.clone()],
        2 | 3 => Some(rng.index(sectors.max(1))),
        _ => None,
    };
    let mut kept = Vec::new();
    for n in 0..sectors {
        if prefix.map_or_else(|| rng.percent(50), |prefix| n < prefix) {
            let bytes = &write.bytes[n * sector..((n + 1) * sector).min(write.bytes.len())];
            kept.push(Write { offset: write.offset + n * sector, bytes: bytes.to_vec() });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: usize, byte: u8, len: usize) -> Write {
        Write { offset, bytes: vec![byte; len] }
    }

    #[test]
    fn a_flush_covers_what_was_done_before_it_was_asked_for() {
        let (mut files, mut rng) = (Files::default(), Rng::new(1));
        let file = files.put_file("f", vec![0; 2048]);
        files.write(file, write(0, 1, 512), false);
        let asked = files.writes_done();
        files.write(file, write(512, 2, 512), false);
        files.flush(file, asked);
        for _ in 0..200 {
            files.write(file, write(512, 2, 512), false);
            files.lose_power(512, &mut rng);
            let bytes = files.load("f").expect("there");
            assert_eq!(bytes[0], 1, "what was flushed stays");
        }
    }

    #[test]
    fn damage_is_brought_back_but_not_over_later_writes() {
        let mut files = Files::default();
        let file = files.put_file("f", vec![7; 1024]);
        files.note_damage(file, write(0, 9, 1024));
        files.write(file, write(512, 3, 512), true);
        files.restore_damage();
        let bytes = files.load("f").expect("there");
        assert_eq!((bytes[0], bytes[1023]), (9, 3));
        assert!(files.was_damaged);
    }
}

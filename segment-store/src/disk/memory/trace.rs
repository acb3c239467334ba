//! What happened to a disk, in order, and what a crash in the midst of it can leave: everything that was flushed, any part
//! of what was not, and any sectors of the write that was under way. What is durable by contract when it returns (making,
//! renaming, deleting, replacing a file) is there or not at all while it is under way.

use super::Image;

/// Bytes written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// Durable when it returned.
    pub(crate) is_flushed: bool,
}

/// An operation that changed a disk, or flushed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Create { name: String, len: u64 },
    Extend { name: String, len: u64 },
    Wipe { name: String, offset: u64, len: u64 },
    Rename { from: String, to: String },
    Delete { name: String },
    Replace { name: String, bytes: Vec<u8> },
    Write(Write),
    Sync { name: String },
}

/// Decides what a crash keeps.
pub(crate) trait Fate {
    /// True when a write that was not flushed is kept whole.
    fn keeps(&mut self) -> bool;
    /// True when the operation under way was begun at all.
    fn begun(&mut self) -> bool;
    /// Bytes of a sector.
    fn sector(&self) -> usize;
    /// True when a sector of the write under way got there, or of a last one that was not flushed.
    fn keeps_sector(&mut self) -> bool;
}

/// What was not flushed is gone.
pub(crate) struct Gone;

impl Fate for Gone {
    fn keeps(&mut self) -> bool {
        false
    }

    fn begun(&mut self) -> bool {
        false
    }

    fn sector(&self) -> usize {
        512
    }

    fn keeps_sector(&mut self) -> bool {
        false
    }
}

/// A disk at a moment of its trace.
#[derive(Debug, Clone)]
pub(crate) struct Platter {
    durable: Image,
    /// Not flushed, oldest first.
    volatile: Vec<Write>,
}

impl Platter {
    pub(crate) fn new(durable: Image) -> Platter {
        Platter { durable, volatile: Vec::new() }
    }

    /// The operation has returned.
    pub(crate) fn done(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(write) if !write.is_flushed => self.volatile.push(write.clone()),
            Operation::Write(write) => put(&mut self.durable, write),
            Operation::Sync { name } => self.flush(name),
            Operation::Rename { from, to } => {
                self.volatile
                    .iter_mut()
                    .filter(|write| write.name == *from)
                    .for_each(|w| w.name.clone_from(to));
                change(&mut self.durable, operation);
            }
            Operation::Delete { name } => {
                self.volatile.retain(|write| write.name != *name);
                change(&mut self.durable, operation);
            }
            other => change(&mut self.durable, other),
        }
    }

    fn flush(&mut self, name: &str) {
        let (flushed, volatile) =
            std::mem::take(&mut self.volatile).into_iter().partition(|w| w.name == name);
        self.volatile = volatile;
        let flushed: Vec<Write> = flushed;
        flushed.iter().for_each(|write| put(&mut self.durable, write));
    }

    /// What there is to read while the machine runs.
    pub(crate) fn image(&self) -> Image {
        let mut image = self.durable.clone();
        self.volatile.iter().for_each(|write| put(&mut image, write));
        image
    }

    /// The process is killed while `under_way` runs: the system finishes what it was given, but nobody waits for a flush.
    pub(crate) fn killed(&self, under_way: Option<&Operation>) -> Platter {
        let mut left = self.clone();
        match under_way {
            Some(Operation::Write(write)) => {
                left.done(&Operation::Write(Write { is_flushed: false, ..write.clone() }))
            }
            Some(Operation::Sync { .. }) | None => {}
            Some(other) => left.done(other),
        }
        left
    }

    /// What a crash leaves while `under_way` runs.
    pub(crate) fn crash(&self, under_way: Option<&Operation>, fate: &mut dyn Fate) -> Image {
        let mut image = self.durable.clone();
        for write in &self.volatile {
            if fate.keeps() {
                put(&mut image, write);
            } else {
                tear(&mut image, write, fate);
            }
        }
        match under_way {
            Some(Operation::Write(write)) => tear(&mut image, write, fate),
            Some(other) if fate.begun() => change(&mut image, other),
            _ => {}
        }
        image
    }
}

fn put(image: &mut Image, write: &Write) {
    let file = image.get_mut(&write.name).expect("made before it was written");
    file[write.offset as usize..][..write.bytes.len()].copy_from_slice(&write.bytes);
}

fn tear(image: &mut Image, write: &Write, fate: &mut dyn Fate) {
    let sector = fate.sector();
    for (n, bytes) in write.bytes.chunks(sector).enumerate() {
        if fate.keeps_sector() {
            let (name, offset) = (write.name.clone(), write.offset + (n * sector) as u64);
            put(image, &Write { name, offset, bytes: bytes.to_vec(), is_flushed: false });
        }
    }
}

/// A change that is there or not.
pub(super) fn change(image: &mut Image, operation: &Operation) {
    match operation {
        Operation::Create { name, len } => drop(image.insert(name.clone(), vec![0; *len as usize])),
        Operation::Extend { name, len } => {
            image.get_mut(name).expect("made before it grew").resize(*len as usize, 0);
        }
        Operation::Wipe { name, offset, len } => {
            image.get_mut(name).expect("made before it was wiped")[*offset as usize..][..*len as usize]
                .fill(0);
        }
        Operation::Rename { from, to } => {
            let content = image.remove(from).expect("made before it was renamed");
            image.insert(to.clone(), content);
        }
        Operation::Delete { name } => drop(image.remove(name)),
        Operation::Replace { name, bytes } => drop(image.insert(name.clone(), bytes.clone())),
        Operation::Write(write) => put(image, write),
        Operation::Sync { .. } => {}
    }
}

//! The files of a data folder as the operating system has them: open handles by number, and the operations that block.
//! Shared by all backends that work on real files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AlignedBuf, FileId, Pace};

/// Bytes zeroed by one write when a file is made: log that is written beside it waits for no more.
const ZERO_CHUNK: usize = 256 << 10;
/// Extension of a file that is being made.
const MAKING: &str = "new";

/// Open files of one folder.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    open: RefCell<BTreeMap<FileId, Arc<File>>>,
    next: std::cell::Cell<u32>,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Files {
        Files { dir: dir.to_owned(), open: RefCell::default(), next: std::cell::Cell::new(0) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn add(&self, file: File) -> FileId {
        let id = FileId(self.next.get());
        self.next.set(id.0 + 1);
        self.open.borrow_mut().insert(id, Arc::new(file));
        id
    }

    pub(super) fn open(&self, name: &str) -> io::Result<FileId> {
        Ok(self.add(open_direct(&self.path(name))?))
    }

    pub(super) fn close(&self, id: FileId) {
        self.open.borrow_mut().remove(&id);
    }

    pub(super) fn get(&self, id: FileId) -> io::Result<Arc<File>> {
        let open = self.open.borrow();
        open.get(&id).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the file is closed"))
    }

    pub(super) fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Opens for direct I/O; where the file system knows none (tmpfs on older kernels), for buffered I/O.
pub(super) fn open_direct(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            tracing::warn!(path = %path.display(), "no direct I/O on this file system; going through the page cache");
            options.open(path)
        }
        opened => opened,
    }
}

/// See [`super::Disk::create`] and [`super::Disk::create_in_step`]. The file gets its name last: one that a crash left half
/// made must not be taken for a damaged one at the next start. Blocks.
pub(super) fn create_zeroed(path: &Path, len: u64, pace: Option<&Pace>) -> io::Result<File> {
    let making = path.with_extension(MAKING);
    let made = (|| {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        File::options().write(true).create(true).truncate(true).open(&making)?;
        let file = open_direct(&making)?;
        reserve(&file, 0, len)?;
        let zeros = AlignedBuf::zeroed(ZERO_CHUNK);
        let mut at = 0;
        while at < len {
            if let Some(pace) = pace {
                pace.wait(at)?;
            }
            let part = (len - at).min(ZERO_CHUNK as u64);
            file.write_all_at(&zeros[..part as usize], at)?;
            at += part;
        }
        file.sync_all()?;
        std::fs::rename(&making, path)?;
        sync_parent(path)?;
        Ok(file)
    })();
    if made.is_err() {
        // Nothing refers to it; what cannot be removed now is used the next time.
        let _ = std::fs::remove_file(&making);
    }
    made
}

/// Takes disk space for `len` bytes from `offset` on without writing; the file ends there or later. Blocks.
pub(super) fn reserve(file: &File, offset: u64, len: u64) -> io::Result<()> {
    match fallocate(file, 0, offset, len) {
        // The file system cannot reserve; the writes behind will allocate.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let end = offset.saturating_add(len);
            if file.metadata()?.len() < end { file.set_len(end) } else { Ok(()) }
        }
        reserved => reserved,
    }
}

/// Gives disk space back; the file stays as long as it is. Blocks.
pub(super) fn release(file: &File, offset: u64, len: u64) -> io::Result<()> {
    match fallocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, len) {
        // The file system cannot; the space stays the file's, to be reserved again for nothing.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        released => released,
    }
}

fn fallocate(file: &File, mode: libc::c_int, offset: u64, len: u64) -> io::Result<()> {
    let [offset, len] = [offset, len].map(libc::off_t::try_from);
    let (Ok(offset), Ok(len)) = (offset, len) else { return Err(io::ErrorKind::FileTooLarge.into()) };
    // SAFETY: plain integers and a descriptor that `file` keeps open.
    let code = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes names in the file's folder durable. Blocks.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let dir = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no parent folder"))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_space_is_the_devices_until_it_is_reserved() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("a folder");
        let file = create_zeroed(&dir.path().join("pages.sxp"), 8 << 20, None).expect("made");
        let held = || file.metadata().expect("there").blocks() * 512;
        assert!(held() >= 8 << 20);
        release(&file, 2 << 20, 4 << 20).expect("released");
        assert_eq!(file.metadata().expect("there").len(), 8 << 20);
        assert!(held() <= 5 << 20, "{}", held());
        reserve(&file, 2 << 20, 4 << 20).expect("reserved");
        assert!(held() >= 8 << 20);
        assert_eq!(file.metadata().expect("there").len(), 8 << 20);
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log-000001.sxl");
        // What a crash in the middle leaves.
        std::fs::write(path.with_extension(MAKING), [9; 100]).expect("written");
        let file = create_zeroed(&path, 3 << 20, None).expect("made");
        assert_eq!(file.metadata().expect("there").len(), 3 << 20);
        assert!(std::fs::read(&path).expect("there").iter().all(|byte| *byte == 0));
        assert!(!path.with_extension(MAKING).exists());
        let again = create_zeroed(&path, 4096, None).map(|_| ()).expect_err("it exists");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        // No space for so much: nothing is left behind.
        let other = dir.path().join("log-000002.sxl");
        assert!(create_zeroed(&other, u64::MAX, None).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }
}

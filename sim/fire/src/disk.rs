//! A small file system of our own, which can be filled: an ext4 on a loop device, in a mount namespace of our own.
//!
//! What must hold: nothing of it outlives us. The mount is seen only by this program and the processes it starts from
//! here on, so the kernel unmounts it with the last of them, however they end, and frees the loop device.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why there is no such file system here; the fault is skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoDisk(String);

/// A mounted file system.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Makes a file system of `bytes` in a file beside `mount`, and mounts it there. Moves the calling thread into a mount
    /// namespace of its own: threads and processes that are to see the disk must be started by it afterwards.
    pub fn mount(mount: &Path, bytes: u64) -> Result<SmallDisk, NoDisk> {
        // SAFETY: geteuid touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            return Err(NoDisk("mounting a loop device needs root".to_owned()));
        }
        let failed = |what: &str, error: io::Error| NoDisk(format!("{what}: {error}"));
        own_namespace().map_err(|error| failed("no mount namespace of our own", error))?;
        let image = mount.with_extension("ext4");
        std::fs::create_dir_all(mount).map_err(|error| failed("cannot make the mount point", error))?;
        let file = File::create(&image).map_err(|error| failed("cannot make the image", error))?;
        file.set_len(bytes).map_err(|error| failed("cannot make the image", error))?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-O", "^has_journal"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(mount))?;
        Ok(SmallDisk { mount: mount.to_owned() })
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> io::Result<()> {
        let ballast = File::create(self.ballast())?;
        let (mut taken, mut step) = (0, 64 << 20);
        while step >= 4096 {
            // SAFETY: fallocate takes a file descriptor, which `ballast` keeps open, and numbers.
            match unsafe { libc::fallocate(ballast.as_raw_fd(), 0, taken, step) } {
                0 => taken += step,
                _ => match io::Error::last_os_error() {
                    full if full.kind() == io::ErrorKind::StorageFull => step /= 2,
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub fn relieve(&self) -> io::Result<()> {
        std::fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still uses it keeps it until the end.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mount));
    }
}

/// Nothing that is mounted from here on is seen elsewhere.
fn own_namespace() -> io::Result<()> {
    // SAFETY: unshare takes flags and touches no memory of ours.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the two strings end with a zero byte and live through the call; the other pointers may be null.
    let private =
        unsafe { libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
    if private == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn run(command: &mut Command) -> Result<(), NoDisk> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| NoDisk(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(NoDisk(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_up_and_has_space_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let disk = match SmallDisk::mount(&dir.path().join("small"), 16 << 20) {
            Ok(disk) => disk,
            Err(why) => {
                eprintln!("SKIPPED: {why}");
                return;
            }
        };
        let file = disk.mount.join("file");
        disk.fill().expect("full");
        let refused = std::fs::write(&file, [0; 8192]).expect_err("no space");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        disk.relieve().expect("space");
        std::fs::write(&file, [0; 8192]).expect("written");
        drop(disk);
        assert!(!file.exists(), "unmounted");
    }
}

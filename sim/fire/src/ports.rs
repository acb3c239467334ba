//! Blocks of ports for clusters under test.

use std::fs::File;
use std::net::TcpListener;

/// Ports of one cluster.
const BLOCK: u16 = 60;

/// A block of 60 ports that no other test has.
#[derive(Debug)]
pub struct Ports {
    /// The first.
    pub base: u16,
    _reserved: File,
}

impl Ports {
    /// Looks below the range that the kernel gives to clients; a lock file keeps other test processes away.
    ///
    /// # Panics
    /// When all are taken.
    #[must_use]
    pub fn reserve() -> Ports {
        let blocks = (32_000 - 10_000) / BLOCK;
        let first = (std::process::id() % u32::from(blocks)) as u16;
        for block in (0..blocks).map(|n| (first + n) % blocks) {
            let base = 10_000 + block * BLOCK;
            let path = std::env::temp_dir().join(format!("sextant-test-ports-{base}"));
            let Ok(file) = File::create(path) else { continue };
            if file.try_lock().is_ok()
                && (base..base + BLOCK).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
            {
                return Ports { base, _reserved: file };
            }
        }
        panic!("no free block of {BLOCK} ports");
    }
}

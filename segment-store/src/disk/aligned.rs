//! Memory that direct I/O accepts: aligned to 4096 bytes, in whole blocks.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Alignment and block size of direct I/O here. Every block device in use accepts 4096.
pub const ALIGN: usize = 4096;

/// The next multiple of [`ALIGN`] at or above `n`.
#[must_use]
pub const fn align_up(n: usize) -> usize {
    n.next_multiple_of(ALIGN)
}

/// The multiple of [`ALIGN`] at or below `n`.
#[must_use]
pub const fn align_down(n: u64) -> u64 {
    n - n % ALIGN as u64
}

/// A buffer of whole blocks at an aligned address.
#[derive(Debug)]
pub struct AlignedBuf {
    memory: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer owns its memory; nothing else points to it.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zero bytes; `len` is rounded up to whole blocks, at least one.
    #[must_use]
    pub fn zeroed(len: usize) -> AlignedBuf {
        let len = align_up(len.max(1));
        let layout = AlignedBuf::layout(len);
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        match NonNull::new(memory) {
            Some(memory) => AlignedBuf { memory, len },
            None => handle_alloc_error(layout),
        }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, ALIGN).expect("a length below isize::MAX, a power of two")
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeroed` with this very layout, and not freed before.
        unsafe { dealloc(self.memory.as_ptr(), AlignedBuf::layout(self.len)) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes that this buffer owns.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_whole() {
        for len in [0, 1, 4096, 4097, 1 << 20] {
            let mut buffer = AlignedBuf::zeroed(len);
            assert_eq!(buffer.as_ptr() as usize % ALIGN, 0);
            assert_eq!(buffer.len(), align_up(len.max(1)));
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(7);
        }
        assert_eq!((align_down(4095), align_down(4096), align_down(9000)), (0, 4096, 8192));
    }
}

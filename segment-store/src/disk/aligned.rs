//! Memory that direct I/O accepts: aligned to 4096 bytes, in whole blocks. Small buffers come and go with every transfer
//! and the allocator is slow at this alignment, so each thread keeps some.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
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

/// Buffers up to so many blocks are kept.
const KEPT_BLOCKS: usize = 16;
/// Buffers kept of each size.
const KEPT_EACH: usize = 64;

thread_local! {
    /// By number of blocks, from one.
    static KEPT: RefCell<[Vec<NonNull<u8>>; KEPT_BLOCKS]> = const { RefCell::new([const { Vec::new() }; KEPT_BLOCKS]) };
}

/// Where buffers of `len` bytes are kept, if they are.
fn kept_at(len: usize) -> Option<usize> {
    let at = len / ALIGN - 1;
    (at < KEPT_BLOCKS).then_some(at)
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
        let kept = kept_at(len).and_then(|at| KEPT.with_borrow_mut(|kept| kept[at].pop()));
        if let Some(memory) = kept {
            let mut buffer = AlignedBuf { memory, len };
            buffer.fill(0);
            return buffer;
        }
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
        // The thread may be ending, its buffers gone already: then this one goes too.
        let kept = kept_at(self.len).is_some_and(|at| {
            let keep = |kept: &RefCell<[Vec<NonNull<u8>>; KEPT_BLOCKS]>| {
                let same = &mut kept.borrow_mut()[at];
                let room = same.len() < KEPT_EACH;
                if room {
                    same.push(self.memory);
                }
                room
            };
            KEPT.try_with(keep).unwrap_or(false)
        });
        if kept {
            return;
        }
        // SAFETY: allocated by `zeroed` with this very layout, and neither freed nor kept for another.
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
            drop(buffer);
            assert!(AlignedBuf::zeroed(len).iter().all(|byte| *byte == 0), "also when used before");
        }
        assert_eq!((align_down(4095), align_down(4096), align_down(9000)), (0, 4096, 8192));
    }
}

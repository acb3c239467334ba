//! Memory that direct I/O accepts: aligned to 4096 bytes, in whole blocks. Buffers come and go with every transfer, the
//! allocator is slow at this alignment, and the kernel clears every page that it hands out; so each thread keeps some.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::collections::VecDeque;
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

/// Bytes that a thread keeps at most: some groups of the log at their largest.
const KEPT_BYTES: usize = 32 << 20;
/// Who asks for more than so many bytes is also given a buffer that is larger than needed, by a quarter at most: groups of
/// the log are hardly ever of the same size.
const EXACT_BYTES: usize = 16 * ALIGN;

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { buffers: VecDeque::new(), bytes: 0 }) };
}

/// Buffers that nobody uses, the latest last, each with its capacity.
struct Kept {
    buffers: VecDeque<(NonNull<u8>, usize)>,
    bytes: usize,
}

impl Kept {
    /// A buffer of `len` bytes, whole blocks, or somewhat more.
    fn take(&mut self, len: usize) -> Option<(NonNull<u8>, usize)> {
        let fits = len..=if len > EXACT_BYTES { len + len / 4 } else { len };
        // The latest one is the likeliest to be in the processor's cache.
        let at = self.buffers.iter().rposition(|(_, capacity)| fits.contains(capacity))?;
        let (memory, capacity) = self.buffers.remove(at)?;
        self.bytes -= capacity;
        Some((memory, capacity))
    }

    /// Keeps a buffer and gives up others, the oldest first: sizes that nobody asks for any more go.
    fn put(&mut self, memory: NonNull<u8>, capacity: usize) {
        self.buffers.push_back((memory, capacity));
        self.bytes += capacity;
        while self.bytes > KEPT_BYTES
            && let Some((oldest, capacity)) = self.buffers.pop_front()
        {
            self.bytes -= capacity;
            // SAFETY: `put` owns what it was given, and it came from `allocate` with this capacity.
            unsafe { free(oldest, capacity) };
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for (memory, capacity) in self.buffers.drain(..) {
            // SAFETY: as in `put`.
            unsafe { free(memory, capacity) };
        }
    }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, ALIGN).expect("a length below isize::MAX, a power of two")
}

/// Zero bytes.
fn allocate(capacity: usize) -> NonNull<u8> {
    let layout = layout(capacity);
    // SAFETY: the layout has a size above zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// `memory` came from [`allocate`] with this capacity, and nobody uses it any more.
unsafe fn free(memory: NonNull<u8>, capacity: usize) {
    // SAFETY: the caller's promise.
    unsafe { dealloc(memory.as_ptr(), layout(capacity)) }
}

/// A buffer of whole blocks at an aligned address.
#[derive(Debug)]
pub struct AlignedBuf {
    memory: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: the buffer owns its memory; nothing else points to it.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zero bytes; `len` is rounded up to whole blocks, at least one.
    #[must_use]
    pub fn zeroed(len: usize) -> AlignedBuf {
        AlignedBuf::kept(len).map_or_else(
            || AlignedBuf::fresh(len),
            |mut buffer| {
                buffer.fill(0);
                buffer
            },
        )
    }

    /// `len` bytes of whatever was there before, for who writes over all of them; `len` is rounded up likewise.
    #[must_use]
    pub fn for_overwrite(len: usize) -> AlignedBuf {
        let mut buffer = AlignedBuf::kept(len).unwrap_or_else(|| AlignedBuf::fresh(len));
        if cfg!(debug_assertions) {
            // Who relies on what was there is found out.
            buffer.fill(0xa5);
        }
        buffer
    }

    fn kept(len: usize) -> Option<AlignedBuf> {
        let len = align_up(len.max(1));
        let (memory, capacity) = KEPT.with_borrow_mut(|kept| kept.take(len))?;
        Some(AlignedBuf { memory, len, capacity })
    }

    fn fresh(len: usize) -> AlignedBuf {
        let len = align_up(len.max(1));
        AlignedBuf { memory: allocate(len), len, capacity: len }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        let AlignedBuf { memory, capacity, .. } = *self;
        // The thread may be ending, its buffers gone already: then this one goes too.
        if KEPT.try_with(|kept| kept.borrow_mut().put(memory, capacity)).is_err() {
            // SAFETY: allocated with this capacity, and not kept for another.
            unsafe { free(memory, capacity) }
        }
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
        for len in [0, 1, 4096, 4097, 1 << 20, (1 << 20) + 1, KEPT_BYTES + 1] {
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

    #[test]
    fn a_buffer_is_used_again_and_a_thread_keeps_few() {
        for len in [3 * ALIGN, 70 * ALIGN, 1000 * ALIGN] {
            let buffer = AlignedBuf::for_overwrite(len);
            let at = buffer.as_ptr();
            drop(buffer);
            assert_eq!(AlignedBuf::for_overwrite(len).as_ptr(), at);
        }
        let at = AlignedBuf::for_overwrite(1200 * ALIGN).as_ptr();
        let smaller = AlignedBuf::for_overwrite(1100 * ALIGN);
        assert_eq!((smaller.as_ptr(), smaller.len()), (at, 1100 * ALIGN), "a larger one does");
        let small = AlignedBuf::for_overwrite(500 * ALIGN);
        assert_eq!(
            (small.len(), small.capacity),
            (500 * ALIGN, 500 * ALIGN),
            "but not one of twice the size"
        );
        drop((smaller, small));
        let many: Vec<_> = (1..40).map(|mib| AlignedBuf::zeroed(mib << 20)).collect();
        drop(many);
        let kept = |kept: &RefCell<Kept>| {
            let kept = kept.borrow();
            assert_eq!(kept.bytes, kept.buffers.iter().map(|(_, capacity)| capacity).sum::<usize>());
            kept.bytes
        };
        assert!(KEPT.with(kept) <= KEPT_BYTES);
    }
}

//! What can go wrong between the engine and its pages, and what the caller can do about it.

use sextant_redo::PageId;
use sextant_volume::VolumeError;

/// An error of the page layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The storage driver failed.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A page holds what no version of the engine writes. It was not changed; other pages are not affected.
    #[error(
        "{page:?} is damaged: {what}. Nothing was changed; compare its copies with `sextant admin verify`"
    )]
    Corrupt {
        /// The page.
        page: PageId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Every frame of the page cache stayed in use, or held changes that are not durable yet, for too long.
    #[error(
        "the page cache is full: all of its {frames} frames are in use or wait for the log to become durable. \
         Nothing is lost; try again, or give the cache more memory"
    )]
    CacheFull {
        /// Frames of the cache.
        frames: usize,
    },
    /// A key is longer than a tree takes.
    #[error("a key of {len} bytes is longer than the limit of {limit} bytes; nothing was changed")]
    KeyTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A value is longer than a tree takes beside its key.
    #[error("a row of {len} bytes is longer than the limit of {limit} bytes; nothing was changed")]
    ValueTooLarge {
        /// Its length.
        len: usize,
        /// The limit beside this key.
        limit: usize,
    },
    /// An index would have to make a key from a value that is too long for that.
    #[error(
        "a value of {len} bytes is too long to make index keys of, the limit is {limit} bytes; nothing was changed"
    )]
    KeySourceTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// One mini-transaction changes one page by more than a redo record takes.
    #[error(
        "a mini-transaction logs {bytes} bytes for {page:?}, over the limit of a record; nothing was changed"
    )]
    RecordTooLarge {
        /// The page.
        page: PageId,
        /// Bytes of its patches.
        bytes: usize,
    },
    /// The volume was written by a version with another page format.
    #[error("the volume has page format {found}, this engine knows {known}; use an engine of its version")]
    Format {
        /// As found in the control page.
        found: u32,
        /// What this engine writes.
        known: u32,
    },
    /// The memory of the page cache could not be mapped.
    #[error("cannot map {bytes} bytes for the page cache: {reason}; lower the cache size")]
    Arena {
        /// Bytes asked for.
        bytes: usize,
        /// The system's answer.
        reason: String,
    },
}

impl StorageError {
    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            StorageError::Volume(error) => error.is_retryable(),
            StorageError::CacheFull { .. } => true,
            _ => false,
        }
    }
}

//! What a synchronous step over resident pages answers.

use sextant_redo::PageId;

use super::StorageError;

/// Why a step did not finish. Whatever it is, nothing was changed: the step is redone from its start once the reason
/// is gone. [`super::BufferPool::run`] and [`super::BufferPool::write`] see to that; a step only passes it on with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// This page is not in the cache: fetch it.
    Missing(PageId),
    /// This page's latch could not be had in time while others were held: let go of all and try again.
    Contended(PageId),
    /// A page up to this one is about to be allocated and may have no protection group yet.
    NeedPages(PageId),
    /// The mini-transaction takes up to so many bytes of log, more than was reserved.
    NeedLog(u64),
    /// The step failed for good.
    Failed(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Stop {
        Stop::Failed(error)
    }
}

/// The result of a step.
pub type Step<T> = Result<T, Stop>;

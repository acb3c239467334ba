//! What must hold, one file each: the statement, where it comes from, and the check. A check takes plain views of a
//! cluster, so it can be called on a live one as well. I8 (membership) comes with membership changes.

pub mod i01_durability;
pub mod i02_points;
pub mod i03_fencing;
pub mod i04_page_truth;
pub mod i05_convergence;
pub mod i06_no_lie;
pub mod i07_order;
pub mod i09_garbage;
pub mod i10_metadata;
pub mod i11_liveness;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// I1 to I11, or "panic".
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// A check's answer.
pub type Checked = Result<(), Violation>;

/// The check of `invariant`: `what` tells what was seen when `holds` is false.
pub(crate) fn check(invariant: &'static str, holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

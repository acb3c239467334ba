//! I5, convergence: once everything is healed, all copies reach equal SCLs and byte-equal pages. Source: P17 section
//! 3.3 (gossip fills holes). Until gossip exists, the writer brings lagging copies up to date.

use sextant_redo::{Lsn, PgId};

use super::{Checked, check};

/// The copies of a group whose last record is `last`.
pub fn copies_are_complete(pg: PgId, last: Lsn, scls: &[Lsn]) -> Checked {
    check("I5", scls.iter().all(|scl| *scl == last), || {
        format!("{pg:?} ends at {last}, but after healing its copies stand at {scls:?}")
    })
}

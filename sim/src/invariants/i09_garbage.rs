//! I9, garbage: nothing that an open instance may still read is collected. Source: P18 section 3.4 (PGMRPL).

use sextant_redo::Lsn;

use super::{Checked, check};

/// A copy refuses `read_point` as too old, while the writer's floor is `floor`.
pub fn read_points_in_use_are_kept(read_point: Lsn, floor: Lsn) -> Checked {
    check("I9", false, || format!("read point {read_point} was refused as too old; the floor is {floor}"))
}

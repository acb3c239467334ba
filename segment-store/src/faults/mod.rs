//! One load over everything that a node does with its disk, run under failures of its n-th operation ([`fail_nth`]) and
//! under crashes at every point of its trace ([`crash_points`]). Time passes only where the load says so: every run is
//! the same up to what is done to it.

mod crash_points;
mod fail_nth;
mod load;
mod recovered;

/// True when every point is asked for; else a test takes some, spread over all.
fn every_point() -> bool {
    std::env::var("SEXTANT_CRASH_POINTS").is_ok_and(|which| which == "all")
}

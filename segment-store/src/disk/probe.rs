//! Which way of making a write durable is faster on this device: measured once, at start-up.

use std::io;
use std::time::{Duration, Instant};

use super::{ALIGN, AlignedBuf, Disk, Flush};

/// Name of the file that the measurement writes to; removed behind it.
const PROBE_FILE: &str = "probe.tmp";
/// Writes per way, alternating, so that both see the same noise.
const ROUNDS: usize = 16;

/// Measures both ways and says which is faster, with the median of each.
pub async fn choose_flush(disk: &dyn Disk) -> io::Result<(Flush, Duration, Duration)> {
    if disk.list()?.iter().any(|name| name == PROBE_FILE) {
        disk.delete(PROBE_FILE).await?;
    }
    let file = disk.create(PROBE_FILE, (2 * ROUNDS * ALIGN) as u64).await?;
    let ways = [Flush::DsyncWrite, Flush::LinkedFdatasync];
    let mut times = [Vec::new(), Vec::new()];
    let mut buffer = AlignedBuf::zeroed(ALIGN);
    for round in 0..ROUNDS {
        for (n, way) in ways.into_iter().enumerate() {
            let started = Instant::now();
            let offset = ((2 * round + n) * ALIGN) as u64;
            let (result, back) = disk.append(file, offset, buffer, way).await;
            result?;
            buffer = back;
            times[n].push(started.elapsed());
        }
    }
    disk.close(file);
    disk.delete(PROBE_FILE).await?;
    let [dsync, linked] = times.map(|mut all| {
        all.sort();
        all[all.len() / 2]
    });
    let best = if dsync <= linked { Flush::DsyncWrite } else { Flush::LinkedFdatasync };
    Ok((best, dsync, linked))
}

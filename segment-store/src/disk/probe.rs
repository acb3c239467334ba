//! Which way of making a write durable is better on this device: measured once, at start-up.

use std::io;
use std::time::{Duration, Instant};

use super::{ALIGN, AlignedBuf, Disk, Flush};

/// Name of the file that the measurement writes to; removed behind it.
const PROBE_FILE: &str = "probe.tmp";
/// Writes per way, alternating, so that both see the same noise.
const ROUNDS: usize = 16;

/// Measures both ways and says which is better, with the median of each.
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
    Ok((better(dsync, linked), dsync, linked))
}

/// One operation costs the processor less than two that are linked, so the second way has to be clearly faster: where both are
/// about the same, as on most devices, six nodes that start on a busy machine would choose at random.
fn better(dsync: Duration, linked: Duration) -> Flush {
    if linked * 5 < dsync * 4 { Flush::LinkedFdatasync } else { Flush::DsyncWrite }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_is_taken_unless_two_operations_are_clearly_faster() {
        let us = Duration::from_micros;
        assert_eq!(better(us(711), us(736)), Flush::DsyncWrite);
        assert_eq!(better(us(180), us(177)), Flush::DsyncWrite);
        assert_eq!(better(us(1000), us(800)), Flush::DsyncWrite);
        assert_eq!(better(us(1000), us(790)), Flush::LinkedFdatasync);
    }
}

//! How a process learns that it should stop.

use tokio::signal::unix::{SignalKind, signal as listen};

/// Resolves at the first SIGINT or SIGTERM after the first poll. From then on these signals no longer end the process
/// by themselves: the caller stops in its own order.
pub async fn signal() {
    let (interrupt, terminate) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "cannot listen for SIGINT and SIGTERM; they will end the process at once");
            std::future::pending::<()>().await;
        }
    }
}

/// Has the kernel send SIGKILL to this process when `parent`, the process that started it, ends in whatever way.
///
/// Returns false when `parent` is already gone, in which case no signal would ever come and the caller should exit.
/// To be called first thing in `main`. The parent must have started this process from a thread that lives as long as
/// it does: the kernel watches the thread (prctl(2), PR_SET_PDEATHSIG).
#[must_use]
pub fn die_with_parent(parent: u32) -> bool {
    // SAFETY: prctl with PR_SET_PDEATHSIG takes one integer and touches no memory of this process.
    let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
    // Asked only after prctl: a parent that ended before it leaves this process with another parent.
    set == 0 && std::os::unix::process::parent_id() == parent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_not_the_parent() {
        assert!(!die_with_parent(0));
    }

    #[tokio::test]
    async fn the_signal_is_awaited() {
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), signal());
        assert!(waiting.await.is_err(), "nobody sent a signal");
    }
}

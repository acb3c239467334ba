//! Logs of a process: lines on stderr, filtered by level and module.

use tracing_subscriber::EnvFilter;

/// What is logged when nobody asks for anything else. The Raft library tells each step of its protocol at level info.
const DEFAULT_FILTER: &str = "info,openraft=warn";

/// Starts logging to stderr. `RUST_LOG` overrides `filter`; without both, level `info` and above is shown, of the Raft
/// library `warn` and above. A filter
/// that cannot be parsed is reported and replaced by the default. A second call changes nothing.
pub fn init(filter: Option<&str>) {
    let wanted = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty())
        .or_else(|| filter.map(str::to_owned))
        .unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let (parsed, complaint) = match EnvFilter::try_new(&wanted) {
        Ok(parsed) => (parsed, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    let started = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).try_init();
    if started.is_err() {
        return;
    }
    if let Some(error) = complaint {
        tracing::warn!(filter = %wanted, %error, "the log filter is not valid; using \"{DEFAULT_FILTER}\"");
    }
}

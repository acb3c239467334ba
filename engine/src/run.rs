//! The engine process: opens its volume as the writer, serves it, gives it back.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sextant_meta::MetaClient;
use sextant_node::{http, net};
use sextant_volume::{LogStore, OpenOptions, Opened, Volume, VolumeError};

use crate::config::EngineConfig;
use crate::front::{self, Describe, Probe};
use crate::types::SqlError;

/// An attempt to open the volume waits so long for a lease, for storage nodes and for the metadata service; then the log
/// says what is missing, and the next attempt begins.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);
/// Making the last log durable and giving the lease back may take so long; the lease lapses by itself anyway.
const CLOSE: Duration = Duration::from_secs(7);

/// Why an engine ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The configuration makes no sense.
    #[error("configuration: {0}")]
    Config(String),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] std::io::Error),
    /// The operating system gives no threads to run sessions on.
    #[error(
        "no threads for sessions: {0}. Raise the limits of processes and open files, and start the engine again"
    )]
    Threads(#[source] std::io::Error),
    /// The volume cannot be opened, and trying again would not help.
    #[error("cannot open volume \"{volume}\": {source}")]
    Open {
        /// Its name.
        volume: String,
        /// Why.
        source: VolumeError,
    },
    /// The volume holds no database that this version can open.
    #[error("cannot open the database: {0}")]
    Database(#[from] SqlError),
    /// Another writer has taken the volume.
    #[error("{0}")]
    Fenced(VolumeError),
    /// The volume was dropped.
    #[error("{0}")]
    Dropped(VolumeError),
    /// The volume is lost to this engine for another reason.
    #[error("the volume is lost to this engine: {0}. Acknowledged commits are safe; start the engine again")]
    Lost(VolumeError),
}

impl EngineError {
    /// True when another writer owns the volume now.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, EngineError::Fenced(_) | EngineError::Open { source: VolumeError::Fenced { .. }, .. })
    }
}

/// Runs an engine until `shutdown` resolves.
///
/// # Errors
/// See [`EngineError`]; the caller logs it and chooses the exit code.
pub async fn run(config: EngineConfig, shutdown: impl Future<Output = ()>) -> Result<(), EngineError> {
    config.check().map_err(EngineError::Config)?;
    let probe = Probe::opening();
    let health = probe.clone();
    http::serve(config.http, move || health.health()).await?;
    // A port in use is found before the volume is taken from whoever may have it. It stays closed until there is a
    // database behind it, so that clients with several hosts go on to the next.
    drop(net::bind(config.listen, "SQL clients").await.map_err(std::io::Error::from)?);
    let mut shutdown = pin!(shutdown);
    let (volume, opened) = tokio::select! {
        opened = open(&config) => opened?,
        () = &mut shutdown => return Ok(()),
    };
    tracing::info!(volume = config.volume, epoch = %opened.epoch, vdl = %opened.vdl, "opened the volume for writing");
    let result = match net::bind(config.listen, "SQL clients").await {
        Ok(listener) => {
            let store: Arc<dyn LogStore> = Arc::clone(&volume) as Arc<dyn LogStore>;
            let described: Arc<dyn Describe> = Arc::new(VolumeFacts(Arc::clone(&volume)));
            front::serve(&config, store, described, listener, &probe, shutdown).await
        }
        Err(error) => Err(EngineError::Listen(error.into())),
    };
    if tokio::time::timeout(CLOSE, volume.close()).await.is_err() {
        tracing::warn!("the writer lease could not be given back in time; it lapses by itself");
    }
    result
}

struct VolumeFacts(Arc<Volume>);

impl Describe for VolumeFacts {
    fn describe(&self) -> serde_json::Value {
        serde_json::to_value(self.0.status()).unwrap_or_default()
    }
}

/// Opens the volume as soon as it can be had: waits for another's lease, for storage nodes, for the metadata service.
async fn open(config: &EngineConfig) -> Result<(Arc<Volume>, Opened), EngineError> {
    let meta = MetaClient::new(config.meta.clone());
    let mut said = String::new();
    loop {
        let options = OpenOptions {
            geometry: config.geometry(),
            segments: config.segments,
            advertise: config.advertised(),
            http: config.http.to_string(),
            deadline: ATTEMPT,
            ..OpenOptions::new(meta.clone(), &config.volume, &config.instance)
        };
        match Volume::open_writer(options).await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.is_retryable() => wait(&error, &mut said).await,
            Err(source) => return Err(EngineError::Open { volume: config.volume.clone(), source }),
        }
    }
}

/// One log line for each new reason, not for each attempt.
async fn wait(error: &VolumeError, said: &mut String) {
    let reason = match error {
        VolumeError::LeaseHeld { holder, .. } => format!("waiting for the writer lease of {holder}"),
        other => format!("cannot open the volume yet: {other}"),
    };
    if reason != *said {
        tracing::info!("{reason}");
        *said = reason;
    }
    tokio::time::sleep(RETRY).await;
}

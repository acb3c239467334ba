//! An engine's front over one open volume: database, SQL port, `/health`, and the end of it all.
//!
//! What must hold: once the volume is lost nothing is acknowledged any more, every session is told (57P01) and the process
//! ends; when the engine is asked to stop, statements that run may finish within [`DRAIN`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use sextant_node::http::Health;
use sextant_volume::{LogStore, VolumeError};
use tokio::net::TcpListener;

use crate::config::EngineConfig;
use crate::run::EngineError;
use crate::server::Server;
use crate::session::End;
use crate::sql::Database;

/// How long statements that run may go on when the engine is asked to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long sessions may take to say goodbye once they must.
const GOODBYE: Duration = Duration::from_secs(2);

/// A volume as it is described in `/health`.
pub trait Describe: Send + Sync {
    /// Facts about the volume.
    fn describe(&self) -> Value;
}

impl<F: Fn() -> Value + Send + Sync> Describe for F {
    fn describe(&self) -> Value {
        self()
    }
}

struct Open {
    server: Arc<Server>,
    store: Arc<dyn LogStore>,
    volume: Arc<dyn Describe>,
}

#[derive(Default)]
struct State {
    phase: &'static str,
    open: Option<Open>,
}

/// What `/health` tells. Cheap to clone.
#[derive(Clone, Default)]
pub struct Probe(Arc<Mutex<State>>);

impl Probe {
    /// The engine waits for its volume.
    #[must_use]
    pub fn opening() -> Probe {
        let probe = Probe::default();
        probe.phase("opening");
        probe
    }

    fn phase(&self, phase: &'static str) {
        self.0.lock().phase = phase;
    }

    /// The answer of now. `ok` is true while SQL is served.
    #[must_use]
    pub fn health(&self) -> Health {
        let state = self.0.lock();
        let detail = match &state.open {
            None => json!({ "role": state.phase }),
            Some(open) => {
                let volume = open.volume.describe();
                json!({
                    "role": state.phase,
                    "connections": open.server.connections(),
                    "vdl": open.store.vdl().0,
                    "epoch": volume.get("epoch"),
                    "volume": volume,
                })
            }
        };
        Health { ok: state.phase == "writer", detail }
    }
}

/// Serves SQL from `store` on `listener` until `shutdown`, or until the volume is lost. `volume` is shown in `/health`.
///
/// # Errors
/// [`EngineError::Database`] when the volume holds no database that can be opened, [`EngineError::Threads`] when there is no thread
/// for sessions, [`EngineError::Fenced`] and [`EngineError::Lost`] when the volume is no longer this engine's.
pub async fn serve(
    config: &EngineConfig,
    store: Arc<dyn LogStore>,
    volume: Arc<dyn Describe>,
    listener: TcpListener,
    probe: &Probe,
    shutdown: impl Future<Output = ()>,
) -> Result<(), EngineError> {
    let database =
        Database::open_with(Arc::clone(&store), config.cache_bytes, config.temp_dir.clone()).await?;
    let server = Server::new(database, config.limits()).map_err(EngineError::Threads)?;
    let open = Open { server: Arc::clone(&server), store: Arc::clone(&store), volume };
    *probe.0.lock() = State { phase: "writer", open: Some(open) };
    tracing::info!(listen = %config.listen, volume = config.volume, "serving SQL");
    let accept = pin!(Arc::clone(&server).accept(listener));
    let ended = tokio::select! {
        () = accept => None,
        () = shutdown => None,
        error = store.lost() => Some(error),
    };
    match ended {
        None => {
            probe.phase("stopping");
            stop(&server).await;
            Ok(())
        }
        Some(error) => {
            probe.phase("lost");
            server.end(End::Lost, GOODBYE).await;
            Err(error.into())
        }
    }
}

async fn stop(server: &Server) {
    tracing::info!(connections = server.connections(), "stopping: sessions end when their statement does");
    if !server.end(End::Drain, DRAIN).await {
        tracing::warn!(connections = server.connections(), "statements still run: they are stopped");
        server.end(End::Stop, GOODBYE).await;
    }
}

impl From<VolumeError> for EngineError {
    fn from(error: VolumeError) -> EngineError {
        match error {
            VolumeError::Fenced { .. } => EngineError::Fenced(error),
            VolumeError::Dropped { .. } => EngineError::Dropped(error),
            other => EngineError::Lost(other),
        }
    }
}

//! Opening a volume for write, and closing it.

use std::sync::Arc;
use std::time::Duration;

use sextant_meta::{Grant, MetaClient, MetaError, VolumeInfo};
use sextant_redo::{Geometry, Lsn, Segments, VolumeEpoch};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::directory::{Directory, Instance, from_meta};
use crate::driver::{self, Command, Ready, Setup, Tuning};
use crate::{LogStore, Volume, VolumeError};

/// The LSN allocation limit in bytes: so much log may be on its way above the VDL. The same for every writer, because
/// the next opening must void all that an older writer can have sent.
pub const LAL_BYTES: u64 = 64 * 1024 * 1024;

/// Pause before the metadata service is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// How to open a volume.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The metadata service.
    pub meta: MetaClient,
    /// The volume's name.
    pub volume: String,
    /// Used when the volume does not exist yet and is created.
    pub geometry: Geometry,
    /// What its segments are: six full ones when it is created and nothing is said here. One that exists must be of that
    /// choice.
    pub segments: Option<Segments>,
    /// This engine's own name: the same after a restart, another one than any other engine's.
    pub instance: String,
    /// `host:port` of its SQL front. Not empty.
    pub advertise: String,
    /// `host:port` of its /metrics and /health. Not empty.
    pub http: String,
    /// LSN allocation limit in bytes, at most [`LAL_BYTES`]. Less means earlier back-pressure.
    pub lal_bytes: u64,
    /// How long to wait for another's lease to lapse, for storage nodes and for the metadata service.
    pub deadline: Duration,
}

impl OpenOptions {
    /// The usual options. `advertise` and `http` are still to be set.
    #[must_use]
    pub fn new(meta: MetaClient, volume: impl Into<String>, instance: impl Into<String>) -> OpenOptions {
        OpenOptions {
            meta,
            volume: volume.into(),
            geometry: Geometry::DEFAULT,
            segments: None,
            instance: instance.into(),
            advertise: String::new(),
            http: String::new(),
            lal_bytes: LAL_BYTES,
            deadline: Duration::from_secs(60),
        }
    }
}

/// What an opening found, and how long it took.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The new volume epoch.
    pub epoch: VolumeEpoch,
    /// Everything at or below is there; everything above was never acknowledged.
    pub vdl: Lsn,
    /// Until the metadata service granted the epoch, which may mean waiting for another's lease to lapse.
    pub granted_after: Duration,
    /// From then until the volume could be read and written.
    pub recovered_after: Duration,
}

/// What an opening needs, whoever stands in for the metadata service.
pub(crate) struct Opener {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) volume: String,
    pub(crate) geometry: Geometry,
    pub(crate) segments: Option<Segments>,
    pub(crate) instance: Instance,
    pub(crate) lal: u64,
    pub(crate) deadline: Duration,
    pub(crate) tuning: Tuning,
}

impl Volume {
    /// Opens a volume for write, creating it if need be: takes a new volume epoch, which locks out every older writer,
    /// finds what is durable, and voids the rest (protocol.md, "Opening a volume"). Waits while another's lease runs.
    ///
    /// # Errors
    /// [`VolumeError::LeaseHeld`], [`VolumeError::NoQuorum`] and [`VolumeError::Meta`] when the deadline passes first;
    /// [`VolumeError::Fenced`] when yet another writer opened the volume meanwhile; [`VolumeError::OtherSegments`] when it
    /// exists and is not made of the segments that were asked for.
    pub async fn open_writer(options: OpenOptions) -> Result<(Arc<Volume>, Opened), VolumeError> {
        let instance = Instance { name: options.instance, advertise: options.advertise, http: options.http };
        let opener = Opener {
            directory: Arc::new(options.meta),
            volume: options.volume,
            geometry: options.geometry,
            segments: options.segments,
            instance,
            lal: options.lal_bytes,
            deadline: options.deadline,
            tuning: Tuning::default(),
        };
        opener.open().await
    }

    /// Waits until everything appended is durable (a few seconds at most), gives the lease back and stops. Nothing can
    /// be read or written afterwards.
    pub async fn close(&self) {
        let last = self.shared.log.last();
        match tokio::time::timeout(Duration::from_secs(5), self.durable(last)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "closed without everything being durable"),
            Err(_) => tracing::warn!(%last, vdl = %self.vdl(), "closed before everything was durable"),
        }
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).is_ok() {
            // An error means that the driver had stopped already.
            let _ = done.await;
        }
    }
}

impl Opener {
    pub(crate) async fn open(self) -> Result<(Arc<Volume>, Opened), VolumeError> {
        if self.lal == 0 || self.lal > LAL_BYTES {
            let lal = self.lal;
            return Err(VolumeError::Protocol(format!(
                "an LSN allocation limit of {lal} is not in 1..={LAL_BYTES}"
            )));
        }
        let began = Instant::now();
        let deadline = began + self.deadline;
        let wanted = self.segments.unwrap_or_default();
        let info =
            retry(deadline, || self.directory.create_volume(&self.volume, self.geometry, wanted)).await?;
        if self.segments.is_some_and(|wanted| wanted != info.segments) {
            let (volume, made) = (self.volume, info.segments);
            return Err(VolumeError::OtherSegments { volume, made, wanted });
        }
        let cluster = retry(deadline, || self.directory.cluster()).await?;
        loop {
            let grant = retry(deadline, || self.directory.acquire(info.id, &self.instance)).await?;
            let granted = Instant::now();
            let epoch = grant.epoch;
            tracing::info!(volume = %self.volume, %epoch, "opening under a new epoch");
            let Some(volume) = self.recover(cluster, grant, deadline).await? else {
                tracing::warn!(volume = %self.volume, "opening again under another epoch");
                continue;
            };
            let opened = Opened {
                epoch,
                vdl: volume.vdl(),
                granted_after: granted - began,
                recovered_after: granted.elapsed(),
            };
            return Ok((Arc::new(volume), opened));
        }
    }

    async fn recover(
        &self,
        cluster: sextant_redo::ClusterId,
        grant: Grant,
        deadline: Instant,
    ) -> Result<Option<Volume>, VolumeError> {
        let VolumeInfo { id, geometry, .. } = grant.volume;
        let setup = Setup {
            cluster,
            volume: id,
            name: self.volume.clone(),
            epoch: grant.epoch,
            geometry,
            instance: self.instance.clone(),
            directory: Arc::clone(&self.directory),
            lal: self.lal,
            lease_ms: grant.lease_ms,
            tuning: self.tuning.clone(),
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        let (sender, opened) = oneshot::channel();
        let epoch = grant.epoch;
        driver::spawn(setup, grant.volume, deadline, receiver, sender).map_err(|error| {
            VolumeError::Protocol(format!("the driver's thread could not be started: {error}"))
        })?;
        match opened.await.unwrap_or(Err(VolumeError::Closed))? {
            Ready::Serving(shared) => {
                Ok(Some(Volume { shared, commands, id, name: self.volume.clone(), epoch, geometry }))
            }
            Ready::Again => Ok(None),
        }
    }
}

/// Asks the metadata service until it agrees or the deadline passes.
async fn retry<'a, T>(
    deadline: Instant,
    mut ask: impl FnMut() -> crate::BoxFuture<'a, Result<T, MetaError>>,
) -> Result<T, VolumeError> {
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !error.is_retryable() || Instant::now() >= deadline {
            return Err(from_meta(&error, VolumeEpoch(0)));
        }
        let pause = match &error {
            MetaError::LeaseHeld { remaining_ms, .. } => {
                Duration::from_millis(*remaining_ms).clamp(PAUSE, PAUSE * 5)
            }
            _ => PAUSE * 2,
        };
        tracing::debug!(%error, "asking the metadata service again");
        tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
    }
}

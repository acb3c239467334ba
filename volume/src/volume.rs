//! An open volume: the [`LogStore`] over six segments a protection group.

use std::sync::Arc;

use sextant_redo::{Geometry, Lsn, Mtr, Page, PageId, VolumeEpoch, VolumeId};
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Command, Shared};
use crate::status::VolumeStatus;
use crate::{BoxFuture, LogStore, OpenTransaction, Reservation, VolumeError};

/// A volume that this process has open for write. Dropping it stops the driver and lets the lease lapse;
/// [`Volume::close`] gives it back.
pub struct Volume {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) id: VolumeId,
    pub(crate) name: String,
    pub(crate) epoch: VolumeEpoch,
    pub(crate) geometry: Geometry,
}

impl Volume {
    /// This writer's epoch.
    #[must_use]
    pub fn epoch(&self) -> VolumeEpoch {
        self.epoch
    }

    /// How its pages are spread over protection groups.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Where it stands. The points are current; members and nodes are as of a moment ago.
    #[must_use]
    pub fn status(&self) -> VolumeStatus {
        let (groups, nodes) = self.shared.members.lock().clone();
        VolumeStatus {
            volume: self.id,
            name: self.name.clone(),
            epoch: self.epoch,
            vdl: self.vdl(),
            vcl: self.shared.vcl(),
            next_lsn: self.shared.log.next_lsn(),
            lost: self.shared.lost.borrow().as_ref().map(ToString::to_string),
            groups,
            nodes,
        }
    }

    /// Asks the driver something.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, VolumeError>>) -> Command,
    ) -> Result<T, VolumeError> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        Err(self.shared.lost.borrow().clone().unwrap_or(VolumeError::Closed))
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("name", &self.name).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl LogStore for Volume {
    fn vdl(&self) -> Lsn {
        self.shared.commits.vdl()
    }

    fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        self.shared.log.space.try_reserve(bytes)
    }

    fn reserve(&self, bytes: u64) -> BoxFuture<'_, Result<Reservation, VolumeError>> {
        Box::pin(self.shared.log.space.reserve(bytes))
    }

    fn release(&self, reservation: Reservation) {
        self.shared.log.space.settle(&reservation, 0);
    }

    fn append(&self, reservation: Reservation, mtr: &mut Mtr, on_lsn: &mut dyn FnMut(Lsn)) -> Lsn {
        self.shared.log.append(reservation, mtr, on_lsn)
    }

    fn open_transaction(&self) -> OpenTransaction {
        OpenTransaction::count(&self.shared.log.open)
    }

    fn durable(&self, lsn: Lsn) -> BoxFuture<'_, Result<(), VolumeError>> {
        self.shared.log.want(lsn);
        Box::pin(self.shared.commits.durable(lsn))
    }

    fn read_page(&self, page: PageId) -> BoxFuture<'_, Result<Page, VolumeError>> {
        Box::pin(self.ask(move |reply| Command::Read { page, reply }))
    }

    fn ensure_pages(&self, last: PageId) -> BoxFuture<'_, Result<(), VolumeError>> {
        let pg = self.geometry.pg_of(last);
        if (pg.0 as usize) < self.shared.log.groups() {
            return Box::pin(std::future::ready(Ok(())));
        }
        Box::pin(self.ask(move |reply| Command::Grow { pg, reply }))
    }

    fn set_read_floor(&self, lsn: Lsn) {
        self.shared.set_read_floor(lsn);
    }

    fn lost(&self) -> BoxFuture<'_, VolumeError> {
        let mut lost = self.shared.lost.clone();
        Box::pin(async move {
            match lost.wait_for(Option::is_some).await {
                Ok(error) => error.clone().unwrap_or(VolumeError::Closed),
                Err(_) => VolumeError::Closed,
            }
        })
    }
}

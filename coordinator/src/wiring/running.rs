//! A coordinator that runs, and how it is taken apart.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix::Addr;
use tokio::time::{Instant, timeout_at};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic_health::server::HealthReporter;

use crate::{
    actors::{
        coordinator::{CoordinatorActor, Stop},
        manager::ManagerHandle,
        store_writer::{Release, StoreWriter},
        system::ActorThreads,
    },
    actuators::Actuator,
    health::{Board, serving::Serving, watchdog::Watchdog},
    lifecycle::Lifecycle,
    pending::Pending,
    sessions::Sessions,
    store::StoreError,
    telemetry::Traces,
};

/// What the last spans may take: a collector that does not answer must not hold up a restart.
const TRACES_STOP_MAX: Duration = Duration::from_secs(2);

/// Why a stop was not clean. What was answered is on disk all the same.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// It took too long.
    #[error("the coordinator did not stop within its deadline; what was left was cut off")]
    Late,
    /// An actor was gone.
    #[error("an actor of the coordinator was gone before the stop")]
    Gone,
    /// The store could not be closed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A coordinator that runs. Dropping it is like losing the process: it ends at once, without closing the store cleanly.
pub struct RunningCoordinator {
    pub(super) grpc_addr: SocketAddr,
    pub(super) http_addr: SocketAddr,
    pub(super) data_dir: PathBuf,
    pub(super) lifecycle: Lifecycle,
    pub(super) board: Board,
    pub(super) traces: Traces,
    pub(super) pending: Pending,
    pub(super) _watchdog: Watchdog,
    pub(super) _sampler: AbortOnDropHandle<()>,
    pub(super) health: HealthReporter,
    pub(super) sessions: Sessions,
    pub(super) manager: ManagerHandle,
    pub(super) actuator: Arc<dyn Actuator>,
    pub(super) actor: Addr<CoordinatorActor>,
    pub(super) writer: Addr<StoreWriter>,
    pub(super) stop_servers: CancellationToken,
    pub(super) stopped: CancellationToken,
    pub(super) servers: Vec<AbortOnDropHandle<()>>,
    pub(super) _retention: AbortOnDropHandle<()>,
    pub(super) _gate: AbortOnDropHandle<()>,
    pub(super) _hindsight: AbortOnDropHandle<()>,
    pub(super) threads: Option<ActorThreads>,
}

impl RunningCoordinator {
    /// Where gRPC is served.
    #[must_use]
    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where HTTP is served.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where the data is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The resource manager.
    #[must_use]
    pub const fn manager(&self) -> &ManagerHandle {
        &self.manager
    }

    /// What is told of traced tasks, and how the export is doing.
    #[must_use]
    pub const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Done once it serves no longer, whether it was stopped or failed. The future may outlive this.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stopped.clone().cancelled_owned()
    }

    /// Stops in order: takes no new work, hands everything accepted to the store, closes the store, ends the streams, and
    /// lets the servers go. Agents run on and come back to the next coordinator.
    ///
    /// The engine rests before the streams end: it must not take the end of the sessions for the death of the agents.
    ///
    /// # Errors
    /// If something could not be done, or not by the deadline; the coordinator has stopped all the same.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), StopError> {
        let until = Instant::now() + deadline;
        // What it has started goes first: agents hand back what they cannot finish while somebody still listens.
        let _ = timeout_at(until, self.actuator.stop()).await;
        self.lifecycle.stop();
        Serving::default().tell(&self.health).await;
        let closed = timeout_at(until, self.close_store()).await.unwrap_or(Err(StopError::Late));
        self.lifecycle.close();
        self.sessions.close_all(&Lifecycle::restarting());
        self.stop_servers.cancel();
        let mut late = false;
        for server in self.servers.drain(..) {
            late |= timeout_at(until, server).await.is_err();
        }
        self.stopped.cancel();
        let threads = self.threads.take();
        let joined = tokio::task::spawn_blocking(move || drop(threads)).await;
        // The spans of the last commit are made by now.
        self.traces.stop(traces_within(until)).await;
        closed?;
        joined.map_err(|_| StopError::Gone)?;
        if late { Err(StopError::Late) } else { Ok(()) }
    }

    async fn close_store(&self) -> Result<(), StopError> {
        self.actor.send(Stop).await.map_err(|_| StopError::Gone)?;
        self.writer.send(Release).await.map_err(|_| StopError::Gone)??;
        Ok(())
    }
}

fn traces_within(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).min(TRACES_STOP_MAX)
}

impl Drop for RunningCoordinator {
    fn drop(&mut self) {
        self.lifecycle.close();
        self.stop_servers.cancel();
        self.stopped.cancel();
    }
}

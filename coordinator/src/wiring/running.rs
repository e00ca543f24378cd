//! A coordinator that runs, and how it is taken apart.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::Addr;
use evenkeel_shared::otlp::Counts;
use futures_util::FutureExt as _;
use tokio::time::sleep;
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
    config::live::LiveConfig,
    health::{Board, serving::Serving, watchdog::Watchdog},
    lifecycle::Lifecycle,
    listen::reached_here,
    pending::Pending,
    security::audit::Audit,
    sessions::Sessions,
    stop::{Ended, Stage, StopReport, Stopping},
    store::StoreError,
    telemetry::Traces,
};

/// What the last spans may take: a collector that does not answer must not hold up a restart.
const TRACES_STOP_MAX: Duration = Duration::from_secs(2);

/// Why a stop was not clean. What was answered is on disk all the same.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator did not stop in order: {0}")]
pub struct StopError(pub StopReport);

/// Why the store was not closed.
#[derive(Debug, thiserror::Error)]
enum CloseError {
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
    pub(super) health: HealthReporter,
    pub(super) sessions: Sessions,
    pub(super) manager: ManagerHandle,
    pub(super) actuator: Arc<dyn Actuator>,
    pub(super) actor: Addr<CoordinatorActor>,
    pub(super) writer: Addr<StoreWriter>,
    pub(super) stop_servers: CancellationToken,
    pub(super) stopped: CancellationToken,
    pub(super) servers: Vec<AbortOnDropHandle<()>>,
    pub(super) audit: Audit,
    pub(super) encrypted: bool,
    pub(super) config: LiveConfig,
    pub(super) _upkeep: Upkeep,
    pub(super) threads: Option<ActorThreads>,
}

/// What goes on beside; it ends when this is dropped.
pub(super) struct Upkeep {
    pub(super) _watchdog: Watchdog,
    pub(super) _certificates: Option<AbortOnDropHandle<()>>,
    /// Samples of the parts, credentials, the look back, what is forgotten with time, the file of settings.
    pub(super) _tasks: [AbortOnDropHandle<()>; 5],
}

impl RunningCoordinator {
    /// Where gRPC is served.
    #[must_use]
    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// The URL under which programs on this machine reach gRPC.
    #[must_use]
    pub fn grpc_url(&self) -> String {
        format!("{}://{}", if self.encrypted { "https" } else { "http" }, reached_here(self.grpc_addr))
    }

    /// Whether gRPC is served with TLS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
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

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &LiveConfig {
        &self.config
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

    /// How its parts are.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Stops in order; see [`RunningCoordinator::stop`].
    ///
    /// # Errors
    /// If something could not be done, or not by the deadline; the coordinator has stopped all the same.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), StopError> {
        let report = self.stop(deadline).await;
        if report.is_clean() { Ok(()) } else { Err(StopError(report)) }
    }

    /// Stops in order: says so, takes no new work, hands everything accepted to the store, closes the store, ends the streams,
    /// and lets the servers go. Agents run on and come back to the next coordinator. Says what was done.
    ///
    /// The engine rests before the streams end: it must not take the end of the sessions for the death of the agents.
    pub async fn stop(mut self, deadline: Duration) -> StopReport {
        let mut stopping = Stopping::begin(deadline);
        stopping.stage(Stage::Announce, self.announce(), String::new).await;
        // What it has started goes first: agents hand back what they cannot finish while somebody still listens.
        let handed_back = self.actuator.stop().map(|()| done(String::new()));
        stopping.stage(Stage::Actuator, handed_back, || "what it has started may run on".to_owned()).await;
        self.lifecycle.stop();
        let unanswered = || counted(self.pending.len(), "request without its answer", "requests without their answers");
        stopping.stage(Stage::Store, self.close_store(self.pending.len()), unanswered).await;
        self.lifecycle.close();
        self.end_streams(&mut stopping).await;
        let entries_lost = || "its last entries may be missing".to_owned();
        stopping.stage(Stage::Audit, self.close_audit(), entries_lost).await;
        self.stopped.cancel();
        let joined = joined(self.threads.take());
        stopping.stage(Stage::Threads, joined, || "an actor is at work".to_owned()).await;
        // The spans of the last commit are made by now.
        stopping.stage(Stage::Telemetry, self.flush_spans(), || "the last spans were not sent".to_owned()).await;
        stopping.end()
    }

    /// Tells probes and balancers, and gives them the time to look elsewhere.
    async fn announce(&self) -> (Ended, String) {
        self.lifecycle.announce_stop();
        Serving::default().tell(&self.health).await;
        let announce = Duration::from_millis(self.board.settings().stop_announce_ms);
        if !announce.is_zero() {
            sleep(announce).await;
        }
        done(String::new())
    }

    /// Rests the engine, then the store; so many requests were under way.
    async fn close_store(&self, under_way: usize) -> (Ended, String) {
        match self.release_store().await {
            Ok(()) => done(counted(under_way, "request answered", "requests answered")),
            Err(error) => (Ended::Failed(error.to_string()), String::new()),
        }
    }

    /// Ends the sessions and all other streams, and waits for the servers.
    async fn end_streams(&mut self, stopping: &mut Stopping) {
        let sessions = self.sessions.len();
        self.sessions.close_all(&Lifecycle::restarting());
        Serving::end(self.health.clone()).await;
        self.stop_servers.cancel();
        let servers = std::mem::take(&mut self.servers);
        let serving = AtomicUsize::new(servers.len());
        let ended = async {
            for server in servers {
                // A server that panicked has ended too.
                let _ = server.await;
                serving.fetch_sub(1, Ordering::Relaxed);
            }
            done(counted(sessions, "session", "sessions"))
        };
        let open = || counted(serving.load(Ordering::Relaxed), "server with open calls", "servers with open calls");
        stopping.stage(Stage::Streams, ended, open).await;
    }

    async fn close_audit(&self) -> (Ended, String) {
        match self.audit.close().await {
            Ok(entries) => done(format!("{entries} entries since the start")),
            Err(error) => (Ended::Failed(error.to_string()), String::new()),
        }
    }

    async fn flush_spans(&self) -> (Ended, String) {
        let before = self.traces.counts();
        let after = self.traces.stop(TRACES_STOP_MAX).await;
        // A collector that is away is no fault of the stop's.
        done(spans_left(before, after))
    }

    async fn release_store(&self) -> Result<(), CloseError> {
        self.actor.send(Stop).await.map_err(|_| CloseError::Gone)?;
        self.writer.send(Release).await.map_err(|_| CloseError::Gone)??;
        Ok(())
    }
}

fn done(note: String) -> (Ended, String) {
    (Ended::Done, note)
}

/// Waits for the ends of the actors' threads.
async fn joined(threads: Option<ActorThreads>) -> (Ended, String) {
    match tokio::task::spawn_blocking(move || drop(threads)).await {
        Ok(()) => done(String::new()),
        Err(error) => (Ended::Failed(error.to_string()), String::new()),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

/// What became of the last spans.
fn spans_left(before: Counts, after: Counts) -> String {
    let lost = (after.dropped + after.failed + after.queued).saturating_sub(before.dropped + before.failed);
    let (sent, lost) = [after.exported.saturating_sub(before.exported), lost]
        .map(|spans| usize::try_from(spans).unwrap_or(usize::MAX))
        .into();
    let words = [counted(sent, "span sent", "spans sent"), counted(lost, "span lost", "spans lost")];
    words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ")
}

impl Drop for RunningCoordinator {
    fn drop(&mut self) {
        self.lifecycle.close();
        self.stop_servers.cancel();
        self.stopped.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_go_out_at_the_end_and_those_that_are_lost_are_counted() {
        let before = Counts { exported: 100, dropped: 5, failed: 1, queued: 7 };
        assert_eq!(spans_left(before, Counts { exported: 107, queued: 0, ..before }), "7 spans sent");
        assert_eq!(
            spans_left(before, Counts { exported: 101, dropped: 11, queued: 0, ..before }),
            "1 span sent, 6 spans lost"
        );
        assert_eq!(spans_left(before, Counts { failed: 8, queued: 0, ..before }), "7 spans lost");
        assert_eq!(spans_left(Counts::default(), Counts::default()), "");
    }
}

//! The one place that puts the program together, and takes it apart in order.

use std::{io, net::SocketAddr, sync::Arc};

use evenkeel_core::routing::ClassLimit;
use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    actors::manager::ManagerState,
    clock::Clock,
    config::{ConfigError, Loaded},
    failpoint::{self, BadFailpoints},
    security::{
        audit::Audit,
        gate::{Gate, GateError},
        tls::{Tls, TlsError},
    },
    start::StartPhases,
    store::StoreError,
};

mod early;
mod following;
mod panics;
mod parts;
mod ready;
mod retention;
mod running;
mod services;
mod taking_up;
mod working;

use early::Early;
pub use panics::end_process_on_panic;
use panics::end_process_when_an_actor_panics;
use parts::{Found, Parts};
use ready::Ready;
pub use running::{RunningCoordinator, StopError};
use taking_up::TakenUp;

/// The exit code of a process whose commit failed (`EX_IOERR`).
pub const EXIT_STORE_FAILED: i32 = 74;
/// The exit code of a process whose actor panicked (`EX_SOFTWARE`).
pub const EXIT_PANICKED: i32 = 70;

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Failpoints that make no sense, in a build that has them.
    #[error(transparent)]
    Failpoints(#[from] BadFailpoints),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address} (setting `{setting}`): {source}; is another coordinator running?")]
    Bind {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A store that cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tasks that this build cannot hold.
    #[error("the stored tasks cannot be taken up: {0}")]
    Recovery(#[from] ClassLimit),
    /// Who is known cannot be told.
    #[error(transparent)]
    Credentials(#[from] GateError),
    /// There are no certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nowhere to send spans.
    #[error(transparent)]
    Traces(#[from] evenkeel_shared::otlp::StartError),
    /// No threads.
    #[error("cannot start the threads of the coordinator: {0}")]
    Threads(io::Error),
    /// The process was told to stop.
    #[error("told to stop while it was starting ({phase}); nothing had been accepted, and what is stored is as it was")]
    Stopped {
        /// The phase of the start.
        phase: &'static str,
    },
}

/// A coordinator that can be started.
#[derive(Debug)]
pub struct Coordinator;

impl Coordinator {
    /// Starts a coordinator and returns once it takes work. Must be called on a tokio runtime with several threads.
    ///
    /// # Errors
    /// If a setting is wrong, an address is taken, or the store cannot be used. Nothing is left running.
    pub async fn start(config: impl Into<Loaded>) -> Result<RunningCoordinator, StartError> {
        Self::start_unless(config, &CancellationToken::new()).await
    }

    /// The same, for as long as it is not `told_to_stop`. Once the store is taken up the rest of the start is short, and goes to its
    /// end: then a coordinator runs that can be stopped in order.
    ///
    /// # Errors
    /// As for [`Self::start`], and [`StartError::Stopped`]. What reads the store then ends with what it reads, or with the process;
    /// nothing else is left running.
    pub async fn start_unless(
        config: impl Into<Loaded>,
        told_to_stop: &CancellationToken,
    ) -> Result<RunningCoordinator, StartError> {
        let mut phases = StartPhases::begin();
        let loaded: Loaded = config.into();
        let config = &loaded.config;
        config.validate()?;
        failpoint::init()?;
        if config.abort_on_panic {
            end_process_when_an_actor_panics();
        }
        let tls = Tls::new(&config.tls)?;
        let early = Early::begin(config, tls.as_ref()).await?;
        phases.end("listen");
        let clock = Clock::start();
        let taken_up = TakenUp::from_store(loaded, clock, told_to_stop, &early.phase, &mut phases).await?;
        let TakenUp { store, data_dir, live, incarnation, traces, identity, .. } = taken_up;
        let config = live.now();
        let (directory, closed) = (taken_up.directory, early.closed.clone());
        let found = Found { incarnation, directory, reader: store.reader(), closed, traces };
        let manager = ManagerState::new(config.resources.enabled);
        let parts = Parts::new(clock, &config, found, manager).map_err(StartError::Threads)?;
        phases.end("recover");
        early.phase.is_at("actors");
        let actuator = config.scaling.actuator.build(early.grpc_addr, tls.is_some());
        let engine = (taken_up.engine, store);
        let working = parts.set_to_work(&config, engine, taken_up.for_manager, actuator).await;
        let working = working.map_err(StartError::Threads)?;
        let audit = Audit::start(&config.audit, &data_dir);
        live.write_down_in(audit.clone());
        let gate = Gate::new(&config.auth, audit, &data_dir, &parts.metrics)?;
        gate.follow(&live);
        let strategy = Arc::new(Mutex::new(taken_up.strategy));
        let ready = Ready { parts, working, live, gate, strategy, identity, tls, data_dir };
        ready.open(early, phases).await
    }
}

/// Runs a server, and says so when it ends.
fn server<E: std::fmt::Display + Send + 'static>(
    name: &'static str,
    serves: impl Future<Output = Result<(), E>> + Send + 'static,
    stopped: &CancellationToken,
) -> AbortOnDropHandle<()> {
    let stopped = stopped.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = serves.await {
            tracing::error!(%error, "the {name} server failed");
            stopped.cancel();
        }
    }))
}

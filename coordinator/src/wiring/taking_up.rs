//! From the store to an engine: what may take seconds, off the async threads, and given up if the process is told to stop.
//!
//! Until the ports are opened nothing has been accepted, so a stop has nothing to wait for. What is being read is left to the thread
//! that reads it, which ends with the process; a transaction that is cut short is as after a crash, and rolled back.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use evenkeel_core::{engine::Engine, manager::ManagerRecovery, model::Recovery};
use evenkeel_shared::StrategyConfig;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::{
    clock::Clock,
    config::{CoordinatorConfig, Loaded, live::LiveConfig},
    directory::{Directory, KeptLimits},
    services::cluster::Identity,
    start::{Phase, StartPhases},
    store::{
        Store, StoreError,
        sqlite::{Durability, SqliteStore},
    },
    telemetry::Traces,
};

/// What the store had.
struct Opened {
    store: Box<dyn Store>,
    recovery: Recovery,
    data_dir: PathBuf,
}

/// What is there once the store is taken up: an engine that nobody drives yet, and what the rest is made with.
pub(super) struct TakenUp {
    pub(super) store: Box<dyn Store>,
    pub(super) data_dir: PathBuf,
    pub(super) live: LiveConfig,
    pub(super) incarnation: u64,
    pub(super) traces: Traces,
    pub(super) identity: Arc<Identity>,
    /// The strategy in force.
    pub(super) strategy: StrategyConfig,
    /// What the manager begins from.
    pub(super) for_manager: ManagerRecovery,
    pub(super) directory: Directory,
    pub(super) engine: Engine,
}

impl TakenUp {
    /// Opens the store and takes up what is in it. The phase of the store ends in between.
    ///
    /// # Errors
    /// If it cannot be used, holds more than this build can, or the process is told to stop.
    pub(super) async fn from_store(
        loaded: Loaded,
        clock: Clock,
        told_to_stop: &CancellationToken,
        phase: &Phase,
        phases: &mut StartPhases,
    ) -> Result<Self, StartError> {
        let Opened { store, recovery, data_dir } = open_store(&loaded.config, clock, told_to_stop, phase).await?;
        let incarnation = recovery.incarnation;
        let live = LiveConfig::new(loaded, &recovery.declarations, incarnation, clock.now());
        let config = live.now();
        phases.end("store");
        phase.is_at("recover");
        let coordinator_id = format!("c{incarnation}-{:08x}", fastrand::u32(..));
        let traces = Traces::start(&config.telemetry, clock, &coordinator_id)?;
        let identity = Arc::new(identity(coordinator_id, &data_dir, &traces));
        let strategy = recovery.strategy.clone().unwrap_or_else(|| config.engine.strategy.clone());
        let for_manager = for_manager(&recovery);
        let (directory, engine) = take_up(&config, clock, recovery, &traces, told_to_stop, phase).await?;
        Ok(Self { store, data_dir, live, incarnation, traces, identity, strategy, for_manager, directory, engine })
    }
}

fn identity(coordinator_id: String, data_dir: &Path, traces: &Traces) -> Identity {
    Identity {
        coordinator_id,
        version: env!("CARGO_PKG_VERSION"),
        data_dir: data_dir.display().to_string(),
        traces: traces.active().is_some(),
    }
}

fn for_manager(recovery: &Recovery) -> ManagerRecovery {
    ManagerRecovery {
        incarnation: recovery.incarnation,
        declarations: recovery.declarations.clone(),
        scaling: recovery.scaling.clone(),
    }
}

/// Does a part of the start, unless the process is told to stop.
///
/// # Errors
/// [`StartError::Stopped`], or what the part says.
async fn unless_stopped<T>(
    told_to_stop: &CancellationToken,
    phase: &Phase,
    part: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    tokio::select! {
        biased;
        () = told_to_stop.cancelled() => Err(StartError::Stopped { phase: phase.name() }),
        done = part => done,
    }
}

/// Opens the store, and claims it.
///
/// # Errors
/// If it cannot be used, or the process is told to stop.
async fn open_store(
    config: &CoordinatorConfig,
    clock: Clock,
    told_to_stop: &CancellationToken,
    phase: &Phase,
) -> Result<Opened, StartError> {
    let (ephemeral, data_dir, told) = (config.ephemeral, config.data_dir.clone(), told_to_stop.clone());
    let cache_bytes = config.store.cache_bytes;
    let opening = tokio::task::spawn_blocking(move || {
        let store = if ephemeral { SqliteStore::ephemeral()? } else { SqliteStore::open(&data_dir, Durability::Full)? };
        let mut store = store.with_cache(cache_bytes)?;
        // Nobody waits for it any more: what is not claimed is as it was.
        if told.is_cancelled() {
            return Ok(None);
        }
        let recovery = store.claim(clock.now())?;
        let database = store.database_path();
        let data_dir = database.parent().map_or(data_dir, Path::to_path_buf);
        Ok::<_, StoreError>(Some(Opened { store: Box::new(store), recovery, data_dir }))
    });
    let opened = unless_stopped(told_to_stop, phase, async {
        let opened = opening.await.map_err(|error| StartError::Threads(io::Error::other(error)))??;
        opened.ok_or(StartError::Stopped { phase: phase.name() })
    });
    let opened = opened.await?;
    let recovery = &opened.recovery;
    tracing::info!(tasks = recovery.tasks.len(), incarnation = recovery.incarnation, "the store is recovered");
    Ok(opened)
}

/// Makes the directory of tasks and the engine of what was recovered.
///
/// # Errors
/// If there are more classes of tasks than the engine holds, or the process is told to stop.
async fn take_up(
    config: &CoordinatorConfig,
    clock: Clock,
    recovery: Recovery,
    traces: &Traces,
    told_to_stop: &CancellationToken,
    phase: &Phase,
) -> Result<(Directory, Engine), StartError> {
    let (limits, settings, traces) = (&config.limits, config.engine.settings(), traces.clone());
    let kept = KeptLimits { tasks: limits.ephemeral_kept_max, bytes: limits.ephemeral_kept_bytes_max };
    let making = tokio::task::spawn_blocking(move || {
        traces.recovered(&recovery.tasks);
        let directory = Directory::new(&recovery.tasks, kept);
        Ok::<_, StartError>((directory, Engine::new(clock.now(), settings, recovery)?))
    });
    let made = async { making.await.map_err(|error| StartError::Threads(io::Error::other(error)))? };
    unless_stopped(told_to_stop, phase, made).await
}

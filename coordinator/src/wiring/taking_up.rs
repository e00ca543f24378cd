//! From the store to an engine: what may take seconds, off the async threads, and given up if the process is told to stop.
//!
//! Until the ports are opened nothing has been accepted, so a stop has nothing to wait for. What is being read is left to the thread
//! that reads it, which ends with the process; a transaction that is cut short is as after a crash, and rolled back.

use std::{
    io,
    path::{Path, PathBuf},
};

use evenkeel_core::{engine::Engine, model::Recovery};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::{
    clock::Clock,
    config::CoordinatorConfig,
    directory::{Directory, KeptLimits},
    start::Phase,
    store::{
        Store, StoreError,
        sqlite::{Durability, SqliteStore},
    },
    telemetry::Traces,
};

/// What the store had.
pub(super) struct Opened {
    pub(super) store: Box<dyn Store>,
    pub(super) recovery: Recovery,
    pub(super) data_dir: PathBuf,
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
pub(super) async fn open_store(
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
pub(super) async fn take_up(
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

//! SIGINT and SIGTERM: the first asks to end in order, a second one forces. SIGHUP: the configuration is read again.

use evenkeel_coordinator::config::live::{Cause, LiveConfig, Who};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::exit::{CliError, Exit};

/// What a shell shows for a program that SIGINT ended.
const FORCED_BY_SIGINT: i32 = 130;
/// And SIGTERM.
const FORCED_BY_SIGTERM: i32 = 143;

/// A token that the first SIGINT or SIGTERM cancels. A second one ends the process at once.
///
/// # Errors
/// If the signals cannot be listened to.
pub fn shutdown() -> Result<CancellationToken, CliError> {
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        cancelled.cancel();
        let code = next(&mut interrupt, &mut terminate).await;
        eprintln!("evenkeel: forced to end by a second signal");
        std::process::exit(code);
    });
    Ok(token)
}

/// Reads the configuration again at every SIGHUP.
///
/// # Errors
/// If the signal cannot be listened to.
pub fn reload_on_hang_up(config: LiveConfig) -> Result<JoinHandle<()>, CliError> {
    let mut hang_ups = listen(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        while hang_ups.recv().await.is_some() {
            // What is wrong with the file has been logged by then.
            match config.reload(Cause::Signal, &Who("SIGHUP".to_owned()), "SIGHUP").await {
                Ok(outcome) if outcome.version == 0 && outcome.problems.is_empty() => {
                    tracing::info!("SIGHUP: the configuration has not changed");
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "SIGHUP: the configuration could not be changed"),
            }
        }
    }))
}

fn listen(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|error| CliError::new(Exit::Error, "could not listen to signals").because(error))
}

/// Waits for either; returns the exit code that stands for it.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => FORCED_BY_SIGINT,
        _ = terminate.recv() => FORCED_BY_SIGTERM,
    }
}

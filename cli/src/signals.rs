//! SIGINT and SIGTERM: the first asks to end in order, a second one forces.

use tokio::signal::unix::{Signal, SignalKind, signal};
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

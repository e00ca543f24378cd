//! What all programs that the harness starts have in common: none of the caller's settings, and a log that is quoted when
//! they fail.

use std::{fs, io, path::Path};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// Bytes of a log that are shown with an error.
const LOG_TAIL_BYTES: usize = 2_048;

/// The command without the settings of `evenkeel` in the caller's environment.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EVENKEEL_")) {
        command.env_remove(name);
    }
    command
}

/// The file to log into, behind what is there.
pub(crate) fn log_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(path)
}

/// The end of a log, without white space behind; empty if there is none.
pub(crate) fn log_tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).trim_end().to_owned()
}

/// Sends it a signal; `None` if it has ended and was waited for.
pub(crate) fn signal(child: &Child, signal: Signal) -> Option<Result<(), Errno>> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok())?;
    Some(kill(Pid::from_raw(pid), signal))
}

//! The machine: its clocks and its limits.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use evenkeel_coordinator::CoordinatorConfig;

use super::Check;

/// Over which the two clocks are compared.
const WATCHED: Duration = Duration::from_millis(200);
/// A wall clock that differs so much over that time was stepped, or runs wrong.
const STEP: Duration = Duration::from_millis(50);
/// 2025-01-01: no earlier time is right.
const EARLIEST_UNIX_S: u64 = 1_735_689_600;
/// Files that the coordinator needs beside its connections: the store, the log, listeners, the HTTP port's connections.
const FILES_BESIDE: u64 = 1_024 + 128;
/// What it has open before anybody comes: with less it hardly starts.
const FILES_LEAST: u64 = 128;
/// What programs that keep the clock right leave while they do.
const SYNCED: [&str; 3] = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/var/run/ntpd.pid"];

/// All of them.
pub fn checks(config: &CoordinatorConfig) -> Vec<Check> {
    let mut checks = vec![clock()];
    checks.extend(files().map(|most| files_for(config, most)));
    checks
}

fn clock() -> Check {
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    thread::sleep(WATCHED);
    let passed = wall.elapsed().unwrap_or_default();
    let difference = passed.abs_diff(monotonic.elapsed());
    let unix_s = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let synced = SYNCED.iter().any(|path| Path::new(path).exists());
    clock_of(unix_s, difference, synced)
}

fn clock_of(unix_s: u64, difference: Duration, synced: bool) -> Check {
    if unix_s < EARLIEST_UNIX_S {
        return Check::failure(
            "clock",
            "the wall clock is years behind",
            "set it; tokens, certificates and times depend on it",
        );
    }
    if difference >= STEP {
        let what = format!("the wall clock was off by {} ms within {} ms", difference.as_millis(), WATCHED.as_millis());
        return Check::warning("clock", what, "see whether something sets it by steps");
    }
    // Within a container the machine's own program is not seen, so its absence proves nothing.
    let by = if synced { "kept right by a time service" } else { "no time service is seen from here" };
    Check::ok("clock", format!("wall and monotonic clock agree; {by}"))
}

#[cfg(target_os = "linux")]
fn files() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    Some(getrlimit(Resource::RLIMIT_NOFILE).ok()?.0)
}

#[cfg(not(target_os = "linux"))]
fn files() -> Option<u64> {
    None
}

fn files_for(config: &CoordinatorConfig, most: u64) -> Check {
    let needed = config.limits.connections_max as u64 + FILES_BESIDE;
    let what = format!(
        "{most} files may be open; limits.connections_max = {} asks for {needed}",
        config.limits.connections_max
    );
    let remedy = "raise it (ulimit -n, LimitNOFILE=), or lower limits.connections_max";
    match most {
        most if most >= needed => Check::ok("limits", what),
        most if most < FILES_LEAST => Check::failure("limits", what, remedy),
        _ => Check::warning("limits", what, remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_clock_that_is_wrong_or_jumps_is_named() {
        let now = EARLIEST_UNIX_S + 1;
        assert_eq!(clock_of(0, Duration::ZERO, true).verdict, Verdict::Failure);
        assert_eq!(clock_of(now, STEP, true).verdict, Verdict::Warning);
        assert_eq!(clock_of(now, Duration::ZERO, false).verdict, Verdict::Ok);
    }

    #[test]
    fn fewer_files_than_connections_are_named() {
        let config = CoordinatorConfig::default();
        let needed = config.limits.connections_max as u64 + FILES_BESIDE;
        assert_eq!(files_for(&config, needed).verdict, Verdict::Ok);
        assert_eq!(files_for(&config, needed - 1).verdict, Verdict::Warning);
        assert_eq!(files_for(&config, FILES_LEAST).verdict, Verdict::Warning);
        assert_eq!(files_for(&config, FILES_LEAST - 1).verdict, Verdict::Failure);
    }
}

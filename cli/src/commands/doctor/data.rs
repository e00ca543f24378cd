//! The data directory: whether it can be written, how fast, how much room it has, and on what it is.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use evenkeel_coordinator::CoordinatorConfig;

use super::Check;
use crate::output::table;

/// Writes that are made durable, to see how long one takes; the median counts.
const SYNCS: usize = 9;
/// From here on tasks wait for the disk more than for anything else,
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// and from here on the store counts as degraded all the time.
const SYNC_TOO_SLOW: Duration = Duration::from_millis(500);
/// File systems by the number that Linux has for each (statfs(2)), and what is wrong with a database on them.
const UNFIT: [(i64, &str, &str); 5] = [
    (0x6969, "NFS", "locks and fsync of network file systems are not to be relied on"),
    (0xff53_4d42, "CIFS", "locks and fsync of network file systems are not to be relied on"),
    (0x0102_1994, "tmpfs", "it is in memory: tasks are gone after a restart of the machine"),
    (0x8584_58f6, "ramfs", "it is in memory: tasks are gone after a restart of the machine"),
    (0x794c_7630, "overlayfs", "in a container it is gone with the container; mount a volume"),
];

/// All of them.
pub fn checks(config: &CoordinatorConfig) -> Vec<Check> {
    if config.ephemeral {
        return vec![Check::warning(
            "data",
            "nothing is kept (ephemeral)",
            "set a data_dir where tasks have to survive",
        )];
    }
    let wanted = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let Some(existing) = wanted.ancestors().find(|path| path.exists()).map(Path::to_path_buf) else {
        return vec![Check::failure("data", format!("{} is nowhere", wanted.display()), "give another data_dir")];
    };
    if !existing.is_dir() {
        let what = format!("{} is no directory", existing.display());
        return vec![Check::failure("data", what, "give another data_dir")];
    }
    let mut checks = vec![writes(&existing, &wanted)];
    checks.extend(kind(&existing));
    checks.extend(room(config, &existing));
    checks.extend(permissions(&wanted));
    checks
}

fn writes(existing: &Path, wanted: &Path) -> Check {
    match syncs(existing) {
        Ok(took) => writes_fast(took, wanted),
        Err(error) => {
            let what = format!("{} cannot be written: {error}", existing.display());
            Check::failure("data writes", what, remedy(error.kind()))
        }
    }
}

/// What to do where a directory cannot be written.
const fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space; without any no task is accepted",
        ErrorKind::ReadOnlyFilesystem => "mount it for writing, or give another data_dir",
        ErrorKind::PermissionDenied => "give it to the user that runs the coordinator, or give another data_dir",
        _ => "give another data_dir",
    }
}

fn writes_fast(took: Duration, wanted: &Path) -> Check {
    let what = format!("a write is durable after {:.1} ms in {}", took.as_secs_f64() * 1e3, wanted.display());
    let remedy = "use a disk with a faster fsync; each group of tasks waits for one";
    match took {
        took if took >= SYNC_TOO_SLOW => Check::failure("data writes", what, remedy),
        took if took >= SYNC_SLOW => Check::warning("data writes", what, remedy),
        _ => Check::ok("data writes", what),
    }
}

/// The median time of a write that is made durable.
fn syncs(directory: &Path) -> io::Result<Duration> {
    let path = directory.join(format!(".evenkeel-doctor-{}", std::process::id()));
    let removed = Removed(path.clone());
    let mut file = OpenOptions::new().create_new(true).write(true).open(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0x5a; 4_096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    drop(removed);
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}

/// A file that goes when this does.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What was never made cannot be removed.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(target_os = "linux")]
fn kind(existing: &Path) -> Option<Check> {
    let number = nix::sys::statfs::statfs(existing).ok()?.filesystem_type().0;
    Some(kind_of(number))
}

#[cfg(not(target_os = "linux"))]
fn kind(_: &Path) -> Option<Check> {
    None
}

fn kind_of(number: i64) -> Check {
    match UNFIT.iter().find(|(unfit, ..)| *unfit == number) {
        Some((_, name, why)) => {
            Check::warning("data file system", format!("{name}: {why}"), "keep the data on a local disk")
        }
        None => Check::ok("data file system", format!("a local one (type {number:#x})")),
    }
}

#[cfg(target_os = "linux")]
fn room(config: &CoordinatorConfig, existing: &Path) -> Option<Check> {
    let stat = nix::sys::statvfs::statvfs(existing).ok()?;
    Some(room_of(config, stat.blocks_available() * stat.fragment_size()))
}

#[cfg(not(target_os = "linux"))]
fn room(_: &CoordinatorConfig, _: &Path) -> Option<Check> {
    None
}

fn room_of(config: &CoordinatorConfig, free_bytes: u64) -> Check {
    let what = format!("{} are free", table::bytes(free_bytes));
    let remedy = "free some space; without any no task is accepted";
    match free_bytes {
        free if free < config.health.disk_free_unhealthy_bytes => Check::failure("data room", what, remedy),
        free if free < config.health.disk_free_degraded_bytes => Check::warning("data room", what, remedy),
        _ => Check::ok("data room", what),
    }
}

fn permissions(wanted: &Path) -> Option<Check> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(wanted).ok()?.permissions().mode();
    let what = format!("{} has mode {:03o}", wanted.display(), mode & 0o777);
    Some(if mode & 0o022 != 0 {
        Check::warning("data permissions", format!("{what}: others may write it"), "chmod go-w")
    } else {
        Check::ok("data permissions", what)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    fn config(data_dir: &Path) -> CoordinatorConfig {
        CoordinatorConfig { data_dir: data_dir.to_path_buf(), ..CoordinatorConfig::default() }
    }

    fn verdict(checks: &[Check], name: &str) -> Verdict {
        checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name} in {checks:?}")).verdict
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_looked_at_where_it_will_be_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let checks = checks(&config(&directory.path().join("a/b")));
        assert_ne!(verdict(&checks, "data writes"), Verdict::Failure, "{checks:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_its_place_is_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        assert_eq!(verdict(&checks(&config(&path)), "data"), Verdict::Failure);
    }

    #[test]
    fn slow_disks_little_room_and_unfit_file_systems_are_named() {
        let path = Path::new("data");
        for (ms, expected) in [(19, Verdict::Ok), (20, Verdict::Warning), (500, Verdict::Failure)] {
            assert_eq!(writes_fast(Duration::from_millis(ms), path).verdict, expected);
        }
        let config = CoordinatorConfig::default();
        let health = &config.health;
        for (free, expected) in [
            (health.disk_free_degraded_bytes, Verdict::Ok),
            (health.disk_free_degraded_bytes - 1, Verdict::Warning),
            (health.disk_free_unhealthy_bytes - 1, Verdict::Failure),
        ] {
            assert_eq!(room_of(&config, free).verdict, expected);
        }
        assert_eq!((kind_of(0x6969).verdict, kind_of(0xef53).verdict), (Verdict::Warning, Verdict::Ok));
    }

    #[test]
    fn what_to_do_depends_on_why_it_cannot_be_written() {
        for (kind, words) in [
            (ErrorKind::StorageFull, "free some space"),
            (ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
            (ErrorKind::PermissionDenied, "give it to the user"),
            (ErrorKind::NotFound, "another data_dir"),
        ] {
            assert!(remedy(kind).contains(words), "{kind:?}");
        }
    }

    #[test]
    fn a_directory_that_others_may_write_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(verdict(&checks(&config(directory.path())), "data permissions"), Verdict::Warning);
    }
}

//! The disk that durable tasks are kept on: what it is, and how long it takes to make a write durable.

use std::{
    fs,
    io::{self, Seek as _, Write as _},
    path::Path,
    time::Instant,
};

use serde::Serialize;

/// Writes of one probe.
const WRITES: usize = 200;
/// Bytes of each: a page of the store.
const PAGE: [u8; 4_096] = [0x5a; 4_096];

/// How long it took to write a page of a file that is there and wait until it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Fsync {
    /// Half of them took at most so long.
    pub p50_us: f64,
    /// All but one in a hundred.
    pub p99_us: f64,
}

/// Measures it in this directory. The file does not grow meanwhile, as the log of the store does not once it has its size:
/// a file that grows makes the file system write about it as well, which takes longer and would flatter the store.
///
/// # Errors
/// If it cannot be written.
pub(super) fn probe(directory: &Path) -> io::Result<Fsync> {
    let path = directory.join("fsync-probe");
    let mut file = fs::File::create(&path)?;
    for _ in 0..WRITES {
        file.write_all(&PAGE)?;
    }
    file.sync_all()?;
    file.rewind()?;
    let mut took_us = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        took_us.push(began.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    took_us.sort_by(f64::total_cmp);
    Ok(Fsync { p50_us: took_us[WRITES / 2], p99_us: took_us[WRITES * 99 / 100] })
}

/// The file system of a directory: its type and device, as the system calls them.
pub(super) fn file_system(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mount(&mounts, &directory).unwrap_or_else(|| "unknown".to_owned())
}

fn mount(mounts: &str, directory: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, at, kind) = (words.next()?, words.next()?, words.next()?);
        directory.starts_with(at).then(|| (at.len(), format!("{kind} on {device}")))
    });
    // Of two mounts at one place, the later one is seen.
    mounts.max_by_key(|(length, _)| *length).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_mount_is_the_one() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/data xfs rw 0 0\n";
        let check = |directory: &str, expected: &str| {
            assert_eq!(mount(mounts, Path::new(directory)).as_deref(), Some(expected));
        };
        check("/var", "ext4 on /dev/vda");
        check("/tmp/x", "tmpfs on tmpfs");
        check("/tmp/data/x", "xfs on /dev/vdb");
        check("/tmp/database", "tmpfs on tmpfs");
    }

    #[test]
    fn a_probe_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let fsync = probe(directory.path()).unwrap();
        assert!(fsync.p50_us > 0.0 && fsync.p99_us >= fsync.p50_us, "{fsync:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

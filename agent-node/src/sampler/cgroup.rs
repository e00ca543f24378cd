//! The limits and the usage of the process's control group (cgroup v2).
//!
//! A limit may sit on any level above the process, so all levels up to the root are looked at and the tightest counts; its
//! usage is read on the same level, because that is what will be throttled or killed. Files are described in the kernel's
//! `Documentation/admin-guide/cgroup-v2.rst`. Version 1 is not read: hosts that still have it get the host's numbers.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The levels that limit this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    cpu: Option<(PathBuf, u64)>,
    memory: Option<(PathBuf, u64)>,
}

impl Cgroup {
    /// The group of this process.
    pub fn own() -> Self {
        fs::read_to_string("/proc/self/cgroup")
            .map(|membership| Self::find(Path::new("/sys/fs/cgroup"), &membership))
            .unwrap_or_default()
    }

    /// The group named in `membership`, the text of `/proc/self/cgroup`, in the tree mounted at `mount`.
    fn find(mount: &Path, membership: &str) -> Self {
        let Some(own) = membership.lines().find_map(|line| line.strip_prefix("0::/")) else { return Self::default() };
        // Inside a container whose cgroup namespace is the host's, the path exists only on the host.
        let own = mount.join(own);
        let lowest = if own.is_dir() { own } else { mount.to_owned() };
        let levels: Vec<&Path> = lowest.ancestors().take_while(|level| level.starts_with(mount)).collect();
        let tightest = |limit: fn(&Path) -> Option<u64>| {
            let limited = levels.iter().filter_map(|level| Some(((*level).to_owned(), limit(level)?)));
            limited.min_by_key(|&(_, limit)| limit)
        };
        Self { cpu: tightest(cpu_limit_millis), memory: tightest(memory_limit_bytes) }
    }

    /// Thousandths of a core that may be used.
    pub fn cpu_millis(&self) -> Option<u64> {
        self.cpu.as_ref().map(|&(_, limit)| limit)
    }

    /// Memory that may be used.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.memory.as_ref().map(|&(_, limit)| limit)
    }

    /// Processor time used so far, in microseconds, by all that share the processor limit.
    pub fn cpu_used_us(&self) -> Option<u64> {
        let (level, _) = self.cpu.as_ref()?;
        field(&level.join("cpu.stat"), "usage_usec")
    }

    /// Memory used by all that share the memory limit, without file cache that can be dropped at once.
    pub fn memory_used_bytes(&self) -> Option<u64> {
        let (level, _) = self.memory.as_ref()?;
        let current: u64 = fs::read_to_string(level.join("memory.current")).ok()?.trim().parse().ok()?;
        let cache = field(&level.join("memory.stat"), "inactive_file").unwrap_or(0);
        Some(current.saturating_sub(cache))
    }
}

/// `cpu.max` holds a quota and a period in microseconds, or `max` and a period.
fn cpu_limit_millis(level: &Path) -> Option<u64> {
    let text = fs::read_to_string(level.join("cpu.max")).ok()?;
    let mut words = text.split_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next()?.parse().ok().filter(|&period| period > 0)?;
    Some((quota.saturating_mul(1_000) / period).max(1))
}

/// `memory.max` holds bytes, or `max`.
fn memory_limit_bytes(level: &Path) -> Option<u64> {
    fs::read_to_string(level.join("memory.max")).ok()?.trim().parse().ok().filter(|&bytes| bytes > 0)
}

/// A number of a file of lines `name number`.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of control group files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_limit_of_all_levels_counts_and_is_measured_where_it_sits() {
        let root = tree(&[
            ("pod/cpu.max", "150000 100000\n"),
            ("pod/cpu.stat", "usage_usec 42\nuser_usec 40\n"),
            ("pod/memory.max", "max\n"),
            ("pod/agent/cpu.max", "max 100000\n"),
            ("pod/agent/memory.max", "1000\n"),
            ("pod/agent/memory.current", "900\n"),
            ("pod/agent/memory.stat", "anon 1\ninactive_file 300\n"),
        ]);
        let group = Cgroup::find(root.path(), "1:cpu:/x\n0::/pod/agent\n");
        assert_eq!((group.cpu_millis(), group.cpu_used_us()), (Some(1_500), Some(42)));
        assert_eq!((group.memory_bytes(), group.memory_used_bytes()), (Some(1_000), Some(600)));
    }

    #[test]
    fn a_path_of_the_host_means_the_root_of_the_container() {
        let root = tree(&[("cpu.max", "50000 100000")]);
        let group = Cgroup::find(root.path(), "0::/kubepods/pod7/xyz\n");
        assert_eq!(group.cpu_millis(), Some(500));
    }

    #[test]
    fn without_version_2_or_with_nonsense_there_is_no_limit() {
        let root = tree(&[("cpu.max", "many 0"), ("memory.max", "")]);
        assert_eq!(Cgroup::find(root.path(), "4:memory:/x\n"), Cgroup::default());
        assert_eq!(Cgroup::find(root.path(), "0::/\n"), Cgroup::default());
    }
}

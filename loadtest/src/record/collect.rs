//! What a record says of the program, the machine and itself.
//!
//! Everything here is a help for people who compare runs, so what cannot be found is left out and is no error.

use std::{
    fs,
    num::NonZero,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Build, Machine};

/// How long `git` may take to say the commit: a repository on a slow disk shall not hold a run up.
const GIT_MAX: Duration = Duration::from_secs(2);

/// The id of a run: sorts by time. The salt tells runs of the same second apart.
#[must_use]
pub fn run_id(started_at_ms: u64, scenario: &str, salt: u16) -> String {
    let started_at = std::time::UNIX_EPOCH + Duration::from_millis(started_at_ms);
    let time = humantime::format_rfc3339_seconds(started_at).to_string().replace(['-', ':'], "");
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let scenario: String = scenario.chars().take(60).map(plain).collect();
    format!("{time}-{scenario}-{salt:04x}")
}

/// The program that runs: its version, and the commit of the working directory's repository.
#[must_use]
pub fn build(version: &str) -> Build {
    Build { version: version.to_owned(), commit: commit(), optimized: !cfg!(debug_assertions) }
}

/// This machine, and the file system that holds `data_dir`.
#[must_use]
pub fn machine(data_dir: Option<&Path>) -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| field(&text, "model name").map(str::to_owned));
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib(field(&text, "MemTotal")?));
    let kernel = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    let os = match (kernel("ostype"), kernel("osrelease")) {
        (Some(name), Some(release)) => format!("{} {}", name.trim(), release.trim()),
        _ => std::env::consts::OS.to_owned(),
    };
    Machine {
        cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cpus: thread::available_parallelism().map_or(1, NonZero::get).try_into().unwrap_or(u32::MAX),
        memory_bytes: memory.unwrap_or(0),
        os,
        file_system: data_dir.and_then(file_system),
    }
}

/// The kind of file system that a file or directory is on.
#[must_use]
pub fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    kind_of_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

/// Of all mounts above the path the longest, and of several on the same place the last.
fn kind_of_mount(mounts: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (mount.split(' ').nth(4), kind.split(' ').next()) else { continue };
        // Spaces in names of mounts are octal.
        let point = point.replace("\\040", " ");
        let length = point.len();
        if path.starts_with(&point) && best.is_none_or(|(longest, _)| length >= longest) {
            best = Some((length, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// `name : value` or `name: value`, the first of its name.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The commit that is checked out in the working directory, with `-dirty` if tracked files differ from it.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    // No tag is a match, so `--always` gives the commit itself.
    git.args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let mut child = git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let started = Instant::now();
    // One short line: it fits into the pipe, so waiting for the end before reading cannot lock up.
    while child.try_wait().ok()?.is_none() {
        if started.elapsed() > GIT_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_are_names_of_files() {
        let ids =
            [run_id(0, "smoke", 0xffff), run_id(1_000, "a b/../c<d>", 0), run_id(1_769_860_800_000, "smoke", 0x1a2b)];
        assert_eq!(ids[2], "20260131T120000Z-smoke-1a2b");
        assert_eq!(ids[1], "19700101T000001Z-a_b____c_d_-0000");
        assert!(ids.is_sorted(), "{ids:?}");
    }

    #[test]
    fn the_deepest_and_last_mount_holds_the_file() {
        let mounts = "21 1 0:1 / / rw - ext4 /dev/a rw\n22 21 0:2 / /data rw shared:1 - xfs /dev/b rw\n\
                      23 21 0:3 / /data rw - tmpfs none rw\n24 21 0:4 / /data\\040base rw - btrfs /dev/c rw\n";
        let check = |path: &str, kind: &str| assert_eq!(kind_of_mount(mounts, Path::new(path)).as_deref(), Some(kind));
        check("/home/x", "ext4");
        check("/data/x", "tmpfs");
        check("/database", "ext4");
        check("/data base/x", "btrfs");
    }

    #[test]
    fn values_are_found_in_the_files_of_the_system() {
        assert_eq!(field("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n", "model name"), Some("Some CPU @ 2 GHz"));
        assert_eq!(kib("1024 kB"), Some(1 << 20));
        let machine = machine(Some(Path::new(".")));
        assert!(machine.cpus >= 1 && !machine.os.is_empty());
    }
}

//! What a program uses, and the end of one that uses too much.
//!
//! Processor time has two guards. The kernel's `RLIMIT_CPU` is set from outside with `prlimit(2)` as soon as the program runs;
//! it knows whole seconds and holds for each process by itself. Beside it the program and its descendants are looked at in
//! `/proc` at an interval, which is finer and counts them together, but may miss what begins and ends in between.
//!
//! Memory is looked at only: resident pages that are not of files. `RLIMIT_AS` was rejected, because it counts address space,
//! of which many runtimes reserve far more than they use. A control group would hold exactly, but needs one that the agent may
//! divide, which containers and services rarely give; who has one sets the container's own limit. So a program may pass its
//! memory budget for an interval.
//!
//! Descendants are found by `/proc/PID/task/TID/children`, so that a look costs what the program's family is large, not what
//! the host runs. One whose parent has exited is not found; the group that the program leads is killed with it all the same.

use std::{
    fs,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::ExitStatus,
    time::Duration,
};

use evenkeel_shared::TaskBudget;
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};
use tracing::warn;

use super::report::ReportFile;
use crate::{
    meter::{Exceeded, Meter},
    task::TaskContext,
};

/// Time to the first look, so that short programs are measured at all; then it doubles.
const LOOK_FIRST: Duration = Duration::from_millis(10);
/// Longest time between looks at a program with a budget: how long it may be over it. A look takes some 20 us.
const LOOK_WITH_BUDGET: Duration = Duration::from_millis(100);
/// The same for one without: only its usage and its reports wait.
const LOOK_WITHOUT_BUDGET: Duration = Duration::from_secs(1);
/// Processes of a program that are looked at: beyond it the rest goes uncounted, so that a fork bomb does not busy the agent.
const FAMILY_MAX: usize = 1_024;

/// What a program and its descendants use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    cpu: Duration,
    memory_bytes: u64,
}

/// Gives the program the limits that the kernel keeps.
pub(super) fn limit(leader: Option<Pid>, budget: Option<&TaskBudget>) {
    let Some((leader, cpu_max)) = leader.zip(budget.and_then(|budget| budget.cpu_max)) else { return };
    // Rounded up: the finer part is the watch's. SIGXCPU comes at the first, SIGKILL at the second.
    let seconds = cpu_max.as_millis().div_ceil(1_000);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX).max(1);
    if let Err(error) = set_cpu_limit(leader, seconds) {
        // It has ended already, or the watch has to do.
        warn!(%error, "no RLIMIT_CPU for a program");
    }
}

#[cfg(target_os = "linux")]
fn set_cpu_limit(leader: Pid, seconds: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, prlimit};

    let Some(leader) = rustix::process::Pid::from_raw(leader.as_raw()) else { return Ok(()) };
    let limit = Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) };
    match prlimit(Some(leader), Resource::Cpu, limit) {
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn set_cpu_limit(_: Pid, _: u64) -> std::io::Result<()> {
    Ok(())
}

/// Looks at the program, and at what it reports, until it uses too much.
pub(super) async fn watch(leader: Option<Pid>, task: &TaskContext, report: &mut ReportFile) -> Exceeded {
    let budget =
        task.budget.as_deref().filter(|budget| budget.memory_max_bytes.or_else(|| cpu_micros(budget)).is_some());
    let longest = if budget.is_some() { LOOK_WITH_BUDGET } else { LOOK_WITHOUT_BUDGET };
    let mut pause = LOOK_FIRST;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(longest);
        // What it reports of quotas matters when it fails, and is kept until then.
        let _ = report.read(task);
        let Some(used) = leader.and_then(family_use) else { continue };
        task.meter().used(used.cpu, used.memory_bytes);
        if let Some(exceeded) = budget.and_then(|budget| exceeded(budget, used)) {
            return exceeded;
        }
    }
}

fn cpu_micros(budget: &TaskBudget) -> Option<u64> {
    budget.cpu_max.map(|max| u64::try_from(max.as_micros()).unwrap_or(u64::MAX))
}

fn exceeded(budget: &TaskBudget, used: Use) -> Option<Exceeded> {
    let memory = budget.memory_max_bytes.filter(|&limit| used.memory_bytes > limit);
    let cpu = budget.cpu_max.filter(|&limit| used.cpu > limit);
    memory
        .map(|limit_bytes| Exceeded::Memory { used_bytes: used.memory_bytes, limit_bytes })
        .or(cpu.map(|limit| Exceeded::CpuTime { used: used.cpu, limit }))
}

/// Whether the kernel ended the program for its processor time.
pub(super) fn exceeded_by(status: ExitStatus, task: &TaskContext) -> Option<Exceeded> {
    let limit = task.budget.as_ref()?.cpu_max?;
    let used = task.meter().usage().map(|usage| usage.cpu).unwrap_or_default();
    let by_limit = status.signal() == Some(Signal::SIGXCPU as i32);
    let is_killed = status.signal() == Some(Signal::SIGKILL as i32) && used > limit;
    (by_limit || is_killed || used > limit).then(|| Exceeded::CpuTime { used: used.max(limit), limit })
}

/// Waits until the program has ended, and measures what it used before its parent's wait makes that go away. Where the system
/// has no such wait, returns at once.
pub(super) async fn exit(leader: Option<Pid>, meter: &Meter) {
    let Some(leader) = leader else { return };
    let Some(end) = end_of(leader) else { return };
    if end.readable().await.is_ok() {
        // A zombie has no memory any more, but its times.
        meter.used(process_use(leader.as_raw()).unwrap_or_default().cpu, 0);
    }
}

// The constructor that replaces it is unsafe, for types that lie about their descriptor; an `OwnedFd` does not.
#[allow(deprecated)]
#[cfg(target_os = "linux")]
fn end_of(leader: Pid) -> Option<AsyncFd<OwnedFd>> {
    let leader = rustix::process::Pid::from_raw(leader.as_raw())?;
    let end = rustix::process::pidfd_open(leader, rustix::process::PidfdFlags::empty()).ok()?;
    AsyncFd::with_interest(end, Interest::READABLE).ok()
}

#[cfg(not(target_os = "linux"))]
fn end_of(_: Pid) -> Option<AsyncFd<OwnedFd>> {
    None
}

/// What the program and its descendants use; `None` once it is gone, or where there is no `/proc`.
fn family_use(leader: Pid) -> Option<Use> {
    let mut total = process_use(leader.as_raw())?;
    let mut family = vec![leader.as_raw()];
    let mut looked_at = 0;
    while looked_at < family.len() {
        let children = children(family[looked_at]);
        looked_at += 1;
        for child in children {
            if family.len() >= FAMILY_MAX {
                return Some(total);
            }
            if let Some(used) = process_use(child) {
                total.cpu += used.cpu;
                total.memory_bytes += used.memory_bytes;
                family.push(child);
            }
        }
    }
    Some(total)
}

fn children(process: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// What one process uses, its waited-for children's processor time included.
fn process_use(process: i32) -> Option<Use> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let memory = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    Some(Use { cpu: cpu_of(&stat)?, memory_bytes: memory_of(&memory).unwrap_or(0) })
}

/// utime, stime, cutime and cstime of `/proc/PID/stat` (proc_pid_stat(5)). The name before them may hold anything.
fn cpu_of(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let times: Vec<u64> = after_name.split_ascii_whitespace().skip(11).take(4).map_while(|t| t.parse().ok()).collect();
    let ticks: u64 = (times.len() == 4).then(|| times.iter().sum())?;
    Some(Duration::from_millis(ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1)))
}

/// Resident pages without those of files, of `/proc/PID/statm` (proc_pid_statm(5)).
fn memory_of(statm: &str) -> Option<u64> {
    let mut pages = statm.split_ascii_whitespace().skip(1).map_while(|pages| pages.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared).saturating_mul(rustix::param::page_size() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_a_process_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 109 0 0 0 3 4 5 6 20 0 1 0 100 2 3";
        let tick = Duration::from_millis(1_000 / rustix::param::clock_ticks_per_second());
        assert_eq!(cpu_of(stat), Some(tick * 18));
        assert_eq!(cpu_of("7 (a) S 1 7"), None);
        assert_eq!(cpu_of(""), None);
    }

    #[test]
    fn memory_is_what_is_resident_and_of_no_file() {
        assert_eq!(memory_of("100 50 20 1 0 9 0\n"), Some(30 * rustix::param::page_size() as u64));
        assert_eq!(memory_of("100 20 50"), Some(0));
        assert_eq!(memory_of(""), None);
    }

    #[test]
    fn this_process_uses_something() {
        let used = family_use(Pid::this()).unwrap();
        assert!(used.memory_bytes > 0, "{used:?}");
    }
}

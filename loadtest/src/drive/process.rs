//! What a process takes of the machine, out of `/proc`.

use std::fs;

/// Ticks in a second of the times in `/proc`: a constant of the kernel's interface.
const TICKS_PER_S: f64 = 100.0;
/// The fields with user and system time, counted behind the command's name, which may hold blanks.
const USER_TICKS_AT: usize = 11;

/// What a process has taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time, user and system.
    pub cpu_s: f64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Context switches of its threads, voluntary and not.
    pub context_switches: u64,
}

/// What this process has taken; `None` if there is no such process, or it cannot be seen.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let memory_bytes = field(&status, "VmRSS:")? << 10;
    Some(Usage { cpu_s: cpu_s(&stat)?, memory_bytes, context_switches: context_switches(pid) })
}

fn cpu_s(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut ticks = behind_name.split_whitespace().skip(USER_TICKS_AT).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) as f64 / TICKS_PER_S)
}

/// The number in the line of `/proc/PID/status` that begins so.
fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Of all threads that are still there.
fn context_switches(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of_thread = |status: String| {
        let of = |name| field(&status, name).unwrap_or(0);
        of("voluntary_ctxt_switches:") + of("nonvoluntary_ctxt_switches:")
    };
    threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).map(of_thread).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_switches() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.memory_bytes > 1 << 20 && usage.context_switches > 0, "{usage:?}");
        assert_eq!(super::usage(u32::MAX), None);
    }

    #[test]
    fn a_name_with_blanks_and_brackets_shifts_nothing() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_s(stat), Some(3.0));
    }
}

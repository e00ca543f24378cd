//! What a process takes of the machine, out of `/proc`.

use std::{fs, net::IpAddr};

/// Ticks in a second of the times in `/proc`: a constant of the kernel's interface.
const TICKS_PER_S: f64 = 100.0;
/// The fields with user and system time, counted behind the command's name, which may hold blanks.
const USER_TICKS_AT: usize = 11;

/// A socket that listens, in the kernel's tables.
const LISTEN: &str = "0A";

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

/// The process that listens at this address, if that is one of this machine's own and may be seen.
pub(crate) fn listener(url: &str) -> Option<u32> {
    let (host, port) = url.split_once("://")?.1.trim_end_matches('/').rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let own = host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string).into_iter().flatten();
    let inodes: Vec<_> = tables.flat_map(|table| listening(&table, port)).collect();
    if !own || inodes.is_empty() {
        return None;
    }
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid| holds(*pid, &inodes))
}

/// The sockets of a table of the kernel's that listen on this port.
fn listening(table: &str, port: u16) -> Vec<String> {
    let socket = |line: &str| {
        let mut fields = line.split_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let listens = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()? == port && state == LISTEN;
        fields.nth(5).filter(|_| listens).map(|inode| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
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
    fn the_process_behind_an_address_of_this_machine_is_found() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        assert_eq!(listener(&format!("http://127.0.0.1:{port}")), Some(std::process::id()));
        assert_eq!(listener(&format!("http://localhost:{port}/")), Some(std::process::id()));
        assert_eq!(listener(&format!("http://192.0.2.1:{port}")), None, "another machine");
        drop(listening);
        assert_eq!(listener(&format!("http://127.0.0.1:{port}")), None);
    }

    #[test]
    fn a_name_with_blanks_and_brackets_shifts_nothing() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_s(stat), Some(3.0));
    }
}

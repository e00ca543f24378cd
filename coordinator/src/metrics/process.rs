//! What the system says of the process, under the names that all Prometheus clients use. Linux alone has the files that this
//! is read from; elsewhere there is nothing.

use std::{fmt, fs};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use rustix::param::{clock_ticks_per_second, page_size};

use super::rows::{
    Sort::{Counter, Gauge},
    one,
};

/// The process that asks.
#[derive(Clone, Copy, Debug)]
pub struct Process;

/// What is read of it.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_memory_bytes: f64,
    virtual_memory_bytes: f64,
    threads: f64,
    started_at_seconds: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name, help, value| one(&mut encoder, name, help, Gauge, value);
        if let Some(open) = open_files() {
            gauge("process_open_fds", "Open files and sockets.", open)?;
        }
        if let Some(most) = open_files_max() {
            gauge("process_max_fds", "Open files and sockets that the system allows.", most)?;
        }
        let Some(usage) = usage() else { return Ok(()) };
        gauge("process_resident_memory_bytes", "Memory in use.", usage.resident_memory_bytes)?;
        gauge("process_virtual_memory_bytes", "Memory that is mapped.", usage.virtual_memory_bytes)?;
        gauge("process_threads", "Threads.", usage.threads)?;
        gauge("process_start_time_seconds", "When it started, in seconds since 1970.", usage.started_at_seconds)?;
        one(&mut encoder, "process_cpu_seconds", "Time on processors.", Counter, usage.cpu_seconds)
    }
}

fn usage() -> Option<Usage> {
    parse(
        &fs::read_to_string("/proc/self/stat").ok()?,
        boot_seconds(&fs::read_to_string("/proc/stat").ok()?)?,
        clock_ticks_per_second() as f64,
        page_size() as f64,
    )
}

/// Reads `/proc/self/stat` (proc_pid_stat(5)); fields are counted behind the program's name, which may have anything in it.
fn parse(stat: &str, booted_at_seconds: f64, ticks_per_second: f64, page_bytes: f64) -> Option<Usage> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // The first of these is field 3 of the page.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Usage {
        cpu_seconds: (field(14)? + field(15)?) / ticks_per_second,
        threads: field(20)?,
        started_at_seconds: booted_at_seconds + field(22)? / ticks_per_second,
        virtual_memory_bytes: field(23)?,
        resident_memory_bytes: field(24)? * page_bytes,
    })
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files() -> Option<f64> {
    // The directory that is read is one of them.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn open_files_max() -> Option<f64> {
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok()?;
    Some(soft as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_whatever_the_program_is_called() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1000 0 0 0 250 50 0 0 20 0 9 0 3000 104857600 2560 18446744073709551615";
        let expected = Usage {
            cpu_seconds: 3.0,
            resident_memory_bytes: 10_485_760.0,
            virtual_memory_bytes: 104_857_600.0,
            threads: 9.0,
            started_at_seconds: 1_030.0,
        };
        assert_eq!(parse(stat, 1_000.0, 100.0, 4_096.0), Some(expected));
        assert_eq!(parse("42 (a) S 1 2", 0.0, 100.0, 4_096.0), None, "cut short");
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1700000000\nprocesses 9\n"), Some(1_700_000_000.0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let usage = usage().unwrap();
        assert!(usage.resident_memory_bytes > 1e6 && usage.threads >= 1.0, "{usage:?}");
        assert!(open_files().unwrap() >= 3.0 && open_files_max().unwrap() >= open_files().unwrap());
    }
}

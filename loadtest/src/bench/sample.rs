//! What the system says of a process: processor time, memory, context switches.

use std::{fs, io, path::PathBuf};

/// A process at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Time on a processor of all its threads, in user and kernel mode.
    pub cpu_us: f64,
    /// Memory that it holds.
    pub resident_bytes: u64,
    /// Times that a thread of it waited.
    pub voluntary: u64,
    /// Times that a thread of it was made to wait.
    pub involuntary: u64,
}

impl Sample {
    /// Of a process that runs.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let mut sample =
            Self { resident_bytes: field(&read(&process.join("status"))?, "VmRSS:") << 10, ..Self::default() };
        for thread in fs::read_dir(process.join("task"))? {
            let thread = thread?.path();
            // A thread may end between the two looks.
            let (Ok(schedule), Ok(status)) = (read(&thread.join("schedstat")), read(&thread.join("status"))) else {
                continue;
            };
            // In nanoseconds; `stat` has hundredths of a second, which is a lot for a short measure. They are the same sums.
            let ran_ns: u64 = schedule.split_whitespace().next().and_then(|ran| ran.parse().ok()).unwrap_or(0);
            sample.cpu_us += ran_ns as f64 / 1_000.0;
            sample.voluntary += field(&status, "voluntary_ctxt_switches:");
            sample.involuntary += field(&status, "nonvoluntary_ctxt_switches:");
        }
        Ok(sample)
    }

    /// What was used since `earlier`; the memory is that of now.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_us: self.cpu_us - earlier.cpu_us,
            resident_bytes: self.resident_bytes,
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

fn read(path: &std::path::Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// A number of a file like `/proc/PID/status`.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_waiting_of_this_process_are_seen() {
        let before = Sample::of(std::process::id()).unwrap();
        let sum = (0..20_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(sum);
        std::thread::sleep(std::time::Duration::from_millis(1));
        let used = Sample::of(std::process::id()).unwrap().since(before);
        assert!(used.cpu_us > 100.0, "{used:?}");
        assert!(used.voluntary > 0, "{used:?}");
        assert!(used.resident_bytes > 1 << 20, "{used:?}");
    }

    #[test]
    fn a_process_that_is_none_is_an_error() {
        assert!(Sample::of(u32::MAX).is_err());
    }
}

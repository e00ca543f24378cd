//! What a program says of itself while it runs: the file named by `EVENKEEL_REPORT`.
//!
//! The program appends lines, in any language that can open a file, and the agent reads them while it runs and when it has
//! ended:
//!
//! ```text
//! cost usd 0.12
//! progress 0.5 half of the pages
//! quota openai/team-a 30s too many requests
//! ```
//!
//! `cost UNIT AMOUNT` adds to what the attempt has cost, `progress FRACTION [NOTE]` says how far it is, and `quota KEY TIME
//! [REASON]` that an upstream quota is used up for so long (`500ms`, `30s`, `2m`, `1h`; a bare number is seconds). A program
//! that said the last and fails, fails because of it, and is run again once the quota is open.
//!
//! A line counts once it ends with a newline, the last one also without. A line that is not understood is logged and
//! ignored: a program's report is no reason to fail its work. A pipe was rejected: it would have to be read for as long as
//! anybody holds it open, and a shell finds a file easier. The file lives in a directory that only the agent's user can enter;
//! a program that becomes another user cannot report.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_shared::QuotaKey;
use tracing::warn;

use crate::task::{ExecutionError, TaskContext};

/// What is read of a report in all: some thousand lines. The rest is ignored.
const REPORT_BYTES_MAX: u64 = 256 << 10;

/// The report of one attempt. The file is made by the program, if it has something to say; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct ReportFile {
    file: Option<PathBuf>,
    read_bytes: u64,
    /// A line that has not ended yet.
    rest: Vec<u8>,
    /// What the program's failure is, if it fails.
    failure: Option<ExecutionError>,
    /// Keeps the directory.
    _directory: Option<Arc<Directory>>,
}

impl ReportFile {
    /// A report that is not there yet.
    pub fn new() -> Self {
        let directory = Directory::shared().inspect_err(|error| warn!(%error, "programs cannot report")).ok();
        // Counted, not named by the attempt: agents of several coordinators in one process have assignments of the same number.
        static REPORTS: AtomicU64 = AtomicU64::new(0);
        let number = REPORTS.fetch_add(1, Ordering::Relaxed);
        let file = directory.as_ref().map(|directory| directory.0.join(number.to_string()));
        Self { file, read_bytes: 0, rest: Vec::new(), failure: None, _directory: directory }
    }

    /// Where the program may write it.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Takes in what was written since; answers what the program's failure is, if it fails.
    pub fn read(&mut self, task: &TaskContext) -> Option<ExecutionError> {
        match self.read_more() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => warn!(task = %task.attempt.task, %error, "a program's report cannot be read"),
        }
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(task, &line);
        }
        self.failure.clone()
    }

    /// The same, when nothing more will be written: the last line needs no end.
    pub fn finish(&mut self, task: &TaskContext) -> Option<ExecutionError> {
        self.read(task);
        let last = std::mem::take(&mut self.rest);
        self.line(task, &last);
        self.failure.take()
    }

    fn read_more(&mut self) -> io::Result<()> {
        let (Some(path), true) = (&self.file, self.read_bytes < REPORT_BYTES_MAX) else { return Ok(()) };
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let read = file.take(REPORT_BYTES_MAX - self.read_bytes).read_to_end(&mut self.rest)?;
        self.read_bytes += read as u64;
        Ok(())
    }

    fn line(&mut self, task: &TaskContext, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() {
            return;
        }
        match said(line.trim()).and_then(|said| self.take_in(task, said)) {
            Ok(()) => {}
            Err(problem) => {
                warn!(task = %task.attempt.task, line = line.trim(), problem, "a line of a program's report is ignored");
            }
        }
    }

    fn take_in(&mut self, task: &TaskContext, said: Said<'_>) -> Result<(), String> {
        match said {
            Said::Cost(unit, amount) => task.report_cost(unit, amount).map_err(|violation| violation.description),
            Said::Progress(fraction, note) => {
                task.progress(fraction, note);
                Ok(())
            }
            Said::Quota(key, retry_after, reason) => {
                let key = QuotaKey::new(key).map_err(|violation| violation.description)?;
                self.failure = Some(task.quota_exhausted(&key, retry_after, reason));
                Ok(())
            }
        }
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Most programs report nothing, so mostly there is none.
            let _ = fs::remove_file(file);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Said<'a> {
    Cost(&'a str, f64),
    Progress(f64, &'a str),
    Quota(&'a str, Duration, &'a str),
}

fn said(line: &str) -> Result<Said<'_>, String> {
    let (word, rest) = word(line);
    let (first, rest) = self::word(rest);
    let number = |text: &str| text.parse::<f64>().map_err(|_| format!("`{text}` is no number"));
    match word {
        "cost" => Ok(Said::Cost(first, number(rest)?)),
        "progress" => Ok(Said::Progress(number(first)?, rest)),
        "quota" => {
            let (time, reason) = self::word(rest);
            Ok(Said::Quota(first, duration(time).ok_or_else(|| format!("`{time}` is no time; write 30s"))?, reason))
        }
        other => Err(format!("`{other}` is none of cost, progress, quota")),
    }
}

fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""));
    (word, rest.trim())
}

/// `500ms`, `30s`, `2m`, `1h`, or a number of seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// Where the reports of this process are; removed with the last of them.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn shared() -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Directory>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = shared.upgrade() {
            return Ok(directory);
        }
        let name = format!("evenkeel-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        // Refuses what is there already, and lets nobody else in.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let directory = Arc::new(Self(path));
        *shared = Arc::downgrade(&directory);
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::{CostUnit, FailureClass, Micros};

    use super::*;
    use crate::executors::testing::task;

    #[test]
    fn lines_are_understood() {
        let check = |line, expected| assert_eq!(said(line).ok(), expected, "{line}");
        check("cost usd 0.12", Some(Said::Cost("usd", 0.12)));
        check("progress 0.5", Some(Said::Progress(0.5, "")));
        check("progress 0.5  two words ", Some(Said::Progress(0.5, "two words")));
        let quota = |seconds, reason| Some(Said::Quota("openai/a", Duration::from_secs_f64(seconds), reason));
        check("quota openai/a 30s too many", quota(30.0, "too many"));
        check("quota openai/a 1.5", quota(1.5, ""));
        check("quota openai/a 250ms", quota(0.25, ""));
        check("quota openai/a 2h", quota(7_200.0, ""));
        for wrong in
            ["cost usd", "cost usd x", "progress", "quota a", "quota a 3d", "quota a -1s", "price usd 1", "cost"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn a_report_is_read_as_it_grows_and_leaves_nothing_behind() {
        use std::io::Write as _;
        let task = task("").0;
        let mut report = ReportFile::new();
        let path = report.path().unwrap().to_owned();
        assert!(report.read(&task).is_none(), "it is not there yet");
        let mut file = fs::File::create(&path).unwrap();
        let spent = |units: f64| {
            let usage = task.meter().usage().unwrap_or_default();
            assert_eq!(usage.cost.get(&CostUnit::usd()).copied().unwrap_or_default(), Micros::from_units(units));
        };
        file.write_all(b"cost usd 1\nnonsense\ncost usd 0.").unwrap();
        report.read(&task);
        spent(1.0);
        file.write_all(b"5\nquota q 1s full").unwrap();
        report.read(&task);
        spent(1.5);
        let failure = report.finish(&task).unwrap();
        assert_eq!(failure.failure().class, FailureClass::QuotaExhausted);
        assert_eq!(task.meter().take_quotas().len(), 1);
        drop(report);
        assert!(!path.exists());
    }

    #[test]
    fn attempts_of_the_same_numbers_have_reports_of_their_own() {
        let (one, other) = (ReportFile::new(), ReportFile::new());
        let path = one.path().unwrap().to_owned();
        fs::write(&path, "cost usd 1").unwrap();
        drop(other);
        assert!(path.exists(), "the report of one that goes on");
    }
}

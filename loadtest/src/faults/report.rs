//! The table of faults, for people and for programs.

use std::{fmt, path::Path, time::Duration};

use serde::Serialize;

use super::{Fault, FaultError, Seen};
use crate::history::Verdict;

/// How a fault was survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As stated, and no promise was broken.
    Passed,
    /// Not as stated, or a promise was broken, or it could not be tried.
    Failed,
    /// It cannot be tried with this program or on this machine.
    Skipped,
}

/// What came of one fault.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What was done.
    pub fault: &'static str,
    /// What has to be seen.
    pub expected: &'static str,
    /// What was seen.
    pub seen: String,
    /// Passed or not.
    pub status: Status,
    /// What the judge says of each cluster.
    pub checker: Vec<Verdict>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

impl Row {
    pub(super) fn new(fault: &Fault, seen: Result<Seen, FaultError>, elapsed: Duration, kept: &Path) -> Self {
        let (status, seen, checker) = match seen {
            Ok(Seen { text, passed, verdicts }) => {
                let kept_promises = verdicts.iter().all(Verdict::is_clean);
                let status = if passed && kept_promises { Status::Passed } else { Status::Failed };
                (status, text, verdicts)
            }
            Err(FaultError::Skipped { why }) => (Status::Skipped, why, Vec::new()),
            Err(error) => (Status::Failed, error.to_string(), Vec::new()),
        };
        let seen = if status == Status::Failed { format!("{seen}; its files are in {}", kept.display()) } else { seen };
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Self { name: fault.name, fault: fault.fault, expected: fault.passes_when, seen, status, checker, elapsed_ms }
    }
}

/// What came of all of them.
#[derive(Debug, Serialize)]
pub struct FaultReport {
    /// What was drawn at random was drawn from it.
    pub seed: u64,
    /// Faults survived.
    pub passed: usize,
    /// Faults not survived.
    pub failed: usize,
    /// Faults not tried.
    pub skipped: usize,
    /// One for each.
    pub rows: Vec<Row>,
}

impl FaultReport {
    pub(super) fn new(seed: u64, rows: Vec<Row>) -> Self {
        let count = |status| rows.iter().filter(|row| row.status == status).count();
        Self {
            seed,
            passed: count(Status::Passed),
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
            rows,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.status {
            Status::Passed => "pass",
            Status::Failed => "FAIL",
            Status::Skipped => "skip",
        };
        let seconds = self.elapsed_ms as f64 / 1_000.0;
        writeln!(f, "{word}  {:<26} {seconds:>6.1} s  {}", self.name, self.fault)?;
        writeln!(f, "        expected: {}", self.expected)?;
        write!(f, "        seen:     {}", self.seen)?;
        for verdict in self.checker.iter().filter(|verdict| !verdict.is_clean()) {
            for line in verdict.to_string().lines() {
                write!(f, "\n        checker:  {line}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        write!(f, "{} passed, {} failed, {} skipped, seed {}", self.passed, self.failed, self.skipped, self.seed)
    }
}

//! Recorded tasks: what came when, for whom, and how long it ran, as a CSV file.
//!
//! A trace is what a fleet really had to do, so that a scenario can submit it again and the simulator can try other
//! strategies on it. It is text with a header because people make such files from what they have: a database, a log,
//! a spreadsheet. Columns may stand in any order, and only two are needed:
//!
//! | column | what | where it is missing |
//! |---|---|---|
//! | `submitted_ms` | when the task was submitted; only differences count, so any zero will do | needed |
//! | `service_ms` | how long the attempt ran that ended it | needed |
//! | `tenant` | whose it was | `default` |
//! | `priority` | 0 to 9 | 5 |
//! | `kind` | what it was | `work` |
//! | `agent` | the agent that had it last | not known |
//! | `queued_ms` | how long it waited: the time from its submission to its end, less `service_ms` | not known |
//! | `attempts` | attempts made | not known |
//! | `state` | how it ended: `succeeded`, `failed`, ... | not known |
//!
//! Times are decimal milliseconds, kept to the nanosecond. An optional field may be empty. A field may stand in double
//! quotes; no legal value holds a quote or a comma, so there is nothing to escape, and a CSV library was not worth its
//! place. Rows may be out of order (a coordinator lists the newest first); they are sorted when a whole trace is read.
//! A column that is not known is refused rather than ignored, since it is most likely a known one misspelt.

mod read;
mod write;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter},
    path::{Path, PathBuf},
    time::Duration,
};

use evenkeel_shared::{AgentId, Kind, Priority, TaskState, Tenant};

pub use self::{read::TraceReader, write::TraceWriter};

/// Tasks of a trace that is read as a whole: about 1 GB of memory. A longer history is cut by its owner, who knows where.
const TRACE_TASKS_MAX: usize = 10_000_000;
/// Longest line: three names at their longest and the numbers, several times over.
const LINE_BYTES_MAX: u64 = 4_096;
/// The kind of a task whose trace does not tell.
const KIND_DEFAULT: &str = "work";

/// One recorded task.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceTask {
    /// When it was submitted, after the trace's zero; after the first task, in a trace that was read as a whole.
    pub submitted_at: Duration,
    /// Whose it was.
    pub tenant: Tenant,
    /// How urgent it was.
    pub priority: Priority,
    /// What it was.
    pub kind: Kind,
    /// How long the attempt ran that ended it.
    pub service: Duration,
    /// The agent that had it last.
    pub agent: Option<AgentId>,
    /// How long it waited: the time from its submission to its end, less the service.
    pub queued: Option<Duration>,
    /// Attempts made.
    pub attempts: Option<u32>,
    /// How it ended.
    pub state: Option<TaskState>,
}

impl TraceTask {
    /// A task of which only these two are known.
    #[must_use]
    pub fn new(submitted_at: Duration, service: Duration) -> Self {
        Self {
            submitted_at,
            tenant: Tenant::default(),
            priority: Priority::default(),
            kind: default_kind(),
            service,
            agent: None,
            queued: None,
            attempts: None,
            state: None,
        }
    }
}

#[allow(clippy::unwrap_used, reason = "the name is a constant, and legal: a test reads it")]
fn default_kind() -> Kind {
    Kind::new(KIND_DEFAULT).unwrap()
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file could not be opened.
    #[error("cannot open the trace {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be read or written.
    #[error("line {line} of the trace: {source}")]
    Io {
        /// Where, from 1 on.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// It is empty.
    #[error("the trace is empty; its first line must name the columns, among them submitted_ms and service_ms")]
    Empty,
    /// The header names no columns that make a trace.
    #[error("line 1 of the trace: {what}; the columns are {}", Column::NAMES.join(", "))]
    Header {
        /// What is wrong with it.
        what: String,
    },
    /// A line is longer than any task needs.
    #[error("line {line} of the trace is longer than {LINE_BYTES_MAX} bytes; is this a CSV file?")]
    LineTooLong {
        /// Where, from 1 on.
        line: u64,
    },
    /// A row has more or fewer fields than there are columns.
    #[error("line {line} of the trace has {fields} fields; the header names {columns} columns")]
    Fields {
        /// Where, from 1 on.
        line: u64,
        /// Fields of the row.
        fields: usize,
        /// Columns of the header.
        columns: usize,
    },
    /// A field cannot be what its column says.
    #[error("line {line} of the trace, {column}: {what}")]
    Value {
        /// Where, from 1 on.
        line: u64,
        /// The column.
        column: &'static str,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// There are more tasks than are held in memory.
    #[error("the trace has more than {TRACE_TASKS_MAX} tasks; cut it into parts")]
    TooMany,
}

/// Columns, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    SubmittedMs,
    Tenant,
    Priority,
    Kind,
    ServiceMs,
    Agent,
    QueuedMs,
    Attempts,
    State,
}

impl Column {
    const ALL: [Self; 9] = [
        Self::SubmittedMs,
        Self::Tenant,
        Self::Priority,
        Self::Kind,
        Self::ServiceMs,
        Self::Agent,
        Self::QueuedMs,
        Self::Attempts,
        Self::State,
    ];
    const NAMES: [&str; 9] =
        ["submitted_ms", "tenant", "priority", "kind", "service_ms", "agent", "queued_ms", "attempts", "state"];

    const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }
}

/// Whole traces.
#[derive(Debug)]
pub enum Trace {}

impl Trace {
    /// Reads a file: its tasks in the order of their submission, the first one at zero.
    ///
    /// # Errors
    /// The first line that is wrong, and how.
    pub fn read(path: &Path) -> Result<Vec<TraceTask>, TraceError> {
        let file = File::open(path).map_err(|source| TraceError::Open { path: path.to_owned(), source })?;
        Self::read_from(BufReader::with_capacity(1 << 16, file))
    }

    /// Reads any source, likewise.
    ///
    /// # Errors
    /// The first line that is wrong, and how.
    pub fn read_from(source: impl BufRead) -> Result<Vec<TraceTask>, TraceError> {
        let mut tasks = Vec::new();
        for task in TraceReader::new(source)? {
            if tasks.len() == TRACE_TASKS_MAX {
                return Err(TraceError::TooMany);
            }
            tasks.push(task?);
        }
        // Stable, so that tasks of one time stay in the order of their rows.
        tasks.sort_by_key(|task: &TraceTask| task.submitted_at);
        let zero = tasks.first().map_or(Duration::ZERO, |task| task.submitted_at);
        for task in &mut tasks {
            task.submitted_at -= zero;
        }
        Ok(tasks)
    }

    /// Writes tasks to a file, in their order.
    ///
    /// # Errors
    /// What the system said.
    pub fn write<'a>(path: &Path, tasks: impl IntoIterator<Item = &'a TraceTask>) -> Result<(), TraceError> {
        let file = File::create(path).map_err(|source| TraceError::Open { path: path.to_owned(), source })?;
        let mut writer = TraceWriter::new(BufWriter::new(file))?;
        tasks.into_iter().try_for_each(|task| writer.write(task))?;
        writer.finish()
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;

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

use std::{
    collections::BTreeSet,
    fmt::Debug,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use evenkeel_shared::{AgentId, Kind, Priority, TaskState, Tenant, limits::DURATION_MAX};

/// Tasks of a trace that is read as a whole: about 1 GB of memory. A longer history is cut by its owner, who knows where.
pub const TRACE_TASKS_MAX: usize = 10_000_000;
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

/// Reads tasks one by one, as they stand in the file.
#[derive(Debug)]
pub struct TraceReader<R> {
    source: R,
    columns: Vec<Column>,
    line: u64,
    text: String,
    /// What a task is as long as no field says otherwise.
    blank: TraceTask,
    /// Names seen before, so that a million tasks of one kind share one name.
    kinds: BTreeSet<Kind>,
    tenants: BTreeSet<Tenant>,
    agents: BTreeSet<AgentId>,
}

impl<R: BufRead> TraceReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If it does not name the columns of a trace.
    pub fn new(source: R) -> Result<Self, TraceError> {
        let (kinds, tenants, agents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let blank = TraceTask::new(Duration::ZERO, Duration::ZERO);
        let mut reader =
            Self { source, columns: Vec::new(), line: 0, text: String::new(), blank, kinds, tenants, agents };
        if !reader.next_line()? {
            return Err(TraceError::Empty);
        }
        let refuse = |what: String| TraceError::Header { what };
        for name in fields(reader.text.trim_start_matches('\u{feff}')) {
            let column = Column::named(name).ok_or_else(|| refuse(format!("`{name}` is no column")))?;
            if reader.columns.contains(&column) {
                return Err(refuse(format!("{name} is there twice")));
            }
            reader.columns.push(column);
        }
        for needed in [Column::SubmittedMs, Column::ServiceMs] {
            if !reader.columns.contains(&needed) {
                return Err(refuse(format!("{} is missing", needed.name())));
            }
        }
        Ok(reader)
    }

    /// The next line that is not blank, without its end. False: there is none.
    fn next_line(&mut self) -> Result<bool, TraceError> {
        loop {
            self.text.clear();
            self.line += 1;
            let line = self.line;
            let mut limited = (&mut self.source).take(LINE_BYTES_MAX + 1);
            let read = limited.read_line(&mut self.text).map_err(|source| TraceError::Io { line, source })?;
            if read as u64 > LINE_BYTES_MAX {
                return Err(TraceError::LineTooLong { line });
            }
            let end = self.text.trim_end().len();
            self.text.truncate(end);
            if end > 0 || read == 0 {
                return Ok(read > 0);
            }
        }
    }

    /// The task of the line at hand.
    fn task(&mut self) -> Result<TraceTask, TraceError> {
        let Self { columns, line, text, kinds, tenants, agents, .. } = self;
        let (line, count) = (*line, fields(text).count());
        if count != columns.len() {
            return Err(TraceError::Fields { line, fields: count, columns: columns.len() });
        }
        let mut task = self.blank.clone();
        for (&column, field) in columns.iter().zip(fields(text)) {
            let needed = matches!(column, Column::SubmittedMs | Column::ServiceMs);
            if field.is_empty() && !needed {
                continue;
            }
            let set = match column {
                Column::SubmittedMs => milliseconds(field, Duration::MAX).map(|at| task.submitted_at = at),
                Column::ServiceMs => milliseconds(field, DURATION_MAX).map(|time| task.service = time),
                Column::QueuedMs => milliseconds(field, DURATION_MAX).map(|time| task.queued = Some(time)),
                Column::Tenant => shared(tenants, field).map(|tenant| task.tenant = tenant),
                Column::Kind => shared(kinds, field).map(|kind| task.kind = kind),
                Column::Agent => shared(agents, field).map(|agent| task.agent = Some(agent)),
                Column::Priority => priority(field).map(|priority| task.priority = priority),
                Column::Attempts => count_of(field).map(|attempts| task.attempts = Some(attempts)),
                Column::State => state(field).map(|state| task.state = Some(state)),
            };
            set.map_err(|what| TraceError::Value { line, column: column.name(), what })?;
        }
        Ok(task)
    }
}

impl<R: BufRead> Iterator for TraceReader<R> {
    type Item = Result<TraceTask, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_line() {
            Ok(true) => Some(self.task()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// The fields of a line, without the quotes and the blanks around them.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|field| {
        let field = field.trim();
        field.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(field)
    })
}

/// The name, which shares its memory with an equal one seen before.
fn shared<T>(seen: &mut BTreeSet<T>, name: &str) -> Result<T, String>
where
    T: Clone + Ord + std::borrow::Borrow<str> + FromStr<Err = evenkeel_shared::Violation>,
{
    if let Some(known) = seen.get(name) {
        return Ok(known.clone());
    }
    let new: T = name.parse().map_err(|violation: evenkeel_shared::Violation| violation.description)?;
    seen.insert(new.clone());
    Ok(new)
}

/// Decimal milliseconds; digits beyond the nanosecond are dropped. By integers: a time since 1970 with nanoseconds has more
/// digits than a floating-point number keeps.
fn milliseconds(text: &str, max: Duration) -> Result<Duration, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(format!("`{text}` is no time; write decimal milliseconds, such as 12.5"));
    }
    let whole_ms = if whole.is_empty() { Some(0) } else { whole.parse::<u64>().ok() };
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |sum, byte| {
        sum * 10 + u64::from(byte - b'0') // below a million
    });
    let time = whole_ms.and_then(|ms| Duration::from_millis(ms).checked_add(Duration::from_nanos(nanos)));
    time.filter(|time| *time <= max).ok_or_else(|| format!("{text} ms is more than {} days", max.as_secs() / 86_400))
}

fn priority(text: &str) -> Result<Priority, String> {
    let level = text.parse::<u8>().ok().and_then(Priority::new);
    level.ok_or_else(|| format!("`{text}` is no priority; write 0 to 9"))
}

fn count_of(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number of attempts"))
}

fn state(text: &str) -> Result<TaskState, String> {
    let names = || TaskState::ALL.map(TaskState::name).join(", ");
    TaskState::named(text).ok_or_else(|| format!("`{text}` is no state; the states are {}", names()))
}

/// Writes tasks one by one.
#[derive(Debug)]
pub struct TraceWriter<W> {
    sink: W,
    line: u64,
}

impl<W: Write> TraceWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(mut sink: W) -> Result<Self, TraceError> {
        writeln!(sink, "{}", Column::NAMES.join(",")).map_err(|source| TraceError::Io { line: 1, source })?;
        Ok(Self { sink, line: 1 })
    }

    /// Writes a task.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&mut self, task: &TraceTask) -> Result<(), TraceError> {
        self.line += 1;
        let TraceTask { submitted_at, tenant, priority, kind, service, agent, queued, attempts, state } = task;
        let (submitted_ms, service_ms) = (in_milliseconds(*submitted_at), in_milliseconds(*service));
        let agent = agent.as_ref().map_or("", AgentId::as_str);
        let queued_ms = queued.map(in_milliseconds).unwrap_or_default();
        let attempts = attempts.map(|count| count.to_string()).unwrap_or_default();
        let state = state.map_or("", TaskState::name);
        let (priority, line) = (priority.level(), self.line);
        writeln!(
            self.sink,
            "{submitted_ms},{tenant},{priority},{kind},{service_ms},{agent},{queued_ms},{attempts},{state}"
        )
        .map_err(|source| TraceError::Io { line, source })
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// What the system said.
    pub fn finish(mut self) -> Result<(), TraceError> {
        self.sink.flush().map_err(|source| TraceError::Io { line: self.line, source })
    }
}

/// With as many decimals as it takes to read it back as it is.
fn in_milliseconds(time: Duration) -> String {
    let (ms, nanos) = (time.as_millis(), time.subsec_nanos() % 1_000_000);
    if nanos == 0 {
        return ms.to_string();
    }
    format!("{ms}.{nanos:06}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;

//! Reading a trace, a line at a time.

use std::{
    collections::BTreeSet,
    io::{BufRead, Read as _},
    str::FromStr,
    time::Duration,
};

use evenkeel_shared::{AgentId, Kind, Priority, TaskState, Tenant, limits::DURATION_MAX};

use super::{Column, LINE_BYTES_MAX, TraceError, TraceTask};

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

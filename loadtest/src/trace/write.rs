//! Writing a trace, a task at a time.

use std::{io::Write, time::Duration};

use evenkeel_shared::{AgentId, TaskState};

use super::{Column, TraceError, TraceTask};

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

//! What agents executed, from the logs that they wrote: JSON, one line an event.
//!
//! An agent that is killed leaves what it wrote until then. Its last line may be torn, and is then left out; a torn line
//! anywhere else means that the log is not what it should be, so each life of an agent writes to a file of its own.
//!
//! ```text
//! {"agent":"a-1","task_id":"0198…","attempt":1,"assignment_id":7,"event":"begin","at_unix_us":1000}
//! {"agent":"a-1","task_id":"0198…","attempt":1,"assignment_id":7,"event":"end","at_unix_us":2000}
//! {"agent":"a-1","task_id":"0198…","attempt":1,"assignment_id":7,"event":"ack","success":true,"recorded":true}
//! ```

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use evenkeel_shared::{AgentId, AssignmentId, AttemptNumber, AttemptRef, TaskId, Timestamp};
use serde::Deserialize;

use super::{Acknowledgement, Execution, History};

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionsError {
    /// The file cannot be read.
    #[error("cannot read the log of executions {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not what an agent writes.
    #[error("{path}, line {line}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, the first being 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Deserialize)]
struct Line {
    agent: AgentId,
    task_id: TaskId,
    attempt: AttemptNumber,
    assignment_id: AssignmentId,
    #[serde(flatten)]
    event: Event,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Begin { at_unix_us: u64 },
    End { at_unix_us: u64 },
    Ack { success: bool, recorded: bool },
}

/// Adds to the history what an agent executed and was answered.
///
/// # Errors
/// If the file cannot be read or has something else in it.
pub fn read_executions(path: &Path, history: &mut History) -> Result<(), ExecutionsError> {
    let file_error = |source| ExecutionsError::File { path: path.to_owned(), source };
    let mut lines = BufReader::new(File::open(path).map_err(file_error)?);
    let mut running = HashMap::new();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if lines.read_until(b'\n', &mut bytes).map_err(file_error)? == 0 {
            break;
        }
        let torn = !bytes.ends_with(b"\n");
        let written = match serde_json::from_slice::<Line>(&bytes) {
            Ok(line) => write(line, &mut running, history),
            Err(_) if torn => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        written.map_err(|what| ExecutionsError::Malformed { path: path.to_owned(), line: number, what })?;
    }
    Ok(())
}

/// Where in the history an execution that has begun is.
type Running = HashMap<(AgentId, AttemptRef), usize>;

fn write(line: Line, running: &mut Running, history: &mut History) -> Result<(), String> {
    let attempt = AttemptRef { task: line.task_id, attempt: line.attempt, assignment: line.assignment_id };
    let agent = line.agent;
    match line.event {
        Event::Begin { at_unix_us } => {
            running.insert((agent.clone(), attempt), history.executions.len());
            let begun_at = Timestamp::from_unix_micros(at_unix_us);
            history.executions.push(Execution { agent, attempt, begun_at, ended_at: None });
        }
        Event::End { at_unix_us } => {
            let (task, number) = (attempt.task, attempt.attempt);
            let Some(begun) = running.remove(&(agent, attempt)) else {
                return Err(format!("attempt {number} of task {task} ends, and has not begun"));
            };
            history.executions[begun].ended_at = Some(Timestamp::from_unix_micros(at_unix_us));
        }
        Event::Ack { success, recorded } => {
            history.acknowledgements.push(Acknowledgement { agent, attempt, success, recorded });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "executions_tests.rs"]
mod tests;

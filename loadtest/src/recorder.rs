//! Records the history of a running coordinator as a [trace](crate::trace).
//!
//! The list of tasks does not tell of attempts, so each task is asked for: one call a task, some at a time. Tasks that are not
//! over are left out, for what they took is not known yet.

use std::time::Duration;

use evenkeel_proto::v1::{self, task_service_client::TaskServiceClient};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{AgentId, Kind, Priority, TaskState, Tenant, Violation};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonic::Status;

use crate::{error::LoadtestError, trace::TraceTask};

/// Tasks of a page, as many as a coordinator gives.
const PAGE_TASKS: u32 = 1_000;
/// Calls under way at a time: enough to keep a coordinator busy, few enough not to be in the way of its work.
const CALLS: usize = 16;
/// States of tasks that are over.
const OVER: [v1::TaskState; 5] = [
    v1::TaskState::Succeeded,
    v1::TaskState::Failed,
    v1::TaskState::Cancelled,
    v1::TaskState::Expired,
    v1::TaskState::Quarantined,
];

/// The latest tasks that are over, at most so many, in the order of their submission. `progress` is told how many there are so far.
///
/// # Errors
/// If a call fails, or is answered with what is no task.
pub async fn record(
    client: &TaskServiceClient<Channel>,
    limit: usize,
    progress: impl Fn(usize),
) -> Result<Vec<TraceTask>, LoadtestError> {
    let mut tasks = Vec::new();
    let mut page_token = String::new();
    while tasks.len() < limit {
        let request = v1::ListRequest {
            states: OVER.map(i32::from).to_vec(),
            page_size: PAGE_TASKS.min(u32::try_from(limit - tasks.len()).unwrap_or(PAGE_TASKS)),
            page_token: page_token.clone(),
            ..v1::ListRequest::default()
        };
        let page = client.clone().list(request).await.map_err(|status| failed("List", status))?.into_inner();
        let got = stream::iter(page.tasks).map(|task| get(client.clone(), task.task_id)).buffered(CALLS);
        let got: Vec<Option<v1::Task>> = got.try_collect().await?;
        for task in got.into_iter().flatten() {
            tasks.push(read(&task).map_err(|violation| LoadtestError::Plan {
                what: format!("the coordinator answered with a task ({}) that is none: {violation}", task.task_id),
            })?);
        }
        progress(tasks.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    tasks.truncate(limit);
    tasks.reverse();
    let zero = tasks.iter().map(|task| task.submitted_at).min().unwrap_or_default();
    tasks.iter_mut().for_each(|task| task.submitted_at -= zero);
    Ok(tasks)
}

/// The whole task. `None`: it was forgotten meanwhile.
async fn get(mut client: TaskServiceClient<Channel>, task_id: String) -> Result<Option<v1::Task>, LoadtestError> {
    let request = v1::GetRequest { task_id, include_payload: false, include_attempts: true };
    match client.get(request).await {
        Ok(response) => Ok(response.into_inner().task),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(failed("Get", status)),
    }
}

fn failed(call: &'static str, status: Status) -> LoadtestError {
    LoadtestError::Call { call, status: Box::new(status) }
}

/// A task as a trace has it.
fn read(task: &v1::Task) -> Result<TraceTask, Violation> {
    let spec = task.spec.clone().unwrap_or_default();
    let last = task.attempts.last();
    let service = Duration::from_micros(last.map_or(0, |attempt| attempt.run_us));
    let response = Duration::from_micros(task.latency_us);
    let agent = if task.agent_id.is_empty() { None } else { Some(AgentId::new(&task.agent_id)?) };
    let level = spec.priority.and_then(|level| u8::try_from(level).ok()).and_then(Priority::new);
    Ok(TraceTask {
        submitted_at: Duration::from_millis(u64::try_from(task.accepted_unix_ms).unwrap_or(0)),
        tenant: if spec.tenant.is_empty() { Tenant::default() } else { Tenant::new(&spec.tenant)? },
        priority: level.unwrap_or_default(),
        kind: Kind::new(&spec.kind)?,
        service,
        queued: agent.is_some().then(|| response.saturating_sub(service)),
        agent,
        attempts: Some(task.attempts_made),
        state: state(task.state()),
    })
}

fn state(state: v1::TaskState) -> Option<TaskState> {
    Some(match state {
        v1::TaskState::Unspecified => return None,
        v1::TaskState::Queued => TaskState::Queued,
        v1::TaskState::Assigned => TaskState::Assigned,
        v1::TaskState::Running => TaskState::Running,
        v1::TaskState::RetryWait => TaskState::RetryWait,
        v1::TaskState::Succeeded => TaskState::Succeeded,
        v1::TaskState::Failed => TaskState::Failed,
        v1::TaskState::Cancelled => TaskState::Cancelled,
        v1::TaskState::Expired => TaskState::Expired,
        v1::TaskState::Quarantined => TaskState::Quarantined,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_becomes_what_it_waited_and_ran() {
        let attempt =
            |agent_id: &str, run_us| v1::Attempt { agent_id: agent_id.into(), run_us, ..v1::Attempt::default() };
        let task = v1::Task {
            spec: Some(v1::TaskSpec { kind: "resize".into(), priority: Some(8), ..v1::TaskSpec::default() }),
            state: v1::TaskState::Succeeded.into(),
            accepted_unix_ms: 1_700_000_000_000,
            attempts_made: 2,
            agent_id: "b".into(),
            attempts: vec![attempt("a", 999), attempt("b", 20_000)],
            latency_us: 25_500,
            ..v1::Task::default()
        };
        let expected = TraceTask {
            priority: Priority::new(8).unwrap(),
            kind: Kind::new("resize").unwrap(),
            agent: Some(AgentId::new("b").unwrap()),
            queued: Some(Duration::from_micros(5_500)),
            attempts: Some(2),
            state: Some(TaskState::Succeeded),
            ..TraceTask::new(Duration::from_millis(1_700_000_000_000), Duration::from_millis(20))
        };
        assert_eq!(read(&task), Ok(expected));
    }

    #[test]
    fn a_task_that_nobody_had_waited_for_nobody() {
        let spec = Some(v1::TaskSpec { kind: "a".into(), ..v1::TaskSpec::default() });
        let task = v1::Task { spec, state: v1::TaskState::Expired.into(), latency_us: 7, ..v1::Task::default() };
        let read = read(&task).unwrap();
        assert_eq!((read.agent, read.queued, read.service), (None, None, Duration::ZERO));
        assert!(read_error().starts_with("kind: must not be empty"), "{}", read_error());
    }

    fn read_error() -> String {
        read(&v1::Task::default()).unwrap_err().to_string()
    }
}

//! Asking how tasks ended, instead of being told.

use std::time::Duration;

use evenkeel_proto::v1::{GetRequest, TaskFinished, WaitRequest, task_service_client::TaskServiceClient};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{TaskId, limits::WAIT_TASKS_MAX, wire::enums::task_state};
use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tonic::{Code, Status};

/// The shortest Wait there is: what is over is answered, nothing is waited for. 0 would mean for ever.
const WAIT_MS: u64 = 1;
/// Longest single call.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Gets under way at once, where tasks have to be asked for one by one.
const GETS_MAX: usize = 32;

/// What the coordinator says of tasks.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The ends of those that are over.
    pub ended: Vec<TaskFinished>,
    /// Those of which it said nothing at all: they may be over, under way or lost.
    pub unanswered: Vec<TaskId>,
}

/// Asks for the ends of these tasks. What is missing is asked for again later, or is missing in the report.
pub(crate) async fn ended(calls: &TaskServiceClient<Channel>, ids: &[TaskId]) -> Answers {
    let mut answers = Answers::default();
    let mut answered = 0;
    for ids in ids.chunks(WAIT_TASKS_MAX) {
        match wait(calls.clone(), ids).await {
            Ok(some) => answers.ended.extend(some),
            // One unknown task fails the whole Wait: find out about the others one by one.
            Err(status) if status.code() == Code::NotFound => {
                let mut gets = stream::iter(ids.to_vec()).map(|id| get(calls.clone(), id)).buffer_unordered(GETS_MAX);
                while let Some(got) = gets.next().await {
                    match got {
                        Ok(end) => answers.ended.extend(end),
                        Err(id) => answers.unanswered.push(id),
                    }
                }
            }
            Err(status) => {
                tracing::debug!(%status, "the ends of {} tasks could not be asked for", ids.len());
                break;
            }
        }
        answered += ids.len();
    }
    answers.unanswered.extend_from_slice(&ids[answered..]);
    answers
}

async fn wait(mut calls: TaskServiceClient<Channel>, ids: &[TaskId]) -> Result<Vec<TaskFinished>, Status> {
    let task_ids = ids.iter().map(TaskId::to_string).collect();
    let call = calls.wait(WaitRequest { task_ids, timeout_ms: WAIT_MS, any: false });
    let answer = timeout(CALL_MAX, call).await.map_err(|_| Status::deadline_exceeded("no answer to Wait"))??;
    Ok(answer.into_inner().finished)
}

/// The end of one task; `None` if it is not over or not known, and its id if there is no answer.
async fn get(mut calls: TaskServiceClient<Channel>, id: TaskId) -> Result<Option<TaskFinished>, TaskId> {
    let call = calls.get(GetRequest { task_id: id.to_string(), include_payload: false, include_attempts: false });
    let task = match timeout(CALL_MAX, call).await {
        Ok(Ok(answer)) => answer.into_inner().task.ok_or(id)?,
        Ok(Err(status)) if status.code() == Code::NotFound => return Ok(None),
        _ => return Err(id),
    };
    let over = task_state(task.state).is_some_and(|state| state.is_terminal());
    Ok(over.then_some(TaskFinished {
        task_id: task.task_id,
        state: task.state,
        output: task.output,
        failure: task.failure,
        attempts_made: task.attempts_made,
        agent_id: task.agent_id,
        latency_us: task.latency_us,
    }))
}

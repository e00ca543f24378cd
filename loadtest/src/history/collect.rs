//! Asking a coordinator what it has recorded, over its public API alone.
//!
//! Every task is listed, every listed one is asked for with its attempts, and the history of every durable task that is
//! over is watched from its beginning, for how often its end was recorded. A watch of named tasks that are over ends by
//! itself, so nothing has to guess when all has come; a watch of everything would go on for ever. Tasks accepted meanwhile
//! are missed: collect when clients and agents have stopped.
//!
//! A coordinator that is short of room or restarts is asked again, for a bounded time.

mod patience;
mod wire;

use std::{collections::HashMap, time::Duration};

use evenkeel_proto::v1::{
    GetRequest, ListRequest, TaskEventType, WatchRequest, task_service_client::TaskServiceClient,
};
use evenkeel_shared::dial::Channel;
use evenkeel_shared::{Delivery, TaskId, limits::MESSAGE_BYTES_MAX};
use futures_util::{StreamExt, TryStreamExt, stream};
use tonic::Code;

use self::patience::Patience;
use super::{History, RecordedTask};

/// Tasks of a page: the most that a coordinator gives.
const PAGE: u32 = 1_000;
/// Pages read before it is taken for certain that they go round in circles: a thousand million tasks.
const PAGES_MAX: usize = 1_000_000;
/// Gets under way at once: enough to hide the round trip, few beside what a coordinator serves.
const GETS_MAX: usize = 32;
/// Tasks of one watch. The coordinator looks each of them up for every page of 512 events, so that few tasks whose events
/// fit into one page are cheapest.
const WATCH_TASKS: usize = 100;
/// Watches under way at once.
const WATCHES_MAX: usize = 4;
/// Longest single call, a watch included.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Why the record could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A call failed for a reason that another try does not change, or each time.
    #[error("cannot read what the coordinator has recorded: {call} failed ({tries} tries): {}: {}", status.code(), status.message())]
    Call {
        /// Which call.
        call: &'static str,
        /// How often it was tried.
        tries: u32,
        /// How the last try ended.
        status: Box<tonic::Status>,
    },
    /// An answer that cannot be.
    #[error("the coordinator's answer to {call} makes no sense: {what}")]
    Answer {
        /// To which call.
        call: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// Adds to the history what the coordinator has recorded.
///
/// # Errors
/// If a call fails for good, or an answer makes no sense.
pub async fn collect(channel: Channel, history: &mut History) -> Result<(), CollectError> {
    let calls = TaskServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let collector = Collector { calls, patience: Patience::default() };
    let ids = collector.ids().await?;
    let gets = stream::iter(ids).map(|id| collector.clone().task(id)).buffered(GETS_MAX);
    let tasks: Vec<Option<RecordedTask>> = gets.try_collect().await?;
    let mut tasks: Vec<RecordedTask> = tasks.into_iter().flatten().collect();
    let ends = collector.ends(&tasks).await?;
    for task in &mut tasks {
        task.ends_recorded = ends.get(&task.id).copied().unwrap_or(0);
    }
    history.recorded.append(&mut tasks);
    Ok(())
}

#[derive(Clone)]
struct Collector {
    calls: TaskServiceClient<Channel>,
    patience: Patience,
}

impl Collector {
    /// All tasks, as the lists have them: one that is listed twice is recorded twice.
    async fn ids(&self) -> Result<Vec<TaskId>, CollectError> {
        let mut ids = Vec::new();
        let mut page_token = String::new();
        for _ in 0..PAGES_MAX {
            let request = ListRequest { page_size: PAGE, page_token, ..ListRequest::default() };
            let page = self.patience.call("List", || {
                let (mut calls, request) = (self.calls.clone(), request.clone());
                async move { calls.list(request).await.map(tonic::Response::into_inner) }
            });
            let page = page.await?;
            for task in &page.tasks {
                ids.push(wire::task_id("List", &task.task_id)?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(ids);
            }
        }
        Err(CollectError::Answer { call: "List", what: format!("there is still more after {PAGES_MAX} pages") })
    }

    /// A task as it is recorded; `None`: it is not any more.
    async fn task(self, id: TaskId) -> Result<Option<RecordedTask>, CollectError> {
        let got = self.patience.call("Get", || {
            let mut calls = self.calls.clone();
            let request = GetRequest { task_id: id.to_string(), include_payload: false, include_attempts: true };
            async move {
                match calls.get(request).await {
                    Ok(answer) => Ok(answer.into_inner().task),
                    Err(status) if status.code() == Code::NotFound => Ok(None),
                    Err(status) => Err(status),
                }
            }
        });
        got.await?.map(wire::task).transpose()
    }

    /// How often the end of each of these tasks was recorded. Of ephemeral tasks no events are kept.
    async fn ends(&self, tasks: &[RecordedTask]) -> Result<HashMap<TaskId, u32>, CollectError> {
        let told = |task: &&RecordedTask| task.state.is_terminal() && task.delivery == Delivery::Durable;
        let over: Vec<TaskId> = tasks.iter().filter(told).map(|task| task.id).collect();
        let watched: Vec<Vec<TaskId>> = over.chunks(WATCH_TASKS).map(<[_]>::to_vec).collect();
        let watches = stream::iter(watched).map(|ids| self.clone().ends_of(ids)).buffered(WATCHES_MAX);
        let ends: Vec<HashMap<TaskId, u32>> = watches.try_collect().await?;
        Ok(ends.into_iter().flatten().collect())
    }

    async fn ends_of(self, ids: Vec<TaskId>) -> Result<HashMap<TaskId, u32>, CollectError> {
        let task_ids: Vec<String> = ids.iter().map(TaskId::to_string).collect();
        let ended = self.patience.call("Watch", || {
            let mut calls = self.calls.clone();
            let request = WatchRequest { task_ids: task_ids.clone(), ..WatchRequest::default() };
            async move {
                let mut events = calls.watch(request).await?.into_inner();
                let mut ended = Vec::new();
                while let Some(event) = events.message().await? {
                    if event.r#type() == TaskEventType::Finished {
                        ended.push(event.task_id);
                    }
                }
                Ok(ended)
            }
        });
        let mut counts = HashMap::new();
        for id in ended.await? {
            *counts.entry(wire::task_id("Watch", &id)?).or_default() += 1;
        }
        Ok(counts)
    }
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;

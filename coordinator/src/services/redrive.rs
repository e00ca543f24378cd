//! Driving tasks again that did not succeed.
//!
//! The work is submitted as a new task that names the old one. It has no idempotency key, because that belongs to the old
//! task, and no deadline, because that has passed or soon will; all else is as it was. The old task stays as it is.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use dashmap::DashSet;
use evenkeel_core::engine::NewTask;
use evenkeel_proto::v1;
use evenkeel_shared::{
    Code, Delivery, Error, TaskId, TaskSpec, TaskState, Violation,
    wire::{enums, status::to_item_error, task::tenant},
};

use super::submission::new_task;
use crate::{
    directory::Known,
    gateway::Gateway,
    security::audit::CameOf,
    store::{Page, StoreError, StoreReader, TaskFilter},
};

/// Most tasks in one request, and the default: as in one submission.
const REDRIVE_MAX: u32 = 1_000;
/// Payload bytes submitted at a time.
const BYTES_MAX: usize = 32 << 20;
/// States that can be driven again.
const STATES: [TaskState; 4] = [TaskState::Failed, TaskState::Expired, TaskState::Quarantined, TaskState::Cancelled];

/// Tasks that are being driven again at the moment, so that two requests at once do not do it twice. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Redrives(Arc<DashSet<TaskId>>);

/// A task's turn; over when dropped.
struct Turn<'a>(&'a DashSet<TaskId>, TaskId);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.remove(&self.1);
    }
}

impl Redrives {
    /// Drives tasks again, each with its own answer.
    ///
    /// # Errors
    /// If the request is wrong, or the store cannot be read.
    pub async fn redrive(&self, gateway: &Gateway, request: v1::RedriveRequest) -> Result<v1::RedriveResponse, Error> {
        gateway.lifecycle.check_writable()?;
        let tasks = wanted(gateway, request).await?;
        let mut redriven = Vec::with_capacity(tasks.len());
        let mut turns = Vec::new();
        let mut batch: Vec<(TaskId, NewTask)> = Vec::new();
        let mut bytes = 0;
        for task in tasks {
            let prepared = if self.0.insert(task) {
                turns.push(Turn(&self.0, task));
                prepare(gateway, task).await
            } else {
                Err(Error::new(Code::Aborted, "the task is being driven again at this moment")
                    .about("task", task.to_string()))
            };
            match prepared {
                Err(error) => redriven.push(refused(task, &error)),
                Ok(new) => {
                    bytes += new.payload.len();
                    batch.push((task, new));
                }
            }
            if bytes >= BYTES_MAX {
                submit(gateway, std::mem::take(&mut batch), &mut redriven).await;
                bytes = 0;
            }
        }
        submit(gateway, batch, &mut redriven).await;
        Ok(v1::RedriveResponse { redriven })
    }
}

/// What came of a request as a whole: each task has an answer of its own.
#[must_use]
pub fn came_of(redriven: &[v1::Redriven]) -> CameOf {
    let mut refused = redriven.iter().filter_map(|task| Some((&task.task_id, task.error.as_ref()?)));
    let Some((task, first)) = refused.next() else {
        return CameOf::done(&format!("{} driven again", redriven.len()));
    };
    let (more, all) = (refused.count(), redriven.len());
    let code = Code::from_grpc(first.code).unwrap_or(Code::Internal);
    let why = match more {
        0 => format!("{task}: {}", first.message),
        more => format!("{task}: {}; and {more} more", first.message),
    };
    match all - more - 1 {
        0 => CameOf::refused(code, &format!("none was driven again; {why}")),
        done => CameOf::done(&format!("{done} of {all} driven again, others not; {}: {why}", code.name())),
    }
}

/// The tasks that a request names or describes, without repeats.
async fn wanted(gateway: &Gateway, request: v1::RedriveRequest) -> Result<Vec<TaskId>, Error> {
    let limit = match request.limit {
        0 => REDRIVE_MAX,
        limit if limit <= REDRIVE_MAX => limit,
        limit => return Err(Violation::new("limit", format!("{limit} is above {REDRIVE_MAX}")).into()),
    };
    let count = request.task_ids.len();
    if count > limit as usize {
        return Err(Violation::new("task_ids", format!("has {count} entries; at most {limit} are allowed")).into());
    }
    if count > 0 {
        let mut seen = HashSet::new();
        let ids =
            request.task_ids.iter().enumerate().map(|(i, id)| {
                id.parse::<TaskId>().map_err(|v| Violation::new(format!("task_ids[{i}]"), v.description))
            });
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        return Ok(ids.into_iter().filter(|id| seen.insert(*id)).collect());
    }
    let state = enums::task_state(request.state)
        .filter(|state| STATES.contains(state))
        .ok_or_else(|| Violation::new("state", "must be FAILED, EXPIRED, QUARANTINED or CANCELLED, or name tasks"))?;
    let tenant = if request.tenant.is_empty() { None } else { Some(tenant(&request.tenant)?) };
    let filter = TaskFilter { states: vec![state], tenant, ..TaskFilter::default() };
    gateway.reads.ask(move |store| not_yet_redriven(store, &filter, limit)).await
}

fn not_yet_redriven(store: &dyn StoreReader, filter: &TaskFilter, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    let mut found = Vec::new();
    let mut older_than = None;
    loop {
        let page = store.list(filter, Page { older_than, size: REDRIVE_MAX })?;
        for task in page.tasks {
            if store.redriven_as(task.id)?.is_none() {
                found.push(task.id);
            }
            if found.len() == limit as usize {
                return Ok(found);
            }
        }
        older_than = page.next;
        if older_than.is_none() {
            return Ok(found);
        }
    }
}

async fn prepare(gateway: &Gateway, task: TaskId) -> Result<NewTask, Error> {
    let not_now = |message: String| not_now(task, message);
    match gateway.directory.get(task) {
        Some(Known::Live(live)) => {
            return Err(not_now(format!("the task is {}; only one that did not succeed is driven again", live.state)));
        }
        Some(Known::Over(_)) => return Err(not_now("the task was ephemeral: its payload is gone".into())),
        None => {}
    }
    let read = move |store: &dyn StoreReader| {
        let Some(stored) = store.task(task)? else { return Ok(None) };
        Ok(Some((stored.state, stored.spec, store.payload(task)?.unwrap_or_default(), store.redriven_as(task)?)))
    };
    let (state, spec, payload, redriven_as) =
        gateway.reads.ask(read).await?.ok_or_else(|| Error::not_found("task", task.to_string()))?;
    again(task, state, &spec, payload, redriven_as)
}

/// What does the work of a stored task again: in this state, and driven again before as `redriven_as` or never.
///
/// # Errors
/// FAILED_PRECONDITION if it is not to be driven again.
pub fn again(
    task: TaskId,
    state: TaskState,
    spec: &TaskSpec,
    payload: Bytes,
    redriven_as: Option<TaskId>,
) -> Result<NewTask, Error> {
    let not_now = |message: String| not_now(task, message);
    if !STATES.contains(&state) {
        return Err(not_now(format!("the task is {state}; only one that did not succeed is driven again")));
    }
    if let Some(other) = redriven_as {
        return Err(not_now(format!("the task has been driven again as {other}")));
    }
    let spec = TaskSpec {
        idempotency_key: String::new(),
        deadline: None,
        delivery: Delivery::Durable,
        ..TaskSpec::clone(spec)
    };
    Ok(new_task(spec, payload, Some(task)))
}

fn not_now(task: TaskId, message: String) -> Error {
    Error::new(Code::FailedPrecondition, message).about("task", task.to_string())
}

async fn submit(gateway: &Gateway, batch: Vec<(TaskId, NewTask)>, redriven: &mut Vec<v1::Redriven>) {
    if batch.is_empty() {
        return;
    }
    let (old, new): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    match gateway.submit(new, None).await {
        Err(error) => redriven.extend(old.into_iter().map(|task| refused(task, &error))),
        Ok(answers) => redriven.extend(old.into_iter().zip(answers).map(|(task, answer)| match answer {
            Err(error) => refused(task, &error),
            Ok(submitted) => {
                v1::Redriven { task_id: task.to_string(), new_task_id: submitted.task.to_string(), error: None }
            }
        })),
    }
}

fn refused(task: TaskId, error: &Error) -> v1::Redriven {
    v1::Redriven { task_id: task.to_string(), new_task_id: String::new(), error: Some(to_item_error(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_many_is_said_in_one_line() {
        let one = |id: &str, code: Option<Code>| v1::Redriven {
            task_id: id.into(),
            new_task_id: String::new(),
            error: code.map(|code| to_item_error(&Error::new(code, "no"))),
        };
        let said = |all: &[v1::Redriven], expected: CameOf| assert_eq!(came_of(all), expected);
        said(&[], CameOf::done("0 driven again"));
        said(&[one("a", None), one("b", None)], CameOf::done("2 driven again"));
        let missing = one("b", Some(Code::NotFound));
        said(std::slice::from_ref(&missing), CameOf::refused(Code::NotFound, "none was driven again; b: no"));
        let some = "1 of 3 driven again, others not; NOT_FOUND: b: no; and 1 more";
        said(&[one("a", None), missing, one("c", Some(Code::Aborted))], CameOf::done(some));
    }
}

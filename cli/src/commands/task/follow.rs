//! `evenkeel task wait` and `watch`.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use clap::Args;
use evenkeel_proto::v1;
use evenkeel_shared::{TaskState, wire::enums};

use super::about_task;
use crate::{
    args::Global,
    client::Clients,
    exit::{CliError, Exit, Outcome},
    output::{answer::FinishedView, event::TaskEventView},
    quantity,
};

/// Tasks in one Wait call: few, so that the first results are not held for long by many that wait.
const WAIT_BATCH: usize = 256;
/// Longest time of one Wait call, so that an answer that a lost connection swallowed is missed for no longer.
const WAIT_CALL: Duration = Duration::from_secs(60);

/// Arguments of `task wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The tasks
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Wait no longer than this [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    timeout: Option<Duration>,
    /// Print the outputs alone, byte for byte
    #[arg(long)]
    raw: bool,
}

/// Waits for tasks, and prints what became of them in the order given.
///
/// # Errors
/// If there is no such task, or the coordinator does not answer.
pub async fn wait(args: WaitArgs, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    wait_for(&mut clients, args.ids, args.timeout, args.raw, global).await
}

/// Waits for these tasks, for at most so long, and prints what became of them.
///
/// # Errors
/// As for [`wait`].
pub async fn wait_for(
    clients: &mut Clients,
    ids: Vec<String>,
    timeout: Option<Duration>,
    raw: bool,
    global: &Global,
) -> Outcome {
    let finished = collect(clients, &ids, timeout).await?;
    let output = global.output();
    let over: Vec<_> = ids.iter().filter_map(|id| finished.get(id)).collect();
    if raw {
        for task in &over {
            output.raw(&task.output)?;
        }
    } else {
        let views: Vec<_> = over.iter().map(|&task| FinishedView::from(task)).collect();
        output.list(&views, "none of them is over")?;
    }
    let pending: Vec<&str> = ids.iter().filter(|id| !finished.contains_key(*id)).map(String::as_str).collect();
    if let Some(first) = pending.first() {
        eprintln!("{} of {} tasks are not over yet; the first is {first}", pending.len(), ids.len());
    } else if raw {
        report_failures(&over);
    }
    Ok(Exit::of_tasks(ids.iter().map(|id| finished.get(id).and_then(|task| enums::task_state(task.state)))))
}

/// What the outputs alone do not show.
fn report_failures(over: &[&v1::TaskFinished]) {
    for task in over.iter().filter(|task| task.state() != v1::TaskState::Succeeded) {
        let why = task.failure.as_ref().map_or("", |failure| failure.message.as_str());
        let state = enums::task_state(task.state).map_or("over", TaskState::name);
        eprintln!("task {} {state}: {}", task.task_id, crate::output::table::printable(why));
    }
}

/// Waits until all are over or the time is up; answers those that are.
async fn collect(
    clients: &mut Clients,
    ids: &[String],
    timeout: Option<Duration>,
) -> Result<HashMap<String, v1::TaskFinished>, CliError> {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let mut finished = HashMap::with_capacity(ids.len());
    for batch in ids.chunks(WAIT_BATCH) {
        let mut pending = batch.to_vec();
        while !pending.is_empty() {
            let left = until.map_or(WAIT_CALL, |until| until.saturating_duration_since(Instant::now()).min(WAIT_CALL));
            // A last call with the shortest wait still gathers what is over.
            let timeout_ms = quantity::millis(left).max(1);
            let request = v1::WaitRequest { task_ids: pending, timeout_ms, any: false };
            let answer = clients.tasks.wait(request).await;
            let answer = answer.map_err(|status| about_task("wait for the tasks", &status))?.into_inner();
            let none = answer.finished.is_empty();
            finished.extend(answer.finished.into_iter().map(|task| (task.task_id.clone(), task)));
            pending = answer.pending_task_ids;
            // Pending can also mean that the answer had no room for it: then some were in it, and the next call tells.
            if none && until.is_some_and(|until| until <= Instant::now()) {
                break;
            }
        }
    }
    Ok(finished)
}

/// Arguments of `task watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The tasks; none: all tasks, for as long as the coordinator lives
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Begin after this position [default: of named tasks all that is kept, else what comes]
    #[arg(long, value_name = "POSITION", value_parser = quantity::position)]
    after: Option<u64>,
}

/// Prints events; of named tasks until all of them are over.
///
/// # Errors
/// If there is no such task, or the stream breaks; the error says where to go on.
pub async fn watch(args: WatchArgs, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let mut open: HashSet<String> = args.ids.iter().cloned().collect();
    let until_over = !open.is_empty();
    let request = v1::WatchRequest {
        task_ids: args.ids,
        tenant: args.tenant.unwrap_or_default(),
        kind: args.kind.unwrap_or_default(),
        after_position: args.after,
    };
    let events = clients.tasks.watch(request).await.map_err(|status| about_task("watch the tasks", &status))?;
    let mut events = events.into_inner();
    let output = global.output();
    let mut position = args.after;
    let mut ends = Vec::new();
    loop {
        let event = events.message().await.map_err(|status| broken(&status, position))?;
        let Some(event) = event else { break };
        position = Some(event.position);
        let (task_id, state) = (event.task_id.clone(), enums::task_state(event.state));
        output.event(&TaskEventView::from(event))?;
        if state.is_some_and(TaskState::is_terminal) && open.remove(&task_id) {
            ends.push(state);
            if until_over && open.is_empty() {
                break;
            }
        }
    }
    Ok(Exit::of_tasks(ends.into_iter()))
}

fn broken(status: &tonic::Status, position: Option<u64>) -> CliError {
    let error = about_task("watch the tasks", status);
    match position {
        Some(position) => error.hint(format!("go on where it broke, with --after {position}")),
        None => error,
    }
}

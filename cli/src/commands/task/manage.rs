//! `evenkeel task get`, `cancel`, `list`, `explain` and `redrive`.

use clap::Args;
use evenkeel_proto::v1;
use evenkeel_shared::TaskState;

use super::about_task;
use crate::{
    args::Global,
    commands::pages::PAGE_SIZE,
    exit::{CliError, Exit, Outcome},
    output::{
        answer::{CancelledView, RedrivenView},
        explain::ExplanationView,
        task::{TaskView, state_name},
    },
};

/// Reads the name of a state, as the output has it.
fn state(name: &str) -> Result<v1::TaskState, String> {
    let named = TaskState::named(name).map(evenkeel_shared::wire::enums::to_task_state);
    named.ok_or_else(|| format!("there are: {}", TaskState::ALL.map(TaskState::name).join(", ")))
}

/// Arguments of `task get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The task
    id: String,
    /// Show the payload too
    #[arg(long)]
    payload: bool,
    /// Print the output alone, byte for byte
    #[arg(long)]
    raw: bool,
}

/// Shows a task with its attempts.
///
/// # Errors
/// If there is no such task.
pub async fn get(args: GetArgs, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let request = v1::GetRequest { task_id: args.id, include_payload: args.payload, include_attempts: true };
    let answer = clients.tasks.get(request).await.map_err(|status| about_task("get the task", &status))?;
    let task = answer.into_inner().task.unwrap_or_default();
    if args.raw {
        global.output().raw(&task.output)?;
    } else {
        global.output().one(&TaskView::from(task))?;
    }
    Ok(Exit::Ok)
}

/// Arguments of `task cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The tasks
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Cancels tasks; one that was over before stays as it was.
///
/// # Errors
/// At the first task that does not exist; those before it are cancelled and printed.
pub async fn cancel(args: CancelArgs, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let mut cancelled = Vec::with_capacity(args.ids.len());
    let mut failed = None;
    for task_id in args.ids {
        let request = v1::CancelRequest { task_id: task_id.clone(), reason: args.reason.clone() };
        match clients.tasks.cancel(request).await {
            Ok(answer) => cancelled.push(CancelledView { task_id, state: state_name(answer.into_inner().state) }),
            Err(status) => {
                failed = Some(about_task("cancel the task", &status));
                break;
            }
        }
    }
    if !cancelled.is_empty() {
        global.output().list(&cancelled, "")?;
    }
    failed.map_or(Ok(Exit::Ok), Err)
}

/// Arguments of `task list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only in this state, such as queued or failed (may be repeated)
    #[arg(long, value_parser = state)]
    state: Vec<v1::TaskState>,
    /// Only of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only those that this agent has, or had last
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Lists tasks, newest first.
///
/// # Errors
/// If the coordinator does not answer.
pub async fn list(args: ListArgs, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let mut request = v1::ListRequest {
        states: args.state.into_iter().map(Into::into).collect(),
        tenant: args.tenant.unwrap_or_default(),
        kind: args.kind.unwrap_or_default(),
        agent_id: args.agent.unwrap_or_default(),
        ..v1::ListRequest::default()
    };
    let limit = args.limit as usize;
    let mut tasks = Vec::new();
    while tasks.len() < limit {
        request.page_size = PAGE_SIZE.min(args.limit - u32::try_from(tasks.len()).unwrap_or(0));
        let page = clients.tasks.list(request.clone()).await;
        let page = page.map_err(|status| CliError::status("list tasks", &status))?.into_inner();
        tasks.extend(page.tasks.into_iter().map(TaskView::from));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    tasks.truncate(limit);
    global.output().list(&tasks, "no such tasks")?;
    if !request.page_token.is_empty() {
        eprintln!("there are more; see them with a higher --limit");
    }
    Ok(Exit::Ok)
}

/// Arguments of `task explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The task
    id: String,
    /// Show at most so many agents
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    candidates: u32,
}

/// Explains a task.
///
/// # Errors
/// If there is no such task.
pub async fn explain(args: ExplainArgs, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let request = v1::ExplainRequest { task_id: args.id, candidates_max: args.candidates };
    let answer = clients.tasks.explain(request).await.map_err(|status| about_task("explain the task", &status))?;
    global.output().one(&ExplanationView::from(answer.into_inner()))?;
    Ok(Exit::Ok)
}

/// Arguments of `task redrive`.
#[derive(Debug, Args)]
pub struct RedriveArgs {
    /// The tasks; or give --state
    #[arg(value_name = "ID", required_unless_present = "state")]
    ids: Vec<String>,
    /// Instead of naming them: all in this state (failed, expired, cancelled or quarantined)
    #[arg(long, value_parser = state, conflicts_with = "ids")]
    state: Option<v1::TaskState>,
    /// With --state: only of this tenant
    #[arg(long, value_name = "NAME", requires = "state")]
    tenant: Option<String>,
    /// At most so many [default: the coordinator's, 1000]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

/// Drives tasks again.
///
/// # Errors
/// If the coordinator refuses as a whole; if one task is refused, its line says why and the exit code is that of a refusal.
pub async fn redrive(args: RedriveArgs, global: &Global) -> Outcome {
    let mut clients = global.address()?.connect().await?;
    let request = v1::RedriveRequest {
        task_ids: args.ids,
        state: args.state.unwrap_or_default().into(),
        tenant: args.tenant.unwrap_or_default(),
        limit: args.limit.unwrap_or_default(),
    };
    let answer = clients.tasks.redrive(request).await.map_err(|status| about_task("redrive the tasks", &status))?;
    let redriven = answer.into_inner().redriven;
    let refused = redriven.iter().find_map(|task| task.error.clone());
    let views: Vec<_> = redriven
        .into_iter()
        .map(|task| RedrivenView {
            task_id: task.task_id,
            new_task_id: Some(task.new_task_id).filter(|id| !id.is_empty()),
            error: task.error.map(|error| error.message),
        })
        .collect();
    global.output().list(&views, "no such tasks")?;
    let refused = refused.map(|error| evenkeel_shared::wire::status::from_item_error(error).code);
    Ok(refused.map_or(Exit::Ok, Exit::of))
}

//! Lists of tasks: pages of the store, with the live state on top, and the ephemeral tasks that no store has in between.

use evenkeel_proto::v1;
use evenkeel_shared::{
    AgentId, Error, Kind, TaskId, TaskState, Timestamp, Violation,
    wire::{enums, quantities::timestamp, task::tenant},
};

use super::{page_size, view};
use crate::{
    directory::{Directory, Known},
    gateway::Gateway,
    store::{Page, StoredTask, TaskFilter},
};

/// Tasks of a page, where nothing is said, and at most.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// Pages read from the store for one answer: where the live states pass most of them over, the answer is a short page and
/// the client asks on.
const STORE_PAGES_MAX: usize = 8;
/// Ephemeral tasks looked at for one answer.
const EPHEMERAL_LOOKS_MAX: usize = 100_000;

/// Answers a list request.
///
/// # Errors
/// A field at fault, or the store cannot be read.
pub async fn list(gateway: &Gateway, request: v1::ListRequest) -> Result<v1::ListResponse, Error> {
    let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let older_than = page_token(&request.page_token)?;
    let filter = filter(request)?;
    let (stored, stored_to) = stored(gateway, &filter, older_than, size).await?;
    let (ephemeral, ephemeral_to) = ephemeral(&gateway.directory, &filter, older_than, size);
    Ok(merge(stored, stored_to, ephemeral, ephemeral_to, size as usize))
}

fn page_token(token: &str) -> Result<Option<TaskId>, Violation> {
    let bad = |_| Violation::new("page_token", "is none of this service; begin again without one");
    if token.is_empty() { Ok(None) } else { token.parse().map(Some).map_err(bad) }
}

fn filter(request: v1::ListRequest) -> Result<TaskFilter, Violation> {
    let state = |(i, number): (usize, &i32)| {
        let field = format!("states[{i}]");
        enums::task_state(*number).ok_or_else(|| Violation::new(field, format!("{number} is not a state")))
    };
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(TaskFilter {
        states: request.states.iter().enumerate().map(state).collect::<Result<_, _>>()?,
        tenant: optional(&request.tenant).map(|name| tenant(&name)).transpose()?,
        kind: optional(&request.kind).map(|name| Kind::new(&name)).transpose()?,
        agent: optional(&request.agent_id).map(|name| AgentId::new(&name)).transpose()?,
        accepted_from: timestamp("accepted_after_unix_ms", request.accepted_after_unix_ms)?,
        accepted_before: timestamp("accepted_before_unix_ms", request.accepted_before_unix_ms)?,
    })
}

/// A part of a list, and the task after which it goes on; `None`: there is no more.
type Part = (Vec<(TaskId, v1::Task)>, Option<TaskId>);

async fn stored(
    gateway: &Gateway,
    filter: &TaskFilter,
    mut older_than: Option<TaskId>,
    size: u32,
) -> Result<Part, Error> {
    let mut shown = Vec::new();
    for _ in 0..STORE_PAGES_MAX {
        let (filter_, page) = (filter.clone(), Page { older_than, size });
        let page = gateway.reads.ask(move |store| store.list(&filter_, page)).await?;
        shown.extend(page.tasks.iter().filter_map(|task| show(&gateway.directory, filter, task)));
        older_than = page.next;
        if older_than.is_none() || shown.len() >= size as usize {
            break;
        }
    }
    Ok((shown, older_than))
}

/// A stored task with its live state, unless that is not what was asked for.
fn show(directory: &Directory, filter: &TaskFilter, task: &StoredTask) -> Option<(TaskId, v1::Task)> {
    let mut shown = view::stored_task(task);
    let mut state = task.state;
    if !state.is_terminal()
        && let Some(Known::Live(live)) = directory.get(task.id)
    {
        state = live.state;
        view::put_live(&mut shown, &live);
    }
    in_states(filter, state).then_some((task.id, shown))
}

fn in_states(filter: &TaskFilter, state: TaskState) -> bool {
    filter.states.is_empty() || filter.states.contains(&state)
}

fn ephemeral(directory: &Directory, filter: &TaskFilter, older_than: Option<TaskId>, size: u32) -> Part {
    let mut shown = Vec::new();
    let mut looks = 0;
    let mut more = None;
    directory.ephemeral_before(older_than, |known| {
        looks += 1;
        let (id, accepted_at) = match &known {
            Known::Live(task) => (task.id, task.accepted_at),
            Known::Over(task) => (task.id, task.accepted_at),
        };
        if matches(filter, &known, accepted_at) {
            let mut task = view::known_task(&known);
            // As in the lists of a store.
            task.output.clear();
            shown.push((id, task));
        }
        let go_on = shown.len() < size as usize && looks < EPHEMERAL_LOOKS_MAX;
        more = (!go_on).then_some(id);
        go_on
    });
    (shown, more)
}

fn matches(filter: &TaskFilter, known: &Known, accepted_at: Timestamp) -> bool {
    let spec = known.spec();
    let agent = match known {
        Known::Live(task) => &task.agent,
        Known::Over(task) => &task.agent,
    };
    in_states(filter, known.state())
        && filter.tenant.as_ref().is_none_or(|tenant| *tenant == spec.tenant)
        && filter.kind.as_ref().is_none_or(|kind| *kind == spec.kind)
        && (filter.agent.is_none() || filter.agent == *agent)
        && filter.accepted_from.is_none_or(|from| accepted_at.unix_millis() >= from.unix_millis())
        && filter.accepted_before.is_none_or(|before| accepted_at.unix_millis() < before.unix_millis())
}

/// Both parts in one order. A part that goes on says nothing of what is older than where it stopped, so neither may the
/// other be shown beyond that.
fn merge(
    stored: Vec<(TaskId, v1::Task)>,
    stored_to: Option<TaskId>,
    ephemeral: Vec<(TaskId, v1::Task)>,
    ephemeral_to: Option<TaskId>,
    size: usize,
) -> v1::ListResponse {
    let reach = stored_to.max(ephemeral_to);
    let mut all = stored;
    all.extend(ephemeral);
    all.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
    let beyond = reach.map_or(all.len(), |reach| all.partition_point(|(id, _)| *id >= reach));
    let shown = beyond.min(size);
    let next = if shown < all.len() && shown > 0 && shown == size { Some(all[shown - 1].0) } else { reach };
    all.truncate(shown);
    v1::ListResponse {
        tasks: all.into_iter().map(|(_, task)| task).collect(),
        next_page_token: next.map(|id| id.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
#[path = "task_list_tests.rs"]
mod tests;

//! What applying a recommendation changes, and whether it can still be undone. Pure: the shell carries it out.
//!
//! Advice is about an hour, and may be applied hours after it was found. So what applying means is reckoned from how things
//! are now: a bound of the policy in force, agents that are there and in work. And undoing puts back only what applying has
//! changed: where somebody has changed it since, theirs is left alone and the undoing refused. Putting back what was kept,
//! whatever is in force by now, was rejected: it would silently take away what an operator has set since.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_shared::{AdminState, AgentId, Code, Error, Kind, StrategyConfig};

use super::Action;
use crate::{
    admission::Limit,
    capacity::{drain::is_usable, policy::Policy},
    model::AgentView,
    sizing::Size,
};

/// The policy that this action makes of the one in force. `None`: it is not about the policy.
#[must_use]
pub fn policy_after(action: &Action, before: &Policy) -> Option<Policy> {
    match action {
        Action::PolicyPut(policy) => Some(Policy { version: before.version, ..(**policy).clone() }),
        Action::PolicyBounds { agents_min, agents_max } => Some(Policy {
            agents_min: agents_min.unwrap_or(before.agents_min),
            agents_max: agents_max.unwrap_or(before.agents_max),
            ..before.clone()
        }),
        Action::PolicyPredictive => Some(Policy { predictive: true, ..before.clone() }),
        Action::Tell(_)
        | Action::Strategy(_)
        | Action::LimitConcurrency { .. }
        | Action::Drain(_)
        | Action::Size { .. } => None,
    }
}

/// The limit that this action makes of the one declared. `None`: it is not about a limit.
#[must_use]
pub fn limit_after(action: &Action, before: &Limit) -> Option<Limit> {
    match action {
        Action::LimitConcurrency { concurrency_max, .. } => {
            Some(Limit { concurrency_max: Some(*concurrency_max), ..before.clone() })
        }
        _ => None,
    }
}

/// Checks that the limit is still as applying has left it.
///
/// # Errors
/// FAILED_PRECONDITION if it was changed or removed since.
pub fn limit_undone(id: &str, action: &Action, before: &Limit, now: Option<&Limit>) -> Result<(), Error> {
    if now.is_some() && now == limit_after(action, before).as_ref() {
        return Ok(());
    }
    let name = &before.name;
    Err(changed_since(id, &format!("the limit `{name}`"), &format!("`evenkeel limits put {name}`")))
}

/// Checks that the strategy is still as applying has left it.
///
/// # Errors
/// FAILED_PRECONDITION if it was changed since.
pub fn strategy_undone(id: &str, action: &Action, now: &StrategyConfig) -> Result<(), Error> {
    if matches!(action, Action::Strategy(set) if set == now) {
        return Ok(());
    }
    Err(changed_since(id, "the strategy", "`evenkeel strategy set`"))
}

/// The request size that this action makes of the one in force. `None`: it is not about a size.
#[must_use]
pub fn size_after(action: &Action, now: Option<&Size>) -> Option<Size> {
    let Action::Size { kind, resource, amount } = action else { return None };
    let size = now.cloned().unwrap_or_else(|| Size::of(kind.clone()));
    Some(size.with(*resource, Some(*amount)))
}

/// The request size that undoing this action makes of the one in force: what it says of another resource stays. One that says nothing
/// is none, and `None` is that there is nothing to do: it is so already.
///
/// # Errors
/// FAILED_PRECONDITION if what it says of the resource was changed since.
pub fn size_undone(id: &str, action: &Action, before: Option<u64>, now: Option<&Size>) -> Result<Option<Size>, Error> {
    let Action::Size { kind, resource, amount } = action else { return Ok(None) };
    match now.and_then(|size| size.get(*resource)) {
        says if says == before => Ok(None),
        Some(says) if says == *amount => {
            let size = now.cloned().unwrap_or_else(|| Size::of(kind.clone()));
            Ok(Some(size.with(*resource, before)))
        }
        _ => Err(changed_since(
            id,
            &format!("the request size of kind `{kind}`"),
            &format!("`evenkeel sizes put {kind}`"),
        )),
    }
}

/// What applying has set is no longer what is in force.
pub(crate) fn changed_since(id: &str, what: &str, command: &str) -> Error {
    let words =
        format!("{what} was changed after `{id}` was applied, and is left as it is; set what you want by {command}");
    Error::new(Code::FailedPrecondition, words).about("recommendation", id)
}

/// Of the agents that were found, those that can be drained now: they are there and in work.
///
/// # Errors
/// FAILED_PRECONDITION if there are none, or if a kind would be left without an agent.
pub fn drainable(id: &str, found: &[AgentId], fleet: &[Arc<AgentView>]) -> Result<Vec<AgentId>, Error> {
    let refused = |words: String| Err(Error::new(Code::FailedPrecondition, words).about("recommendation", id));
    let (go, stay): (Vec<_>, Vec<_>) =
        fleet.iter().filter(|agent| is_usable(agent)).partition(|agent| found.contains(&agent.spec.id));
    if go.is_empty() {
        return refused(format!("none of the agents that `{id}` is about is there and in work any more"));
    }
    let mut left: BTreeMap<&Kind, u32> = BTreeMap::new();
    stay.iter().for_each(|agent| agent.spec.kinds.iter().for_each(|kind| *left.entry(kind).or_default() += 1));
    for agent in &go {
        if let Some(kind) = agent.spec.kinds.iter().find(|kind| !left.contains_key(kind)) {
            let name = &agent.spec.id;
            return refused(format!(
                "things have changed since `{id}` was found: without {name} no agent would take tasks of kind {kind}; \
                 drain the others by `evenkeel agents drain`, or dismiss it"
            ));
        }
    }
    Ok(go.into_iter().map(|agent| agent.spec.id.clone()).collect())
}

/// Of the agents that were drained, those that are still there and drained: others have gone, or have work again.
#[must_use]
pub fn resumable(drained: &[AgentId], fleet: &[Arc<AgentView>]) -> Vec<AgentId> {
    let still = fleet.iter().filter(|agent| agent.admin == AdminState::Draining);
    still.map(|agent| &agent.spec.id).filter(|id| drained.contains(id)).cloned().collect()
}

/// The reason that is recorded with a change, of which the operator's own is the end.
#[must_use]
pub fn because(done: &str, id: &str, reason: &str) -> String {
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{done} the recommendation {id}{why}")
}

#[cfg(test)]
#[path = "applying_tests.rs"]
mod tests;

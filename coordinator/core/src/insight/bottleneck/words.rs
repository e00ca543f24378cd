//! What holds the fleet up, and what to do about it, in words.

use crate::insight::metric::{Metric, Subject};

/// What holds up, in words for a title.
#[must_use]
pub fn title(metric: Metric, subject: &Subject) -> String {
    match (metric, subject) {
        (Metric::Utilisation, _) => format!("{subject} is short of slots"),
        (Metric::Cpu, _) => format!("{subject} is short of processor"),
        (Metric::Memory, _) => format!("{subject} is short of memory"),
        (Metric::Agents, Subject::Kind(kind)) => format!("no agent takes tasks of kind {kind}"),
        (Metric::Queued, Subject::Limit(name)) => format!("the limit {name} holds tasks up"),
        (Metric::AgentsDown, _) => "many agents are down".to_owned(),
        (Metric::ErrorRate, _) => "many attempts fail".to_owned(),
        (Metric::CommitMs, _) => "the store is slow".to_owned(),
        (Metric::EngineBusy, _) => "the engine's thread is at its limit".to_owned(),
        (metric, subject) => format!("{metric} of {subject} is past its threshold"),
    }
}

/// What to do about what holds up, in words.
#[must_use]
pub(super) fn advice(metric: Metric, subject: &Subject) -> String {
    match (metric, subject) {
        (Metric::Utilisation, Subject::Fleet) => {
            "all slots are in use while tasks wait: start agents, or raise the scaling policy's agents_max".to_owned()
        }
        (Metric::Utilisation, subject) => {
            format!("all slots of {subject} are in use while its tasks wait: start agents there")
        }
        (Metric::Cpu, _) => {
            "agents are short of processor: start more, give each fewer slots, or request cpu in tasks".to_owned()
        }
        (Metric::Memory, _) => {
            "agents are short of memory: start more, give each fewer slots, or request memory in tasks".to_owned()
        }
        (Metric::Agents, Subject::Kind(kind)) => {
            format!("no connected agent takes tasks of kind {kind}: start one that does")
        }
        (Metric::Queued, Subject::Limit(name)) => {
            format!(
                "tasks wait under the limit {name} while the fleet has room: raise it if what it protects allows that"
            )
        }
        (Metric::AgentsDown, _) => "agents are unhealthy or lost: see which in the list of agents, and why".to_owned(),
        (Metric::ErrorRate, _) => {
            "attempts fail: see the failures of recent tasks, and whether one agent or kind has most".to_owned()
        }
        (Metric::CommitMs, _) => {
            "the store's disk is slow, and every answer waits for it: put the database on a faster one".to_owned()
        }
        (Metric::EngineBusy, _) => {
            "the engine's thread is at its limit: submit in larger batches, or divide the fleet among coordinators"
                .to_owned()
        }
        (metric, subject) => format!("{metric} of {subject} is past its threshold"),
    }
}

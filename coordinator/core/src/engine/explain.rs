//! Why a task is where it is.
//!
//! An explanation looks at every agent, which no decision does: it is asked for by people, one task at a time.

use std::collections::BTreeMap;

use evenkeel_shared::{AdminState, Health, TaskId, TaskState, Timestamp};

use super::{Blocked, Engine, dispatch::facts};
use crate::{
    admission::guards::ClosedBy,
    ix::{AgentIx, TaskIx},
    model::{Candidate, Explanation},
    routing::Room,
};

impl Engine {
    /// Explains a live task; `None` if it is not live. At most `candidates_max` agents are listed, the eligible ones first
    /// and best first; all are counted.
    #[must_use]
    pub fn explain(&self, now: Timestamp, task: TaskId, candidates_max: usize) -> Option<Explanation> {
        let task = self.tasks.find(task)?;
        let row = &self.tasks[task];
        let now = self.now.max(now);
        let (mut candidates, refused_by_reason) = self.candidates(task, self.held_by(task, now));
        let eligible = candidates.iter().filter(|candidate| candidate.refusal.is_none()).count();
        candidates.truncate(candidates_max);
        let queue_position = self.queue.position(now, task);
        let waiting_for = self.waiting_for(task, now, eligible, &refused_by_reason);
        Some(Explanation {
            task: row.id,
            state: row.state,
            summary: self.summary(task, now, waiting_for.as_deref()),
            queue_position,
            waiting_for,
            reserves: row.spec.sized_in_words(),
            strategy: self.router.strategy().name(),
            candidates,
            agents_considered: u32::try_from(self.agents.len()).unwrap_or(u32::MAX),
            refused_by_reason,
        })
    }

    /// What keeps a queued task from going, whatever agent has room: why those that would take it do not get it.
    fn held_by(&self, task: TaskIx, now: Timestamp) -> Option<(&'static str, String)> {
        let row = &self.tasks[task];
        if row.state != TaskState::Queued {
            return None;
        }
        let (code, what) = match self.blocked_by(task, now) {
            Some(blocked @ Blocked::Limit { .. }) => ("limit", blocked.in_words(now)),
            Some(blocked @ Blocked::Budget(_)) => ("budget", blocked.in_words(now)),
            None => {
                let closed = self.class_closed(row.class)?;
                let code = match closed.by {
                    ClosedBy::Quota { .. } => "quota",
                    ClosedBy::Breaker { .. } => "breaker",
                };
                (code, closed.by.to_string())
            }
        };
        Some((code, format!("would take it; the task waits for {what}")))
    }

    /// Every agent with its score or refusal, and how many were refused for each reason. `held` refuses those who would take
    /// it.
    fn candidates(
        &self,
        task: TaskIx,
        held: Option<(&'static str, String)>,
    ) -> (Vec<Candidate>, BTreeMap<&'static str, u32>) {
        let row = &self.tasks[task];
        let mut refused = BTreeMap::new();
        let mut candidates: Vec<Candidate> = self
            .agents
            .iter()
            .map(|(ix, agent)| {
                let refusal = self.refusal(task, ix).or_else(|| held.clone());
                if let Some((code, _)) = &refusal {
                    *refused.entry(*code).or_default() += 1;
                }
                let score = if agent.registered { self.router.score(ix, &facts(row)) } else { 0.0 };
                Candidate { agent: agent.spec.id.clone(), score, refusal }
            })
            .collect();
        candidates.sort_by(|a, b| {
            let order = (a.refusal.is_some()).cmp(&b.refusal.is_some());
            order.then(b.score.total_cmp(&a.score)).then_with(|| a.agent.cmp(&b.agent))
        });
        (candidates, refused)
    }

    /// Why this agent cannot take the task now: what never changes first, then what the operator wants, then what is
    /// observed, then room.
    fn refusal(&self, task: TaskIx, ix: AgentIx) -> Option<(&'static str, String)> {
        let agent = &self.agents[ix];
        let row = &self.tasks[task];
        if !agent.registered {
            return Some(("not_back", "has not come back since the coordinator started".to_owned()));
        }
        if let Err(refusal) = self.router.matches(row.class, ix) {
            return Some((refusal.code(), refusal.to_string()));
        }
        if agent.session.is_none() {
            return Some(("lost", "has no session".to_owned()));
        }
        if agent.wanted.state != AdminState::Active {
            return Some((agent.wanted.state.name(), format!("is {}", agent.wanted.state)));
        }
        if agent.leaving {
            return Some(("draining", "said that it drains".to_owned()));
        }
        if let Some(until) = agent.ejected_until {
            return Some(("ejected", format!("failed too often; rests for another {:.0?}", until.since(self.now))));
        }
        if agent.quota_shut {
            let why = self.agent_closed(ix).map(|closed| format!("draws on {}", closed.by));
            return Some(("quota", why.unwrap_or_else(|| "draws on a quota that is used up".to_owned())));
        }
        if agent.health == Health::Unhealthy && !self.ignores_health {
            let why: Vec<String> = agent.conditions.iter().map(ToString::to_string).collect();
            return Some(("unhealthy", why.join("; ")));
        }
        if let Some(held) = self.held.task(ix)
            && held != task
        {
            return Some(("held", format!("is held for task {}, which needs more room", self.tasks[held].id)));
        }
        if let Some(gate) = self.allocation.limits.agent_shut(ix)
            && let Some((name, why)) = self.allocation.limits.why(self.now, gate)
        {
            return Some(("limit", format!("is at limit `{name}`: {why}")));
        }
        let refusal = self.router.admits(row.class, ix, &facts(row), Room::Now).err()?;
        Some((refusal.code(), refusal.to_string()))
    }

    /// What a task waits for, from what keeps it from each agent.
    fn waiting_for(
        &self,
        task: TaskIx,
        now: Timestamp,
        eligible: usize,
        refused: &BTreeMap<&'static str, u32>,
    ) -> Option<String> {
        let row = &self.tasks[task];
        match row.state {
            TaskState::RetryWait => Some(format!("its next attempt in {:.1?}", row.not_before.since(now))),
            TaskState::Queued if self.agents.len() == 0 => Some("an agent: none is known".to_owned()),
            TaskState::Queued if let Some(blocked) = self.blocked_by(task, now) => Some(blocked.in_words(now)),
            TaskState::Queued if let Some(closed) = self.class_closed(row.class) => {
                Some(format!("{}, for another {:.1?}", closed.by, closed.until.since(now)))
            }
            TaskState::Queued if eligible > 0 => Some("its turn".to_owned()),
            TaskState::Queued => Some(self.what_is_missing(task, refused)),
            _ => None,
        }
    }

    fn what_is_missing(&self, task: TaskIx, refused: &BTreeMap<&'static str, u32>) -> String {
        const NEVER: [&str; 3] = ["kind_not_taken", "label_rule", "capacity_too_small"];
        let row = &self.tasks[task];
        let all = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        let never: u32 = NEVER.iter().filter_map(|reason| refused.get(reason)).sum();
        if never == all {
            let takes_kind = all - refused.get("kind_not_taken").copied().unwrap_or(0);
            if takes_kind == 0 {
                return format!("an agent that takes kind `{}`: none in the fleet does", row.spec.kind);
            }
            let labels = refused.get("label_rule").copied().unwrap_or(0);
            let small = takes_kind - labels;
            let too_small = so_many(small, "is too small", "are too small");
            let unlike = so_many(labels, "does not satisfy its label rules", "do not satisfy its label rules");
            let why = match (labels, small) {
                (0, _) => too_small,
                (_, 0) => unlike,
                _ => format!("{unlike} and {too_small}"),
            };
            let takers = so_many(takes_kind, "that takes", "that take");
            return format!("an agent that could ever take it: of {takers} kind `{}`, {why}", row.spec.kind);
        }
        let reasons: Vec<String> = refused
            .iter()
            .filter(|(reason, _)| !NEVER.contains(*reason))
            .map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")))
            .collect();
        let where_to = match all - never {
            1 => "the one agent".to_owned(),
            could => format!("one of the {could} agents"),
        };
        format!("room on {where_to} that could take it: {}", reasons.join(", "))
    }

    fn summary(&self, task: TaskIx, now: Timestamp, waiting_for: Option<&str>) -> String {
        let row = &self.tasks[task];
        let agent = row.last_agent.as_ref().map_or("", |agent| agent.as_str());
        let age = now.since(row.since);
        match row.state {
            TaskState::Queued => format!("has waited {age:.1?} for {}", waiting_for.unwrap_or("its turn")),
            TaskState::RetryWait => {
                format!("failed on attempt {}; waits for {}", row.attempts_made, waiting_for.unwrap_or("its turn"))
            }
            TaskState::Assigned => match row.current.and_then(|current| current.running_since) {
                Some(_) => format!("was given to {agent}, which has not said yet that it started"),
                None => format!("waits at {agent} for a slot there"),
            },
            TaskState::Running => format!("runs on {agent}, attempt {}", row.attempts_made),
            state => format!("is {state}"),
        }
    }
}

/// A number of agents, and what they are: `1 is too small`, `2 are too small`.
fn so_many(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

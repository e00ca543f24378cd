//! Rules that a test can take out, to see that its judge notices.
//!
//! A judge that never condemned anybody proves nothing. Without the feature `sabotage` no rule can be taken out, and the
//! compiler removes what is here.

use evenkeel_shared::{AttemptRef, TaskState};

use super::{Change, Effects, Engine, effects::AgentMessage, effects::Message};
use crate::ix::AgentIx;

/// One effect in so many is dropped.
const DROPPED_EVERY: u64 = 20;

/// What an engine lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "sabotage"), allow(dead_code, reason = "nothing is taken out"))]
pub enum Sabotage {
    /// A result counts whatever attempt it is of.
    AttemptCondition,
    /// What is reaped after an agent's grace is what it had when the grace began, whether or not it came back and
    /// whatever has become of it since.
    ReaperGuard,
    /// A task that waits is assigned though its deadline has passed.
    DeadlineCheck,
    /// Some acceptances are not stored.
    AcceptChange,
    /// Some ends of attempts are not stored.
    EndAttemptChange,
    /// Some ends of tasks are not stored.
    FinishChange,
    /// Some acknowledgements of results are not sent.
    AckMessage,
}

#[derive(Debug, Default)]
pub(super) struct State {
    lacks: Option<Sabotage>,
    droppable: u64,
    /// What agents had when their grace began.
    reap: Vec<(AgentIx, AttemptRef)>,
}

impl Engine {
    /// Takes a rule out.
    #[cfg(feature = "sabotage")]
    pub fn sabotage(&mut self, lacks: Sabotage) {
        self.sabotage.lacks = Some(lacks);
        for agent in self.agents.indices() {
            self.note_reap(agent);
        }
    }

    /// Whether this rule was taken out.
    pub(super) const fn lacks(&self, rule: Sabotage) -> bool {
        if cfg!(feature = "sabotage") {
            matches!(self.sabotage.lacks, Some(lacks) if lacks as u8 == rule as u8)
        } else {
            false
        }
    }

    /// Whether a task in this state is held to its deadline.
    pub(super) fn heeds_deadline(&self, state: TaskState) -> bool {
        state != TaskState::Queued || !self.lacks(Sabotage::DeadlineCheck)
    }

    /// Drops what is to be dropped of the effects after the first so many changes and messages.
    pub(super) fn drop_effects(&mut self, earlier: (usize, usize), out: &mut Effects) {
        if !cfg!(feature = "sabotage") {
            return;
        }
        let Some(lacks) = self.sabotage.lacks else { return };
        let droppable = &mut self.sabotage.droppable;
        let mut drops = |is_one: bool| {
            *droppable += u64::from(is_one);
            is_one && droppable.is_multiple_of(DROPPED_EVERY)
        };
        let changes = out.changes.split_off(earlier.0);
        out.changes.extend(changes.into_iter().filter(|change| {
            !drops(matches!(
                (lacks, change),
                (Sabotage::AcceptChange, Change::Accept(_))
                    | (Sabotage::EndAttemptChange, Change::EndAttempt { .. })
                    | (Sabotage::FinishChange, Change::Finish { .. })
            ))
        }));
        let messages = out.messages.split_off(earlier.1);
        out.messages.extend(messages.into_iter().filter(|message| {
            let is_ack = matches!(message, Message::ToAgent { message: AgentMessage::Ack { .. }, .. });
            !drops(lacks == Sabotage::AckMessage && is_ack)
        }));
    }

    /// Notes what an agent has when its grace begins.
    pub(super) fn note_reap(&mut self, agent: AgentIx) {
        if !self.lacks(Sabotage::ReaperGuard) {
            return;
        }
        let tasks = self.agents[agent].holdings.values().filter_map(|holding| holding.task);
        let attempts = tasks.filter_map(|task| self.tasks[task].current).map(|current| (agent, current.attempt));
        self.sabotage.reap.extend(attempts);
    }

    /// Reaps what was noted.
    pub(super) fn reap_unguarded(&mut self, agent: AgentIx, out: &mut Effects) {
        let noted = std::mem::take(&mut self.sabotage.reap);
        let (reap, kept): (Vec<_>, Vec<_>) = noted.into_iter().partition(|(of, _)| *of == agent);
        self.sabotage.reap = kept;
        for (_, attempt) in reap {
            let Some(task) = self.tasks.find(attempt.task) else { continue };
            let Some(current) = self.tasks[task].current else { continue };
            if current.attempt == attempt && self.agents[agent].session.is_none() {
                self.lose_attempt(task, false, "its agent is gone", out);
                continue;
            }
            self.tasks[task].current = None;
            if let Some(holding) = self.agents[current.agent].holdings.get_mut(&current.attempt.assignment) {
                holding.task = None;
            }
            self.requeue(task, std::time::Duration::ZERO, out);
        }
    }
}

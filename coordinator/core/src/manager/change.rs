//! One change of the fleet's size, from the decision to its end.
//!
//! Up: the actuator is told, and the change ends when the agents have joined. Down: the chosen agents are drained through the
//! engine, and only when they are empty, or their time is up and what was left has moved on, the actuator takes them away;
//! the change ends when they are gone, and with it the wish that they drain, so that an agent of the same name is welcome
//! later. So nothing is ever cut: what the actuator takes away runs nothing.
//!
//! There is one change at a time. Work that comes back while agents drain calls the change off, and they go on; once the
//! actuator has been told there is no way back.
//!
//! It is a state machine of its own, moved by samples and by the actuator's word, and like all of the core it has no clock.
//! A task of the shell that sleeps and polls was rejected: nobody could have tested what it does in which order.

use std::{sync::Arc, time::Duration};

use evenkeel_shared::{AdminState, AgentId, Health, Timestamp};

use super::FleetSample;
use crate::{
    capacity::{Action, Decision, ScalingOutcome},
    model::AgentView,
};

/// An agent that was to be drained and looks as if it were not, after this: the order was lost, or somebody took it back.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);
/// After a drain's deadline the engine moves what is left; so long until that is done and shown.
const MOVE_MAX: Duration = Duration::from_secs(5);
/// The actuator's own bounds end before this, whichever it is; a report that has not come by then was lost.
pub const ACT_MAX: Duration = Duration::from_secs(600);
/// How long agents that the actuator took away may take to be gone: a process ends, a container's grace passes.
const GONE_MAX: Duration = Duration::from_secs(120);

/// What is to be done for a change. The shell does it, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Drain this agent: nothing new, and what is left after `within` moves on.
    Drain {
        /// Which.
        agent: AgentId,
        /// Its time.
        within: Duration,
        /// Why, in words.
        reason: String,
    },
    /// Give it work again, or let an agent of its name have work later.
    Resume(AgentId),
    /// Tell the actuator; it answers by [`super::Manager::acted`].
    Act(Box<Decision>),
}

/// Where a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The agents that go finish what they run.
    Draining { since: Timestamp, until: Timestamp },
    /// The actuator is at work.
    Acting { until: Timestamp },
    /// Those who come are waited for, or those who go.
    Settling { until: Timestamp },
}

/// How long the parts of a change may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeSettings {
    /// For agents that go to finish what they run; what is left then moves on.
    pub drain: Duration,
    /// For new agents to join.
    pub join: Duration,
}

/// A change that is being carried out.
#[derive(Clone, Debug)]
pub struct Change {
    decision: Decision,
    settings: ChangeSettings,
    phase: Phase,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It goes on.
    Goes,
    /// It is over; the decision says how.
    Ended(Box<Decision>),
}

impl Change {
    /// Begins to carry out a decision.
    #[must_use]
    pub fn begin(now: Timestamp, decision: Decision, settings: ChangeSettings, steps: &mut Vec<Step>) -> Self {
        let mut change = Self { decision, settings, phase: Phase::Acting { until: now } };
        if change.decision.action == Action::Down && !change.decision.agents.is_empty() {
            let reason = format!("scale-down {} takes it away", change.decision.id);
            steps.extend(change.decision.agents.iter().map(|agent| Step::Drain {
                agent: agent.clone(),
                within: settings.drain,
                reason: reason.clone(),
            }));
            let until = now.plus(settings.drain).plus(MOVE_MAX);
            change.phase = Phase::Draining { since: now, until };
        } else {
            change.act(now, steps);
        }
        change
    }

    /// The decision.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Agents that were asked for and have not joined.
    #[must_use]
    pub fn starting(&self, sample: &FleetSample) -> u32 {
        match self.decision.action {
            Action::Up => self.decision.agents_after.saturating_sub(usable(&sample.agents)),
            Action::Down | Action::None => 0,
        }
    }

    /// Whether it can still be called off: nobody has been told to take anything away.
    #[must_use]
    pub const fn may_be_called_off(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
    }

    /// The work has come back: the agents go on.
    #[must_use]
    pub fn call_off(self, steps: &mut Vec<Step>) -> Decision {
        steps.extend(self.decision.agents.iter().cloned().map(Step::Resume));
        failed(self.decision, "called off: the work came back before the agents were empty".to_owned())
    }

    /// In words, for people.
    #[must_use]
    pub fn stage(&self) -> String {
        let agents = self.decision.agents.len();
        match (self.phase, self.decision.action) {
            (Phase::Draining { .. }, _) => format!("{agents} agents finish what they run"),
            (Phase::Acting { .. }, _) => format!("the actuator `{}` is at work", self.decision.actuator),
            (Phase::Settling { .. }, Action::Down) => "the agents that go are on their way out".to_owned(),
            (Phase::Settling { .. }, _) => "new agents are on their way".to_owned(),
        }
    }

    /// The actuator has answered.
    pub fn acted(&mut self, now: Timestamp, result: Result<(), String>, steps: &mut Vec<Step>) -> Progress {
        if !matches!(self.phase, Phase::Acting { .. }) {
            return Progress::Goes;
        }
        match result {
            Ok(()) => {
                let within = if self.decision.action == Action::Down { GONE_MAX } else { self.settings.join };
                self.phase = Phase::Settling { until: now.plus(within) };
                Progress::Goes
            }
            Err(error) => self.fail(error, steps),
        }
    }

    /// Moves on by how the fleet is now.
    pub fn advance(&mut self, sample: &FleetSample, steps: &mut Vec<Step>) -> Progress {
        let now = sample.at;
        match self.phase {
            Phase::Draining { since, until } => {
                // At the deadline the engine has moved what was left; what still holds a place then is nobody's task.
                if now >= until || self.decision.agents.iter().all(|id| is_empty(sample, id)) {
                    self.act(now, steps);
                } else if now.since(since) >= ORDER_TIMEOUT
                    && let Some(agent) = self.decision.agents.iter().find(|id| is_active(sample, id))
                {
                    let error = format!("{agent} is not drained any more: somebody gave it work again");
                    return self.fail(error, steps);
                }
                Progress::Goes
            }
            Phase::Acting { until } if now >= until => {
                let error = format!("the actuator `{}` has not answered in time", self.decision.actuator);
                self.fail(error, steps)
            }
            Phase::Acting { .. } => Progress::Goes,
            Phase::Settling { until } => self.settle(sample, now >= until, steps),
        }
    }

    fn act(&mut self, now: Timestamp, steps: &mut Vec<Step>) {
        self.phase = Phase::Acting { until: now.plus(ACT_MAX) };
        steps.push(Step::Act(Box::new(self.decision.clone())));
    }

    fn settle(&mut self, sample: &FleetSample, late: bool, steps: &mut Vec<Step>) -> Progress {
        let (wanted, there) = (self.decision.agents_after, usable(&sample.agents));
        let (settled, error) = match self.decision.action {
            // Whom the actuator chose by itself is counted alone.
            Action::Down if self.decision.agents.is_empty() => {
                (there <= wanted, format!("there are {there} agents still"))
            }
            Action::Down => {
                let left: Vec<&str> =
                    self.decision.agents.iter().filter(|id| is_present(sample, id)).map(AgentId::as_str).collect();
                (left.is_empty(), format!("still there: {}", left.join(", ")))
            }
            _ => (there >= wanted, format!("{there} of {wanted} agents are there")),
        };
        if settled {
            self.resume(steps);
            let decision = Decision { outcome: ScalingOutcome::Done, ..self.decision.clone() };
            return Progress::Ended(Box::new(decision));
        }
        if late { self.fail(error, steps) } else { Progress::Goes }
    }

    fn fail(&self, error: String, steps: &mut Vec<Step>) -> Progress {
        self.resume(steps);
        Progress::Ended(Box::new(failed(self.decision.clone(), error)))
    }

    fn resume(&self, steps: &mut Vec<Step>) {
        if self.decision.action == Action::Down {
            steps.extend(self.decision.agents.iter().cloned().map(Step::Resume));
        }
    }
}

/// Of a change that was under way when the coordinator ended: those who were to go have work again, and what is wanted now is
/// decided anew. To take it up where it was is rejected: nobody knows what the actuator has done of it since.
#[must_use]
pub fn interrupted(decision: Decision, steps: &mut Vec<Step>) -> Decision {
    steps.extend(decision.agents.iter().cloned().map(Step::Resume));
    failed(decision, "the coordinator was restarted before it was done; it is decided anew".to_owned())
}

fn failed(decision: Decision, error: String) -> Decision {
    Decision { outcome: ScalingOutcome::Failed, error, ..decision }
}

/// Agents that are there and wanted by the operator: as the demand counts them.
#[must_use]
pub fn usable(agents: &[Arc<AgentView>]) -> u32 {
    u32::try_from(agents.iter().filter(|agent| is_usable(agent)).count()).unwrap_or(u32::MAX)
}

fn is_usable(agent: &AgentView) -> bool {
    agent.admin == AdminState::Active && agent.health != Health::Lost
}

fn find<'a>(sample: &'a FleetSample, id: &AgentId) -> Option<&'a AgentView> {
    let found = sample.agents.binary_search_by(|agent| agent.spec.id.cmp(id)).ok()?;
    Some(sample.agents[found].as_ref())
}

fn is_present(sample: &FleetSample, id: &AgentId) -> bool {
    find(sample, id).is_some_and(|agent| agent.health != Health::Lost)
}

/// It is gone, or is drained and runs nothing.
fn is_empty(sample: &FleetSample, id: &AgentId) -> bool {
    find(sample, id).is_none_or(|agent| {
        agent.health == Health::Lost
            || (agent.admin == AdminState::Draining && agent.running_tasks == 0 && agent.prefetched_tasks == 0)
    })
}

fn is_active(sample: &FleetSample, id: &AgentId) -> bool {
    find(sample, id).is_some_and(is_usable)
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;

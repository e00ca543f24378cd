//! The size of the fleet: what is wanted, what is being done about it, and what operators have said.
//!
//! [`crate::capacity`] says how many agents are wanted; this carries it on: one [`Change`] at a time, each decision with a
//! number, a record and a cluster event, at its beginning and at its end. Nothing is decided while agents come back after a
//! restart of the coordinator, while much of the fleet has vanished at once, and for a while after a change that failed.
//!
//! Until an operator has set a policy, by the settings or by a call, what would be wanted is shown and nothing is done.

use std::time::Duration;

use evenkeel_shared::{AdminState, AgentId, Health, Timestamp};

use super::{
    FleetSample, ManagerRecovery, Outputs,
    change::{self, Change, ChangeSettings, Progress},
};
use crate::{
    capacity::{
        Action, Decision, DrainCosts, Foreseen, Hold, Load, Meter, Observation, Policy, Scaler, ScalingOutcome,
        TEMPLATES, Verdict, drain,
    },
    model::{AgentView, ClusterEventKind, Declaration, DeclarationKind, Notice, Record},
};

mod declared;
mod settings;
mod shown;

pub use settings::{Carrier, ScalingSettings};
pub use shown::ScalingView;

/// After a change that failed nothing is decided for so long, then twice as long after each further one,
const REST_FIRST: Duration = Duration::from_secs(10);
/// up to this: whatever is wrong, somebody has to put it right.
const REST_MAX: Duration = Duration::from_secs(300);
/// What is advised is said again after this, if it has not changed.
const ADVISED_AGAIN: Duration = Duration::from_secs(1_800);
/// Bits of a decision's number below the incarnation; as of every number the coordinator makes.
const ID_BITS: u32 = 40;

/// Decides, and carries on what was decided. See the module.
#[derive(Clone, Debug)]
pub struct Scaling {
    settings: ScalingSettings,
    incarnation: u64,
    decisions: u64,
    meter: Meter,
    scaler: Scaler,
    decides: bool,
    policy_stored: Option<Timestamp>,
    policy_version: u64,
    override_version: u64,
    load: Load,
    verdict: Verdict,
    change: Option<Change>,
    last: Option<Decision>,
    quiet_until: Timestamp,
    rest: Duration,
    rest_until: Timestamp,
    /// A change that was under way when the coordinator ended.
    interrupted: Option<Decision>,
    /// What is wanted cannot be done: there is no room for more, or nobody who could go.
    stuck: bool,
}

impl Scaling {
    /// Goes on with what was declared, and from the last decision: steps and cooldowns are reckoned from it, and how the policy
    /// has done is known as of then.
    #[must_use]
    pub fn new(now: Timestamp, settings: ScalingSettings, recovery: &ManagerRecovery) -> Self {
        let of = |kind| recovery.declarations.iter().filter(move |declaration| declaration.kind == kind);
        let read = |declaration: &Declaration| {
            let policy: Policy = serde_json::from_str(declaration.body.as_deref()?).ok()?;
            Some((Policy { version: declaration.version, ..policy }, declaration.at))
        };
        // Versions count on after the policy was taken back.
        let policy_version = of(DeclarationKind::ScalingPolicy).map(|declaration| declaration.version).max();
        let stored = of(DeclarationKind::ScalingPolicy).filter_map(read).next_back();
        let fixed = of(DeclarationKind::ScalingOverride).next_back();
        let policy_stored = stored.as_ref().map(|(_, at)| *at);
        let policy = stored.map(|(policy, _)| policy).or_else(|| settings.policy.clone());
        let decides = policy.is_some();
        let mut scaler = Scaler::new(policy.unwrap_or_else(default_policy));
        scaler.set_override(fixed.and_then(|declaration| serde_json::from_str(declaration.body.as_deref()?).ok()));
        // What cannot be read was written by another version.
        let last = recovery.scaling.as_ref().and_then(|record| Decision::read(record).ok());
        if let Some(last) = &last {
            scaler.recover(last);
        }
        Self {
            incarnation: recovery.incarnation,
            decisions: 0,
            meter: Meter::default(),
            scaler,
            decides,
            policy_stored,
            policy_version: policy_version.unwrap_or(0),
            override_version: fixed.map_or(0, |declaration| declaration.version),
            load: Load::default(),
            verdict: Verdict::default(),
            change: None,
            interrupted: last.clone().filter(|last| last.outcome == ScalingOutcome::Decided),
            last,
            quiet_until: now.plus(settings.quiet),
            rest: REST_FIRST,
            rest_until: now,
            stuck: false,
            settings,
        }
    }

    /// Takes in how the fleet is now, and does what follows. `held` tasks wait for something that more agents would not give
    /// them; `price` is per hour of an agent.
    pub fn turn(
        &mut self,
        sample: &FleetSample,
        held: u64,
        foreseen: Option<Foreseen>,
        price: impl Fn(&AgentView) -> f64,
        out: &mut Outputs,
    ) {
        let now = sample.at;
        if let Some(decision) = self.interrupted.take() {
            self.close(change::interrupted(decision, &mut out.steps), out);
        }
        if let Some(change) = &mut self.change
            && let Progress::Ended(decision) = change.advance(sample, &mut out.steps)
        {
            self.end(now, *decision, out);
        }
        let starting = self.change.as_ref().map_or(0, |change| change.starting(sample));
        self.load = self.meter.observe(now, Observation::of(sample, held), starting, foreseen);
        let hold = self.hold(sample);
        self.verdict = self.scaler.decide(now, &self.load, hold);
        self.stuck = false;
        // An operator who fixes the number has decided, policy or not.
        let decides = self.decides || self.scaler.override_at(now).is_some();
        if hold.is_some() || !decides || self.verdict.action == Action::None || now < self.rest_until {
            return;
        }
        match &self.change {
            Some(change) if self.verdict.action == Action::Up && change.may_be_called_off() => {
                if let Some(change) = self.change.take() {
                    let decision = change.call_off(&mut out.steps);
                    self.close(decision, out);
                }
            }
            Some(_) => {}
            None => self.begin(sample, price, out),
        }
    }

    /// The actuator has answered.
    pub fn acted(&mut self, now: Timestamp, id: u64, result: Result<(), String>, out: &mut Outputs) {
        if let Some(change) = self.change.as_mut().filter(|change| change.decision().id == id)
            && let Progress::Ended(decision) = change.acted(now, result, &mut out.steps)
        {
            self.end(now, *decision, out);
        }
    }

    fn hold(&self, sample: &FleetSample) -> Option<Hold> {
        let in_flight = self.change.as_ref().is_some_and(|change| !change.may_be_called_off());
        match () {
            () if sample.at < self.quiet_until => Some(Hold::Recovering),
            () if sample.status.panic_mode => Some(Hold::Panic),
            () if in_flight => Some(Hold::InFlight),
            () => None,
        }
    }

    fn begin(&mut self, sample: &FleetSample, price: impl Fn(&AgentView) -> f64, out: &mut Outputs) {
        let now = sample.at;
        let (before, mut after) = (self.verdict.agents, self.verdict.wanted);
        let mut agents = Vec::new();
        if self.verdict.action == Action::Up {
            after = before.saturating_add(self.room(sample).min(after.saturating_sub(before)));
            if after == before {
                self.stuck = true;
                return;
            }
        }
        if let (Action::Down, Carrier::Told(prefix)) = (self.verdict.action, &self.settings.carrier) {
            let costs = DrainCosts::of_strategy(sample.status.strategy == "consistent_hash");
            let count = before.saturating_sub(after) as usize;
            let removable = |agent: &AgentView| agent.spec.id.as_str().starts_with(prefix.as_str());
            let chosen = drain::choose(now, &sample.agents, count, &costs, price, removable);
            agents = chosen.into_iter().map(|chosen| chosen.agent).collect();
            after = before.saturating_sub(u32::try_from(agents.len()).unwrap_or(u32::MAX));
            if agents.is_empty() {
                self.stuck = true;
                return;
            }
        }
        let advised = self.settings.carrier == Carrier::Nobody;
        if advised && self.is_said(now, after) {
            return;
        }
        self.decisions += 1;
        let decision = Decision {
            id: (self.incarnation << ID_BITS) | self.decisions,
            at: now,
            action: self.verdict.action,
            agents_before: before,
            agents_after: after,
            agents,
            reasons: self.verdict.reasons.clone(),
            waiting_for: self.verdict.waiting_for.clone(),
            actuator: self.settings.actuator.clone(),
            outcome: if advised { ScalingOutcome::Advised } else { ScalingOutcome::Decided },
            error: String::new(),
            policy: self.scaler.policy().name.clone(),
            policy_version: self.scaler.policy().version,
            score_percent: self.verdict.score.percent,
            demand_slots: self.verdict.demand.slots,
            effect: self.scaler.effect().clone(),
        };
        note(&decision, out);
        if advised {
            self.last = Some(decision);
        } else {
            self.scaler.changed(now, before, after);
            // A policy that knows its agents to start slowly knows better than a setting for all.
            let start_up = Duration::from_millis(self.scaler.policy().start_up_ms);
            let settings = ChangeSettings { join: self.settings.change.join.max(start_up * 2), ..self.settings.change };
            self.change = Some(Change::begin(now, decision, settings, &mut out.steps));
        }
    }

    /// Agents that may come: those who are there count against the most that is allowed, whether they can be used or not.
    fn room(&self, sample: &FleetSample) -> u32 {
        let there =
            sample.agents.iter().filter(|agent| agent.health != Health::Lost && agent.admin != AdminState::Draining);
        let there = u32::try_from(there.count()).unwrap_or(u32::MAX);
        let fixed = self.scaler.override_at(sample.at).map(|fixed| fixed.agents);
        fixed.unwrap_or(self.scaler.policy().agents_max).saturating_sub(there.saturating_add(self.load.starting))
    }

    /// Whether the same was advised lately.
    fn is_said(&self, now: Timestamp, after: u32) -> bool {
        self.last.as_ref().is_some_and(|last| {
            last.outcome == ScalingOutcome::Advised
                && last.agents_after == after
                && last.agents_before == self.verdict.agents
                && now.since(last.at) < ADVISED_AGAIN
        })
    }

    /// The change has come to its end.
    fn end(&mut self, now: Timestamp, decision: Decision, out: &mut Outputs) {
        self.change = None;
        if decision.outcome == ScalingOutcome::Failed {
            self.rest_until = now.plus(self.rest);
            self.rest = (self.rest * 2).min(REST_MAX);
        } else {
            self.rest = REST_FIRST;
        }
        self.close(decision, out);
    }

    fn close(&mut self, decision: Decision, out: &mut Outputs) {
        note(&decision, out);
        self.last = Some(decision);
    }
}

/// What is shown where nobody has set a policy.
fn default_policy() -> Policy {
    TEMPLATES[0].policy()
}

/// Records a decision and says what has become of it.
fn note(decision: &Decision, out: &mut Outputs) {
    // A decision is plain data, so that it can be written.
    if let Ok(record) = decision.record() {
        out.records.push(Record::Scaling(record));
    }
    let Decision { agents_before, agents_after, .. } = decision;
    let what = format!("from {agents_before} to {agents_after} agents");
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    let words = match decision.outcome {
        ScalingOutcome::Decided => {
            let names: Vec<&str> = decision.agents.iter().map(AgentId::as_str).collect();
            let going = if names.is_empty() { String::new() } else { format!("; {} go", names.join(", ")) };
            format!("the fleet goes {what}: {}{going}", reasons.join("; "))
        }
        ScalingOutcome::Done => format!("the fleet has gone {what}"),
        ScalingOutcome::Failed => format!("the fleet did not go {what}: {}", decision.error),
        ScalingOutcome::Advised => format!("the fleet should go {what}: {}", reasons.join("; ")),
    };
    out.notices.push(Notice::new(ClusterEventKind::Scaling, words));
}

#[cfg(test)]
#[path = "scaling_tests.rs"]
mod tests;

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
    FleetSample, Notice, Outputs,
    change::{Change, ChangeSettings, Progress},
};
use crate::{
    capacity::{
        Action, Decision, DrainCosts, Effect, Foreseen, Hold, Load, Meter, Observation, Override, Policy, Scaler,
        ScalingOutcome, TEMPLATES, Verdict, drain,
    },
    model::{AgentView, ClusterEventKind, Declaration, DeclarationKind, Record},
};

/// After a change that failed nothing is decided for so long, then twice as long after each further one,
const REST_FIRST: Duration = Duration::from_secs(10);
/// up to this: whatever is wrong, somebody has to put it right.
const REST_MAX: Duration = Duration::from_secs(300);
/// What is advised is said again after this, if it has not changed.
const ADVISED_AGAIN: Duration = Duration::from_secs(1_800);
/// Bits of a decision's number below the incarnation; as of every number the coordinator makes.
const ID_BITS: u32 = 40;

/// What carries decisions out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Nothing: they are shown.
    Nobody,
    /// Something outside that chooses itself which agents go, such as an orchestrator, and ends them in order.
    Choosing,
    /// Something that takes away the agents that it is told, once they are empty. It can take only those whose names begin
    /// with this; empty: any.
    Told(String),
}

/// Settings of scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingSettings {
    /// The policy until an operator puts another one.
    pub policy: Option<Policy>,
    /// The actuator's name.
    pub actuator: String,
    /// What it can do.
    pub carrier: Carrier,
    /// How long the parts of a change may take.
    pub change: ChangeSettings,
    /// Nothing is decided for so long after the start.
    pub quiet: Duration,
}

impl Default for ScalingSettings {
    fn default() -> Self {
        Self {
            policy: None,
            actuator: "advise".to_owned(),
            carrier: Carrier::Nobody,
            change: ChangeSettings { drain: Duration::from_secs(600), join: Duration::from_secs(120) },
            quiet: Duration::from_secs(15),
        }
    }
}

/// How things stand.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingView {
    /// The policy in force.
    pub policy: Policy,
    /// When it was put; `None`: it is that of the settings, or the default that is only shown.
    pub policy_stored: Option<Timestamp>,
    /// An operator has set a policy: decisions are made.
    pub decides: bool,
    /// How the policy has done.
    pub effect: Effect,
    /// What was seen last.
    pub load: Load,
    /// What is wanted, and why.
    pub verdict: Verdict,
    /// The number that an operator has fixed.
    pub override_: Option<Override>,
    /// What carries decisions out.
    pub actuator: String,
    /// The last decision, or the one that is being carried out.
    pub last: Option<Decision>,
    /// Why nothing (more) is done at the moment; empty: nothing is to be done.
    pub waiting_for: String,
}

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
    override_version: u64,
    load: Load,
    verdict: Verdict,
    change: Option<Change>,
    last: Option<Decision>,
    quiet_until: Timestamp,
    rest: Duration,
    rest_until: Timestamp,
    /// What is wanted cannot be done: there is no room for more, or nobody who could go.
    stuck: bool,
}

impl Scaling {
    /// Goes on with what was declared.
    #[must_use]
    pub fn new(now: Timestamp, settings: ScalingSettings, incarnation: u64, declared: &[Declaration]) -> Self {
        let of = |kind| declared.iter().filter(move |declaration| declaration.kind == kind);
        let read = |declaration: &Declaration| {
            let policy: Policy = serde_json::from_str(declaration.body.as_deref()?).ok()?;
            Some((Policy { version: declaration.version, ..policy }, declaration.at))
        };
        let stored = of(DeclarationKind::ScalingPolicy).filter_map(read).next_back();
        let fixed = of(DeclarationKind::ScalingOverride).next_back();
        let policy_stored = stored.as_ref().map(|(_, at)| *at);
        let policy = stored.map(|(policy, _)| policy).or_else(|| settings.policy.clone());
        let decides = policy.is_some();
        let mut scaler = Scaler::new(policy.unwrap_or_else(default_policy));
        scaler.set_override(fixed.and_then(|declaration| serde_json::from_str(declaration.body.as_deref()?).ok()));
        Self {
            incarnation,
            decisions: 0,
            meter: Meter::default(),
            scaler,
            decides,
            policy_stored,
            override_version: fixed.map_or(0, |declaration| declaration.version),
            load: Load::default(),
            verdict: Verdict::default(),
            change: None,
            last: None,
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

    /// Puts a policy in force, which has been found valid. Answers it with its version.
    pub fn put_policy(&mut self, now: Timestamp, policy: Policy, reason: String, out: &mut Outputs) -> Policy {
        let version = self.policy_stored.map_or(0, |_| self.scaler.policy().version) + 1;
        let policy = Policy { version, ..policy };
        let words = format!("the scaling policy is `{}`, version {version}{}", policy.name, because(&reason));
        // A policy is plain data: it has no keys that are not text, and all its numbers are finite.
        let body = serde_json::to_string(&policy).ok();
        let kind = DeclarationKind::ScalingPolicy;
        let declared = Declaration { kind, name: String::new(), version, body, at: now, reason };
        out.records.push(Record::Declared(declared));
        out.notices.push(Notice::new(ClusterEventKind::Scaling, words));
        self.scaler.set_policy(policy.clone());
        (self.decides, self.policy_stored) = (true, Some(now));
        policy
    }

    /// Fixes the number of agents for a while, or no longer.
    pub fn put_override(&mut self, now: Timestamp, fixed: Option<Override>, reason: String, out: &mut Outputs) {
        self.override_version += 1;
        let words = match &fixed {
            Some(fixed) => {
                let time_s = fixed.until.since(now).as_secs();
                format!("the fleet is fixed at {} agents for {time_s} s{}", fixed.agents, because(&reason))
            }
            None => format!("the size of the fleet is no longer fixed{}", because(&reason)),
        };
        let declared = Declaration {
            kind: DeclarationKind::ScalingOverride,
            name: String::new(),
            version: self.override_version,
            body: fixed.as_ref().and_then(|fixed| serde_json::to_string(fixed).ok()),
            at: now,
            reason,
        };
        out.records.push(Record::Declared(declared));
        out.notices.push(Notice::new(ClusterEventKind::Scaling, words));
        self.scaler.set_override(fixed);
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        self.scaler.policy()
    }

    /// Agents that could be given work when the fleet was looked at last.
    #[must_use]
    pub const fn agents(&self) -> u32 {
        self.load.agents
    }

    /// Mean run time of an attempt, as it was measured last.
    #[must_use]
    pub const fn service_mean(&self) -> Option<Duration> {
        self.load.service_mean
    }

    /// The policy in force, if it decides.
    #[must_use]
    pub fn deciding(&self) -> Option<&Policy> {
        self.decides.then(|| self.scaler.policy())
    }

    /// Agents wanted, for those who ask often: what a change that is being carried out leads to, else what is decided now.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.change.as_ref().map_or(self.verdict.wanted, |change| change.decision().agents_after)
    }

    /// How things stand.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> ScalingView {
        let change = self.change.as_ref();
        ScalingView {
            policy: self.scaler.policy().clone(),
            policy_stored: self.policy_stored,
            decides: self.decides,
            effect: self.scaler.effect().clone(),
            load: self.load.clone(),
            verdict: self.verdict.clone(),
            override_: self.scaler.override_at(now).cloned(),
            actuator: self.settings.actuator.clone(),
            last: change.map(Change::decision).or(self.last.as_ref()).cloned(),
            waiting_for: self.waiting_for(now),
        }
    }

    fn waiting_for(&self, now: Timestamp) -> String {
        if let Some(change) = &self.change {
            return change.stage();
        }
        if !self.decides && self.scaler.override_at(now).is_none() {
            return "no policy has been set: what would be wanted is shown, and nothing is done".to_owned();
        }
        if now < self.rest_until {
            let seconds = self.rest_until.since(now).as_secs();
            return format!("the last change failed; the next one is tried in {seconds} s");
        }
        if self.stuck && self.verdict.action == Action::Up {
            return "as many agents as are allowed are there, some of them of no use: see `evenkeel agents list`"
                .to_owned();
        }
        if self.stuck {
            let actuator = &self.settings.actuator;
            return format!("no agent that could go was started by the actuator `{actuator}`, or may be drained");
        }
        self.verdict.waiting_for.as_ref().map(ToString::to_string).unwrap_or_default()
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

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

#[cfg(test)]
#[path = "scaling_tests.rs"]
mod tests;

//! How things stand, for readers.

use std::time::Duration;

use evenkeel_shared::Timestamp;

use super::{Carrier, Scaling, default_policy};
use crate::{
    capacity::{Action, Decision, Effect, Load, Override, Policy, Verdict},
    manager::change::Change,
};

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

impl Scaling {
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

    /// Whether it was put by somebody, and is not that of the settings.
    #[must_use]
    pub const fn is_put(&self) -> bool {
        self.policy_stored.is_some()
    }

    /// What is in force where none is put.
    #[must_use]
    pub fn configured(&self) -> Policy {
        self.settings.policy.clone().unwrap_or_else(default_policy)
    }

    /// Whether something carries decisions out.
    #[must_use]
    pub fn is_carried(&self) -> bool {
        self.settings.carrier != Carrier::Nobody
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
}

//! The resource manager: what is measured each second, and what follows from it. Pure, like the engine.
//!
//! The engine decides about single tasks; the manager looks at the whole: how the fleet fares, how large it should be, what
//! it costs, what to change. It is a second state machine beside the engine, with a thread of its own, so that nothing it
//! does can hold a task up: it is given a [`FleetSample`] each second and fills [`Outputs`], which the shell carries out. A
//! call of an operator is a function of the manager too, with the same outputs; it is answered once its records are stored.
//!
//! If the manager fails or is off, nothing that it had set is taken back, and tasks are placed as before.

mod advised;
pub mod change;
pub mod scaling;

use std::sync::Arc;

use evenkeel_shared::Timestamp;

use self::{
    change::Step,
    scaling::{Scaling, ScalingSettings},
};
use crate::{
    advice::{
        Advisor,
        findings::{Seen, findings},
    },
    engine::ControlCommand,
    insight::{Insight, sample::MoreSamples},
    model::{AgentView, Declaration, EngineStatus, Notice, Record, ScalingRecord},
};

/// What the fleet looks like at one moment.
#[derive(Clone, Debug)]
pub struct FleetSample {
    /// When.
    pub at: Timestamp,
    /// The whole in numbers.
    pub status: Arc<EngineStatus>,
    /// The agents, by id.
    pub agents: Vec<Arc<AgentView>>,
    /// All else that is measured. A part that the shell does not know is left at its default.
    pub more: MoreSamples,
}

/// What the manager wants done, in order: first all is stored, then it is said and carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// To be stored.
    pub records: Vec<Record>,
    /// To be said.
    pub notices: Vec<Notice>,
    /// For the engine, each with its reason.
    pub commands: Vec<(ControlCommand, String)>,
    /// For a change of the fleet's size.
    pub steps: Vec<Step>,
}

/// What the manager must know to go on where the last incarnation ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManagerRecovery {
    /// As of [`crate::model::Recovery`].
    pub incarnation: u64,
    /// As of [`crate::model::Recovery`].
    pub declarations: Vec<Declaration>,
    /// The newest decision about the size of the fleet.
    pub scaling: Option<ScalingRecord>,
}

/// Settings of the manager.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManagerSettings {
    /// Of scaling.
    pub scaling: ScalingSettings,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Manager {
    now: Timestamp,
    /// How the fleet is and has been.
    pub insight: Insight,
    /// How large it is and should be.
    pub scaling: Scaling,
    /// What to change, and what became of it.
    pub advisor: Advisor,
}

impl Manager {
    /// A manager that has seen nothing yet.
    #[must_use]
    pub fn new(now: Timestamp, settings: &ManagerSettings, recovery: &ManagerRecovery) -> Self {
        let scaling = Scaling::new(now, settings.scaling.clone(), recovery);
        let insight = Insight::new(&recovery.declarations);
        let advisor = Advisor::new(now, &recovery.declarations);
        Self { now, insight, scaling, advisor }
    }

    /// Takes in how the fleet is now: one call a second, off the path of tasks.
    pub fn turn(&mut self, sample: &FleetSample, out: &mut Outputs) {
        self.now = self.now.max(sample.at);
        self.insight.observe(sample, out);
        let held = sample.more.limits.iter().filter(|limit| limit.closed).map(|limit| limit.waiting).sum();
        // What is to come the scaler foresees from the demand that it has seen, as it does in the simulation of policies.
        let price = |agent: &AgentView| sample.more.prices.agent(&agent.spec.labels).units();
        self.scaling.turn(sample, held, None, price, out);
        if self.advisor.is_due(self.now) {
            let (policy, carried) = (self.scaling.deciding(), self.scaling.is_carried());
            let seen = Seen { insight: &self.insight, policy, carried, now: self.now };
            self.advisor.found(self.now, findings(&seen), out);
        }
    }

    /// The actuator has answered for this decision.
    pub fn acted(&mut self, now: Timestamp, decision: u64, result: Result<(), String>, out: &mut Outputs) {
        self.scaling.acted(now, decision, result, out);
    }
}

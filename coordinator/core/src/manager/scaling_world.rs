//! A fleet on paper for the tests of scaling.

use std::sync::Arc;

use evenkeel_shared::{AgentSpec, Kind, Resources};

use super::super::*;
use crate::{
    capacity::{Rules, Template},
    insight::sample::MoreSamples,
    manager::change::Step,
    model::EngineStatus,
    testing::fleet::idle_agent,
};

/// Slots of each agent.
const SLOTS: u32 = 2;

/// A fleet on paper: agents with the tasks that they run, and tasks that wait. An actuator that does as it is told, after a
/// while.
pub struct World {
    pub now: Timestamp,
    pub agents: Vec<AgentView>,
    pub waiting: u64,
    pub panic: bool,
    pub scaling: Scaling,
    /// What the actuator was told, and has not answered.
    pub told: Vec<Decision>,
    pub refuses: bool,
    pub said: Vec<String>,
    pub recorded: Vec<Decision>,
    started: u32,
}

pub fn policy() -> Policy {
    let fast = Rules { period_ms: 1_000, ..Rules::default() };
    let down = Rules { stabilisation_ms: 5_000, period_ms: 1_000, ..Rules::default() };
    let template = Template::named("dev-minimal").unwrap().policy();
    Policy { agents_min: 1, agents_max: 8, up: fast, down, scale_down_percent: 60, wait_target_ms: 1_000, ..template }
}

pub fn settings() -> ScalingSettings {
    ScalingSettings {
        policy: Some(policy()),
        actuator: "local".into(),
        carrier: Carrier::Told("local-".into()),
        quiet: Duration::ZERO,
        ..ScalingSettings::default()
    }
}

impl World {
    pub fn new(settings: ScalingSettings) -> Self {
        let now = Timestamp::from_unix_millis(1_000_000);
        Self {
            now,
            agents: Vec::new(),
            waiting: 0,
            panic: false,
            scaling: Scaling::new(now, settings, &ManagerRecovery { incarnation: 3, ..ManagerRecovery::default() }),
            told: Vec::new(),
            refuses: false,
            said: Vec::new(),
            recorded: Vec::new(),
            started: 0,
        }
    }

    pub fn with_agents(mut self, count: u32, busy: u32) -> Self {
        (0..count).for_each(|_| self.join(busy));
        self
    }

    pub fn join(&mut self, running: u32) {
        self.started += 1;
        let spec = AgentSpec {
            kinds: vec![Kind::new("sleep").unwrap()],
            ..AgentSpec::of(AgentId::new(&format!("local-{}", self.started)).unwrap(), Resources::slots(SLOTS))
        };
        let reserved = Resources::slots(running);
        self.agents.push(AgentView { reserved, running_tasks: running, ..idle_agent(spec, self.now) });
        self.agents.sort_by(|one, other| one.spec.id.cmp(&other.spec.id));
    }

    pub fn agent(&mut self, name: &str) -> &mut AgentView {
        self.agents.iter_mut().find(|agent| agent.spec.id.as_str() == name).unwrap()
    }

    fn sample(&self) -> FleetSample {
        let running: u32 = self.agents.iter().map(|agent| agent.running_tasks).sum();
        let status = EngineStatus {
            strategy: "least_loaded",
            slots_total: SLOTS * self.agents.len() as u32,
            slots_used: running,
            queued: self.waiting,
            running: running.into(),
            panic_mode: self.panic,
            ..EngineStatus::default()
        };
        let agents = self.agents.iter().cloned().map(Arc::new).collect();
        FleetSample { at: self.now, status: Arc::new(status), agents, more: MoreSamples::default() }
    }

    pub fn hear(&mut self, out: Outputs) {
        for step in out.steps {
            match step {
                Step::Drain { agent, .. } => self.agent(agent.as_str()).admin = AdminState::Draining,
                Step::Resume(agent) => {
                    for found in self.agents.iter_mut().filter(|found| found.spec.id == agent) {
                        found.admin = AdminState::Active;
                    }
                }
                Step::Act(decision) => self.told.push(*decision),
            }
        }
        for record in out.records {
            if let Record::Scaling(record) = record {
                self.recorded.push(Decision::read(&record).unwrap());
            }
        }
        self.said.extend(out.notices.into_iter().map(|notice| notice.message));
    }

    pub fn second(&mut self) {
        self.now = self.now.plus(Duration::from_secs(1));
        let mut out = Outputs::default();
        self.scaling.turn(&self.sample(), 0, None, |_| 0.0, &mut out);
        self.hear(out);
    }

    /// Time passes, and the actuator does as it is told at once.
    pub fn seconds(&mut self, count: u32) {
        for _ in 0..count {
            self.second();
            self.obey();
        }
    }

    pub fn obey(&mut self) {
        for decision in std::mem::take(&mut self.told) {
            if !self.refuses {
                match decision.action {
                    Action::Up => (decision.agents_before..decision.agents_after).for_each(|_| self.join(0)),
                    _ => self.agents.retain(|agent| !decision.agents.contains(&agent.spec.id)),
                }
            }
            let result = if self.refuses { Err("no".to_owned()) } else { Ok(()) };
            let mut out = Outputs::default();
            self.scaling.acted(self.now, decision.id, result, &mut out);
            self.hear(out);
        }
    }

    /// Another incarnation goes on from what is stored; what the actuator was told is lost with the first.
    pub fn restart(&mut self) {
        self.told.clear();
        let scaling = self.recorded.last().map(|last| last.record().unwrap());
        let recovery = ManagerRecovery { incarnation: 4, scaling, ..ManagerRecovery::default() };
        self.scaling = Scaling::new(self.now, settings(), &recovery);
    }

    pub fn outcomes(&self) -> Vec<(u32, u32, &'static str)> {
        let of = |decision: &Decision| (decision.agents_before, decision.agents_after, decision.outcome.name());
        self.recorded.iter().map(of).collect()
    }
}

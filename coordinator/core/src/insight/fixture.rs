//! Fleets for tests.

use std::sync::Arc;

use evenkeel_shared::{AdminState, AgentId, AgentSpec, Health, Kind, Resources, Timestamp};

use super::sample::GroupSample;
use crate::{model::AgentView, testing::fleet::idle_agent};

/// The time of second so many of a test.
pub fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_000_000_800_000 + second * 1_000)
}

/// A group of which so many wait.
pub fn group(name: &str, waiting: u64) -> GroupSample {
    GroupSample { name: name.to_owned(), waiting, ..GroupSample::default() }
}

/// An agent to be.
pub struct Plan(AgentView);

/// A healthy agent of one slot that takes no kind.
pub fn agent(id: &str) -> Plan {
    Plan(idle_agent(AgentSpec::of(AgentId::new(id).unwrap(), Resources::slots(1)), at(0)))
}

impl Plan {
    fn spec(mut self, change: impl FnOnce(&mut AgentSpec)) -> Self {
        let mut spec = (*self.0.spec).clone();
        change(&mut spec);
        self.0.spec = Arc::new(spec);
        self
    }

    pub fn label(self, key: &str, value: &str) -> Self {
        self.spec(|spec| drop(spec.labels.insert(key.to_owned(), value.to_owned())))
    }

    pub fn kinds(self, kinds: &[&str]) -> Self {
        self.spec(|spec| spec.kinds = kinds.iter().map(|kind| Kind::new(kind).unwrap()).collect())
    }

    pub fn slots(mut self, total: u32, used: u32) -> Self {
        self.0.reserved.slots = used;
        self.0.running_tasks = used;
        self.0.slots_usable = total;
        self.spec(|spec| spec.capacity.slots = total)
    }

    pub fn load(mut self, cpu: f64, memory: f64) -> Self {
        (self.0.load.cpu_share, self.0.load.memory_share) = (cpu, memory);
        self
    }

    pub fn done(mut self, succeeded: u64, failed: u64) -> Self {
        (self.0.succeeded, self.0.failed) = (succeeded, failed);
        self
    }

    pub fn heard(mut self, second: u64) -> Self {
        self.0.last_heard_at = at(second);
        self
    }

    pub fn health(mut self, health: Health) -> Self {
        self.0.health = health;
        self
    }

    pub fn admin(mut self, admin: AdminState) -> Self {
        self.0.admin = admin;
        self
    }

    pub fn lost(self) -> Self {
        self.health(Health::Lost)
    }

    pub fn view(self) -> Arc<AgentView> {
        Arc::new(self.0)
    }
}

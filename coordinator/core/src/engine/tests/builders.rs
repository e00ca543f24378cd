//! Tasks and agents of a test, said in a few words.

use std::sync::Arc;

use bytes::Bytes;
use evenkeel_shared::{
    AgentId, AgentSpec, AttemptRef, Delivery, Kind, LabelRule, Priority, Resources, RetryPolicy, TaskSpec, Tenant,
    Timestamp,
};

use super::{
    super::{NewTask, StoredKey},
    fixture::ms,
};

/// A task to submit, as a builder.
#[derive(Clone)]
pub struct TaskBuilder(pub NewTask);

pub fn task(kind: &str) -> TaskBuilder {
    let spec = TaskSpec { retry: fast_retry(5), ..TaskSpec::of_kind(Kind::new(kind).unwrap()) };
    TaskBuilder(NewTask {
        spec: Arc::new(spec),
        payload: Bytes::new(),
        fingerprint: 0,
        stored_key: StoredKey::Absent { asked_at: Timestamp::MAX },
        redrive_of: None,
    })
}

fn fast_retry(attempts_max: u32) -> RetryPolicy {
    RetryPolicy { attempts_max, backoff_initial: ms(100), backoff_max: ms(1_000), multiplier: 2.0 }
}

impl TaskBuilder {
    fn with(mut self, change: impl FnOnce(&mut TaskSpec)) -> Self {
        change(Arc::make_mut(&mut self.0.spec));
        self
    }

    pub fn priority(self, level: u8) -> Self {
        self.with(|spec| spec.priority = Priority::new(level).unwrap())
    }

    pub fn tenant(self, name: &str) -> Self {
        self.with(|spec| spec.tenant = Tenant::new(name).unwrap())
    }

    pub fn slots(self, slots: u32) -> Self {
        self.with(|spec| spec.requirements.resources.slots = slots)
    }

    pub fn custom(self, name: &str, amount: u64) -> Self {
        self.with(|spec| {
            spec.requirements.resources.custom.insert(name.into(), amount);
        })
    }

    pub fn label(self, key: &str, value: &str) -> Self {
        self.with(|spec| spec.requirements.required.push(LabelRule::equals(key, value)))
    }

    pub fn key(mut self, key: &str, fingerprint: u128) -> Self {
        self.0.fingerprint = fingerprint;
        self.with(|spec| spec.idempotency_key = key.into())
    }

    pub fn stored_key(mut self, stored: StoredKey) -> Self {
        self.0.stored_key = stored;
        self
    }

    pub fn payload(mut self, bytes: usize) -> Self {
        self.0.payload = Bytes::from(vec![7; bytes]);
        self
    }

    pub fn ephemeral(self) -> Self {
        self.with(|spec| spec.delivery = Delivery::Ephemeral)
    }

    pub fn queue_timeout(self, timeout_ms: u64) -> Self {
        self.with(|spec| spec.queue_timeout = Some(ms(timeout_ms)))
    }

    pub fn attempt_timeout(self, timeout_ms: u64) -> Self {
        self.with(|spec| spec.attempt_timeout = Some(ms(timeout_ms)))
    }

    pub fn deadline(self, deadline: Timestamp) -> Self {
        self.with(|spec| spec.deadline = Some(deadline))
    }

    pub fn attempts(self, attempts_max: u32) -> Self {
        self.with(|spec| spec.retry.attempts_max = attempts_max)
    }
}

/// An agent to join, as a builder.
#[derive(Clone)]
pub struct AgentBuilder {
    pub spec: AgentSpec,
    pub instance: String,
    pub dial: u64,
    pub held: Vec<AttemptRef>,
}

pub fn agent(id: &str) -> AgentBuilder {
    let spec = AgentSpec {
        kinds: vec![Kind::new("work").unwrap()],
        prefetch_per_slot: Some(0),
        ..AgentSpec::of(AgentId::new(id).unwrap(), Resources::slots(1))
    };
    AgentBuilder { spec, instance: format!("{id}#1"), dial: 0, held: Vec::new() }
}

impl AgentBuilder {
    pub fn slots(mut self, slots: u32) -> Self {
        self.spec.capacity.slots = slots;
        self
    }

    pub fn custom(mut self, name: &str, amount: u64) -> Self {
        self.spec.capacity.custom.insert(name.into(), amount);
        self
    }

    pub fn kinds(mut self, kinds: &[&str]) -> Self {
        self.spec.kinds = kinds.iter().map(|kind| Kind::new(kind).unwrap()).collect();
        self.spec.kinds.sort();
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.spec.labels.insert(key.into(), value.into());
        self
    }

    pub fn tier(mut self, tier: u8) -> Self {
        self.spec.tier = tier;
        self
    }

    pub fn prefetch(mut self, per_slot: Option<u8>) -> Self {
        self.spec.prefetch_per_slot = per_slot;
        self
    }

    /// Another process under the same name.
    pub fn process(mut self, number: u32) -> Self {
        self.instance = format!("{}#{number}", self.spec.id);
        self
    }

    pub fn dial(mut self, number: u64) -> Self {
        self.dial = number;
        self
    }

    pub fn holding(mut self, held: &[AttemptRef]) -> Self {
        self.held = held.to_vec();
        self
    }
}

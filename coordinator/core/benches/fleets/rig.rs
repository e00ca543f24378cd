//! An engine, and what a bench tells it.

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_core::{
    engine::{AgentMessage, Effects, Engine, Event, Message, NewTask, RequestId, Settings, StoredKey},
    model::Recovery,
};
use evenkeel_shared::{
    AgentId, AgentSpec, AttemptRef, Kind, Outcome, Registration, Resources, SessionEpoch, StrategyConfig, TaskSpec,
    Timestamp,
};

/// When benches begin; any time will do.
pub const BEGIN: Timestamp = Timestamp::from_unix_millis(1_000_000_000);

/// A task that an agent has, and the session of its agent.
pub type Held = (SessionEpoch, AttemptRef);

/// An engine, and what it wanted done last.
pub struct Rig {
    pub engine: Engine,
    out: Effects,
}

impl Rig {
    pub fn new(strategy: &StrategyConfig) -> Self {
        let settings = Settings { strategy: strategy.clone(), ..Settings::default() };
        let recovery = Recovery { incarnation: 1, ..Recovery::default() };
        let engine = Engine::new(BEGIN, settings, recovery).expect("valid");
        Self { engine, out: Effects::default() }
    }

    pub fn handle(&mut self, now: Timestamp, event: Event) {
        self.out.changes.clear();
        self.out.messages.clear();
        self.engine.handle(now, event, &mut self.out);
    }

    /// Agent `n` comes, on a session of its own. Tiers are dealt out in turn.
    pub fn join(&mut self, now: Timestamp, n: usize, kinds: &[Kind], slots: u32, prefetch_per_slot: u8) {
        let spec = AgentSpec {
            kinds: kinds.to_vec(),
            tier: (n % 3) as u8,
            prefetch_per_slot: Some(prefetch_per_slot),
            ..AgentSpec::of(AgentId::new(&format!("agent-{n}")).expect("valid"), Resources::slots(slots))
        };
        let session = SessionEpoch((1 << 40) + n as u64 + 1);
        let registration = Registration { spec, instance: String::new(), dial: 0, held: Vec::new() };
        self.handle(now, Event::Register { session, registration: Box::new(registration) });
    }

    pub fn submit(&mut self, now: Timestamp, spec: Arc<TaskSpec>) {
        let task =
            NewTask { spec, payload: Bytes::new(), fingerprint: 0, stored_key: StoredKey::None, redrive_of: None };
        self.handle(now, Event::Submit { request: RequestId(1), tasks: vec![task] });
    }

    pub fn succeed(&mut self, now: Timestamp, (session, attempt): Held) {
        let outcome = Outcome::Succeeded(Bytes::new());
        self.handle(now, Event::Result { session, attempt, outcome, run: Duration::from_millis(10), usage: None });
        black_box(&self.out);
    }

    /// What agents were given by the last event.
    pub fn given(&self) -> impl Iterator<Item = Held> {
        self.out.messages.iter().filter_map(|message| match message {
            Message::ToAgent { session, message: AgentMessage::Assign(assignment) } => {
                Some((*session, assignment.attempt))
            }
            _ => None,
        })
    }
}

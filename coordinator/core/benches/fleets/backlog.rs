//! A fleet that is full, and its backlog.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use evenkeel_core::{
    engine::{AgentMessage, Effects, Engine, Event, Message, NewTask, RequestId, Settings, StoredKey},
    model::Recovery,
};
use evenkeel_shared::{AttemptRef, Kind, Outcome, Priority, SessionEpoch, StrategyConfig, TaskSpec, Tenant, Timestamp};

use super::agent::joins;

const SLOTS: u32 = 4;
const TENANTS: usize = 100;
const PRIORITIES: u8 = 10;
/// Tasks that wait, for each agent.
const BACKLOG_PER_AGENT: usize = 10;
/// Freed slots in a row.
const BATCH: u64 = 100;

/// A task that an agent has, and the session of its agent.
type Held = (SessionEpoch, AttemptRef);

pub struct Fleet {
    engine: Engine,
    specs: Vec<Arc<TaskSpec>>,
    out: Effects,
    held: Vec<Held>,
    draws: fastrand::Rng,
    now: Timestamp,
}

/// One of so many kinds.
fn kind(n: usize) -> Kind {
    Kind::new(&format!("kind-{n}")).expect("valid")
}

fn specs(classes: usize, draws: &mut fastrand::Rng) -> Vec<Arc<TaskSpec>> {
    let all = (0..classes).flat_map(|class| (0..PRIORITIES).map(move |priority| (class, priority)));
    let of_tenant = all.map(|(class, priority)| {
        let mut spec = TaskSpec::of_kind(kind(class));
        spec.priority = Priority::new(priority).expect("valid");
        spec.tenant = Tenant::new(&format!("tenant-{}", draws.usize(..TENANTS))).expect("valid");
        Arc::new(spec)
    });
    of_tenant.collect()
}

impl Fleet {
    pub fn new(agents: usize, classes: usize, strategy: &StrategyConfig) -> Self {
        let mut draws = fastrand::Rng::with_seed(3);
        let now = Timestamp::from_unix_millis(1_000_000_000);
        let settings = Settings { strategy: strategy.clone(), ..Settings::default() };
        let recovery = Recovery { incarnation: 1, ..Recovery::default() };
        let engine = Engine::new(now, settings, recovery).expect("valid");
        let specs = specs(classes, &mut draws);
        let mut fleet = Self { engine, specs, out: Effects::default(), held: Vec::new(), draws, now };
        let mut kinds: Vec<Kind> = (0..classes).map(kind).collect();
        kinds.sort();
        for n in 0..agents {
            fleet.join(n, &kinds);
        }
        let places = agents * SLOTS as usize * 2;
        for _ in 0..places + agents * BACKLOG_PER_AGENT {
            fleet.submit();
        }
        for _ in 0..2 * places {
            fleet.turn();
        }
        fleet
    }

    fn join(&mut self, n: usize, kinds: &[Kind]) {
        self.handle(joins(n, kinds, SLOTS, 1));
    }

    fn handle(&mut self, event: Event) {
        self.out.changes.clear();
        self.out.messages.clear();
        self.engine.handle(self.now, event, &mut self.out);
        self.held.extend(self.out.messages.iter().filter_map(|message| match message {
            Message::ToAgent { session, message: AgentMessage::Assign(assignment) } => {
                Some((*session, assignment.attempt))
            }
            _ => None,
        }));
    }

    fn submit(&mut self) {
        let task = NewTask {
            spec: self.specs[self.draws.usize(..self.specs.len())].clone(),
            payload: Bytes::new(),
            fingerprint: 0,
            stored_key: StoredKey::None,
            redrive_of: None,
        };
        self.now = self.now.plus(Duration::from_micros(1));
        self.handle(Event::Submit { request: RequestId(1), tasks: vec![task] });
    }

    /// A task ends, the next one of the backlog takes its place, and another one comes to wait.
    fn turn(&mut self) {
        let (session, attempt) = self.held.swap_remove(self.draws.usize(..self.held.len()));
        let outcome = Outcome::Succeeded(Bytes::new());
        self.handle(Event::Result { session, attempt, outcome, run: Duration::from_millis(10), usage: None });
        black_box(&self.out);
        self.submit();
    }

    /// The time of so many freed slots.
    #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
    pub fn time_of(&mut self, slots: u64) -> Duration {
        let mut spent = Duration::ZERO;
        for first in (0..slots).step_by(BATCH as usize) {
            let start = Instant::now();
            (first..slots.min(first + BATCH)).for_each(|_| self.turn());
            spent += start.elapsed();
            black_box(self.engine.take_changed_agents());
        }
        spent
    }
}

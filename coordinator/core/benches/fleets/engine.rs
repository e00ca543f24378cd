//! A fleet and its engine, 70 % busy.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use evenkeel_core::{
    admission::{Limit, LimitScope},
    engine::{AgentMessage, ControlCommand, Effects, Engine, Event, Message, NewTask, RequestId, Settings, StoredKey},
    model::Recovery,
};
use evenkeel_shared::{AttemptRef, Kind, Outcome, SessionEpoch, StrategyConfig, TaskSpec, Tenant, Timestamp};

use super::agent::joins;

const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000_000);
const SLOTS: u32 = 4;
const BUSY_PERCENT: usize = 70;
/// Tasks in a row, as in one batch of the engine.
const BATCH: u64 = 100;
/// Tasks between two snapshots for readers.
const SNAPSHOT_EVERY: u64 = 10_000;

/// A task that runs, and the session of its agent.
type Running = (SessionEpoch, AttemptRef);

pub struct Fleet {
    engine: Engine,
    spec: Arc<TaskSpec>,
    out: Effects,
    running: Vec<Running>,
    draws: fastrand::Rng,
    since_snapshot: u64,
}

impl Fleet {
    pub fn new(agents: usize, strategy: &StrategyConfig) -> Self {
        let settings = Settings { strategy: strategy.clone(), ..Settings::default() };
        let recovery = Recovery { incarnation: 1, ..Recovery::default() };
        let engine = Engine::new(NOW, settings, recovery).expect("valid");
        let spec = Arc::new(TaskSpec::of_kind(Kind::new("work").expect("valid")));
        let draws = fastrand::Rng::with_seed(3);
        let mut fleet = Self { engine, spec, out: Effects::default(), running: Vec::new(), draws, since_snapshot: 0 };
        for n in 0..agents {
            fleet.join(n);
        }
        let tasks = agents * SLOTS as usize * BUSY_PERCENT / 100;
        for _ in 0..tasks {
            fleet.begin();
        }
        // So that assignments and results are in no common order, as in a fleet that has run for a while.
        for _ in 0..2 * tasks {
            let ended = fleet.draw();
            fleet.begin();
            fleet.end(ended);
        }
        fleet
    }

    /// Declares so many limits: one covers the tasks, one each of the agents, the others tenants that have none. All are wide.
    #[allow(dead_code, reason = "a bench that shares this file asks for none")]
    pub fn limit(&mut self, limits: usize) {
        for n in 0..limits {
            let scope = match n {
                0 => LimitScope { kind: Some(Kind::new("work").expect("valid")), ..LimitScope::default() },
                1 => LimitScope { each_agent: true, ..LimitScope::default() },
                _ => LimitScope {
                    tenant: Some(Tenant::new(&format!("tenant-{n}")).expect("valid")),
                    ..LimitScope::default()
                },
            };
            let (name, concurrency_max) = (format!("limit-{n}"), Some(1_000_000));
            let limit = Limit { name, scope, concurrency_max, rate_per_s: None, burst: 1 };
            let command = Box::new(ControlCommand::PutLimit(limit));
            self.handle(Event::Control { request: RequestId(1), command, reason: String::new() });
        }
    }

    fn join(&mut self, n: usize) {
        let kind = Kind::new("work").expect("valid");
        self.handle(joins(n, &[kind], SLOTS, 0));
    }

    fn handle(&mut self, event: Event) {
        self.out.changes.clear();
        self.out.messages.clear();
        self.engine.handle(NOW, event, &mut self.out);
    }

    /// A task is submitted, and its agent begins it.
    fn begin(&mut self) {
        let task = NewTask {
            spec: self.spec.clone(),
            payload: Bytes::new(),
            fingerprint: 0,
            stored_key: StoredKey::None,
            redrive_of: None,
        };
        self.handle(Event::Submit { request: RequestId(1), tasks: vec![task] });
        let assigned = self.out.messages.iter().find_map(|message| match message {
            Message::ToAgent { session, message: AgentMessage::Assign(assignment) } => {
                Some((*session, assignment.attempt))
            }
            _ => None,
        });
        let (session, attempt) = assigned.expect("the fleet has room");
        self.handle(Event::Started { session, attempt });
        self.running.push((session, attempt));
    }

    fn end(&mut self, (session, attempt): Running) {
        let outcome = Outcome::Succeeded(Bytes::new());
        self.handle(Event::Result { session, attempt, outcome, run: Duration::from_millis(10), usage: None });
        black_box(&self.out);
    }

    /// What the manager asks of the engine each second.
    #[allow(dead_code, reason = "a bench that shares this file asks for none")]
    pub fn look(&self) {
        let gated = self.engine.gated(NOW);
        black_box((self.engine.more_samples(&gated), self.engine.quotas_used_up()));
        black_box(self.engine.breakers_not_closed(NOW));
    }

    /// Any of the tasks that run.
    fn draw(&mut self) -> Running {
        self.running.swap_remove(self.draws.usize(..self.running.len()))
    }

    /// The time of so many tasks that begin and as many that end.
    #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
    pub fn time_of(&mut self, tasks: u64) -> Duration {
        let mut spent = Duration::ZERO;
        let mut ended = Vec::with_capacity(BATCH as usize);
        for first in (0..tasks).step_by(BATCH as usize) {
            let count = BATCH.min(tasks - first);
            ended.extend((0..count).map(|_| self.draw()));
            let start = Instant::now();
            for task in ended.drain(..) {
                self.begin();
                self.end(task);
            }
            spent += start.elapsed();
            self.since_snapshot += count;
            if self.since_snapshot >= SNAPSHOT_EVERY {
                self.since_snapshot = 0;
                black_box(self.engine.take_changed_agents());
            }
        }
        spent
    }
}

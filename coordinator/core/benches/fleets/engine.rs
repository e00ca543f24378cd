//! A fleet and its engine, 70 % busy.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_core::{
    admission::{Limit, LimitScope},
    engine::{ControlCommand, Event, RequestId},
};
use evenkeel_shared::{Kind, StrategyConfig, TaskSpec, Tenant};

use super::rig::{BEGIN, Held, Rig};

const SLOTS: u32 = 4;
const BUSY_PERCENT: usize = 70;
/// Tasks in a row, as in one batch of the engine.
const BATCH: u64 = 100;
/// Tasks between two snapshots for readers.
const SNAPSHOT_EVERY: u64 = 10_000;

pub struct Fleet {
    rig: Rig,
    spec: Arc<TaskSpec>,
    running: Vec<Held>,
    draws: fastrand::Rng,
    since_snapshot: u64,
}

impl Fleet {
    pub fn new(agents: usize, strategy: &StrategyConfig) -> Self {
        let kind = Kind::new("work").expect("valid");
        let spec = Arc::new(TaskSpec::of_kind(kind.clone()));
        let draws = fastrand::Rng::with_seed(3);
        let mut fleet = Self { rig: Rig::new(strategy), spec, running: Vec::new(), draws, since_snapshot: 0 };
        for n in 0..agents {
            fleet.rig.join(BEGIN, n, std::slice::from_ref(&kind), SLOTS, 0);
        }
        let tasks = agents * SLOTS as usize * BUSY_PERCENT / 100;
        for _ in 0..tasks {
            fleet.begin();
        }
        // So that assignments and results are in no common order, as in a fleet that has run for a while.
        for _ in 0..2 * tasks {
            let ended = fleet.draw();
            fleet.begin();
            fleet.rig.succeed(BEGIN, ended);
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
            self.rig.handle(BEGIN, Event::Control { request: RequestId(1), command, reason: String::new() });
        }
    }

    /// A task is submitted, and its agent begins it.
    fn begin(&mut self) {
        self.rig.submit(BEGIN, self.spec.clone());
        let (session, attempt) = self.rig.given().next().expect("the fleet has room");
        self.rig.handle(BEGIN, Event::Started { session, attempt });
        self.running.push((session, attempt));
    }

    /// What the manager asks of the engine each second.
    #[allow(dead_code, reason = "a bench that shares this file asks for none")]
    pub fn look(&self) {
        let engine = &self.rig.engine;
        black_box((engine.more_samples(&engine.gated(BEGIN)), engine.quotas_used_up()));
        black_box(engine.breakers_not_closed(BEGIN));
    }

    /// Any of the tasks that run.
    fn draw(&mut self) -> Held {
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
                self.rig.succeed(BEGIN, task);
            }
            spent += start.elapsed();
            self.since_snapshot += count;
            if self.since_snapshot >= SNAPSHOT_EVERY {
                self.since_snapshot = 0;
                black_box(self.rig.engine.take_changed_agents());
            }
        }
        spent
    }
}

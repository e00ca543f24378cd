//! The last hour of a coordinator that never was, written into a store for one that will be.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_coordinator::store::{
    Store as _,
    sqlite::{Durability, SqliteStore},
};
use evenkeel_core::{
    engine::{AcceptedTask, Change, Settings},
    model::{Record, UsageSample},
    replay::{AgentPlan, Done, Fleet, Heartbeats, Job},
};
use evenkeel_shared::{
    AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Decision, Kind, StrategyConfig, TaskId, TaskSpec,
    TaskState, Timestamp, Usage,
};

const MINUTE: Duration = Duration::from_secs(60);
/// Tasks of the past: enough for a replay.
const TASKS: usize = 1_500;
/// Changes in one transaction.
const COMMIT: usize = 1_000;

pub struct Past {
    store: SqliteStore,
    now: Timestamp,
}

impl Past {
    /// In a store that is made here.
    pub fn new(data: &Path) -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Timestamp::ZERO.plus(since_epoch);
        let mut store = SqliteStore::open(data, Durability::None).unwrap();
        store.claim(now).unwrap();
        Self { store, now }
    }

    fn keep(mut self, changes: &[Change]) {
        for some in changes.chunks(COMMIT) {
            self.store.commit(some).unwrap();
        }
        self.store.release().unwrap();
    }

    /// A tenth of the slots in use, and nothing that waits, for an hour and more.
    pub fn hour_of_little_work(self) {
        let measured = |minutes: u32| {
            let at = self.now.minus(MINUTE * minutes);
            [("utilisation", 0.1), ("queued", 0.0)].map(|(metric, value)| {
                let sample = UsageSample {
                    at,
                    length: MINUTE,
                    subject: "fleet".to_owned(),
                    metric: metric.to_owned(),
                    mean: value,
                    min: value,
                    max: value,
                };
                Change::Record(Box::new(Record::Usage(sample)))
            })
        };
        let changes: Vec<Change> = (1..=70).rev().flat_map(measured).collect();
        self.keep(&changes);
    }

    /// What ten agents, the fastest of them ten times as fast as the slowest, made of some tasks under this strategy, ten minutes
    /// ago.
    pub fn tasks_placed_by(self, strategy: &str) {
        let kind = Kind::new("work").unwrap();
        let agent = |n: u32| AgentId::new(&format!("a{n}")).unwrap();
        let plan = |n: u32| AgentPlan {
            id: agent(n),
            kinds: vec![kind.clone()],
            slots: 2,
            slowness: 10_f64.powf(f64::from(n) / 9.0),
        };
        let settings = Settings { strategy: StrategyConfig::named(strategy).unwrap(), ..Settings::default() };
        let heartbeats = Heartbeats { every_us: 1_000_000, age_us: 0 };
        let agents = (0..10).map(plan).collect();
        let mut fleet = Fleet::new(settings, agents, &[TaskSpec::of_kind(kind.clone())], heartbeats).unwrap();
        let mut draws = fastrand::Rng::with_seed(7);
        let mut at = 0.0;
        let jobs = (0..TASKS).map(move |_| {
            at -= 15_000.0 * draws.f64().ln();
            Job { at: at as u64, demand_us: 50_000.0, sort: 0 }
        });
        let mut done: Vec<Done> = Vec::new();
        fleet.run(jobs, |one| done.push(one)).unwrap();
        let spec = Arc::new(TaskSpec::of_kind(kind));
        let began = self.now.minus(10 * MINUTE);
        let at = |us: u64| began.plus(Duration::from_micros(us));
        let recorded = |one: Done| {
            Was {
                spec: Arc::clone(&spec),
                number: one.index + 1,
                agent: agent(one.agent),
                accepted_at: at(one.submitted),
                started_at: at(one.started),
                finished_at: at(one.finished),
                strategy,
                usage: None,
            }
            .succeeded()
        };
        let changes: Vec<Change> = done.into_iter().flat_map(recorded).collect();
        self.keep(&changes);
    }

    /// Tasks of a kind that all requested so much memory, and used so much of it, ten minutes ago.
    pub fn tasks_that_used(self, kind: &str, requested_bytes: u64, used_bytes: u64) {
        let mut spec = TaskSpec::of_kind(Kind::new(kind).unwrap());
        spec.requirements.resources.memory_bytes = requested_bytes;
        let spec = Arc::new(spec);
        let began = self.now.minus(10 * MINUTE);
        let used = |number: u64| {
            let at = began.plus(Duration::from_secs(number));
            let usage = Usage { memory_max_bytes: used_bytes, ..Usage::default() };
            Was {
                spec: Arc::clone(&spec),
                number,
                agent: AgentId::new("a").unwrap(),
                accepted_at: at,
                started_at: at,
                finished_at: at.plus(Duration::from_secs(1)),
                strategy: "least_loaded",
                usage: Some(Box::new(usage)),
            }
            .succeeded()
        };
        let changes: Vec<Change> = (1..=100).flat_map(used).collect();
        self.keep(&changes);
    }
}

/// A task that was done at its first attempt.
struct Was<'a> {
    spec: Arc<TaskSpec>,
    /// From 1.
    number: u64,
    agent: AgentId,
    accepted_at: Timestamp,
    started_at: Timestamp,
    finished_at: Timestamp,
    strategy: &'a str,
    usage: Option<Box<Usage>>,
}

impl Was<'_> {
    /// What was written down of it.
    fn succeeded(self) -> [Change; 4] {
        let Self { spec, number, agent, accepted_at, started_at, finished_at, strategy, usage } = self;
        let task = TaskId::new(accepted_at, u128::from(number) << 8);
        let attempt = AttemptRef { task, attempt: AttemptNumber(1), assignment: AssignmentId((1 << 40) + number) };
        let accepted = AcceptedTask {
            id: task,
            spec,
            payload: Bytes::new(),
            fingerprint: u128::from(number),
            order: number,
            at: accepted_at,
            redrive_of: None,
        };
        [
            Change::Accept(Arc::new(accepted)),
            Change::Assign { attempt, agent, at: started_at, decision: decision(strategy), reserved: Vec::new() },
            Change::EndAttempt {
                attempt,
                at: finished_at,
                started_at: Some(started_at),
                end: AttemptEnd::Succeeded,
                failure: None,
                run: finished_at.since(started_at),
                usage,
            },
            Change::Finish {
                task,
                at: finished_at,
                state: TaskState::Succeeded,
                output: Bytes::new(),
                failure: None,
                crashes: 0,
            },
        ]
    }
}

fn decision(strategy: &str) -> Decision {
    Decision {
        strategy: strategy.to_owned(),
        score: 0.0,
        agents_with_room: 1,
        prefetched: false,
        preferences_given_up: 0,
        queued: Duration::ZERO,
    }
}

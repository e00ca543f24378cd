//! Runs seeds and strategies, several at a time.
//!
//! A run of one seed through one contender is independent of all others and is fixed by its seed, so threads take the next
//! one each, and the report is the same whatever their number.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use evenkeel_core::{
    engine::Settings,
    replay::{AgentPlan, Done, Fleet, Heartbeats},
};
use evenkeel_shared::{AgentId, Kind, StrategyConfig, TaskSpec};

use super::{
    central,
    draws::{Purpose, seed_of, slownesses},
    figures::Figures,
    law::Demands,
    plan::{QueueingError, QueueingPlan},
    report::{HostTime, QueueingReport},
    work::Poisson,
};

/// The kind of all tasks.
const KIND: &str = "work";

/// One seed through one contender.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub figures: Figures,
    /// Work that was done, as a share of what the fleet could have done.
    pub utilisation: f64,
    /// Slots in use, on average.
    pub busy: f64,
    pub tasks: u64,
    pub events: u64,
}

/// What is common to all seeds.
pub(super) struct Runner<'a> {
    plan: &'a QueueingPlan,
    demands: Demands,
    mean_service_us: f64,
}

/// Simulates. `progress` is told how many of the runs are over.
///
/// # Errors
/// If the plan cannot be carried out, or a strategy cannot carry the load.
pub fn simulate(plan: &QueueingPlan, progress: &(dyn Fn(u64) + Sync)) -> Result<QueueingReport, QueueingError> {
    plan.check()?;
    let runner = Runner::new(plan)?;
    // The central queue, then each strategy.
    let contenders = 1 + plan.strategies.len();
    let runs = contenders * plan.seeds as usize;
    let begun = Instant::now();
    let outcomes = in_threads(plan.threads, runs, progress, |run| {
        let (seed, contender) = (plan.seed + (run / contenders) as u64, run % contenders);
        match contender.checked_sub(1) {
            None => Ok(runner.central(seed)),
            Some(at) => runner.engine(seed, &plan.strategies[at]),
        }
    })?;
    let host = HostTime::new(begun.elapsed(), outcomes.iter().map(|outcome| outcome.tasks).sum());
    let of_contender = |at: usize| outcomes.iter().skip(at).step_by(contenders).cloned().collect::<Vec<_>>();
    let engine = (0..plan.strategies.len()).map(|at| of_contender(at + 1)).collect();
    Ok(QueueingReport::new(plan.clone(), &of_contender(0), engine, host))
}

impl<'a> Runner<'a> {
    pub fn new(plan: &'a QueueingPlan) -> Result<Self, QueueingError> {
        let (demands, mean_s) = Demands::of(&plan.service)?;
        let mean_s = plan.mean_service_s.or(mean_s).unwrap_or(QueueingPlan::MEAN_SERVICE_S);
        Ok(Self { plan, demands, mean_service_us: mean_s * 1e6 })
    }

    fn slots(&self) -> f64 {
        f64::from(self.plan.agents) * f64::from(self.plan.slots)
    }

    pub fn work(&self, seed: u64) -> Poisson {
        let gap_us = self.mean_service_us / (self.slots() * self.plan.rho);
        Poisson::new(seed, self.demands.clone(), self.mean_service_us, gap_us, self.plan.tasks)
    }

    fn slownesses(&self, seed: u64) -> Vec<f64> {
        slownesses(seed, self.plan.agents, self.plan.speed_spread)
    }

    /// Through the central queue.
    pub fn central(&self, seed: u64) -> Outcome {
        let mut book = Book::new(self, seed);
        let slownesses = book.slownesses.clone();
        central::run(&slownesses, self.plan.slots, self.work(seed), |done| book.enter(done));
        book.close(0)
    }

    /// Through the engine.
    pub fn engine(&self, seed: u64, strategy: &StrategyConfig) -> Result<Outcome, QueueingError> {
        let mut book = Book::new(self, seed);
        let mut fleet = self.fleet(seed, strategy, &book.slownesses)?;
        let totals = fleet.run(self.work(seed), |done| book.enter(done))?;
        Ok(book.close(totals.events))
    }

    /// Agents that take so long, and an engine.
    pub fn fleet(&self, seed: u64, strategy: &StrategyConfig, slownesses: &[f64]) -> Result<Fleet, QueueingError> {
        let kind = kind()?;
        let agent = |(at, &slowness): (usize, &f64)| {
            let id = AgentId::new(&format!("agent-{at:06}")).map_err(|why| refused("an agent", &why))?;
            Ok(AgentPlan { id, kinds: vec![kind.clone()], slots: self.plan.slots, slowness })
        };
        let agents = slownesses.iter().enumerate().map(agent).collect::<Result<_, QueueingError>>()?;
        let settings =
            Settings { strategy: strategy.clone(), seed: seed_of(seed, Purpose::Engine), ..Settings::default() };
        let heartbeats = Heartbeats {
            every_us: settings.lease.heartbeat_interval().as_micros() as u64,
            age_us: (self.plan.heartbeat_age * self.mean_service_us) as u64,
        };
        Ok(Fleet::new(settings, agents, &[TaskSpec::of_kind(kind)], heartbeats)?)
    }
}

fn kind() -> Result<Kind, QueueingError> {
    Kind::new(KIND).map_err(|why| refused("a kind", &why))
}

fn refused(what: &str, why: &evenkeel_shared::Violation) -> QueueingError {
    QueueingError::Refused { what: what.to_owned(), reason: why.to_string() }
}

/// Keeps account of the tasks that are over.
struct Book {
    mean_service_us: f64,
    warm_up: u64,
    /// Between the submissions of the first measured task and of the last one: what is used and done is counted there.
    span: (u64, u64),
    slots: f64,
    slownesses: Vec<f64>,
    /// By the order of submission, without those of the warm-up.
    responses: Vec<f32>,
    waited_us: f64,
    busy_us: u64,
    worked_us: f64,
    tasks: u64,
}

impl Book {
    fn new(runner: &Runner<'_>, seed: u64) -> Self {
        let measured = (runner.plan.tasks - runner.plan.warm_up) as usize;
        Self {
            mean_service_us: runner.mean_service_us,
            warm_up: runner.plan.warm_up,
            span: span(runner.work(seed), runner.plan.warm_up),
            slots: runner.slots(),
            slownesses: runner.slownesses(seed),
            responses: vec![0.0; measured],
            waited_us: 0.0,
            busy_us: 0,
            worked_us: 0.0,
            tasks: 0,
        }
    }

    fn enter(&mut self, done: Done) {
        let (from, to) = self.span;
        let run = done.finished.clamp(from, to) - done.started.clamp(from, to);
        self.tasks += 1;
        self.busy_us += run;
        self.worked_us += run as f64 / self.slownesses[done.agent as usize];
        let measured = done.index.checked_sub(self.warm_up).and_then(|at| self.responses.get_mut(at as usize));
        if let Some(response) = measured {
            *response = ((done.finished - done.submitted) as f64 / self.mean_service_us) as f32;
            self.waited_us += (done.started - done.submitted) as f64;
        }
    }

    fn close(self, events: u64) -> Outcome {
        let wait = self.waited_us / self.responses.len() as f64 / self.mean_service_us;
        let slot_us = ((self.span.1 - self.span.0) as f64 * self.slots).max(1.0);
        Outcome {
            figures: Figures::of(self.responses, wait),
            utilisation: self.worked_us / slot_us,
            busy: self.busy_us as f64 / slot_us,
            tasks: self.tasks,
            events,
        }
    }
}

/// The submissions of the first task after so many, and of the last.
fn span(work: Poisson, warm_up: u64) -> (u64, u64) {
    let (mut from, mut to) = (0, 0);
    for (index, job) in (0..).zip(work) {
        to = job.at;
        if index == warm_up {
            from = job.at;
        }
    }
    (from, to)
}

/// The results of `count` runs in their order, of which `threads` are under way at a time; or the first error.
fn in_threads<T: Send>(
    threads: usize,
    count: usize,
    progress: &(dyn Fn(u64) + Sync),
    run: impl Fn(usize) -> Result<T, QueueingError> + Sync,
) -> Result<Vec<T>, QueueingError> {
    let (next, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Vec<Mutex<Option<Result<T, QueueingError>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = results.get(at) else { return };
                    let result = run(at);
                    if let Ok(mut place) = slot.lock() {
                        *place = Some(result);
                    }
                    progress(over.fetch_add(1, Ordering::Relaxed) as u64 + 1);
                }
            });
        }
    });
    let taken = results.into_iter().map(|slot| slot.into_inner().ok().flatten().ok_or(QueueingError::Lost)?);
    taken.collect()
}

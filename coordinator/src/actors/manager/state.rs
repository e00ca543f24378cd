//! What is shown of the manager: where it is in its life, what it has cost, how large the fleet should be.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_core::{
    capacity::{Action, Decision, ScalingOutcome},
    manager::Outputs,
    model::Record,
};
use evenkeel_shared::{Code, Error, Timestamp};
use tokio::sync::watch;

use crate::{actors::guards_shown::GuardsShown, lifecycle::Lifecycle};

/// Where the manager is in its life, for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerPhase {
    /// It looks at the fleet.
    Running,
    /// The settings say that there is none.
    Off,
    /// It panicked, and rests until then.
    Failed {
        /// What it said.
        message: String,
        /// When it begins again.
        until: Timestamp,
    },
}

/// What is shown of the manager itself. Clones share it.
#[derive(Clone, Debug)]
pub struct ManagerState(Arc<State>);

#[derive(Debug)]
struct State {
    phase: Mutex<ManagerPhase>,
    running: AtomicBool,
    turns: AtomicU64,
    panics: AtomicU64,
    turn_us: AtomicU64,
    turns_us: AtomicU64,
    unkept: AtomicU64,
    scaling: watch::Sender<ScalingShown>,
    guards: Mutex<GuardsShown>,
}

/// What is shown of the fleet's size to those who ask often. Counters are since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScalingShown {
    /// The manager has looked at the fleet.
    pub known: bool,
    /// Agents that can be given work.
    pub agents: u32,
    /// Agents that are wanted.
    pub wanted: u32,
    /// Decisions to grow.
    pub ups: u64,
    /// Decisions to shrink.
    pub downs: u64,
    /// Changes that failed.
    pub failures: u64,
}

impl ManagerState {
    /// Of a manager that runs, or of none.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        let phase = if enabled { ManagerPhase::Running } else { ManagerPhase::Off };
        Self(Arc::new(State {
            running: AtomicBool::new(enabled),
            phase: Mutex::new(phase),
            turns: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            turn_us: AtomicU64::new(0),
            turns_us: AtomicU64::new(0),
            unkept: AtomicU64::new(0),
            scaling: watch::Sender::new(ScalingShown::default()),
            guards: Mutex::default(),
        }))
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> ManagerPhase {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the fleet goes on with what was last set, without anybody who looks at the whole.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        !self.0.running.load(Ordering::Acquire)
    }

    /// Looks at the fleet, since the process started.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.0.turns.load(Ordering::Relaxed)
    }

    /// Panics since the process started.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Ordering::Relaxed)
    }

    /// How long the last look took, of the manager alone.
    #[must_use]
    pub fn last_turn(&self) -> Duration {
        Duration::from_micros(self.0.turn_us.load(Ordering::Relaxed))
    }

    /// How long all of them took together.
    #[must_use]
    pub fn all_turns(&self) -> Duration {
        Duration::from_micros(self.0.turns_us.load(Ordering::Relaxed))
    }

    /// Records that could not be stored and were let go.
    #[must_use]
    pub fn records_dropped(&self) -> u64 {
        self.0.unkept.load(Ordering::Relaxed)
    }

    /// How large the fleet is and should be, as of the last look.
    #[must_use]
    pub fn scaling(&self) -> ScalingShown {
        *self.0.scaling.borrow()
    }

    /// The same, to be told of every change.
    #[must_use]
    pub fn watch_scaling(&self) -> watch::Receiver<ScalingShown> {
        self.0.scaling.subscribe()
    }

    /// Limits, budgets, quotas and breakers, as of the last look.
    #[must_use]
    pub fn guards(&self) -> GuardsShown {
        *self.0.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show_guards(&self, guards: GuardsShown) {
        *self.0.guards.lock().unwrap_or_else(PoisonError::into_inner) = guards;
    }

    /// As if a manager had looked at the fleet.
    #[cfg(test)]
    pub(crate) fn show_wanted(&self, agents: u32, wanted: u32) {
        self.show_scaling(agents, wanted, &Outputs::default());
    }

    pub(super) fn show_scaling(&self, agents: u32, wanted: u32, out: &Outputs) {
        let decided = |record: &Record| match record {
            Record::Scaling(record) => Decision::read(record).ok(),
            _ => None,
        };
        let decisions: Vec<Decision> = out.records.iter().filter_map(decided).collect();
        self.0.scaling.send_if_modified(|shown| {
            let before = *shown;
            (shown.known, shown.agents, shown.wanted) = (true, agents, wanted);
            for decision in &decisions {
                match (decision.outcome, decision.action) {
                    (ScalingOutcome::Failed, _) => shown.failures += 1,
                    (ScalingOutcome::Done, _) => {}
                    (_, Action::Up) => shown.ups += 1,
                    (_, Action::Down) => shown.downs += 1,
                    (_, Action::None) => {}
                }
            }
            *shown != before
        });
    }

    pub(super) fn enter(&self, phase: ManagerPhase) {
        self.0.running.store(phase == ManagerPhase::Running, Ordering::Release);
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub(super) fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.turns.fetch_add(1, Ordering::Relaxed);
        self.0.turn_us.store(us, Ordering::Relaxed);
        self.0.turns_us.fetch_add(us, Ordering::Relaxed);
    }

    /// It panicked once more.
    pub(super) fn panicked(&self) {
        self.0.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// So many records could not be stored and are let go.
    pub(super) fn dropped(&self, records: u64) {
        self.0.unkept.fetch_add(records, Ordering::Relaxed);
    }

    /// What is answered while nobody is there to answer.
    pub(super) fn refusal(&self, now: Timestamp) -> Error {
        match self.phase() {
            ManagerPhase::Failed { message, until } => Error {
                retry_after: Some(until.since(now)),
                ..Error::new(
                    Code::Unavailable,
                    format!(
                        "the resource manager failed ({message}) and begins again soon; limits, budgets and the size of \
                         the fleet stay as they were last set, and tasks go on"
                    ),
                )
            },
            ManagerPhase::Off => Error::new(
                Code::FailedPrecondition,
                "the resource manager is off; set `enabled = true` under `[resources]` and restart the coordinator",
            ),
            ManagerPhase::Running => Lifecycle::restarting(),
        }
    }
}

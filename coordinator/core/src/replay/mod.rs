//! Replay: the real engine in simulated time, and recorded history through another strategy.
//!
//! [`fleet`] puts simulated agents around the engine; the load harness measures strategies with it. A *shadow* is a recorded history
//! that is submitted again at its times to a fleet like the one that had it ([`past`]), with another strategy. What comes of it is
//! compared task by task with what was recorded ([`report`]): who would have gone elsewhere, who would have waited less, how evenly
//! agents would have been used.
//!
//! The past is known only as far as the record tells. An agent is taken to have the kinds and as many slots as it was seen
//! to use at once, and to be as fast as its run times say. Retries, failures and the network are not replayed; what tasks
//! waited although there was room is taken for the network's and the coordinator's part, and added to every task. How much that
//! matters shows a shadow through the strategy that was in force: what it changes of times and loads is the error of the model. Among
//! equal agents one task that goes elsewhere moves most that follow it, so the number of moved tasks says little there.

pub mod fleet;
mod past;
mod report;

use std::time::Duration;

use evenkeel_shared::{AgentId, Kind, Priority, StrategyConfig, Tenant};

pub use self::{
    fleet::{AgentPlan, Fleet, Heartbeats, Totals},
    report::{LoadSpread, ShadowReport, ShadowRow, Times},
};
use self::{past::Past, report::Replayed};
use crate::engine::Settings;

/// Simulated time in microseconds, like the engine's own.
pub type Micros = u64;

/// Agents in a replay, at most: as many as the engine takes.
pub const AGENTS_MAX: usize = 262_144;

/// Why there is no replay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// No recorded task names its agent.
    #[error(
        "no task of the trace names its agent, so there is no decision to compare with; a shadow needs the column `agent`"
    )]
    NoAgents,
    /// More agents or kinds than the engine takes.
    #[error("the trace has {count} {what}; the engine takes {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// More tasks wait than are held in memory.
    #[error(
        "{strategy} let {live} tasks pile up by task {task}: it cannot carry this load; try a lower --rho or fewer --tasks"
    )]
    PiledUp {
        /// The strategy.
        strategy: &'static str,
        /// Tasks that are not over.
        live: usize,
        /// Tasks submitted so far.
        task: u64,
    },
    /// The engine would not have it.
    #[error("the engine refused {what}: {reason}")]
    Refused {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
}

/// A task to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// When.
    pub at: Micros,
    /// Time that it takes an agent of speed 1, in microseconds.
    pub demand_us: f64,
    /// Which of the fleet's sorts of task it is.
    pub sort: u32,
}

impl Job {
    /// How long it takes an agent that takes so many times as long as one of speed 1.
    #[must_use]
    pub fn service(&self, slowness: f64) -> Micros {
        ((self.demand_us * slowness).round() as Micros).max(1)
    }
}

/// A task that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Done {
    /// Its place in the order of submission.
    pub index: u64,
    /// When it was submitted.
    pub submitted: Micros,
    /// When it began.
    pub started: Micros,
    /// When it ended.
    pub finished: Micros,
    /// The place of its agent.
    pub agent: u32,
}

/// A task, as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// When it was submitted, after the first of them.
    pub submitted_at: Duration,
    /// Whose it was.
    pub tenant: Tenant,
    /// How urgent it was.
    pub priority: Priority,
    /// What it was.
    pub kind: Kind,
    /// How long the attempt ran that ended it.
    pub service: Duration,
    /// The agent that had it last.
    pub agent: Option<AgentId>,
    /// How long it waited: the time from its submission to its end, less the service.
    pub queued: Option<Duration>,
}

/// How to replay.
#[derive(Clone, Debug)]
pub struct ShadowSettings {
    /// The strategies to replay through.
    pub strategies: Vec<StrategyConfig>,
    /// Slots of each agent. `None`: as many as it was seen to use at once.
    pub slots: Option<u32>,
    /// All agents are equally fast, whatever their run times say.
    pub equal_speeds: bool,
    /// What strategies draw at random is drawn from it.
    pub seed: u64,
}

/// Replays these tasks, which come in the order of their submission.
///
/// # Errors
/// If they tell of no agent, or of more than the engine takes.
pub fn shadow(tasks: Vec<Recorded>, settings: &ShadowSettings) -> Result<ShadowReport, ReplayError> {
    let past = Past::of(tasks, settings.slots, settings.equal_speeds)?;
    let rows = settings.strategies.iter().map(|strategy| {
        let engine = Settings { strategy: strategy.clone(), seed: settings.seed, ..Settings::default() };
        let heartbeats = Heartbeats { every_us: engine.lease.heartbeat_interval().as_micros() as u64, age_us: 0 };
        let mut fleet = Fleet::new(engine, past.agents.clone(), &past.sorts, heartbeats)?;
        let mut replayed = Replayed::new(&past);
        let totals = fleet.run(past.jobs.iter().copied(), |done| replayed.enter(done))?;
        Ok(replayed.close(strategy.name(), totals.stuck))
    });
    let rows = rows.collect::<Result<Vec<_>, ReplayError>>()?;
    Ok(ShadowReport::new(&past, rows))
}

/// The smallest value that is not below this share of them. Changes their order. 0 of none.
pub fn quantile(values: &mut [f32], share: f64) -> f64 {
    let rank = (share * values.len() as f64).ceil() as usize;
    let at = rank.clamp(1, values.len().max(1)) - 1;
    if values.is_empty() {
        return 0.0;
    }
    f64::from(*values.select_nth_unstable_by(at, f32::total_cmp).1)
}

//! Shadows: a recorded history, replayed through another strategy.
//!
//! The tasks of a trace are submitted again at their times to a fleet like the one that had them ([`past`]), through the real
//! engine with another strategy, in simulated time. What comes of it is compared task by task with what was recorded:
//! who would have gone elsewhere, who would have waited less, how evenly agents would have been used.
//!
//! The past is known only as far as the trace tells. An agent is taken to have the kinds and as many slots as it was seen
//! to use at once, and to be as fast as its run times say. Retries, failures and the network are not replayed; what tasks
//! waited although there was room is taken for the network's and the coordinator's part, and added to every task. How much that
//! matters shows a shadow through the strategy that was in force: what it changes of times and loads is the error of the model. Among
//! equal agents one task that goes elsewhere moves most that follow it, so the number of moved tasks says little there.

mod past;
mod report;

use std::path::PathBuf;

use evenkeel_core::engine::Settings;
use evenkeel_shared::StrategyConfig;

pub use self::report::{LoadSpread, ShadowReport, ShadowRow, Times};
use self::{past::Past, report::Replayed};
use super::{
    draws::{Purpose, seed_of},
    fleet::{Fleet, Heartbeats},
    plan::QueueingError,
};
use crate::trace::{Trace, TraceTask};

/// What to replay.
#[derive(Clone, Debug)]
pub struct ShadowPlan {
    /// The recorded history.
    pub path: PathBuf,
    /// The strategies to replay it through.
    pub strategies: Vec<StrategyConfig>,
    /// Slots of each agent. `None`: as many as it was seen to use at once.
    pub slots: Option<u32>,
    /// All agents are equally fast, whatever their run times say.
    pub equal_speeds: bool,
    /// What strategies draw at random is drawn from it.
    pub seed: u64,
}

/// Replays a history.
///
/// # Errors
/// If the trace cannot be used, or tells of no agent.
pub fn shadow(plan: &ShadowPlan) -> Result<ShadowReport, QueueingError> {
    replay(Trace::read(&plan.path)?, plan)
}

/// Replays these tasks.
///
/// # Errors
/// If they tell of no agent, or of more than the engine takes.
pub fn replay(tasks: Vec<TraceTask>, plan: &ShadowPlan) -> Result<ShadowReport, QueueingError> {
    let past = Past::of(tasks, plan.slots, plan.equal_speeds)?;
    let rows = plan.strategies.iter().map(|strategy| {
        let settings =
            Settings { strategy: strategy.clone(), seed: seed_of(plan.seed, Purpose::Engine), ..Settings::default() };
        let heartbeats = Heartbeats { every_us: settings.lease.heartbeat_interval().as_micros() as u64, age_us: 0 };
        let mut fleet = Fleet::new(settings, past.agents.clone(), &past.sorts, heartbeats)?;
        let mut replayed = Replayed::new(&past);
        let totals = fleet.run(past.jobs.iter().copied(), |done| replayed.enter(done))?;
        Ok(replayed.close(strategy.name(), totals.stuck))
    });
    let rows = rows.collect::<Result<Vec<_>, QueueingError>>()?;
    Ok(ShadowReport::new(&past, rows))
}

#[cfg(test)]
mod tests;

//! Shadows: a recorded history, replayed through another strategy.
//!
//! How it is done, and what it can tell, is told in [`evenkeel_core::replay`]; here a trace becomes such a history.

use std::path::PathBuf;

use evenkeel_core::replay::{self, Recorded, ShadowSettings};
use evenkeel_shared::StrategyConfig;

pub use evenkeel_core::replay::{LoadSpread, ShadowReport, ShadowRow, Times};

use super::{
    draws::{Purpose, seed_of},
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
    let settings = ShadowSettings {
        strategies: plan.strategies.clone(),
        slots: plan.slots,
        equal_speeds: plan.equal_speeds,
        seed: seed_of(plan.seed, Purpose::Engine),
    };
    let recorded = tasks.into_iter().map(|task| Recorded {
        submitted_at: task.submitted_at,
        tenant: task.tenant,
        priority: task.priority,
        kind: task.kind,
        service: task.service,
        agent: task.agent,
        queued: task.queued,
    });
    Ok(replay::shadow(recorded.collect(), &settings)?)
}

#[cfg(test)]
mod tests;

//! What a run comes to: the history for the judge, and the rules that only a simulation can check.

use evenkeel_core::testing::StoredTask;
use evenkeel_shared::{AttemptEnd, Delivery, TaskState};

use super::world::World;
use crate::history::{Expect, History, RecordedAttempt, RecordedTask, Verdict, check, hash, key_of};

/// Judges a run that is over.
pub(super) fn judge(world: &mut World) -> Verdict {
    for complaint in world.disk.store.take_complaints().into_iter().take(5) {
        world.breach("store-is-asked-for-the-possible", None, complaint);
    }
    needless_losses(world);
    let mut history = std::mem::take(&mut world.history);
    record(world, &mut history);
    let expect = Expect {
        all_over: world.healed_after.is_some(),
        ephemeral_may_be_lost: true,
        others_submit: false,
        clock_tolerance: world.coordinator.clock_went_back(),
    };
    check(&history, expect)
}

fn record(world: &World, history: &mut History) {
    history.recorded.extend(world.disk.store.tasks().map(stored));
    let Some(core) = &world.coordinator.core else { return };
    history.recorded.extend(core.ended.values().map(|task| RecordedTask {
        id: task.id,
        key: key_of(&task.spec.tenant, &task.spec.idempotency_key),
        delivery: Delivery::Ephemeral,
        redrive_of: None,
        state: task.state,
        output: (task.state == TaskState::Succeeded).then(|| hash(&task.output)),
        attempts_made: task.attempts_made,
        attempts_max: task.spec.retry.attempts_max,
        deadline: task.spec.deadline,
        finished_at: Some(task.finished_at),
        ends_recorded: 1,
        attempts: Vec::new(),
    }));
}

fn stored(row: &StoredTask) -> RecordedTask {
    let spec = &row.task.spec;
    let state = row.state();
    let output = row.end.as_ref().filter(|_| state == TaskState::Succeeded).map(|end| hash(&end.output));
    RecordedTask {
        id: row.task.id,
        key: key_of(&spec.tenant, &spec.idempotency_key),
        delivery: Delivery::Durable,
        redrive_of: row.task.redrive_of,
        state,
        output,
        attempts_made: row.task.attempts_made,
        attempts_max: spec.retry.attempts_max,
        deadline: spec.deadline,
        finished_at: row.end.as_ref().map(|end| end.at),
        ends_recorded: row.ends_recorded,
        attempts: row.attempts.iter().map(attempt).collect(),
    }
}

fn attempt(stored: &evenkeel_core::testing::StoredAttempt) -> RecordedAttempt {
    RecordedAttempt {
        attempt: stored.attempt,
        agent: stored.agent.clone(),
        assigned_at: stored.assigned_at,
        ended: stored.ended.map(|(at, end, _)| (at, end)),
        run: stored.ended.map(|(_, _, run)| run).unwrap_or_default(),
    }
}

/// An attempt is lost only where its agent or the coordinator was in trouble.
fn needless_losses(world: &mut World) {
    let mut needless = Vec::new();
    for row in world.disk.store.tasks() {
        for stored in &row.attempts {
            let Some((at, AttemptEnd::AgentLost, _)) = stored.ended else { continue };
            let known = |agent: &super::agents::SimAgent| !agent.impostor && agent.spec.id == stored.agent;
            let Some(agent) = world.agents.iter().position(known) else { continue };
            if !world.coordinator.true_times(at).any(|at| world.troubles.explain(agent, at)) {
                let (number, id) = (stored.attempt.attempt, row.task.id);
                needless.push((id, format!("attempt {number} of {id} was lost on agent {agent}, which was well")));
            }
        }
    }
    for (task, facts) in needless.into_iter().take(5) {
        world.breach("nothing-is-lost-without-a-fault", Some(task), facts);
    }
}

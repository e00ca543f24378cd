//! What a run comes to: the history for the judge, and the rules that only a simulation can check.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evenkeel_core::testing::StoredTask;
use evenkeel_shared::{AttemptEnd, Delivery, TaskSpec, TaskState, Timestamp};

use super::world::World;
use crate::history::{Expect, History, RecordedAttempt, RecordedTask, Verdict, check, hash, key_of};

/// Judges a run that is over; answers also how many tasks drive others again.
pub(super) fn judge(world: &mut World) -> (Verdict, u64) {
    for complaint in world.disk.store.take_complaints().into_iter().take(5) {
        world.breach("store-is-asked-for-the-possible", None, complaint);
    }
    needless_losses(world);
    kept_for_their_time(world);
    same_work_again(world);
    let mut history = std::mem::take(&mut world.history);
    record(world, &mut history);
    let expect = Expect {
        all_over: world.healed_after.is_some(),
        ephemeral_may_be_lost: true,
        others_submit: false,
        clock_tolerance: world.coordinator.clock_went_back(),
    };
    let driven_again = history.recorded.iter().filter(|task| task.redrive_of.is_some()).count() as u64;
    (check(&history, expect), driven_again)
}

/// What the store has, and what it had until it was past its time.
fn all_stored(world: &World) -> impl Iterator<Item = (&StoredTask, Option<Timestamp>)> {
    let kept = world.disk.store.tasks().map(|row| (row, None));
    kept.chain(world.disk.pruned.values().map(|(row, at)| (row, Some(*at))))
}

fn record(world: &World, history: &mut History) {
    history.recorded.extend(all_stored(world).map(|(row, pruned_at)| stored(row, pruned_at)));
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
        pruned_at: None,
        ends_recorded: 1,
        attempts: Vec::new(),
    }));
}

fn stored(row: &StoredTask, pruned_at: Option<Timestamp>) -> RecordedTask {
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
        pruned_at,
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

/// Only what has been over for as long as it is to be kept is removed.
fn kept_for_their_time(world: &mut World) {
    let retention = world.plan.retention.unwrap_or(Duration::MAX);
    let early = |(row, at): &&(StoredTask, Timestamp)| {
        let over = row.end.as_ref().is_some_and(|end| end.state.is_terminal());
        !over || row.end.as_ref().is_some_and(|end| at.since(end.at) < retention)
    };
    let early: Vec<_> = world.disk.pruned.values().filter(early).map(|(row, _)| row.task.id).take(5).collect();
    for task in early {
        world.breach("kept-for-its-time", Some(task), format!("{task} was removed before its time was past"));
    }
}

/// Whatever drives a task again was asked for, and does the same work: all but what belongs to the first try alone.
fn same_work_again(world: &mut World) {
    let all: BTreeMap<_, _> = all_stored(world).map(|(row, _)| (row.task.id, row)).collect();
    let asked: BTreeSet<_> = world.clients.redrives.iter().map(|redrive| redrive.of).collect();
    let mut wrong = Vec::new();
    for (id, row) in &all {
        let Some(of) = row.task.redrive_of else { continue };
        let Some(first) = all.get(&of) else { continue };
        let expected = TaskSpec {
            idempotency_key: String::new(),
            deadline: None,
            delivery: Delivery::Durable,
            ..TaskSpec::clone(&first.task.spec)
        };
        let same = *row.task.spec == expected && row.task.payload == first.task.payload;
        if !same || !asked.contains(&of) {
            wrong.push((*id, format!("{id} drives {of} again: asked for {}, same work {same}", asked.contains(&of))));
        }
    }
    for (task, facts) in wrong.into_iter().take(5) {
        world.breach("same-work-again", Some(task), facts);
    }
}

/// An attempt is lost only where its agent or the coordinator was in trouble.
fn needless_losses(world: &mut World) {
    let mut needless = Vec::new();
    for (row, _) in all_stored(world) {
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

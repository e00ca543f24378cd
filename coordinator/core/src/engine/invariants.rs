//! What is true of the engine between any two events. Tests check it after every step.
//!
//! It scans everything, which nothing else may; it is not for production paths.

use std::collections::BTreeMap;

use evenkeel_shared::{Resources, TaskState};

use super::{Engine, dispatch::facts, tables::Task};
use crate::{admission::gates::GateIx, ix::AgentIx, routing::Room};

/// Whatever is not as it should be, in words; empty if all is well.
#[must_use]
pub fn check(engine: &Engine) -> Vec<String> {
    let mut wrong = Vec::new();
    check_tasks(engine, &mut wrong);
    check_agents(engine, &mut wrong);
    check_held(engine, &mut wrong);
    check_work_conserving(engine, &mut wrong);
    check_gates(engine, &mut wrong);
    engine.check_guards(&mut wrong);
    wrong
}

fn check_tasks(engine: &Engine, wrong: &mut Vec<String>) {
    let mut by_state = [0u64; 9];
    let mut payload_bytes = 0;
    let mut queued = 0;
    for (ix, task) in engine.tasks.iter() {
        by_state[task.state as usize] += 1;
        payload_bytes += task.payload.len() as u64;
        let id = task.id;
        if task.state.is_terminal() {
            wrong.push(format!("{id} is over and still live"));
        }
        let attempted = matches!(task.state, TaskState::Assigned | TaskState::Running);
        if attempted != task.current.is_some() {
            wrong.push(format!("{id} is {} and its live attempt is {:?}", task.state, task.current));
        }
        if let Some(current) = task.current {
            let holding = engine.agents[current.agent].holdings.get(&current.attempt.assignment);
            if holding.and_then(|holding| holding.task) != Some(ix) {
                wrong.push(format!("{id} is assigned to an agent that does not hold it"));
            }
            if current.attempt.task != id || current.attempt.attempt.0 != task.attempts_made {
                wrong.push(format!("{id} has the token of something else: {:?}", current.attempt));
            }
        }
        if engine.queue.contains(ix) != (task.state == TaskState::Queued) {
            wrong.push(format!("{id} is {} and in the queue: {}", task.state, engine.queue.contains(ix)));
        }
        queued += usize::from(task.state == TaskState::Queued);
        if task.attempts_made > task.spec.retry.attempts_max {
            wrong.push(format!("{id} has made {} of {} attempts", task.attempts_made, task.spec.retry.attempts_max));
        }
        if engine.tasks.find(id) != Some(ix) {
            wrong.push(format!("{id} is not found by its id"));
        }
    }
    if by_state != engine.tasks.by_state {
        wrong.push(format!("tasks by state are {by_state:?}, counted {:?}", engine.tasks.by_state));
    }
    if payload_bytes != engine.tasks.payload_bytes {
        wrong.push(format!("payloads are {payload_bytes} bytes, counted {}", engine.tasks.payload_bytes));
    }
    if queued != engine.queue.len() {
        wrong.push(format!("{queued} tasks are queued, the queue holds {}", engine.queue.len()));
    }
}

fn check_agents(engine: &Engine, wrong: &mut Vec<String>) {
    let mut live: BTreeMap<u64, AgentIx> = BTreeMap::new();
    for (ix, agent) in engine.agents.iter() {
        let id = &agent.spec.id;
        let mut reserved = Resources::default();
        let (mut ahead_slots, mut ahead_tasks) = (0, 0);
        for (assignment, holding) in agent.holdings.iter() {
            match holding.room {
                Room::Now | Room::Urgent => reserved.add(&holding.spec.requirements.resources),
                Room::Ahead => {
                    ahead_slots += holding.spec.requirements.resources.slots;
                    ahead_tasks += 1;
                }
            }
            if let Some(other) = live.insert(assignment.0, ix) {
                wrong.push(format!("assignment {assignment} is held by {id} and by agent {other}"));
            }
            let task = holding.task.filter(|&task| {
                engine.tasks[task].current.is_none_or(|current| current.attempt.assignment != *assignment)
            });
            if let Some(task) = task {
                wrong.push(format!("{id} holds {assignment} for task {task}, which has another attempt"));
            }
        }
        let custom_left = agent.reserved.custom.iter().filter(|(_, amount)| **amount > 0);
        reserved.custom.retain(|_, amount| *amount > 0);
        if reserved.custom.iter().ne(custom_left)
            || (reserved.slots, reserved.cpu_millis, reserved.memory_bytes)
                != (agent.reserved.slots, agent.reserved.cpu_millis, agent.reserved.memory_bytes)
        {
            wrong.push(format!("{id} has {:?} set aside, its assignments need {reserved:?}", agent.reserved));
        }
        if (ahead_slots, ahead_tasks) != (agent.ahead_slots, agent.ahead_tasks) {
            wrong.push(format!("{id} counts {} tasks ahead, there are {ahead_tasks}", agent.ahead_tasks));
        }
        if agent.session.is_some_and(|session| engine.agents.of_session(session) != Some(ix)) {
            wrong.push(format!("{id} is not found by its session"));
        }
    }
}

/// Who is held is held for a task that waits, and for no other.
fn check_held(engine: &Engine, wrong: &mut Vec<String>) {
    for (agent, task, is_found) in engine.held.iter() {
        let id = &engine.agents[agent].spec.id;
        if !engine.queue.contains(task) {
            wrong.push(format!("{id} is held for task {task}, which does not wait"));
        }
        if !is_found {
            wrong.push(format!("{id} is held for task {task}, which does not know it"));
        }
    }
}

/// No task waits while an agent that may take it has room, unless the store has none, or the task has something to pass that
/// is shut, or more opened at once than one event should place.
fn check_work_conserving(engine: &Engine, wrong: &mut Vec<String>) {
    if engine.paused || engine.allocation.is_behind() {
        return;
    }
    let may_go = |ix, task: &Task| !engine.allocation.is_class_shut(task.class) && !engine.queue.is_shut(ix);
    for (ix, task) in engine.tasks.iter().filter(|(ix, task)| engine.queue.contains(*ix) && may_go(*ix, task)) {
        for (agent, row) in engine.agents.iter().filter(|(_, row)| row.registered) {
            let admitted = engine.router.may_take(task.class, agent, &facts(task), Room::Now);
            if admitted {
                wrong.push(format!("{} waits although {} has room for it", engine.tasks[ix].id, row.spec.id));
            }
        }
    }
}

/// Gates count what is assigned under them, no more than they may unless they were lowered, and the queue and the agents show
/// them as they are. Budgets: spent and reserved are within the cap, but for what was overrun or lowered.
fn check_gates(engine: &Engine, wrong: &mut Vec<String>) {
    let limits = &engine.allocation.limits;
    let mut counted: BTreeMap<GateIx, u32> = BTreeMap::new();
    for (agent, row) in engine.agents.iter() {
        for (_, holding) in row.holdings.iter() {
            for gate in limits.covering(holding.lane, agent) {
                *counted.entry(gate).or_default() += 1;
            }
        }
    }
    for (name, gate, in_use, _) in limits.counts() {
        let found = counted.get(&gate).copied().unwrap_or(0);
        if found != in_use {
            wrong.push(format!("limit {name} counts {in_use} at gate {gate:?}, there are {found}"));
        }
    }
    for (ix, task) in engine.tasks.iter().filter(|(ix, _)| engine.queue.contains(*ix)) {
        let (tenant, kind) = (&task.spec.tenant, &task.spec.kind);
        let lane_shut = engine.allocation.short(tenant, kind).is_some() || limits.is_tenant_shut(tenant, kind);
        if engine.queue.is_shut(ix) != lane_shut {
            wrong.push(format!("the lane of {} is shut: {lane_shut}, and the queue has it otherwise", task.id));
        }
        if limits.kind_shut(kind) && !engine.allocation.is_class_shut(task.class) {
            wrong.push(format!("kind {kind} is shut, and class {} is not", task.class));
        }
    }
    for (ix, task) in engine.tasks.iter() {
        if task.spending.is_some() && task.current.is_none() {
            wrong.push(format!("{} ({ix}) has no attempt and holds a reservation", task.id));
        }
    }
}

/// Budgets that are passed although no attempt cost more than was reserved for it: possible only after one was lowered.
#[must_use]
pub fn over_budget(engine: &Engine) -> Vec<String> {
    let views = engine.allocation.ledger.views(engine.now);
    let over = views.iter().filter(|view| view.spent.plus(view.reserved) > view.budget.cap.plus(view.overrun));
    over.map(|view| format!("budget {} has {} spent and {} reserved", view.budget.name, view.spent, view.reserved))
        .collect()
}

/// Agents that have more set aside than they have. Possible only after an agent came back smaller than it was.
#[must_use]
pub fn over_capacity(engine: &Engine) -> Vec<String> {
    let over = engine.agents.iter().filter(|(_, agent)| agent.registered && !agent.spec.capacity.fits(&agent.reserved));
    over.map(|(_, agent)| format!("{} has {:?} set aside", agent.spec.id, agent.reserved)).collect()
}

//! What must hold of the attempts at one task: those that the coordinator recorded, and what agents say of them.

use evenkeel_shared::{AttemptEnd, AttemptRef, Delivery, TaskState};

use super::{
    Acknowledgement, RecordedAttempt, RecordedTask,
    tasks::Seen,
    verdict::{Findings, Rule},
};

/// Judges the attempts of a recorded task.
pub(super) fn judge(seen: &Seen<'_>, task: &RecordedTask, findings: &mut Findings) {
    let mut attempts: Vec<&RecordedAttempt> = task.attempts.iter().collect();
    attempts.sort_by_key(|attempt| (attempt.attempt, attempt.assigned_at));
    counted(task, &attempts, findings);
    if task.delivery == Delivery::Ephemeral && attempts.is_empty() {
        agents_by_number(seen, task, findings);
        return;
    }
    one_live(task, &attempts, findings);
    in_time(task, &attempts, findings);
    one_success(task, &attempts, findings);
    executions(seen, &attempts, findings);
    for (_, ack) in seen.acknowledgements {
        acknowledged(ack, &attempts, findings);
    }
}

fn counted(task: &RecordedTask, attempts: &[&RecordedAttempt], findings: &mut Findings) {
    let (id, made, max) = (task.id, task.attempts_made, task.attempts_max);
    let most = made.max(u32::try_from(attempts.len()).unwrap_or(u32::MAX));
    if most > max {
        findings.add(Rule::TooManyAttempts, id, |_| {
            let agents: Vec<_> = attempts.iter().map(|attempt| attempt.agent.as_str()).collect();
            let on = if agents.is_empty() { String::new() } else { format!(", on {}", agents.join(", ")) };
            format!("task {id} may have {max} attempts and has {most}{on}")
        });
    }
    // While a task is live, its record may be from between two looks.
    if task.delivery == Delivery::Ephemeral || !task.state.is_terminal() {
        return;
    }
    let mut numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.attempt.attempt.0).collect();
    numbers.dedup();
    if !numbers.iter().copied().eq(1..=made) {
        findings.add(Rule::AttemptsMiscounted, id, |_| {
            format!("task {id} is over after {made} attempts by count; recorded are attempts {numbers:?}")
        });
    }
}

/// An attempt ends before the next is made, and before the task is over.
fn one_live(task: &RecordedTask, attempts: &[&RecordedAttempt], findings: &mut Findings) {
    let tolerance = findings.expect.clock_tolerance;
    for pair in attempts.windows(2) {
        let (one, next) = (pair[0], pair[1]);
        let same_number = one.attempt.attempt == next.attempt.attempt;
        let overlap = one.ended.is_none_or(|(at, _)| at > next.assigned_at.plus(tolerance));
        if same_number || overlap {
            findings.add(Rule::TwoLiveAssignments, task.id, |clock| {
                let until =
                    one.ended.map_or("is live".into(), |(at, end)| format!("ended {} at {}", end.name(), clock.at(at)));
                format!(
                    "task {}: attempt {} on {} {until}; attempt {} was assigned to {} at {}",
                    task.id,
                    one.attempt.attempt,
                    one.agent,
                    next.attempt.attempt,
                    next.agent,
                    clock.at(next.assigned_at)
                )
            });
        }
    }
    let live = attempts.last().filter(|last| last.ended.is_none() && task.state.is_terminal());
    if let Some(last) = live {
        findings.add(Rule::TwoLiveAssignments, task.id, |_| {
            let (number, agent) = (last.attempt.attempt, &last.agent);
            format!("task {} is {}, and its attempt {number} on {agent} is recorded as live", task.id, task.state)
        });
    }
}

/// Nothing is assigned after the task's deadline, nor after its end.
fn in_time(task: &RecordedTask, attempts: &[&RecordedAttempt], findings: &mut Findings) {
    let tolerance = findings.expect.clock_tolerance;
    for attempt in attempts {
        let (number, agent, assigned_at) = (attempt.attempt.attempt, &attempt.agent, attempt.assigned_at);
        if let Some(deadline) = task.deadline.filter(|deadline| assigned_at > deadline.plus(tolerance)) {
            findings.add(Rule::DispatchAfterDeadline, task.id, |clock| {
                let (assigned, deadline) = (clock.at(assigned_at), clock.at(deadline));
                format!("task {}: attempt {number} went to {agent} at {assigned}; its deadline was {deadline}", task.id)
            });
        }
        let over = task.finished_at.filter(|_| task.state.is_terminal());
        if let Some(over) = over.filter(|over| assigned_at > over.plus(tolerance)) {
            findings.add(Rule::TerminalStateChanged, task.id, |clock| {
                let (assigned, over) = (clock.at(assigned_at), clock.at(over));
                format!("task {}: attempt {number} went to {agent} at {assigned}; it was over at {over}", task.id)
            });
        }
    }
}

/// The task succeeded if, and only if, its last attempt did, and no other one.
fn one_success(task: &RecordedTask, attempts: &[&RecordedAttempt], findings: &mut Findings) {
    let id = task.id;
    let succeeded = |attempt: &&&RecordedAttempt| attempt.ended.is_some_and(|(_, end)| end == AttemptEnd::Succeeded);
    let successes: Vec<_> = attempts.iter().filter(succeeded).collect();
    match successes.as_slice() {
        [] if task.state == TaskState::Succeeded => {
            findings.add(Rule::SupersededResultAccepted, id, |_| {
                let last = attempts.last().map_or("it has no attempt".into(), |last| {
                    let end = last.ended.map_or("live", |(_, end)| end.name());
                    format!("its last attempt, {} on {}, is recorded as {end}", last.attempt.attempt, last.agent)
                });
                format!("task {id} is recorded as succeeded, and none of its attempts is: {last}")
            });
        }
        [] => {}
        [success] => {
            let (number, agent) = (success.attempt.attempt, &success.agent);
            if let Some(last) = attempts.last().filter(|last| last.attempt != success.attempt) {
                findings.add(Rule::SupersededResultAccepted, id, |clock| {
                    let (next, to, at) = (last.attempt.attempt, &last.agent, clock.at(last.assigned_at));
                    format!("task {id}: attempt {number} on {agent} succeeded, and attempt {next} went to {to} at {at}")
                });
            } else if task.state.is_terminal() && task.state != TaskState::Succeeded {
                findings.add(Rule::TerminalStateChanged, id, |_| {
                    format!("task {id}: attempt {number} on {agent} succeeded, and the task is {}", task.state)
                });
            }
        }
        several => findings.add(Rule::RecordedTwice, id, |_| {
            let by: Vec<_> = several.iter().map(|one| format!("{} on {}", one.attempt.attempt, one.agent)).collect();
            format!("task {id} has {} attempts recorded as succeeded: {}", several.len(), by.join(", "))
        }),
    }
}

fn find<'a>(attempts: &[&'a RecordedAttempt], token: AttemptRef) -> Option<&'a RecordedAttempt> {
    attempts.iter().find(|attempt| attempt.attempt == token).copied()
}

/// What an agent ran had been assigned to it.
fn executions(seen: &Seen<'_>, attempts: &[&RecordedAttempt], findings: &mut Findings) {
    for (_, execution) in seen.executions {
        let (agent, token) = (&execution.agent, execution.attempt);
        let whose = match find(attempts, token) {
            Some(attempt) if attempt.agent == *agent => continue,
            Some(attempt) => format!("it was assigned to {}", attempt.agent),
            None => "no such assignment is recorded".to_owned(),
        };
        findings.add(Rule::UnassignedExecution, seen.id, |_| {
            let (number, assignment) = (token.attempt, token.assignment);
            format!("agent {agent} ran attempt {number} of task {} (assignment {assignment}); {whose}", seen.id)
        });
    }
}

/// An agent that was told that its result is recorded finds its own word in the record.
fn acknowledged(ack: &Acknowledgement, attempts: &[&RecordedAttempt], findings: &mut Findings) {
    let (task, number, agent) = (ack.attempt.task, ack.attempt.attempt, &ack.agent);
    let said = if ack.success { "success" } else { "failure" };
    let recorded = find(attempts, ack.attempt);
    if !ack.recorded {
        let own = recorded.filter(|attempt| attempt.agent == *agent);
        if ack.success && own.and_then(|attempt| attempt.ended).is_some_and(|(_, end)| end == AttemptEnd::Succeeded) {
            findings.add(Rule::RecordedResultCalledStale, task, |_| {
                format!("task {task}: {agent} was told that its success of attempt {number} is stale; it is recorded")
            });
        }
        return;
    }
    let is = match recorded {
        None => "no such assignment is recorded".to_owned(),
        Some(attempt) if attempt.agent != *agent => format!("the attempt belongs to {}", attempt.agent),
        Some(attempt) => match attempt.ended {
            Some((_, end)) if may_say(ack.success, end) => return,
            Some((_, end)) => format!("the attempt is recorded as {}", end.name()),
            None => "the attempt is recorded as live".to_owned(),
        },
    };
    findings.add(Rule::SupersededResultAccepted, task, |_| {
        format!("task {task}: {agent} was told that its {said} of attempt {number} is recorded, and {is}")
    });
}

/// Whether the end can be the word of an agent whose result was a success, or none. Whether an attempt ran too long, or
/// was called off, both sides may say.
const fn may_say(success: bool, end: AttemptEnd) -> bool {
    match end {
        AttemptEnd::Succeeded => success,
        AttemptEnd::Failed
        | AttemptEnd::TimedOut
        | AttemptEnd::Cancelled
        | AttemptEnd::Rejected
        | AttemptEnd::HandedBack => !success,
        AttemptEnd::AgentLost | AttemptEnd::Expired => false,
    }
}

/// Of an ephemeral task only the number of attempts is known, and its end.
fn agents_by_number(seen: &Seen<'_>, task: &RecordedTask, findings: &mut Findings) {
    let (id, made) = (task.id, task.attempts_made);
    for (_, execution) in seen.executions {
        let (agent, number) = (&execution.agent, execution.attempt.attempt);
        if number.0 == 0 || number.0 > made {
            findings.add(Rule::UnassignedExecution, id, |_| {
                format!("agent {agent} ran attempt {number} of task {id}, which has had {made} attempts")
            });
        }
    }
    let successes = seen.acknowledgements.iter().map(|(_, ack)| ack).filter(|ack| ack.success && ack.recorded);
    for ack in successes.filter(|_| task.state.is_terminal()) {
        let (agent, number) = (&ack.agent, ack.attempt.attempt);
        if task.state != TaskState::Succeeded || number.0 != made {
            findings.add(Rule::SupersededResultAccepted, id, |_| {
                let state = task.state;
                format!(
                    "task {id} is {state} after {made} attempts, and {agent} was told that its success of attempt \
                     {number} is recorded"
                )
            });
        }
    }
}

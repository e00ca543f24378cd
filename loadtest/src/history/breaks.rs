//! Ways to break a valid history, for tests.

use std::time::Duration;

use evenkeel_shared::{AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Delivery, TaskId, TaskState};
use proptest::sample::Index;

use super::{
    Acknowledgement, History, RecordedTask, Rule, Sighting, Submission, SubmissionOutcome,
    example::{acknowledged, at, queued, submission},
};

/// One way to break a history, and the rules of which at least one must be named.
pub(super) struct Break {
    pub name: &'static str,
    pub rules: &'static [Rule],
    /// Breaks the task that is picked among those where it can be done; `false`: there is none.
    pub apply: fn(&mut History, Index) -> bool,
}

/// The task that is picked among those that will do.
fn pick(history: &mut History, which: Index, will_do: impl Fn(&RecordedTask) -> bool) -> Option<&mut RecordedTask> {
    let mut candidates: Vec<_> = history.recorded.iter_mut().filter(|task| will_do(task)).collect();
    let count = candidates.len();
    (count > 0).then(|| candidates.swap_remove(which.index(count)))
}

/// Does it to the task that is picked.
fn to_one(
    history: &mut History,
    which: Index,
    will_do: impl Fn(&RecordedTask) -> bool,
    change: impl FnOnce(&mut RecordedTask),
) -> bool {
    pick(history, which, will_do).map(change).is_some()
}

fn durable(task: &RecordedTask) -> bool {
    task.delivery == Delivery::Durable
}

fn seen_over(history: &History) -> Vec<TaskId> {
    let over = history.sightings.iter().filter(|sighting| sighting.state.is_terminal());
    over.map(|sighting| sighting.task).collect()
}

fn accepted(history: &History) -> Vec<TaskId> {
    let answers = history.submissions.iter().filter_map(|submission| match submission.outcome {
        SubmissionOutcome::Acknowledged { task, .. } => Some(task),
        _ => None,
    });
    answers.collect()
}

fn success(task: &RecordedTask) -> bool {
    durable(task) && task.state == TaskState::Succeeded
}

fn failed(task: &RecordedTask) -> bool {
    task.state.is_terminal() && task.state != TaskState::Succeeded
}

/// An agent is answered to its result of an attempt of the task.
fn answer(history: &mut History, task: TaskId, attempt: u32, agent: Option<AgentId>, success: bool, recorded: bool) {
    let of = history.recorded.iter().find(|other| other.id == task).unwrap();
    let found = of.attempts.iter().find(|one| one.attempt.attempt.0 == attempt);
    let agent = agent.or_else(|| found.map(|one| one.agent.clone())).unwrap_or_else(stranger);
    let attempt = found.map_or_else(|| forged(of), |one| one.attempt);
    history.acknowledgements.push(Acknowledgement { agent, attempt, success, recorded });
}

fn stranger() -> AgentId {
    AgentId::new("stranger").unwrap()
}

fn forged(task: &RecordedTask) -> AttemptRef {
    AttemptRef { task: task.id, attempt: AttemptNumber(77), assignment: AssignmentId(77) }
}

/// All of them.
pub(super) const BREAKS: &[Break] = &[
    Break {
        name: "a task that was accepted is dropped",
        rules: &[Rule::AcceptedTaskLost],
        apply: |h, which| {
            let accepted = accepted(h);
            let Some(id) = pick(h, which, |task| durable(task) && accepted.contains(&task.id)).map(|task| task.id)
            else {
                return false;
            };
            h.recorded.retain(|task| task.id != id);
            true
        },
    },
    Break {
        name: "a task is recorded again",
        rules: &[Rule::RecordedTwice],
        apply: |h, which| {
            let copy = pick(h, which, |_| true).cloned();
            h.recorded.extend(copy.clone());
            copy.is_some()
        },
    },
    Break {
        name: "an end is recorded again",
        rules: &[Rule::RecordedTwice],
        apply: |h, which| to_one(h, which, |task| task.state.is_terminal(), |task| task.ends_recorded = 2),
    },
    Break {
        name: "a second attempt succeeds",
        rules: &[Rule::RecordedTwice],
        apply: |h, which| {
            to_one(h, which, success, |task| {
                *task = task.clone().attempt(1, 9_000, Some((9_001, AttemptEnd::Succeeded)));
                *task = task.clone().over(TaskState::Succeeded, 9_001);
            })
        },
    },
    Break {
        name: "an attempt that had ended succeeds",
        rules: &[Rule::RecordedTwice, Rule::SupersededResultAccepted],
        apply: |h, which| {
            to_one(
                h,
                which,
                |task| durable(task) && task.attempts.len() > 1,
                |task| {
                    task.attempts[0].ended = task.attempts[0].ended.map(|(at, _)| (at, AttemptEnd::Succeeded));
                },
            )
        },
    },
    Break {
        name: "the result of an agent that was lost is taken",
        rules: &[Rule::SupersededResultAccepted],
        apply: |h, which| {
            let lost = |task: &RecordedTask| {
                let ends =
                    task.attempts.iter().filter_map(|one| one.ended.map(|(_, end)| (one.attempt.attempt.0, end)));
                ends.filter(|(_, end)| *end == AttemptEnd::AgentLost).map(|(number, _)| number).next()
            };
            let Some((id, number)) = pick(h, which, |task| lost(task).is_some()).map(|task| (task.id, lost(task)))
            else {
                return false;
            };
            answer(h, id, number.unwrap(), None, true, true);
            true
        },
    },
    Break {
        name: "a forged result is taken",
        rules: &[Rule::SupersededResultAccepted],
        apply: |h, which| {
            let Some(id) = pick(h, which, durable).map(|task| task.id) else { return false };
            answer(h, id, 77, None, false, true);
            true
        },
    },
    Break {
        name: "the result of another agent is taken",
        rules: &[Rule::SupersededResultAccepted],
        apply: |h, which| {
            let Some(id) = pick(h, which, |task| !task.attempts.is_empty()).map(|task| task.id) else { return false };
            answer(h, id, 1, Some(stranger()), true, true);
            true
        },
    },
    Break {
        name: "a success loses its attempt",
        rules: &[Rule::SupersededResultAccepted],
        apply: |h, which| {
            to_one(h, which, success, |task| {
                if let Some(last) = task.attempts.last_mut() {
                    last.ended = last.ended.map(|(at, _)| (at, AttemptEnd::AgentLost));
                }
            })
        },
    },
    Break {
        name: "a recorded success is called stale",
        rules: &[Rule::RecordedResultCalledStale],
        apply: |h, which| {
            let Some((id, last)) = pick(h, which, success).map(|task| (task.id, task.attempts_made)) else {
                return false;
            };
            answer(h, id, last, None, true, false);
            true
        },
    },
    Break {
        name: "there are more attempts than may be",
        rules: &[Rule::TooManyAttempts],
        apply: |h, which| {
            to_one(h, which, |task| task.attempts_made > 0, |task| task.attempts_max = task.attempts_made - 1)
        },
    },
    Break {
        name: "an attempt is dropped",
        rules: &[Rule::AttemptsMiscounted],
        apply: |h, which| {
            let some = |task: &RecordedTask| durable(task) && task.state.is_terminal() && !task.attempts.is_empty();
            to_one(h, which, some, |task| drop(task.attempts.remove(which.index(task.attempts.len()))))
        },
    },
    Break {
        name: "two attempts overlap",
        rules: &[Rule::TwoLiveAssignments],
        apply: |h, which| {
            to_one(
                h,
                which,
                |task| task.attempts.len() > 1,
                |task| {
                    let second = 1 + which.index(task.attempts.len() - 1);
                    let late = task.attempts[second].assigned_at.plus(Duration::from_millis(1));
                    let first = &mut task.attempts[second - 1];
                    first.ended = first.ended.map(|(_, end)| (late, end));
                },
            )
        },
    },
    Break {
        name: "the end of an attempt is dropped",
        rules: &[Rule::TwoLiveAssignments],
        apply: |h, which| {
            let some = |task: &RecordedTask| task.state.is_terminal() && !task.attempts.is_empty();
            to_one(h, which, some, |task| {
                let one = which.index(task.attempts.len());
                task.attempts[one].ended = None;
            })
        },
    },
    Break {
        name: "an attempt comes after the deadline",
        rules: &[Rule::DispatchAfterDeadline],
        apply: |h, which| {
            to_one(
                h,
                which,
                |task| !task.attempts.is_empty(),
                |task| {
                    let one = which.index(task.attempts.len());
                    task.deadline = Some(task.attempts[one].assigned_at.minus(Duration::from_millis(1)));
                },
            )
        },
    },
    Break {
        name: "an attempt comes after the end",
        rules: &[Rule::TerminalStateChanged],
        apply: |h, which| {
            let some = |task: &RecordedTask| task.state.is_terminal() && !task.attempts.is_empty();
            to_one(h, which, some, |task| {
                task.finished_at = task.attempts.last().map(|last| last.assigned_at.minus(Duration::from_millis(1)));
            })
        },
    },
    Break {
        name: "a terminal state changes",
        rules: &[Rule::TerminalStateChanged],
        apply: |h, which| {
            let over = seen_over(h);
            to_one(
                h,
                which,
                |task| over.contains(&task.id),
                |task| {
                    let others: Vec<_> = TaskState::ALL.into_iter().filter(|state| *state != task.state).collect();
                    task.state = others[which.index(others.len())];
                },
            )
        },
    },
    Break {
        name: "a client is shown another end",
        rules: &[Rule::TerminalStateChanged],
        apply: |h, which| {
            let Some((task, state)) = pick(h, which, |task| task.state.is_terminal()).map(|task| (task.id, task.state))
            else {
                return false;
            };
            let state = if state == TaskState::Failed { TaskState::Expired } else { TaskState::Failed };
            h.sightings.push(Sighting { task, state, output: None, at: at(1) });
            true
        },
    },
    Break {
        name: "a task does not end",
        rules: &[Rule::NotOver],
        apply: |h, which| {
            let over = seen_over(h);
            to_one(h, which, |task| !over.contains(&task.id), |task| task.state = TaskState::RetryWait)
        },
    },
    Break {
        name: "a key has a second task",
        rules: &[Rule::KeyGaveTwoTasks],
        apply: |h, which| {
            let Some(key) = pick(h, which, |task| !task.key.is_empty()).map(|task| task.key.clone()) else {
                return false;
            };
            h.recorded.push(queued(9_999, &key).over(TaskState::Cancelled, 1));
            true
        },
    },
    Break {
        name: "a key is answered for another content",
        rules: &[Rule::KeyTookOtherContent],
        apply: |h, which| {
            let keyed =
                |s: &&Submission| !s.key.is_empty() && matches!(s.outcome, SubmissionOutcome::Acknowledged { .. });
            let keyed: Vec<_> = h.submissions.iter().filter(keyed).cloned().collect();
            if keyed.is_empty() {
                return false;
            }
            h.submissions.push(Submission { content: 8, ..keyed[which.index(keyed.len())].clone() });
            true
        },
    },
    Break {
        name: "a submission is answered with a task that another one has",
        rules: &[Rule::AnsweredWithAnotherTask],
        apply: |h, which| {
            let Some(task) = pick(h, which, |_| true).map(|task| task.id) else { return false };
            let outcome = SubmissionOutcome::Acknowledged { task, duplicate: false };
            h.submissions.push(submission("another", outcome));
            true
        },
    },
    Break {
        name: "a task is driven again twice",
        rules: &[Rule::DrivenAgainTwice],
        apply: |h, which| {
            let Some(of) = pick(h, which, failed).map(|task| task.id) else { return false };
            for number in [9_998, 9_999] {
                h.recorded.push(RecordedTask { redrive_of: Some(of), ..queued(number, "") }.over(TaskState::Failed, 1));
            }
            true
        },
    },
    Break {
        name: "a task that did not fail is driven again",
        rules: &[Rule::DrivenAgainNeedlessly],
        apply: |h, which| {
            let Some(of) = pick(h, which, |task| !failed(task)).map(|task| task.id) else { return false };
            h.recorded.push(RecordedTask { redrive_of: Some(of), ..queued(9_999, "") }.over(TaskState::Failed, 1));
            true
        },
    },
    Break {
        name: "a refused submission has a task",
        rules: &[Rule::RefusedSubmissionMadeTask],
        apply: |h, _| {
            h.submissions.push(submission("no", SubmissionOutcome::Refused));
            h.recorded.push(queued(9_999, "no").over(TaskState::Cancelled, 1));
            true
        },
    },
    Break {
        name: "there is a task that nobody asked for",
        rules: &[Rule::TaskNobodyAskedFor],
        apply: |h, _| {
            h.recorded.push(queued(9_999, "nobody").over(TaskState::Cancelled, 1));
            true
        },
    },
    Break {
        name: "there are more tasks without a key than submissions",
        rules: &[Rule::TaskNobodyAskedFor, Rule::RefusedSubmissionMadeTask],
        apply: |h, _| {
            for number in 0..=h.submissions.len() as u64 {
                h.recorded.push(queued(9_000 + number, "").over(TaskState::Cancelled, 1));
            }
            true
        },
    },
    Break {
        name: "an accepted task was never there",
        rules: &[Rule::AcceptedTaskLost],
        apply: |h, _| {
            h.submissions.push(submission("lost", acknowledged(9_999)));
            true
        },
    },
    Break {
        name: "an agent ran what was assigned to another one",
        rules: &[Rule::UnassignedExecution],
        apply: |h, which| {
            let recorded: Vec<TaskId> = h.recorded.iter().filter(|task| durable(task)).map(|task| task.id).collect();
            let mut ran: Vec<_> = h.executions.iter_mut().filter(|run| recorded.contains(&run.attempt.task)).collect();
            let count = ran.len();
            if count > 0 {
                ran[which.index(count)].agent = stranger();
            }
            count > 0
        },
    },
    Break {
        name: "an agent ran a token that was never made",
        rules: &[Rule::UnassignedExecution],
        apply: |h, which| {
            if h.executions.is_empty() {
                return false;
            }
            let mut forged = h.executions[which.index(h.executions.len())].clone();
            (forged.attempt.attempt, forged.attempt.assignment) = (AttemptNumber(77), AssignmentId(77));
            let recorded = h.recorded.iter().any(|task| task.id == forged.attempt.task);
            h.executions.push(forged);
            recorded
        },
    },
    Break {
        name: "the output is another one",
        rules: &[Rule::OutputDiffers],
        apply: |h, which| {
            let over = seen_over(h);
            to_one(h, which, |task| task.output.is_some() && over.contains(&task.id), |task| task.output = Some(98))
        },
    },
];

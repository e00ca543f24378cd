//! What must hold of each task: everything that was seen of it, side by side.

use evenkeel_shared::{AttemptRef, Delivery, TaskId};

use super::{
    Acknowledgement, Execution, History, RecordedTask, Sighting, Submission, SubmissionOutcome, attempts,
    verdict::{Findings, Rule},
};

/// All that was seen of one task.
pub(super) struct Seen<'a> {
    pub id: TaskId,
    pub accepted: &'a [(TaskId, &'a Submission)],
    pub sightings: &'a [(TaskId, &'a Sighting)],
    pub executions: &'a [(TaskId, &'a Execution)],
    pub acknowledgements: &'a [(TaskId, &'a Acknowledgement)],
    pub recorded: &'a [(TaskId, &'a RecordedTask)],
}

/// Entries in the order of their tasks.
struct ByTask<'a, T> {
    entries: Vec<(TaskId, &'a T)>,
    taken: usize,
}

impl<'a, T> ByTask<'a, T> {
    fn new(entries: impl Iterator<Item = (TaskId, &'a T)>) -> Self {
        let mut entries: Vec<_> = entries.collect();
        // Stable, so that entries of a task stay in the order of the history.
        entries.sort_by_key(|(task, _)| *task);
        Self { entries, taken: 0 }
    }

    fn next_task(&self) -> Option<TaskId> {
        self.entries.get(self.taken).map(|(task, _)| *task)
    }

    /// The entries of the task, which is the next one or comes before it.
    fn take(&mut self, task: TaskId) -> &[(TaskId, &'a T)] {
        let rest = &self.entries[self.taken..];
        let taken = &rest[..rest.iter().take_while(|(of, _)| *of == task).count()];
        self.taken += taken.len();
        taken
    }
}

/// Judges every task that anybody knows of, in the order of their ids.
pub(super) fn judge(history: &History, findings: &mut Findings) {
    let accepted = history.submissions.iter().filter_map(|submission| match submission.outcome {
        SubmissionOutcome::Acknowledged { task, .. } => Some((task, submission)),
        _ => None,
    });
    let mut accepted = ByTask::new(accepted);
    let mut sightings = ByTask::new(history.sightings.iter().map(|sighting| (sighting.task, sighting)));
    let mut executions = ByTask::new(history.executions.iter().map(|execution| (execution.attempt.task, execution)));
    let mut acknowledgements = ByTask::new(history.acknowledgements.iter().map(|ack| (ack.attempt.task, ack)));
    let mut recorded = ByTask::new(history.recorded.iter().map(|task| (task.id, task)));
    let unanswered_ephemeral = history.submissions.iter().any(|submission| {
        submission.delivery == Delivery::Ephemeral && submission.outcome == SubmissionOutcome::Unknown
    });
    let heads = |a: &ByTask<'_, _>, s: &ByTask<'_, _>, e: &ByTask<'_, _>, k: &ByTask<'_, _>, r: &ByTask<'_, _>| {
        let heads = [a.next_task(), s.next_task(), e.next_task(), k.next_task(), r.next_task()];
        heads.into_iter().flatten().min()
    };
    while let Some(id) = heads(&accepted, &sightings, &executions, &acknowledgements, &recorded) {
        let seen = Seen {
            id,
            accepted: accepted.take(id),
            sightings: sightings.take(id),
            executions: executions.take(id),
            acknowledgements: acknowledgements.take(id),
            recorded: recorded.take(id),
        };
        judge_task(&seen, unanswered_ephemeral, findings);
    }
}

fn judge_task(seen: &Seen<'_>, unanswered_ephemeral: bool, findings: &mut Findings) {
    own_task(seen, findings);
    one_success(seen, findings);
    match seen.recorded {
        [] => missing(seen, unanswered_ephemeral, findings),
        [(_, record), more @ ..] => {
            if !more.is_empty() {
                findings.add(Rule::RecordedTwice, seen.id, |_| {
                    format!("task {} is in the record {} times", seen.id, more.len() + 1)
                });
            }
            over_once(seen, record, findings);
            attempts::judge(seen, record, findings);
        }
    }
    one_end(seen, findings);
    one_output(seen, findings);
}

/// A task answers for the submissions of one key, or for one submission without a key.
fn own_task(seen: &Seen<'_>, findings: &mut Findings) {
    let Some((_, first)) = seen.accepted.first() else { return };
    let key = seen.recorded.first().map_or(&first.key, |(_, record)| &record.key);
    if let Some((_, other)) = seen.accepted.iter().find(|(_, submission)| submission.key != *key) {
        findings.add(Rule::AnsweredWithAnotherTask, seen.id, |_| {
            let (id, asked) = (seen.id, &other.key);
            format!("a submission with the key `{asked}` was answered with task {id}, whose key is `{key}`")
        });
    } else if key.is_empty() && seen.accepted.len() > 1 {
        findings.add(Rule::AnsweredWithAnotherTask, seen.id, |_| {
            format!("{} submissions without a key were answered with the same task {}", seen.accepted.len(), seen.id)
        });
    }
}

/// Agents were told of at most one attempt that its success is recorded.
fn one_success(seen: &Seen<'_>, findings: &mut Findings) {
    let successes = seen.acknowledgements.iter().map(|(_, ack)| ack).filter(|ack| ack.success && ack.recorded);
    let mut successes: Vec<AttemptRef> = successes.map(|ack| ack.attempt).collect();
    successes.sort_unstable();
    successes.dedup();
    if successes.len() > 1 {
        findings.add(Rule::RecordedTwice, seen.id, |_| {
            let attempts: Vec<_> = successes.iter().map(|attempt| attempt.attempt.to_string()).collect();
            format!("agents were told that attempts {} of task {} both succeeded", attempts.join(" and "), seen.id)
        });
    }
}

/// What is known of a task that is not recorded.
fn missing(seen: &Seen<'_>, unanswered_ephemeral: bool, findings: &mut Findings) {
    let ephemeral = match seen.accepted {
        [] => unanswered_ephemeral,
        accepted => accepted.iter().all(|(_, submission)| submission.delivery == Delivery::Ephemeral),
    };
    let over = seen.sightings.iter().any(|(_, sighting)| sighting.state.is_terminal());
    // Of ephemeral tasks that are over only so many are kept.
    if ephemeral && (findings.expect.ephemeral_may_be_lost || over) {
        return;
    }
    let id = seen.id;
    if !seen.accepted.is_empty() {
        findings.add(Rule::AcceptedTaskLost, id, |_| {
            let seen = if over { ", and was seen to be over," } else { "" };
            format!("task {id} was accepted{seen} and is not recorded")
        });
    } else if let Some((_, sighting)) = seen.sightings.first() {
        findings.add(Rule::AcceptedTaskLost, id, |_| {
            format!("task {id} was shown to a client as {} and is not recorded", sighting.state)
        });
    } else if let Some((_, execution)) = seen.executions.first() {
        findings.add(Rule::UnassignedExecution, id, |_| {
            let (agent, attempt) = (&execution.agent, execution.attempt.attempt);
            format!("agent {agent} ran attempt {attempt} of task {id}, which is not recorded")
        });
    } else if let Some((_, ack)) = seen.acknowledgements.iter().find(|(_, ack)| ack.recorded) {
        findings.add(Rule::AcceptedTaskLost, id, |_| {
            let (agent, attempt) = (&ack.agent, ack.attempt.attempt);
            format!(
                "agent {agent} was told that its result of attempt {attempt} of task {id} is recorded; the task is not"
            )
        });
    }
}

/// The record says one end, and says it once.
fn over_once(seen: &Seen<'_>, record: &RecordedTask, findings: &mut Findings) {
    let id = seen.id;
    if record.ends_recorded > 1 {
        findings.add(Rule::RecordedTwice, id, |_| {
            format!("the end of task {id} was recorded {} times", record.ends_recorded)
        });
    }
    let seen_over = seen.sightings.iter().any(|(_, sighting)| sighting.state.is_terminal());
    if findings.expect.all_over && !record.state.is_terminal() && !seen_over {
        findings.add(Rule::NotOver, id, |clock| {
            let last = match record.attempts.iter().max_by_key(|attempt| attempt.attempt.attempt) {
                None => "it was never assigned".to_owned(),
                Some(last) => {
                    format!("attempt {} went to {} at {}", last.attempt.attempt, last.agent, clock.at(last.assigned_at))
                }
            };
            format!("task {id} is {}; {last}", record.state)
        });
    }
}

/// Clients and the record agree on how the task ended. A client that was shown an unfinished task after another one was
/// shown its end may have been answered late, so only ends are compared.
fn one_end(seen: &Seen<'_>, findings: &mut Findings) {
    let mut ends = seen.sightings.iter().map(|(_, sighting)| sighting).filter(|s| s.state.is_terminal());
    let Some(first) = ends.next() else { return };
    let now = seen.recorded.first().map(|(_, record)| record.state).filter(|state| *state != first.state);
    if let Some(now) = now {
        findings.add(Rule::TerminalStateChanged, seen.id, |_| {
            format!("a client was shown task {} as {}; it is recorded as {now}", seen.id, first.state)
        });
    } else if let Some(other) = ends.find(|sighting| sighting.state != first.state) {
        findings.add(Rule::TerminalStateChanged, seen.id, |_| {
            format!("clients were shown task {} as {} and as {}", seen.id, first.state, other.state)
        });
    }
}

/// Clients and the record agree on the output.
fn one_output(seen: &Seen<'_>, findings: &mut Findings) {
    let mut outputs = seen.sightings.iter().filter_map(|(_, sighting)| sighting.output);
    let Some(first) = outputs.next() else { return };
    let recorded = seen.recorded.first().and_then(|(_, record)| record.output).filter(|output| *output != first);
    if let Some(recorded) = recorded {
        findings.add(Rule::OutputDiffers, seen.id, |_| {
            let id = seen.id;
            format!("a client was shown an output of task {id} with the hash {first:016x}; recorded is {recorded:016x}")
        });
    } else if let Some(other) = outputs.find(|output| *output != first) {
        findings.add(Rule::OutputDiffers, seen.id, |_| {
            format!("clients were shown outputs of task {} with the hashes {first:016x} and {other:016x}", seen.id)
        });
    }
}

//! The judge.
//!
//! It sorts what everybody saw by task and by key and walks through it once, so a million tasks take seconds and the same
//! history gives the same verdict, to the letter. It does not search for an order of events that would explain what was
//! seen, as checkers of linearizability do: every promise is about one task or one key, and the coordinator's record has
//! one order.
//!
//! What it needs of a history: it begins with an empty store; it was collected after clients and agents had stopped
//! writing; an agent repeats a result as it was; of what was pruned it has the record, and when that was.

use evenkeel_shared::{TaskId, Timestamp};

use super::{
    History, SubmissionOutcome, keys, redrives, tasks,
    verdict::{Expect, Findings, Verdict},
};

/// Judges a history.
#[must_use]
pub fn check(history: &History, expect: Expect) -> Verdict {
    let mut findings = Findings::new(expect, origin(history), counts(history));
    tasks::judge(history, &mut findings);
    keys::judge(history, &mut findings);
    redrives::judge(history, &mut findings);
    findings.close()
}

/// The first time that the coordinator recorded; without one, that the first client asked.
fn origin(history: &History) -> Timestamp {
    let attempts = history.recorded.iter().flat_map(|task| &task.attempts).map(|attempt| attempt.assigned_at);
    let ends = history.recorded.iter().filter_map(|task| task.finished_at);
    let asked = || history.submissions.iter().map(|submission| submission.asked_at).min();
    attempts.chain(ends).min().or_else(asked).unwrap_or(Timestamp::ZERO)
}

fn counts(history: &History) -> Verdict {
    let mut counts = Verdict::default();
    for submission in &history.submissions {
        match submission.outcome {
            SubmissionOutcome::Acknowledged { .. } => counts.acknowledged += 1,
            SubmissionOutcome::Refused => counts.refused += 1,
            SubmissionOutcome::Unknown => counts.unknown += 1,
        }
    }
    counts.tasks = history.recorded.len() as u64;
    counts.attempts = history.recorded.iter().map(|task| task.attempts.len() as u64).sum();
    counts.executions = history.executions.len() as u64;
    let mut executed: Vec<TaskId> = history.executions.iter().map(|execution| execution.attempt.task).collect();
    executed.sort_unstable();
    executed.dedup();
    counts.executions_extra = counts.executions - executed.len() as u64;
    counts.recorded_answers = history.acknowledgements.iter().filter(|ack| ack.recorded).count() as u64;
    counts.stale_answers = history.acknowledgements.len() as u64 - counts.recorded_answers;
    counts
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

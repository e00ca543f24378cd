//! What must hold of idempotency keys, and of submissions as a whole: one key, one task; and no task without somebody who
//! asked for it.
//!
//! A submission that was not answered may have made one task or none. With a key its task is found by the key; without
//! one, such submissions are only counted.

use evenkeel_shared::{Delivery, TaskId};

use super::{
    History, RecordedTask, Submission, SubmissionOutcome, hash,
    verdict::{Findings, Rule},
};

/// Tasks named in one sentence.
const TASKS_NAMED_MAX: usize = 4;

/// A task that answers for a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    task: TaskId,
    content: u64,
    ephemeral: bool,
}

/// Judges every key that was used, and what has none.
pub(super) fn judge(history: &History, findings: &mut Findings) {
    let submissions = by_key(&history.submissions, |submission| &submission.key);
    let mut recorded = by_key(&history.recorded, |task| &task.key);
    recorded.sort_by_key(|(place, task)| (*place, task.id));
    recorded.dedup_by_key(|(_, task)| task.id);
    let (mut submissions, mut recorded) = (submissions.as_slice(), recorded.as_slice());
    loop {
        let heads = [submissions.first().map(|(place, _)| *place), recorded.first().map(|(place, _)| *place)];
        let Some(place) = heads.into_iter().flatten().min() else { break };
        let of_key = take(&mut submissions, place);
        let tasks = take(&mut recorded, place);
        let (of_key, tasks, key) = (of_key.as_slice(), tasks.as_slice(), place.1);
        if key.is_empty() {
            without_key(of_key, tasks, findings);
        } else {
            one_task(key, of_key, tasks, findings);
            one_content(key, of_key, findings);
            asked_for(key, of_key, tasks, findings);
        }
    }
}

/// Where a key comes: in the order of hashes, since a million texts are compared slowly.
type Place<'a> = (u64, &'a str);

fn by_key<T>(entries: &[T], key: impl Fn(&T) -> &String) -> Vec<(Place<'_>, &T)> {
    let mut placed: Vec<_> =
        entries.iter().map(|entry| ((hash(key(entry).as_bytes()), key(entry).as_str()), entry)).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed
}

/// Takes those of this place, which is the first one or comes before it.
fn take<'a, T>(placed: &mut &[(Place<'_>, &'a T)], place: Place<'_>) -> Vec<&'a T> {
    let count = placed.iter().take_while(|(of, _)| *of == place).count();
    let (taken, rest) = placed.split_at(count);
    *placed = rest;
    taken.iter().map(|(_, entry)| *entry).collect()
}

fn answer(submission: &Submission) -> Option<Answer> {
    let SubmissionOutcome::Acknowledged { task, .. } = submission.outcome else { return None };
    let ephemeral = submission.delivery == Delivery::Ephemeral;
    Some(Answer { task, content: submission.content, ephemeral })
}

/// A key has one task at a time, those of the answers and of the record together. An ephemeral task that is no longer known may
/// have taken its key along: whether it may be lost is not the question here.
fn one_task(key: &str, submissions: &[&Submission], recorded: &[&RecordedTask], findings: &mut Findings) {
    let is_recorded = |id: TaskId| recorded.iter().any(|task| task.id == id);
    let answers = submissions.iter().filter_map(|submission| answer(submission));
    let mut tasks: Vec<TaskId> =
        answers.filter(|answer| !answer.ephemeral || is_recorded(answer.task)).map(|answer| answer.task).collect();
    tasks.extend(recorded.iter().map(|task| task.id));
    tasks.sort_unstable();
    tasks.dedup();
    let row = |id: TaskId| recorded.iter().find(|task| task.id == id);
    let tolerance = findings.expect.clock_tolerance;
    // A key goes with its task, once that is past its time.
    let apart =
        |one, other| row(one).zip(row(other)).is_some_and(|(one, other)| one.may_be_replaced_by(other, tolerance));
    if tasks.windows(2).any(|pair| !apart(pair[0], pair[1])) {
        findings.add(Rule::KeyGaveTwoTasks, tasks[0], |_| {
            let named: Vec<_> = tasks.iter().take(TASKS_NAMED_MAX).map(TaskId::to_string).collect();
            format!("the key `{key}` has {} tasks: {}", tasks.len(), named.join(", "))
        });
    }
}

/// A task is the answer to one content.
fn one_content(key: &str, submissions: &[&Submission], findings: &mut Findings) {
    let mut answers: Vec<Answer> = submissions.iter().filter_map(|submission| answer(submission)).collect();
    answers.sort_unstable();
    let other = answers.windows(2).find(|pair| pair[0].task == pair[1].task && pair[0].content != pair[1].content);
    if let Some(pair) = other {
        findings.add(Rule::KeyTookOtherContent, pair[0].task, |_| {
            let (task, one, other) = (pair[0].task, pair[0].content, pair[1].content);
            format!(
                "the key `{key}` was answered with task {task} for contents with the hashes {one:016x} and {other:016x}"
            )
        });
    }
}

/// A recorded task has a submission that may have made it.
fn asked_for(key: &str, submissions: &[&Submission], recorded: &[&RecordedTask], findings: &mut Findings) {
    let Some(task) = recorded.first() else { return };
    if submissions.iter().any(|submission| submission.outcome != SubmissionOutcome::Refused) {
        return;
    }
    match submissions.len() {
        0 if findings.expect.others_submit => {}
        0 => findings.add(Rule::TaskNobodyAskedFor, task.id, |_| {
            format!("task {} has the key `{key}`, which nobody used", task.id)
        }),
        refusals => findings.add(Rule::RefusedSubmissionMadeTask, task.id, |_| {
            format!("the key `{key}` was refused each of {refusals} times, and task {} has it", task.id)
        }),
    }
}

/// Without a key there are at most as many tasks that nobody was told of as there are submissions without an answer.
fn without_key(submissions: &[&Submission], recorded: &[&RecordedTask], findings: &mut Findings) {
    if findings.expect.others_submit {
        return;
    }
    let mut acknowledged: Vec<TaskId> =
        submissions.iter().filter_map(|submission| answer(submission)).map(|answer| answer.task).collect();
    acknowledged.sort_unstable();
    let unclaimed = |task: &&&RecordedTask| task.redrive_of.is_none() && acknowledged.binary_search(&task.id).is_err();
    let unclaimed: Vec<TaskId> = recorded.iter().filter(unclaimed).map(|task| task.id).collect();
    let of = |outcome: &SubmissionOutcome| submissions.iter().filter(|s| s.outcome == *outcome).count();
    let (unknown, refused) = (of(&SubmissionOutcome::Unknown), of(&SubmissionOutcome::Refused));
    let Some(first) = unclaimed.get(unknown) else { return };
    let rule = if refused > 0 { Rule::RefusedSubmissionMadeTask } else { Rule::TaskNobodyAskedFor };
    findings.add(rule, *first, |_| {
        format!(
            "{} tasks without a key were made that nobody was told of (task {first} is one); {unknown} submissions \
             without a key were not answered, and {refused} were refused",
            unclaimed.len()
        )
    });
}

//! What must hold of tasks that drive others again: one for each, and only for what is over and did not succeed.
//!
//! A store that removes what is past its time forgets that a task was driven again once it has removed the one that did it.
//! So two are no fault if the first was gone before the second was made.

use evenkeel_shared::{TaskId, TaskState};

use super::{
    History, RecordedTask,
    verdict::{Findings, Rule},
};

/// Judges every task that drives another one again.
pub(super) fn judge(history: &History, findings: &mut Findings) {
    let redriving = history.recorded.iter().filter_map(|task| Some((task.redrive_of?, task)));
    let mut redriving: Vec<(TaskId, &RecordedTask)> = redriving.collect();
    if redriving.is_empty() {
        return;
    }
    redriving.sort_by_key(|(of, task)| (*of, task.id));
    redriving.dedup_by_key(|(_, task)| task.id);
    let mut recorded: Vec<&RecordedTask> = history.recorded.iter().collect();
    recorded.sort_by_key(|task| task.id);
    let find = |id| recorded.binary_search_by_key(&id, |task| task.id).ok().map(|at| recorded[at]);
    for pair in redriving.windows(2) {
        once(pair[0], pair[1], findings);
    }
    for (of, task) in redriving {
        // One that is not recorded was removed: it cannot be asked any more.
        if let Some(of) = find(of) {
            with_reason(of, task, findings);
        }
    }
}

fn once((of, one): (TaskId, &RecordedTask), (of_other, other): (TaskId, &RecordedTask), findings: &mut Findings) {
    if of == of_other && !one.may_be_replaced_by(other, findings.expect.clock_tolerance) {
        findings.add(Rule::DrivenAgainTwice, of, |_| {
            format!("task {of} was driven again as {} and as {}", one.id, other.id)
        });
    }
}

/// What was driven again had ended, and not in success.
fn with_reason(of: &RecordedTask, task: &RecordedTask, findings: &mut Findings) {
    let failed = of.state.is_terminal() && of.state != TaskState::Succeeded;
    let tolerance = findings.expect.clock_tolerance;
    let early = |made| of.finished_at.is_some_and(|over| over > super::plus_ms(made).plus(tolerance));
    if !failed || task.made_at().is_some_and(early) {
        findings.add(Rule::DrivenAgainNeedlessly, of.id, |clock| {
            let over = of.finished_at.map(|over| format!(" since {}", clock.at(over))).unwrap_or_default();
            let made = task.made_at().map(|made| format!(", made at {}", clock.at(made))).unwrap_or_default();
            format!("task {} is {}{over}; it was driven again as {}{made}", of.id, of.state, task.id)
        });
    }
}

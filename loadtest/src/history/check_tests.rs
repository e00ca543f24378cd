use std::time::Duration;

use evenkeel_shared::{AttemptEnd, Delivery, TaskId, TaskState};

use super::super::{
    RecordedTask, Rule, Submission, SubmissionOutcome,
    example::{acknowledged, agent, all_kinds, at, id, odd_ones, plain, queued, retried, token},
    verdict::{VIOLATIONS_OF_A_RULE_MAX, places},
};
use super::*;

const HEALED: Expect =
    Expect { all_over: true, ephemeral_may_be_lost: false, others_submit: false, clock_tolerance: Duration::ZERO };

#[test]
fn a_clean_history_is_clean_and_counted() {
    let verdict = check(&all_kinds(), HEALED);
    assert_eq!(verdict.violations, []);
    assert!(verdict.is_clean() && verdict.broken.is_empty());
    let counts = (verdict.acknowledged, verdict.refused, verdict.unknown, verdict.tasks, verdict.attempts);
    assert_eq!(counts, (5, 2, 4, 7, 6));
    assert_eq!((verdict.executions, verdict.executions_extra), (6, 2));
    assert_eq!((verdict.recorded_answers, verdict.stale_answers), (5, 2));
    assert!(verdict.to_string().starts_with("clean"), "{verdict}");
}

/// Histories that break one rule each, and that one alone.
type Break = (Rule, fn() -> History);

fn broken(whole: fn() -> History, change: impl FnOnce(&mut History)) -> History {
    let mut history = whole();
    change(&mut history);
    history
}

const BREAKS: &[Break] = &[
    (Rule::AcceptedTaskLost, || broken(plain, |h| h.recorded.clear())),
    // Shown to a client, answered to nobody.
    (Rule::AcceptedTaskLost, || {
        broken(History::default, |h| {
            h.seen(1, TaskState::Queued);
        })
    }),
    // An agent was told that the result is recorded; nobody else ever heard of the task.
    (Rule::AcceptedTaskLost, || {
        broken(History::default, |h| {
            h.answered(1, 1, 1, true, true);
        })
    }),
    (Rule::AnsweredWithAnotherTask, || {
        broken(plain, |h| {
            h.submitted("other", acknowledged(1));
        })
    }),
    (Rule::AnsweredWithAnotherTask, || {
        broken(plain, |h| {
            h.task(1).key.clear();
            h.submissions[0].key.clear();
            h.submitted("", acknowledged(1));
        })
    }),
    (Rule::DrivenAgainTwice, || {
        broken(odd_ones, |h| {
            let again = queued(8, "").over(TaskState::Cancelled, 90);
            h.record(RecordedTask { redrive_of: Some(id(4)), ..again });
        })
    }),
    (Rule::DrivenAgainNeedlessly, || {
        broken(plain, |h| {
            let again = queued(8, "").over(TaskState::Cancelled, 90);
            h.record(RecordedTask { redrive_of: Some(id(1)), ..again });
        })
    }),
    (Rule::RecordedTwice, || broken(plain, |h| h.task(1).ends_recorded = 2)),
    (Rule::RecordedTwice, || broken(plain, |h| h.recorded.push(h.recorded[0].clone()))),
    (Rule::RecordedTwice, || {
        broken(retried, |h| h.task(2).attempts[1].ended = Some((at(30), AttemptEnd::Succeeded)))
            .without_answers_of_attempt(2)
    }),
    (Rule::RecordedTwice, || {
        let ephemeral = |h: &mut History| {
            h.submissions[0].delivery = Delivery::Ephemeral;
            (h.task(1).delivery, h.task(1).state) = (Delivery::Ephemeral, TaskState::Running);
            h.task(1).attempts.clear();
            h.sightings.clear();
            h.task(1).attempts_made = 2;
            h.answered(2, 1, 2, true, true);
        };
        broken(plain, ephemeral)
    }),
    // The agent that was lost came back, and its result was taken.
    (Rule::SupersededResultAccepted, || {
        broken(retried, |h| h.acknowledgements.retain(|ack| ack.attempt == token(2, 1))).with_answer(2, 2, 2, true)
    }),
    (Rule::SupersededResultAccepted, || {
        broken(retried, |h| {
            h.answered(2, 2, 2, false, true);
        })
    }),
    // A token that was never made, and one that is another agent's.
    (Rule::SupersededResultAccepted, || {
        broken(plain, |h| {
            h.answered(1, 1, 9, false, true);
        })
    }),
    (Rule::SupersededResultAccepted, || {
        broken(plain, |h| {
            h.answered(2, 1, 1, true, true);
        })
    }),
    // Success, and then another attempt.
    (Rule::SupersededResultAccepted, || {
        broken(plain, |h| {
            let task = h.task(1).clone().attempt(2, 20, Some((30, AttemptEnd::Failed)));
            *h.task(1) = task.over(TaskState::Succeeded, 30);
        })
    }),
    // The task succeeded with a result of no attempt.
    (Rule::SupersededResultAccepted, || {
        broken(retried, |h| h.task(2).attempts[2].ended = Some((at(40), AttemptEnd::AgentLost)))
            .without_answers_of_attempt(3)
    }),
    // A live attempt whose result an agent was told to be recorded: the answer came before the commit.
    (Rule::SupersededResultAccepted, || {
        broken(plain, |h| {
            h.sightings.clear();
            h.recorded = vec![queued(1, "1").attempt(1, 10, None)];
        })
    }),
    (Rule::SupersededResultAccepted, || {
        broken(odd_ones, |h| {
            h.task(7).attempts_made = 2;
        })
    }),
    (Rule::RecordedResultCalledStale, || {
        broken(plain, |h| {
            h.answered(1, 1, 1, true, false);
        })
    }),
    (Rule::TooManyAttempts, || broken(retried, |h| h.task(2).attempts_max = 2)),
    (Rule::TooManyAttempts, || {
        broken(odd_ones, |h| {
            h.task(7).attempts_made = 4;
            h.acknowledgements.clear();
        })
    }),
    (Rule::AttemptsMiscounted, || broken(retried, |h| h.task(2).attempts_made = 4).with_attempts_max(2, 5)),
    (Rule::AttemptsMiscounted, || {
        broken(retried, |h| {
            h.task(2).attempts.remove(0);
            h.executions.remove(0);
            h.acknowledgements.remove(0);
        })
    }),
    (Rule::TwoLiveAssignments, || broken(retried, |h| h.task(2).attempts[1].assigned_at = at(19))),
    (Rule::TwoLiveAssignments, || {
        broken(retried, |h| h.task(2).attempts[0].ended = None).without_answers_of_attempt(1)
    }),
    // The same number twice, one after the other.
    (Rule::TwoLiveAssignments, || {
        broken(retried, |h| {
            h.task(2).attempts[1].attempt.attempt = token(2, 1).attempt;
            h.task(2).attempts[2].attempt.attempt = token(2, 2).attempt;
            h.task(2).attempts_made = 2;
            h.executions.clear();
            h.acknowledgements.clear();
        })
    }),
    // Over, and an attempt goes on.
    (Rule::TwoLiveAssignments, || {
        broken(odd_ones, |h| {
            h.task(3).attempts[0].ended = None;
        })
    }),
    (Rule::DispatchAfterDeadline, || broken(plain, |h| h.task(1).deadline = Some(at(9)))),
    (Rule::TerminalStateChanged, || broken(odd_ones, |h| h.task(3).state = TaskState::Expired)),
    (Rule::TerminalStateChanged, || broken(odd_ones, |h| h.task(3).state = TaskState::Queued)),
    (Rule::TerminalStateChanged, || {
        broken(odd_ones, |h| {
            h.seen(4, TaskState::Expired).seen(4, TaskState::Failed);
        })
    }),
    (Rule::TerminalStateChanged, || broken(plain, |h| h.task(1).finished_at = Some(at(9)))),
    (Rule::TerminalStateChanged, || {
        broken(plain, |h| {
            h.sightings.clear();
            h.task(1).state = TaskState::Failed;
        })
    }),
    (Rule::KeyGaveTwoTasks, || {
        broken(plain, |h| {
            h.record(queued(9, "1").over(TaskState::Cancelled, 30));
        })
    }),
    // Not answered, asked again, and both were accepted.
    (Rule::KeyGaveTwoTasks, || {
        broken(odd_ones, |h| {
            h.record(queued(9, "4").over(TaskState::Cancelled, 30));
        })
    }),
    (Rule::KeyTookOtherContent, || {
        broken(plain, |h| h.submissions.push(Submission { content: 8, ..h.submissions[0].clone() }))
    }),
    (Rule::RefusedSubmissionMadeTask, || {
        broken(odd_ones, |h| {
            h.record(queued(9, "refused").over(TaskState::Cancelled, 30));
        })
    }),
    // Two without a key were not answered, one was refused, and there are three tasks.
    (Rule::RefusedSubmissionMadeTask, || {
        broken(odd_ones, |h| {
            h.record(queued(8, "").over(TaskState::Cancelled, 30));
            h.record(queued(9, "").over(TaskState::Cancelled, 30));
        })
    }),
    (Rule::TaskNobodyAskedFor, || {
        broken(plain, |h| {
            h.record(queued(9, "9").over(TaskState::Cancelled, 30));
        })
    }),
    (Rule::TaskNobodyAskedFor, || {
        broken(plain, |h| {
            h.record(queued(9, "").over(TaskState::Cancelled, 30));
        })
    }),
    // A token that was never made, one that is another agent's, and a task that is not there.
    (Rule::UnassignedExecution, || {
        broken(plain, |h| {
            h.ran(1, 1, 2);
        })
    }),
    (Rule::UnassignedExecution, || {
        broken(plain, |h| {
            h.ran(2, 1, 1);
        })
    }),
    (Rule::UnassignedExecution, || {
        broken(plain, |h| {
            h.ran(1, 5, 1);
        })
    }),
    (Rule::UnassignedExecution, || {
        broken(odd_ones, |h| {
            h.ran(1, 7, 2);
        })
    }),
    (Rule::OutputDiffers, || broken(plain, |h| h.task(1).output = Some(100))),
    (Rule::OutputDiffers, || {
        broken(plain, |h| {
            h.task(1).output = None;
            h.seen(1, TaskState::Succeeded);
            h.sightings[1].output = Some(100);
        })
    }),
    (Rule::NotOver, || {
        broken(plain, |h| {
            h.sightings.clear();
            h.acknowledgements.clear();
            h.recorded = vec![queued(1, "1").attempt(1, 10, None)];
        })
    }),
    (Rule::NotOver, || broken(odd_ones, |h| h.task(6).state = TaskState::RetryWait)),
];

impl History {
    fn without_answers_of_attempt(mut self, attempt: u32) -> Self {
        self.acknowledgements.retain(|ack| ack.attempt.attempt.0 != attempt);
        self
    }

    fn with_answer(mut self, on: u32, task: u64, attempt: u32, success: bool) -> Self {
        self.answered(on, task, attempt, success, true);
        self
    }

    fn with_attempts_max(mut self, task: u64, max: u32) -> Self {
        self.task(task).attempts_max = max;
        self
    }
}

#[test]
fn every_rule_is_broken_by_a_history_that_breaks_no_other() {
    for (number, (rule, history)) in BREAKS.iter().enumerate() {
        // Where the task is not over by its nature, that is not what is asked for.
        let all_over = *rule == Rule::NotOver;
        let verdict = check(&history(), Expect { all_over, ..HEALED });
        assert_eq!(verdict.rules_broken(), [*rule], "history {number}:\n{verdict}");
        assert!(!verdict.is_clean());
        assert!(verdict.to_string().contains(rule.name()), "{verdict}");
    }
    for rule in Rule::ALL {
        assert!(BREAKS.iter().any(|(broken, _)| broken == rule), "no history breaks {rule}");
    }
}

/// The breaks that the judge does not see as it should.
fn overlooked() -> Vec<usize> {
    let seen = |(rule, history): &Break| {
        let all_over = *rule == Rule::NotOver;
        check(&history(), Expect { all_over, ..HEALED }).rules_broken() == [*rule]
    };
    (0..BREAKS.len()).filter(|number| !seen(&BREAKS[*number])).collect()
}

#[test]
fn whichever_check_is_taken_out_of_the_judge_a_break_is_overlooked() {
    let judge =
        [include_str!("tasks.rs"), include_str!("attempts.rs"), include_str!("keys.rs"), include_str!("redrives.rs")];
    let checks: usize = judge.iter().map(|source| source.matches("findings.add(").count()).sum();
    assert_eq!(overlooked(), [0; 0]);
    let reached = places::reached();
    assert_eq!(reached.len(), checks, "{reached:#?}");
    for place in reached {
        places::take_out(Some(place));
        assert_ne!(overlooked(), [0; 0], "without {place:?} everything is found all the same");
    }
    places::take_out(None);
}

#[test]
fn a_task_that_is_not_over_is_no_fault_while_the_faults_go_on() {
    let mut history = History::default();
    history.submitted("1", acknowledged(1)).record(queued(1, "1").attempt(1, 10, None));
    assert!(check(&history, Expect::default()).is_clean());
    assert_eq!(check(&history, HEALED).rules_broken(), [Rule::NotOver]);
}

#[test]
fn an_ephemeral_task_may_be_lost_with_the_coordinator_and_otherwise_not() {
    let crashed = Expect { ephemeral_may_be_lost: true, ..HEALED };
    let mut history = plain();
    history.recorded.clear();
    history.sightings.clear();
    assert_eq!(check(&history, crashed).rules_broken(), [Rule::AcceptedTaskLost], "it is durable");
    history.submissions[0].delivery = Delivery::Ephemeral;
    assert!(check(&history, crashed).is_clean());
    assert_eq!(check(&history, HEALED).rules_broken(), [Rule::AcceptedTaskLost]);
    // Its key was lost with it, and gave another task.
    let mut again = queued(2, "1").over(TaskState::Cancelled, 90);
    again.delivery = Delivery::Ephemeral;
    history.submitted("1", acknowledged(2)).record(again);
    history.submissions[1].delivery = Delivery::Ephemeral;
    assert!(check(&history, crashed).is_clean());
}

#[test]
fn an_ephemeral_task_that_was_seen_to_be_over_need_not_be_kept() {
    let mut history = plain();
    history.recorded.clear();
    history.submissions[0].delivery = Delivery::Ephemeral;
    assert!(check(&history, HEALED).is_clean());
}

#[test]
fn an_unanswered_ephemeral_submission_may_have_run_and_be_gone() {
    let crashed = Expect { ephemeral_may_be_lost: true, ..HEALED };
    let mut history = History::default();
    history.submitted("1", SubmissionOutcome::Unknown).ran(1, 1, 1).answered(1, 1, 1, true, true);
    assert_eq!(check(&history, crashed).rules_broken(), [Rule::UnassignedExecution], "it is durable");
    history.submissions[0].delivery = Delivery::Ephemeral;
    assert!(check(&history, crashed).is_clean());
}

#[test]
fn tasks_of_others_are_no_fault_where_others_submit() {
    let shared = Expect { others_submit: true, ..HEALED };
    let mut history = plain();
    history.record(queued(8, "8").over(TaskState::Cancelled, 30)).record(queued(9, "").over(TaskState::Cancelled, 30));
    assert!(check(&history, shared).is_clean());
}

/// As [`id`], but as the coordinator makes them: its time is in it.
fn made(millis: u64) -> TaskId {
    TaskId::new(at(millis), 0)
}

#[test]
fn a_key_goes_with_a_task_that_is_past_its_time() {
    let check_pruned = |pruned_at| {
        let mut history = History::default();
        for (task, over) in [(made(0), 30), (made(100), 130)] {
            let outcome = SubmissionOutcome::Acknowledged { task, duplicate: false };
            history
                .submitted("k", outcome)
                .record(RecordedTask { id: task, ..queued(0, "k") }.over(TaskState::Cancelled, over));
        }
        history.recorded[0].pruned_at = pruned_at;
        check(&history, HEALED).rules_broken()
    };
    assert_eq!(check_pruned(None), [Rule::KeyGaveTwoTasks]);
    assert_eq!(check_pruned(Some(at(90))), []);
    assert_eq!(check_pruned(Some(at(110))), [Rule::KeyGaveTwoTasks], "it was still there");
}

#[test]
fn a_task_is_driven_again_once_and_only_after_it_failed() {
    let check_redriven = |state, over, again: &[(u64, Option<u64>)]| {
        let mut history = History::default();
        let outcome = SubmissionOutcome::Acknowledged { task: made(0), duplicate: false };
        history.submitted("k", outcome).record(RecordedTask { id: made(0), ..queued(0, "k") }.over(state, over));
        for &(millis, pruned) in again {
            let task = RecordedTask { id: made(millis), redrive_of: Some(made(0)), ..queued(0, "") };
            let pruned_at = pruned.map(at);
            history.record(RecordedTask { pruned_at, ..task.over(TaskState::Failed, millis + 10) });
        }
        check(&history, Expect::default()).rules_broken()
    };
    assert_eq!(check_redriven(TaskState::Failed, 30, &[(50, None)]), []);
    assert_eq!(check_redriven(TaskState::Failed, 30, &[(50, None), (80, None)]), [Rule::DrivenAgainTwice]);
    assert_eq!(check_redriven(TaskState::Failed, 30, &[(50, Some(70)), (80, None)]), [], "the first was gone by then");
    assert_eq!(check_redriven(TaskState::Queued, 30, &[(50, None)]), [Rule::DrivenAgainNeedlessly]);
    assert_eq!(
        check_redriven(TaskState::Failed, 90, &[(50, None)]),
        [Rule::DrivenAgainNeedlessly],
        "it was not over yet"
    );
}

#[test]
fn a_clock_that_went_back_is_borne_as_far_as_was_said() {
    let mut history = retried();
    history.task(2).attempts[1].assigned_at = at(15);
    history.task(2).deadline = Some(at(25));
    let tolerant = |millis| Expect { clock_tolerance: Duration::from_millis(millis), ..HEALED };
    assert!(check(&history, tolerant(5)).is_clean());
    let found = check(&history, tolerant(4)).rules_broken();
    assert_eq!(found, [Rule::TwoLiveAssignments, Rule::DispatchAfterDeadline]);
}

#[test]
fn a_violation_says_what_happened_to_whom_and_when() {
    let mut history = retried();
    history.task(2).attempts[1].assigned_at = at(15);
    let verdict = check(&history, HEALED);
    let [violation] = verdict.violations.as_slice() else { panic!("{verdict}") };
    assert_eq!(violation.task, Some(id(2)));
    let facts = format!(
        "task {}: attempt 1 on {} ended failed at +0.010 s; attempt 2 was assigned to {} at +0.005 s",
        id(2),
        agent(1),
        agent(2)
    );
    assert_eq!(violation.facts, facts);
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["broken"]["two-live-assignments"], 1);
    assert_eq!(json["violations"][0]["rule"], "two-live-assignments");
    assert_eq!(json["violations"][0]["facts"], facts);
}

#[test]
fn a_rule_that_is_broken_often_is_counted_and_does_not_hide_another() {
    let often = 3 * VIOLATIONS_OF_A_RULE_MAX;
    let mut history = plain();
    for task in 100..100 + often {
        history.submitted(&format!("key-{task}"), acknowledged(task));
    }
    history.task(1).output = Some(100);
    let verdict = check(&history, HEALED);
    assert_eq!(verdict.broken[&Rule::AcceptedTaskLost], often);
    assert_eq!(verdict.broken[&Rule::OutputDiffers], 1);
    assert_eq!(verdict.violations.len() as u64, VIOLATIONS_OF_A_RULE_MAX + 1);
    assert!(verdict.violations.is_sorted());
}

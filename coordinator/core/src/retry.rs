//! What becomes of a task whose attempt did not succeed.
//!
//! One pure function, so that the rule can be read in one place. The bound on attempts is absolute: an attempt is
//! counted when it is assigned, however it ends, for a task that is handed around without end is as bad as one that
//! fails without end.

use std::time::Duration;

use evenkeel_shared::{FailureClass, RetryPolicy, backoff::Backoff};

/// How an attempt ended that did not end the task by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// It failed.
    Failed(FailureClass),
    /// The agent gave it back unstarted.
    HandedBack,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt, after this long.
    Retry {
        /// Zero: at once.
        after: Duration,
    },
    /// The task has failed.
    Fail,
    /// The task has taken too many agents down with it, and is set aside.
    Quarantine,
}

/// What has happened to a task so far, the attempt that just ended included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Attempts that were assigned.
    pub attempts: u32,
    /// Attempts that ended because their agent was lost.
    pub crashes: u32,
}

/// What follows a setback.
///
/// - An agent lost, on the crash number `quarantine_after` or a later one: quarantine, even if it was the last attempt,
///   for a task that kills agents should be looked at and not just be counted as failed.
/// - A failure that would come again, or no attempt left: the task fails.
/// - The agent was lost, refused the task or handed it back: at once again. Waiting would help nobody; the fault was
///   not in the task, and another agent takes it.
/// - Else after a backoff with full jitter, for a `draw` from 0 to 1.
#[must_use]
pub fn verdict(policy: &RetryPolicy, history: History, quarantine_after: u32, setback: Setback, draw: f64) -> Verdict {
    use FailureClass::{AgentLost, BudgetExceeded, NonRetryable, QuotaExhausted, Rejected, Retryable, Timeout};
    if setback == Setback::Failed(AgentLost) && history.crashes >= quarantine_after {
        return Verdict::Quarantine;
    }
    let is_final = matches!(setback, Setback::Failed(NonRetryable | BudgetExceeded));
    if is_final || history.attempts >= policy.attempts_max {
        return Verdict::Fail;
    }
    let after = match setback {
        // A quota that is used up holds the task back by itself.
        Setback::HandedBack | Setback::Failed(AgentLost | Rejected | QuotaExhausted) => Duration::ZERO,
        Setback::Failed(Retryable | Timeout | NonRetryable | BudgetExceeded) => {
            let backoff = Backoff::new(policy.backoff_initial, policy.backoff_max, policy.multiplier);
            backoff.delay(history.attempts.saturating_sub(1), draw)
        }
    };
    Verdict::Retry { after }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUARANTINE_AFTER: u32 = 3;
    const AT_ONCE: Verdict = Verdict::Retry { after: Duration::ZERO };

    /// The verdict on a task of five attempts, with the longest draw.
    fn after(attempts: u32, crashes: u32, setback: Setback) -> Verdict {
        verdict(&RetryPolicy::default(), History { attempts, crashes }, QUARANTINE_AFTER, setback, 1.0)
    }

    #[test]
    fn failures_wait_longer_each_time_until_no_attempt_is_left() {
        for class in [FailureClass::Retryable, FailureClass::Timeout] {
            let verdicts: Vec<_> = (1..=5).map(|attempts| after(attempts, 0, Setback::Failed(class))).collect();
            let wait = |ms| Verdict::Retry { after: Duration::from_millis(ms) };
            assert_eq!(verdicts, [wait(200), wait(400), wait(800), wait(1_600), Verdict::Fail]);
        }
    }

    #[test]
    fn a_failure_that_would_come_again_is_final() {
        assert_eq!(after(1, 0, Setback::Failed(FailureClass::NonRetryable)), Verdict::Fail);
    }

    #[test]
    fn what_was_not_the_tasks_fault_goes_on_at_once() {
        assert_eq!(after(2, 1, Setback::Failed(FailureClass::AgentLost)), AT_ONCE);
        assert_eq!(after(2, 1, Setback::Failed(FailureClass::Rejected)), AT_ONCE);
        assert_eq!(after(2, 1, Setback::HandedBack), AT_ONCE);
    }

    #[test]
    fn the_third_crash_is_quarantine_even_at_the_last_attempt() {
        assert_eq!(after(3, 3, Setback::Failed(FailureClass::AgentLost)), Verdict::Quarantine);
        assert_eq!(after(5, 3, Setback::Failed(FailureClass::AgentLost)), Verdict::Quarantine);
        assert_eq!(after(5, 2, Setback::Failed(FailureClass::AgentLost)), Verdict::Fail);
    }

    fn setback() -> impl Strategy<Value = Setback> {
        prop_oneof![
            Just(Setback::HandedBack),
            Just(Setback::Failed(FailureClass::Retryable)),
            Just(Setback::Failed(FailureClass::NonRetryable)),
            Just(Setback::Failed(FailureClass::Timeout)),
            Just(Setback::Failed(FailureClass::Rejected)),
            Just(Setback::Failed(FailureClass::AgentLost)),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_attempts_and_crashes_stay_within_their_bounds(
            attempts_max in 1_u32..20,
            setbacks in proptest::collection::vec((setback(), 0.0..=1.0_f64), 25),
        ) {
            let policy = RetryPolicy { attempts_max, ..RetryPolicy::default() };
            let mut history = History { attempts: 0, crashes: 0 };
            for (setback, draw) in setbacks {
                history.attempts += 1;
                history.crashes += u32::from(setback == Setback::Failed(FailureClass::AgentLost));
                prop_assert!(history.attempts <= attempts_max && history.crashes <= QUARANTINE_AFTER);
                match verdict(&policy, history, QUARANTINE_AFTER, setback, draw) {
                    Verdict::Retry { after } => prop_assert!(after <= policy.backoff_max),
                    Verdict::Fail | Verdict::Quarantine => return Ok(()),
                }
            }
            prop_assert!(false, "it went on for ever");
        }
    }
}

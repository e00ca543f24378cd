//! The life of a task, as a table.
//!
//! Every change of a task's state goes through [`check`], so that the table is the whole truth about which changes exist.

use evenkeel_shared::TaskState;

use TaskState::{Assigned, Cancelled, Expired, Failed, Quarantined, Queued, RetryWait, Running, Succeeded};

/// From each state, the states that may follow.
const TABLE: [(TaskState, &[TaskState]); 9] = [
    (Queued, &[Assigned, Cancelled, Expired]),
    // A result may come before the word that the attempt started.
    (Assigned, &[Running, Queued, RetryWait, Succeeded, Failed, Cancelled, Expired, Quarantined]),
    (Running, &[Queued, RetryWait, Succeeded, Failed, Cancelled, Expired, Quarantined]),
    (RetryWait, &[Queued, Cancelled, Expired]),
    (Succeeded, &[]),
    (Failed, &[]),
    (Cancelled, &[]),
    (Expired, &[]),
    (Quarantined, &[]),
];

/// Whether a task may go from one state to the other.
#[must_use]
pub fn allowed(from: TaskState, to: TaskState) -> bool {
    TABLE.iter().any(|(state, next)| *state == from && next.contains(&to))
}

/// Takes a task from one state to the next.
///
/// # Panics
/// If the table has no such change: the engine is wrong, and going on would record something that did not happen. A panic
/// ends the process, and the store brings the last consistent state back.
pub fn check(from: TaskState, to: TaskState) -> TaskState {
    assert!(allowed(from, to), "a task cannot go from {from} to {to}");
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_in_the_table_and_only_terminal_states_end_it() {
        for state in TaskState::ALL {
            let (_, next) = TABLE.iter().find(|(s, _)| *s == state).expect("in the table");
            assert_eq!(next.is_empty(), state.is_terminal(), "{state}");
            assert!(!next.contains(&state), "{state} follows itself");
        }
    }

    #[test]
    fn a_task_that_waits_cannot_succeed() {
        assert!(!allowed(Queued, Succeeded));
        assert!(!allowed(RetryWait, Succeeded));
        assert!(allowed(Running, Succeeded));
    }
}

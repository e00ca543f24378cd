//! What the judge of histories costs, with so many tasks in the history.
//!
//! ```text
//! cargo bench -p evenkeel-loadtest --bench judge [-- TASKS...]
//! ```
//!
//! Each task was submitted under a key, lost its first agent, succeeded on the second one, was answered and was seen to have
//! succeeded; one of them is recorded twice, which the judge has to find. The aim: a million in 10 seconds of a processor, and
//! time in proportion to their number. Processor time is shown, because others may use the machine too.

use std::{fs, time::Duration};

use evenkeel_loadtest::history::{
    Acknowledgement, Execution, Expect, History, RecordedAttempt, RecordedTask, Rule, Sighting, Submission,
    SubmissionOutcome, check,
};
use evenkeel_shared::{
    AgentId, AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Delivery, TaskId, TaskState, Timestamp,
};

const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];
/// Hash of every output.
const OUTPUT: u64 = 99;
const EXPECTED: Expect =
    Expect { all_over: true, ephemeral_may_be_lost: false, others_submit: false, clock_tolerance: Duration::ZERO };

/// Processor time of this thread so far; zero where the system does not say.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_000_000 + ms)
}

fn agent(number: u32) -> AgentId {
    AgentId::new(&format!("a-{number}")).expect("valid")
}

fn id(number: u64) -> TaskId {
    TaskId::from_u128(u128::from(number))
}

fn token(task: u64, attempt: u32) -> AttemptRef {
    let assignment = AssignmentId(10 * task + u64::from(attempt));
    AttemptRef { task: id(task), attempt: AttemptNumber(attempt), assignment }
}

/// The attempt on the agent of the same number.
fn attempt(task: u64, number: u32, end: AttemptEnd) -> RecordedAttempt {
    let begun = 10 * u64::from(number);
    RecordedAttempt {
        attempt: token(task, number),
        agent: agent(number),
        assigned_at: at(begun),
        ended: Some((at(begun + 10), end)),
        run: Duration::ZERO,
    }
}

fn recorded(task: u64, key: String) -> RecordedTask {
    RecordedTask {
        id: id(task),
        key,
        delivery: Delivery::Durable,
        redrive_of: None,
        state: TaskState::Succeeded,
        output: Some(OUTPUT),
        attempts_made: 2,
        attempts_max: 3,
        deadline: None,
        finished_at: Some(at(30)),
        pruned_at: None,
        ends_recorded: 1,
        attempts: vec![attempt(task, 1, AttemptEnd::AgentLost), attempt(task, 2, AttemptEnd::Succeeded)],
    }
}

/// The last ones first, so that nothing is in the order in which the judge wants it.
fn history(tasks: u64) -> History {
    let mut history = History::default();
    for task in (1..=tasks).rev() {
        let key = format!("key-{task}");
        let outcome = SubmissionOutcome::Acknowledged { task: id(task), duplicate: false };
        let delivery = Delivery::Durable;
        history.submissions.push(Submission { key: key.clone(), content: 7, delivery, asked_at: at(0), outcome });
        let ran = |number| Execution {
            agent: agent(number),
            attempt: token(task, number),
            begun_at: at(10 * u64::from(number) + 1),
            ended_at: None,
        };
        history.executions.extend([1, 2].map(ran));
        let (by, attempt) = (agent(2), token(task, 2));
        history.acknowledgements.push(Acknowledgement { agent: by, attempt, success: true, recorded: true });
        let (state, output) = (TaskState::Succeeded, Some(OUTPUT));
        history.sightings.push(Sighting { task: id(task), state, output, at: at(500) });
        history.recorded.push(recorded(task, key));
    }
    history.recorded.push(recorded(1, "key-1".into()));
    history
}

fn main() {
    // Cargo says that it is a bench; the rest are sizes.
    let sizes: Vec<u64> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    println!("{:>10}  {:>12}  {:>12}", "tasks", "processor", "per task");
    for tasks in sizes {
        let history = history(tasks);
        let before = cpu();
        let verdict = check(&history, EXPECTED);
        let took = cpu() - before;
        assert_eq!(verdict.broken.keys().collect::<Vec<_>>(), [&Rule::RecordedTwice], "{verdict}");
        println!(
            "{tasks:>10}  {:>9.0} ms  {:>9.2} us",
            took.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e6 / tasks as f64
        );
    }
}

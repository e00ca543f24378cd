//! Random valid histories, for tests: what a faultless coordinator might record, and what others might see of it.

use evenkeel_shared::{AttemptEnd, Delivery, TaskState};
use proptest::prelude::*;

use super::{
    History, RecordedTask, SubmissionOutcome,
    example::{acknowledged, agent, id, queued, submission, token},
};

/// How the client fared with its submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Accepted,
    /// Not answered, asked again with the same key, and told that it is there.
    AcceptedUnheard,
    /// Refused, and asked again later.
    AcceptedLater,
    /// Not answered, and not asked again.
    Unheard,
    /// Not answered, and never accepted.
    UnheardAndNothing,
    Refused,
    /// Another task is driven again.
    Redriven,
}

/// What the agent that has an attempt sees of it.
#[derive(Clone, Copy, Debug)]
struct AgentSees {
    runs: bool,
    /// How often it is answered to its result.
    answers: u8,
    on: u32,
    /// Between the end of the attempt before and this one, and then how long it takes.
    wait_ms: u64,
    run_ms: u64,
}

/// How it all ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Succeeded,
    Failed,
    Quarantined,
    /// While it waits, or while an attempt is live.
    Cancelled {
        live: bool,
    },
    Expired {
        live: bool,
    },
    Queued,
    Running,
}

/// A task's life.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    asked: Asked,
    keyed: bool,
    ephemeral: bool,
    setbacks: Vec<(AttemptEnd, AgentSees)>,
    last: AgentSees,
    ending: Ending,
    attempts_spare: u32,
    deadline: bool,
    watched: bool,
}

impl Plan {
    /// Whether the task is over in the end.
    pub(super) fn is_over(&self) -> bool {
        !matches!(self.ending, Ending::Queued | Ending::Running)
    }

    const fn is_recorded(&self) -> bool {
        !matches!(self.asked, Asked::Refused | Asked::UnheardAndNothing)
    }
}

fn agent_sees() -> impl Strategy<Value = AgentSees> {
    (any::<bool>(), 0..3_u8, 1..4_u32, 0..3_u64, 0..3_u64).prop_map(|(runs, answers, on, wait_ms, run_ms)| AgentSees {
        runs,
        answers,
        on,
        wait_ms,
        run_ms,
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    use Asked::*;
    prop_oneof![
        6 => Just(Accepted),
        1 => Just(AcceptedUnheard),
        1 => Just(AcceptedLater),
        1 => Just(Unheard),
        1 => Just(UnheardAndNothing),
        1 => Just(Refused),
        1 => Just(Redriven),
    ]
}

fn setback() -> impl Strategy<Value = AttemptEnd> {
    use AttemptEnd::*;
    prop::sample::select(vec![Failed, TimedOut, Cancelled, AgentLost, Rejected, HandedBack])
}

fn ending() -> impl Strategy<Value = Ending> {
    use Ending::*;
    prop_oneof![
        6 => Just(Succeeded),
        1 => Just(Failed),
        1 => Just(Quarantined),
        1 => any::<bool>().prop_map(|live| Cancelled { live }),
        1 => any::<bool>().prop_map(|live| Expired { live }),
        1 => Just(Queued),
        1 => Just(Running),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let setbacks = prop::collection::vec((setback(), agent_sees()), 0..4);
    let flags = (any::<bool>(), prop::bool::weighted(0.15), any::<bool>(), any::<bool>(), 0..3_u32);
    (asked(), setbacks, agent_sees(), ending(), flags).prop_map(|(asked, setbacks, last, ending, flags)| {
        let (keyed, ephemeral, deadline, watched, attempts_spare) = flags;
        // Who asks again needs a key; a task that is driven again has none, and is durable.
        let again = matches!(asked, Asked::AcceptedUnheard | Asked::AcceptedLater);
        let redriven = asked == Asked::Redriven;
        let (keyed, ephemeral) = ((keyed || again) && !redriven, ephemeral && !redriven);
        Plan { asked, keyed, ephemeral, setbacks, last, ending, attempts_spare, deadline, watched }
    })
}

/// The lives of some tasks.
pub(super) fn plans() -> impl Strategy<Value = Vec<Plan>> {
    prop::collection::vec(plan(), 1..10)
}

/// What is seen of these lives.
pub(super) fn history(plans: &[Plan]) -> History {
    let mut history = History::default();
    for (number, plan) in (1..).zip(plans) {
        submit(&mut history, number, plan);
        if plan.is_recorded() {
            live(&mut history, number, plan);
        }
    }
    history
}

fn key(number: u64, plan: &Plan) -> String {
    if plan.keyed { format!("k{number}") } else { String::new() }
}

fn submit(history: &mut History, number: u64, plan: &Plan) {
    use SubmissionOutcome::{Refused, Unknown};
    let duplicate = SubmissionOutcome::Acknowledged { task: id(number), duplicate: true };
    let outcomes = match plan.asked {
        Asked::Accepted => vec![acknowledged(number)],
        Asked::AcceptedUnheard => vec![Unknown, duplicate],
        Asked::AcceptedLater => vec![Refused, acknowledged(number)],
        Asked::Unheard | Asked::UnheardAndNothing => vec![Unknown],
        Asked::Refused => vec![Refused],
        Asked::Redriven => vec![],
    };
    for outcome in outcomes {
        let mut one = submission(&key(number, plan), outcome);
        if plan.ephemeral {
            one.delivery = Delivery::Ephemeral;
        }
        history.submissions.push(one);
    }
}

/// The attempt that ends a task, or is live in the end; `None`: it ends, or goes on, while it waits.
fn last_attempt(ending: Ending) -> Option<Option<AttemptEnd>> {
    match ending {
        Ending::Succeeded => Some(Some(AttemptEnd::Succeeded)),
        Ending::Failed => Some(Some(AttemptEnd::Failed)),
        Ending::Quarantined => Some(Some(AttemptEnd::AgentLost)),
        Ending::Cancelled { live: true } => Some(Some(AttemptEnd::Cancelled)),
        Ending::Expired { live: true } => Some(Some(AttemptEnd::Expired)),
        Ending::Running => Some(None),
        Ending::Cancelled { live: false } | Ending::Expired { live: false } | Ending::Queued => None,
    }
}

fn live(history: &mut History, number: u64, plan: &Plan) {
    let mut task = queued(number, &key(number, plan));
    task.redrive_of = (plan.asked == Asked::Redriven).then(|| id(7_000 + number));
    let setbacks = plan.setbacks.iter().map(|(end, sees)| (Some(*end), *sees));
    let last = last_attempt(plan.ending).map(|end| (end, plan.last));
    let mut now = 10;
    for (end, sees) in setbacks.chain(last) {
        let from = now + sees.wait_ms;
        now = from + sees.run_ms;
        task = task.attempt(sees.on, from, end.map(|end| (now, end)));
        tell_agent(history, &task, end, sees);
    }
    task = match plan.ending {
        Ending::Succeeded => task.over(TaskState::Succeeded, now),
        Ending::Failed => task.over(TaskState::Failed, now),
        Ending::Quarantined => task.over(TaskState::Quarantined, now),
        Ending::Cancelled { .. } => task.over(TaskState::Cancelled, now),
        Ending::Expired { .. } => task.over(TaskState::Expired, now),
        Ending::Queued => RecordedTask { state: TaskState::Queued, ..task },
        Ending::Running => RecordedTask { state: TaskState::Running, ..task },
    };
    task.attempts_max = (task.attempts_made + plan.attempts_spare).max(1);
    task.deadline = task.attempts.last().map(|last| last.assigned_at).filter(|_| plan.deadline);
    if plan.watched {
        history.seen(number, TaskState::Queued);
        history.seen(number, task.state);
        history.seen(number, task.state);
        // A look that was answered late.
        history.seen(number, TaskState::Queued);
    }
    if plan.ephemeral {
        task.delivery = Delivery::Ephemeral;
        task.attempts.clear();
    }
    history.record(task);
}

/// What the agent of the task's last attempt sees and is told.
fn tell_agent(history: &mut History, task: &RecordedTask, end: Option<AttemptEnd>, sees: AgentSees) {
    let (number, attempt) = (task.id.as_u128() as u64, task.attempts_made);
    debug_assert_eq!(task.attempts.last().map(|last| last.attempt), Some(token(number, attempt)));
    debug_assert_eq!(task.attempts.last().map(|last| &last.agent), Some(&agent(sees.on)));
    if sees.runs {
        history.ran(sees.on, number, attempt);
    }
    let Some(end) = end else { return };
    let (success, recorded) = match end {
        AttemptEnd::Succeeded => (true, true),
        AttemptEnd::Failed | AttemptEnd::Rejected | AttemptEnd::HandedBack => (false, true),
        // The word of the agent, or of the coordinator while the agent finishes.
        AttemptEnd::TimedOut | AttemptEnd::Cancelled if sees.run_ms > 0 => (false, true),
        AttemptEnd::TimedOut | AttemptEnd::Cancelled => (true, false),
        AttemptEnd::AgentLost | AttemptEnd::Expired => (sees.run_ms > 0, false),
    };
    for _ in 0..sees.answers {
        history.answered(sees.on, number, attempt, success, recorded);
    }
}

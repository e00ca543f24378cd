//! Any history, against the plainest model of a store there is.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_core::{
    engine::Change,
    model::{BudgetShare, RecoveredState, RecoveredTask},
};
use evenkeel_shared::{AssignmentId, AttemptEnd, AttemptNumber, AttemptRef, Micros, TaskState};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

use super::{
    Open,
    fixture::{Fixture, a_task, agent, at, end, finish, requeue, reserving},
};

/// What happens next; to which task is up to the index.
#[derive(Clone, Debug)]
enum Step {
    Accept,
    /// With so much reserved of as many budgets.
    Assign(Index, Vec<u64>),
    Requeue(Index, Option<u64>),
    Finish(Index, TaskState),
    Commit,
    Crash,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let terminal = prop_oneof![Just(TaskState::Succeeded), Just(TaskState::Failed), Just(TaskState::Quarantined)];
    prop_oneof![
        4 => Just(Step::Accept),
        4 => (any::<Index>(), proptest::collection::vec(any::<u64>(), 0..3)).prop_map(|(index, of)| Step::Assign(index, of)),
        2 => (any::<Index>(), any::<Option<u16>>()).prop_map(|(index, ms)| Step::Requeue(index, ms.map(u64::from))),
        2 => (any::<Index>(), terminal).prop_map(|(index, state)| Step::Finish(index, state)),
        3 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

/// What the store is expected to hold.
#[derive(Clone, Default)]
struct Model {
    live: BTreeMap<u64, RecoveredTask>,
    over: Vec<(evenkeel_shared::TaskId, TaskState)>,
}

impl Model {
    /// The task of an index among those that fit.
    fn choose(&mut self, index: Index, fits: impl Fn(&RecoveredState) -> bool) -> Option<&mut RecoveredTask> {
        let mut fitting: Vec<_> = self.live.values_mut().filter(|task| fits(&task.state)).collect();
        (!fitting.is_empty()).then(|| fitting.swap_remove(index.index(fitting.len())))
    }

    /// Does the step to the model, and says what a store has to do for the same.
    fn step(&mut self, step: Step, fixture: &mut Fixture) -> Vec<Change> {
        match step {
            Step::Accept => vec![self.accept(fixture)],
            Step::Assign(index, of) => self.assign(index, &of, fixture),
            Step::Requeue(index, ms) => self.requeue(index, ms),
            Step::Finish(index, state) => self.finish(index, state),
            Step::Commit | Step::Crash | Step::Restart => Vec::new(),
        }
    }

    fn accept(&mut self, fixture: &mut Fixture) -> Change {
        let task = fixture.new_task(a_task());
        self.live.insert(task.order, (&task).into());
        Change::Accept(task.into())
    }

    fn assign(&mut self, index: Index, of: &[u64], fixture: &mut Fixture) -> Vec<Change> {
        let waits = |state: &RecoveredState| !matches!(state, RecoveredState::Assigned { .. });
        let Some(task) = self.choose(index, waits) else { return Vec::new() };
        task.attempts_made += 1;
        let attempt = AttemptRef {
            task: task.id,
            attempt: AttemptNumber(task.attempts_made),
            assignment: AssignmentId(fixture.number()),
        };
        let reserved = shares(of);
        let held = Some(reserved.clone());
        task.state =
            RecoveredState::Assigned { attempt, agent: agent("a"), at: at(attempt.assignment.0), reserved: held };
        vec![reserving(attempt, "a", reserved)]
    }

    fn requeue(&mut self, index: Index, ms: Option<u64>) -> Vec<Change> {
        let Some(task) = self.choose(index, |state| matches!(state, RecoveredState::Assigned { .. })) else {
            return Vec::new();
        };
        let RecoveredState::Assigned { attempt, .. } = task.state else { return Vec::new() };
        let not_before = ms.map(at);
        task.crashes += 1;
        task.state = match not_before {
            Some(not_before) => RecoveredState::RetryWait { not_before },
            None => RecoveredState::Queued { since: at(70_000) },
        };
        vec![end(attempt, AttemptEnd::AgentLost, Duration::ZERO), requeue(task.id, not_before, task.crashes)]
    }

    fn finish(&mut self, index: Index, state: TaskState) -> Vec<Change> {
        let Some(task) = self.choose(index, |_| true) else { return Vec::new() };
        let (order, id) = (task.order, task.id);
        self.live.remove(&order);
        self.over.push((id, state));
        vec![finish(id, state, at(order))]
    }
}

/// Of as many budgets. Amounts are of a signed column's range, as those of the engine are.
fn shares(amounts: &[u64]) -> Vec<BudgetShare> {
    let share = |(n, amount): (usize, &u64)| BudgetShare { budget: format!("b{n}").into(), amount: Micros(*amount) };
    amounts.iter().enumerate().map(share).collect()
}

pub fn any_history_is_recovered_as_it_was(open: Open) {
    let histories = proptest::collection::vec(step(), 0..80);
    // Each of them opens databases; fewer than usual keep the test short.
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    runner
        .run(&histories, |history| {
            check(open, history);
            Ok(())
        })
        .unwrap();
}

/// Commits at the commits of the history; a crash takes back what came after the last one.
fn check(open: Open, history: Vec<Step>) {
    let mut fixture = Fixture::new(open);
    let (mut model, mut committed, mut changes) = (Model::default(), Model::default(), Vec::new());
    for step in history.into_iter().chain([Step::Commit, Step::Crash]) {
        let recovery = match step {
            Step::Crash => {
                changes.clear();
                model = committed.clone();
                Some(fixture.crash())
            }
            Step::Commit | Step::Restart => {
                fixture.commit(std::mem::take(&mut changes));
                committed = model.clone();
                matches!(step, Step::Restart).then(|| fixture.restart())
            }
            step => {
                changes.extend(model.step(step, &mut fixture));
                None
            }
        };
        if let Some(recovery) = recovery {
            assert_eq!(recovery.tasks, model.live.values().cloned().collect::<Vec<_>>());
        }
    }
    let reader = fixture.reader();
    for (id, state) in model.over {
        assert_eq!(reader.task(id).unwrap().unwrap().state, state);
    }
}

//! Budgets in the engine: what may be spent is reserved with the place, and settled with the end.

use bytes::Bytes;
use evenkeel_shared::{
    Code, Cost, CostUnit, Failure, FailureClass, Kind, Micros, Outcome, TaskBudget, TaskId, TaskState, Tenant, Usage,
};

use super::fixture::{Cluster, START, TaskBuilder, agent, ms, task};
use crate::{
    cost::{Budget, BudgetAction, BudgetWindow},
    engine::{Change, ControlCommand, Event, Put, invariants},
    model::{BudgetShare, ClusterEventKind, Record},
};

fn usd(amount: f64) -> Cost {
    Cost::from([(CostUnit::usd(), Micros::from_units(amount))])
}

pub fn budget(name: &str, cap: f64) -> Budget {
    Budget {
        name: name.into(),
        tenant: None,
        kind: None,
        unit: CostUnit::usd(),
        cap: Micros::from_units(cap),
        window: BudgetWindow::Total,
        action: BudgetAction::Hold,
        warning_percent: 75,
        critical_percent: 90,
        default_estimate: None,
    }
}

fn costing(amount: f64) -> TaskBuilder {
    costing_of("work", amount)
}

pub fn costing_of(kind: &str, amount: f64) -> TaskBuilder {
    let mut builder = task(kind);
    let spec = std::sync::Arc::make_mut(&mut builder.0.spec);
    spec.budget = Some(Box::new(TaskBudget { estimate: usd(amount), ..TaskBudget::default() }));
    builder
}

pub fn cluster(budgets: impl IntoIterator<Item = Budget>) -> Cluster {
    let mut c = Cluster::new();
    c.join(agent("a").slots(100));
    for budget in budgets {
        c.control(ControlCommand::PutBudget(budget)).unwrap();
    }
    c
}

fn placed(c: &Cluster, tasks: &[TaskId]) -> usize {
    let placements = c.placements();
    tasks.iter().filter(|task| placements.contains_key(task)).count()
}

pub fn end(c: &mut Cluster, task: TaskId, outcome: Outcome, cost: Option<f64>) {
    let (agent, attempt) = c.assignment(task);
    let session = c.sessions[&agent];
    let usage = cost.map(|cost| Box::new(Usage { cost: usd(cost), ..Usage::default() }));
    c.handle(Event::Result { session, attempt, outcome, run: ms(10), usage });
}

fn succeed(c: &mut Cluster, task: TaskId, cost: f64) {
    end(c, task, Outcome::Succeeded(Bytes::new()), Some(cost));
}

/// Spent and reserved, in units.
fn used(c: &Cluster, name: &str) -> (f64, f64) {
    let views = c.engine.budget_views(c.now);
    let view = views.iter().find(|(view, _)| view.budget.name == name).unwrap();
    (view.0.spent.units(), view.0.reserved.units())
}

#[test]
fn what_runs_is_reserved_and_what_is_short_waits_for_a_settlement() {
    let mut c = cluster([budget("b", 1.0)]);
    let tasks: Vec<_> = (0..6).map(|_| c.submit(costing(0.25))).collect();
    assert_eq!((placed(&c, &tasks), used(&c, "b")), (4, (0.0, 1.0)));
    let words = c.explain(tasks[5]).waiting_for.unwrap();
    assert!(words.contains("budget `b`"), "{words}");
    assert_eq!(c.explain(tasks[5]).refused_by_reason.get("budget"), Some(&1), "the agent would take it");
    succeed(&mut c, tasks[0], 0.1);
    assert_eq!(placed(&c, &tasks), 3, "0.15 are left and 0.25 are needed");
    succeed(&mut c, tasks[1], 0.1);
    assert_eq!((placed(&c, &tasks), used(&c, "b")), (3, (0.2, 0.75)));
    c.control(ControlCommand::PutBudget(budget("b", 2.0))).unwrap();
    assert_eq!(placed(&c, &tasks), 4, "raised");
}

#[test]
fn who_puts_a_budget_is_answered_with_it_as_it_stands_once_all_may_go_that_now_may() {
    let mut c = cluster([budget("b", 0.5)]);
    let tasks = [c.submit(costing(0.5)), c.submit(costing(0.5))];
    assert_eq!(placed(&c, &tasks), 1);
    let Put::Budget(view, waiting) = c.put(ControlCommand::PutBudget(budget("b", 2.0))) else { panic!("a budget") };
    assert_eq!((view.budget.cap.units(), view.reserved.units(), waiting), (2.0, 1.0, 0));
    // One that stays short keeps them waiting.
    succeed(&mut c, tasks[0], 0.5);
    let third = [c.submit(costing(1.5))];
    let Put::Budget(view, waiting) = c.put(ControlCommand::PutBudget(budget("b", 2.1))) else { panic!("a budget") };
    assert_eq!((view.spent.units(), view.reserved.units(), waiting, placed(&c, &third)), (0.5, 0.5, 1, 0));
}

#[test]
fn a_budget_of_one_tenant_holds_up_nobody_else() {
    let mut c = cluster([Budget { tenant: Some(Tenant::new("t").unwrap()), ..budget("b", 0.5) }]);
    let theirs: Vec<_> = (0..3).map(|_| c.submit(costing(0.5).tenant("t"))).collect();
    let others: Vec<_> = (0..3).map(|_| c.submit(costing(0.5).tenant("u"))).collect();
    assert_eq!((placed(&c, &theirs), placed(&c, &others)), (1, 3));
    c.control(ControlCommand::RemoveBudget("b".into())).unwrap();
    assert_eq!(placed(&c, &theirs), 3);
}

#[test]
fn budgets_nest_and_all_must_allow_it() {
    let of_kind = Budget { kind: Some(Kind::new("work").unwrap()), ..budget("kind", 1.0) };
    let mut c = cluster([budget("all", 10.0), of_kind]);
    let tasks: Vec<_> = (0..3).map(|_| c.submit(costing(0.5))).collect();
    assert_eq!(placed(&c, &tasks), 2);
    assert_eq!((used(&c, "all"), used(&c, "kind")), ((0.0, 1.0), (0.0, 1.0)), "none without the other");
}

#[test]
fn a_new_window_lets_go_on() {
    let mut c = cluster([Budget { window: BudgetWindow::Hour, ..budget("b", 0.5) }]);
    let tasks = [c.submit(costing(0.5)), c.submit(costing(0.5))];
    succeed(&mut c, tasks[0], 0.5);
    c.expect(tasks[1], TaskState::Queued);
    let hour = 3_600_000 - START.unix_millis() % 3_600_000;
    c.advance_alive(ms(hour - 1));
    c.expect(tasks[1], TaskState::Queued);
    c.advance_alive(ms(1));
    c.expect(tasks[1], TaskState::Assigned);
}

#[test]
fn a_lost_attempt_may_have_spent_what_was_reserved_for_it() {
    let mut c = cluster([budget("b", 1.0)]);
    let lost = c.submit(costing(0.25));
    c.start(lost);
    c.kill("a");
    assert_eq!(used(&c, "b"), (0.25, 0.0));
    let handed_back = c.submit(costing(0.25));
    c.join(agent("b").slots(9));
    end(&mut c, handed_back, Outcome::HandedBack("full".into()), None);
    assert!(used(&c, "b").0 < 0.26, "what was not begun cost nothing");
}

#[test]
fn a_task_that_costs_more_than_it_may_is_stopped() {
    let mut c = cluster([budget("b", 10.0)]);
    let mut builder = costing(0.5);
    let spec = std::sync::Arc::make_mut(&mut builder.0.spec);
    spec.budget.as_mut().unwrap().max = usd(1.0);
    let t = c.submit(builder);
    c.start(t);
    let mut report = |cost| {
        let (agent, attempt) = c.assignment(t);
        let usage = Some(Box::new(Usage { cost: usd(cost), ..Usage::default() }));
        c.handle(Event::Progress { session: c.sessions[&agent], attempt, fraction: 0.5, note: String::new(), usage });
        c.state(t)
    };
    assert_eq!(report(1.0), TaskState::Running);
    assert_eq!(report(1.2), TaskState::Failed);
    assert_eq!(c.finished[&t].failure.as_ref().unwrap().class, FailureClass::BudgetExceeded);
    assert_eq!(c.stopping.len(), 1, "its agent is told to stop it");
    assert_eq!(used(&c, "b"), (1.2, 0.0), "what it said is what it cost");
}

#[test]
fn a_refusing_budget_refuses_at_submission() {
    let mut c = cluster([Budget { action: BudgetAction::Refuse, window: BudgetWindow::Hour, ..budget("b", 0.5) }]);
    c.submit(costing(0.5));
    let refused = c.try_submit(costing(0.5)).unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert!(refused.retry_after.is_some() && refused.message.contains("budget `b`"), "{refused:?}");
    assert!(c.changes.is_empty(), "it leaves no trace");
}

#[test]
fn what_can_never_go_is_refused_rather_than_holding_up_its_lane() {
    let mut c = cluster([budget("b", 0.5)]);
    let refused = c.try_submit(costing(0.6)).unwrap_err();
    assert_eq!((refused.code, refused.retry_after), (Code::FailedPrecondition, None), "to try again is no use");
    let t = c.submit(costing(0.5));
    c.expect(t, TaskState::Assigned);
}

#[test]
fn a_restart_knows_what_is_spent_and_reserves_again_for_what_runs() {
    let mut c = cluster([budget("b", 1.0)]);
    let tasks: Vec<_> = (0..5).map(|_| c.submit(costing(0.25))).collect();
    succeed(&mut c, tasks[0], 0.2);
    let before = used(&c, "b");
    c.restart();
    assert_eq!(used(&c, "b"), before);
    let held: Vec<_> = tasks[1..4].iter().map(|task| c.assignment(*task).1).collect();
    c.join(agent("a").slots(100).holding(&held));
    assert_eq!(placed(&c, &tasks), 3);
    succeed(&mut c, tasks[1], 0.0);
    assert_eq!(placed(&c, &tasks), 3, "the fifth has gone");
}

#[test]
fn a_restart_reserves_what_was_reserved_and_not_what_would_be_now() {
    let of_default = Budget { default_estimate: Some(Micros::from_units(0.4)), ..budget("default", 1.0) };
    let mut c = cluster([budget("mean", 1.0), of_default]);
    let known = c.submit(costing(0.3));
    succeed(&mut c, known, 0.3);
    let by_mean = [c.submit(task("work")), c.submit(task("work"))];
    assert_eq!((placed(&c, &by_mean), used(&c, "mean"), used(&c, "default")), (1, (0.3, 0.3), (0.3, 0.4)));
    c.control(ControlCommand::PutBudget(budget("default", 1.0))).unwrap();
    let before = (used(&c, "mean"), used(&c, "default"));
    c.restart();
    assert_eq!((used(&c, "mean"), used(&c, "default")), before);
    let held: Vec<_> = by_mean.iter().filter_map(|task| c.assigned.get(task)).map(|(_, attempt)| *attempt).collect();
    c.join(agent("a").slots(100).holding(&held));
    succeed(&mut c, by_mean[0], 0.25);
    let (view, _) = c.engine.budget_views(c.now).swap_remove(1);
    assert_eq!((view.budget.name.as_str(), view.spent.units(), view.overrun), ("mean", 0.55, Micros::ZERO));
}

#[test]
fn what_no_budget_covers_is_stored_as_holding_nothing() {
    let mut c = cluster([Budget { tenant: Some(Tenant::new("t").unwrap()), ..budget("b", 1.0) }]);
    let reserved = |c: &Cluster| {
        let assigned = c.changes.iter().find_map(|change| match change {
            Change::Assign { reserved, .. } => Some(reserved.clone()),
            _ => None,
        });
        assigned.expect("assigned")
    };
    c.submit(costing(0.5));
    assert_eq!(reserved(&c), []);
    c.submit(costing(0.5).tenant("t"));
    assert_eq!(reserved(&c), [BudgetShare { budget: "b".into(), amount: Micros::from_units(0.5) }]);
}

#[test]
fn what_ran_when_a_budget_was_put_holds_nothing_of_it_after_a_restart_either() {
    let mut c = cluster([]);
    let before = [c.submit(costing(0.5)), c.submit(costing(0.5)), c.submit(costing(0.5))];
    c.control(ControlCommand::PutBudget(budget("b", 1.0))).unwrap();
    let after = c.submit(costing(0.25));
    assert_eq!((placed(&c, &before), used(&c, "b")), (3, (0.0, 0.25)));
    // Changed, it is the same budget; removed and put again it is another one.
    c.control(ControlCommand::PutBudget(budget("b", 2.0))).unwrap();
    c.control(ControlCommand::PutBudget(budget("gone", 2.0))).unwrap();
    c.control(ControlCommand::RemoveBudget("gone".into())).unwrap();
    let last = c.submit(costing(0.25));
    c.control(ControlCommand::PutBudget(budget("gone", 2.0))).unwrap();
    let held = [before[0], before[1], before[2], after, last].map(|task| c.assignment(task).1);
    for _ in 0..2 {
        c.restart();
        assert_eq!((used(&c, "b"), used(&c, "gone")), ((0.0, 0.5), (0.0, 0.0)));
    }
    c.join(agent("a").slots(100).holding(&held));
    succeed(&mut c, before[0], 0.5);
    succeed(&mut c, after, 0.25);
    assert_eq!((used(&c, "b"), used(&c, "gone")), ((0.25, 0.25), (0.0, 0.0)));
}

#[test]
fn a_budget_that_an_earlier_version_wrote_down_is_in_force() {
    let mut c = cluster([budget("b", 1.0)]);
    c.submit(costing(0.5));
    let plain = serde_json::to_string(&budget("b", 1.0)).unwrap();
    let at = c.now;
    let (kind, name, reason) = (crate::model::DeclarationKind::Budget, "b".to_owned(), String::new());
    let declared = crate::model::Declaration { kind, name, version: 2, body: Some(plain), at, reason };
    c.store.apply(&[Change::Record(Box::new(Record::Declared(declared)))]);
    c.restart();
    assert_eq!(used(&c, "b"), (0.0, 0.5));
}

#[test]
fn what_is_spent_is_stored_with_the_end_of_the_attempt_and_levels_are_said_once() {
    let mut c = cluster([budget("b", 1.0)]);
    let t = c.submit(costing(0.8));
    assert_eq!(c.events_of(ClusterEventKind::Budget), 2, "declared, and beyond its warning");
    succeed(&mut c, t, 0.8);
    let spent = c.changes.iter().find_map(|change| match change {
        Change::Record(record) => match &**record {
            Record::Spent(spent) => Some(spent.spent),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(spent, Some(Micros::from_units(0.8)));
    assert_eq!(c.events_of(ClusterEventKind::Budget), 2);
}

#[test]
fn retries_reserve_anew_and_the_cap_holds() {
    let mut c = cluster([budget("b", 1.0)]);
    let tasks: Vec<_> = (0..10).map(|_| c.submit(costing(0.2).attempts(3))).collect();
    for round in 0..40 {
        let running: Vec<_> = c.placements().into_keys().collect();
        for (n, t) in running.into_iter().enumerate() {
            if (n + round) % 3 == 0 {
                end(&mut c, t, Outcome::Failed(Failure::new(FailureClass::Retryable, "no")), Some(0.05));
            } else {
                succeed(&mut c, t, 0.02);
            }
            let (spent, reserved) = used(&c, "b");
            assert!(spent + reserved <= 1.0 + 1e-9, "{spent} + {reserved}");
        }
        c.advance_alive(ms(500));
    }
    assert!(invariants::over_budget(&c.engine).is_empty());
    assert!(tasks.iter().all(|t| c.finished.contains_key(t)), "ten at 0.02, and some failures, are within 1");
}

#[test]
fn a_task_that_goes_away_does_not_leave_its_lane_waiting_for_its_money() {
    let mut c = cluster([budget("b", 1.0)]);
    c.submit(costing(0.7));
    let (large, small) = (c.submit(costing(0.5)), c.submit(costing(0.1)));
    c.expect(small, TaskState::Queued);
    c.cancel(large).unwrap();
    c.expect(small, TaskState::Assigned);
}

#[test]
fn a_lane_that_waits_goes_on_when_its_tasks_come_to_be_estimated_at_less() {
    let estimated = |amount| Budget { default_estimate: Some(Micros::from_units(amount)), ..budget("b", 1.0) };
    let mut c = cluster([estimated(0.6)]);
    let tasks: Vec<_> = (0..3).map(|_| c.submit(task("work"))).collect();
    assert_eq!(placed(&c, &tasks), 1, "0.4 is left, and the next needs 0.6");
    c.control(ControlCommand::PutBudget(estimated(0.3))).unwrap();
    assert_eq!((placed(&c, &tasks), used(&c, "b")), (2, (0.0, 0.9)), "0.1 is left, and the next needs 0.3");
}

#[test]
fn many_lanes_that_wait_for_one_budget_are_opened_in_steps() {
    let mut c = cluster([budget("b", 1.0)]);
    let first = c.submit(costing(1.0));
    let tasks: Vec<_> = (0..50).map(|n| c.submit(costing(0.01).tenant(&format!("t{n}")))).collect();
    assert_eq!(placed(&c, &tasks), 0);
    succeed(&mut c, first, 0.1);
    assert!((16..50).contains(&placed(&c, &tasks)));
    c.advance(ms(10));
    assert_eq!(placed(&c, &tasks), 50);
}

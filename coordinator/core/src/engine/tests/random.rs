//! Random histories: whatever happens, the promises hold, and the same history has the same effects.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use evenkeel_shared::{AgentId, Failure, FailureClass, Kind, Outcome, StrategyConfig, TaskId, TaskState, Tenant};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{
    budgets::{budget, costing_of as costing, end},
    fixture::{AgentBuilder, Cluster, agent, ms, task},
    limits::{a_second, at_a_time, of_kind, of_tenant, scope},
    random_guards::{self, GuardStep, Reached, guard_step},
};
use crate::{
    admission::LimitScope,
    cost::{Budget, BudgetWindow},
    engine::{AdminCommand, ControlCommand, Event, invariants},
    sizing::{Size, SizedResource},
};

/// Kinds of tasks.
const KINDS: [&str; 3] = ["work", "k1", "k2"];

#[derive(Clone, Debug)]
enum Step {
    Submit { kind: u8, priority: u8, tenant: u8, slots: u8, timeout_ms: Option<u16>, ephemeral: bool },
    Join(u8),
    Disconnect(u8),
    Start(u8),
    Succeed(u8),
    Fail(u8, FailureClass),
    HandBack(u8),
    Stale(u8),
    Cancel(u8),
    Stop,
    Advance(u16),
    Cordon(u8),
    Resume(u8),
    Drain(u8, u16),
    Strategy(u8),
    Restart,
    StoreFull(bool),
    Limit { n: u8, scope: u8, max: u8, rate: bool },
    RemoveLimit(u8),
    Budget { n: u8, scope: u8, cap: u8, hourly: bool },
    RemoveBudget(u8),
    Spend(u8, u8),
    Size { kind: u8, cores: u8 },
    Guard(GuardStep),
}

fn step() -> impl Strategy<Value = Step> {
    use FailureClass::{NonRetryable, Rejected, Retryable, Timeout};
    let class = prop_oneof![Just(Retryable), Just(NonRetryable), Just(Timeout), Just(Rejected)];
    prop_oneof![
        8 => (0..3u8, 0..10u8, 0..3u8, 1..4u8, prop::option::of(50..5_000u16), prop::bool::weighted(0.1)).prop_map(
            |(kind, priority, tenant, slots, timeout_ms, ephemeral)| {
                Step::Submit { kind, priority, tenant, slots, timeout_ms, ephemeral }
            }
        ),
        3 => (0..6u8).prop_map(Step::Join),
        2 => (0..6u8).prop_map(Step::Disconnect),
        3 => any::<u8>().prop_map(Step::Start),
        6 => any::<u8>().prop_map(Step::Succeed),
        2 => (any::<u8>(), class).prop_map(|(n, class)| Step::Fail(n, class)),
        1 => any::<u8>().prop_map(Step::HandBack),
        1 => any::<u8>().prop_map(Step::Stale),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => Just(Step::Stop),
        4 => (1..3_000u16).prop_map(Step::Advance),
        1 => (0..6u8).prop_map(Step::Cordon),
        1 => (0..6u8).prop_map(Step::Resume),
        1 => (0..6u8, 0..2_000u16).prop_map(|(n, time)| Step::Drain(n, time)),
        1 => (0..8u8).prop_map(Step::Strategy),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::StoreFull),
        2 => (0..3u8, 0..7u8, 1..4u8, any::<bool>()).prop_map(|(n, scope, max, rate)| Step::Limit { n, scope, max, rate }),
        1 => (0..3u8).prop_map(Step::RemoveLimit),
        2 => (0..3u8, 0..4u8, 1..60u8, any::<bool>()).prop_map(|(n, scope, cap, hourly)| Step::Budget { n, scope, cap, hourly }),
        1 => (0..3u8).prop_map(Step::RemoveBudget),
        3 => (any::<u8>(), 0..11u8).prop_map(|(n, cents)| Step::Spend(n, cents)),
        1 => (0..3u8, 0..4u8).prop_map(|(kind, cores)| Step::Size { kind, cores }),
        12 => guard_step().prop_map(Step::Guard),
    ]
}

/// Agents differ in what they are, by number.
fn agent_number(n: u8) -> AgentBuilder {
    let kinds: &[&str] = if n.is_multiple_of(2) { &["work", "k1"] } else { &["work", "k2"] };
    let prefetch = [Some(0), Some(1), None][usize::from(n) % 3];
    let mut builder = agent(&format!("a{n}"));
    builder.spec.capacity.cpu_millis = 4_000;
    // All work of two of them draws on a quota.
    builder.spec.quota_keys = [4, 5].iter().filter(|of| **of == n).map(|of| random_guards::key(of - 4)).collect();
    builder
        .label("zone", if n < 3 { "x" } else { "y" })
        .slots(u32::from(n % 4) + 1)
        .kinds(kinds)
        .tier(n % 2)
        .prefetch(prefetch)
}

fn chosen(c: &Cluster, n: u8) -> Option<TaskId> {
    let placed: Vec<_> = c.placements().into_iter().filter(|(_, agent)| c.sessions.contains_key(agent)).collect();
    (!placed.is_empty()).then(|| placed[usize::from(n) % placed.len()].0)
}

fn apply(c: &mut Cluster, step: Step) {
    match step {
        Step::Submit { .. } => submit(c, step),
        Step::Join(n) => join(c, n),
        Step::Disconnect(n) if c.sessions.contains_key(&format!("a{n}")) => c.disconnect(&format!("a{n}")),
        Step::Start(n) => {
            if let Some(task) = chosen(c, n) {
                c.start(task);
            }
        }
        Step::Succeed(n) => {
            if let Some(task) = chosen(c, n) {
                c.succeed(task);
            }
        }
        Step::Fail(n, class) => report(c, n, Outcome::Failed(Failure::new(class, "no"))),
        Step::HandBack(n) => report(c, n, Outcome::HandedBack("full".into())),
        Step::Stale(n) => report_again(c, n),
        Step::Cancel(n) => cancel(c, n),
        Step::Stop => c.stop_what_was_cancelled(),
        Step::Advance(by) => c.advance(ms(by.into())),
        Step::Cordon(n) => drop(c.admin(&format!("a{n}"), AdminCommand::Cordon)),
        Step::Resume(n) => drop(c.admin(&format!("a{n}"), AdminCommand::Resume)),
        Step::Drain(n, time) => drop(c.admin(&format!("a{n}"), AdminCommand::Drain(Some(ms(time.into()))))),
        Step::StoreFull(full) => c.handle(Event::StoreFull(full)),
        Step::Strategy(n) => c.set_strategy(StrategyConfig::NAMES[usize::from(n)]),
        Step::Restart => restart(c),
        Step::Limit { n, scope, max, rate } => {
            let scope = limit_scope(scope);
            let name = format!("l{n}");
            let limit =
                if rate { a_second(&name, scope, 20.0, max.into()) } else { at_a_time(&name, scope, max.into()) };
            c.control(limit).unwrap();
        }
        Step::RemoveLimit(n) => drop(c.control(ControlCommand::RemoveLimit(format!("l{n}")))),
        Step::Budget { n, scope, cap, hourly } => put_budget(c, n, scope, cap, hourly),
        Step::RemoveBudget(n) => drop(c.control(ControlCommand::RemoveBudget(format!("b{n}")))),
        Step::Spend(n, cents) => {
            if let Some(task) = chosen(c, n) {
                end(c, task, Outcome::Succeeded(Bytes::new()), Some(f64::from(cents) / 100.0));
            }
        }
        Step::Size { kind, cores } => put_size(c, kind, cores),
        Step::Guard(step) => random_guards::apply(c, step),
        Step::Disconnect(_) => {}
    }
    let over = invariants::over_capacity(&c.engine);
    assert!(over.is_empty(), "{over:?}");
}

fn submit(c: &mut Cluster, step: Step) {
    let Step::Submit { kind, priority, tenant, slots, timeout_ms, ephemeral } = step else { return };
    let kind = KINDS[usize::from(kind)];
    // One that says nothing reserves by the mean of its kind.
    let cost = f64::from(priority % 3) / 10.0;
    let builder = if cost > 0.0 { costing(kind, cost) } else { task(kind) };
    let mut builder = builder.priority(priority).tenant(&format!("t{tenant}")).slots(u32::from(slots)).attempts(3);
    if let Some(timeout_ms) = timeout_ms {
        builder = builder.queue_timeout(timeout_ms.into()).attempt_timeout(timeout_ms.into());
    }
    // A budget may refuse it: then it is nobody's.
    let _ = c.try_submit(if ephemeral { builder.ephemeral() } else { builder });
}

/// An agent comes, or comes back and still holds what it had.
fn join(c: &mut Cluster, n: u8) {
    let builder = agent_number(n);
    let id = builder.spec.id.to_string();
    let held: Vec<_> =
        c.placements().into_iter().filter(|(_, agent)| *agent == id).map(|(t, _)| c.assignment(t).1).collect();
    c.join(builder.holding(&held));
}

/// An agent reports on an attempt that it once had, whatever has become of it.
fn report_again(c: &mut Cluster, n: u8) {
    let old: Vec<_> = c.assigned.values().cloned().collect();
    if let Some((agent, attempt)) = old.get(usize::from(n) % old.len().max(1))
        && c.sessions.contains_key(agent)
    {
        c.report(agent, *attempt, Outcome::Succeeded(Bytes::new()));
    }
}

fn cancel(c: &mut Cluster, n: u8) {
    let live: Vec<_> = c.accepted.keys().copied().filter(|t| c.engine.task_is_live(*t)).collect();
    if let Some(task) = live.get(usize::from(n) % live.len().max(1)) {
        c.cancel(*task).unwrap();
    }
}

fn restart(c: &mut Cluster) {
    c.restart();
    // What was ephemeral is gone with the coordinator, as it was told it would be.
    let lost: BTreeSet<_> =
        c.accepted.values().filter(|t| t.spec.delivery != Default::default()).map(|t| t.id).collect();
    c.accepted.retain(|task, _| !lost.contains(task) || c.finished.contains_key(task));
}

fn put_budget(c: &mut Cluster, n: u8, scope: u8, cap: u8, hourly: bool) {
    let budget = Budget {
        tenant: (scope & 1 > 0).then(|| Tenant::new("t0").unwrap()),
        kind: (scope & 2 > 0).then(|| Kind::new("work").unwrap()),
        window: if hourly { BudgetWindow::Hour } else { BudgetWindow::Total },
        ..budget(&format!("b{n}"), f64::from(cap) / 10.0)
    };
    c.control(ControlCommand::PutBudget(budget)).unwrap();
}

fn put_size(c: &mut Cluster, kind: u8, cores: u8) {
    let size = Size::of(Kind::new(KINDS[usize::from(kind)]).unwrap());
    let command = match cores {
        // What they ask for.
        0 => ControlCommand::RemoveSize(size.kind),
        _ => ControlCommand::PutSize(size.with(SizedResource::CpuMillis, Some(u64::from(cores) * 1_000))),
    };
    // There may be none to remove.
    drop(c.control(command));
}

fn limit_scope(n: u8) -> LimitScope {
    match n {
        0 => of_tenant("t0"),
        1 => of_kind("k1"),
        2 => LimitScope { kind: Some(Kind::new("work").unwrap()), ..of_tenant("t1") },
        3 => LimitScope { each_tenant: true, ..scope() },
        4 => LimitScope { each_agent: true, ..scope() },
        5 => LimitScope { agent: Some(AgentId::new("a1").unwrap()), ..scope() },
        _ => LimitScope { agent_label: Some(("zone".into(), "x".into())), ..scope() },
    }
}

fn report(c: &mut Cluster, n: u8, outcome: Outcome) {
    if let Some(task) = chosen(c, n) {
        let (agent, attempt) = c.assignment(task);
        c.report(&agent, attempt, outcome);
    }
}

/// Faults stop, the fleet is up, and every agent does its work.
fn heal(c: &mut Cluster) {
    apply(c, Step::StoreFull(false));
    for n in 0..3 {
        apply(c, Step::RemoveBudget(n));
    }
    random_guards::heal(c);
    for n in 0..6 {
        apply(c, Step::Join(n));
        apply(c, Step::Resume(n));
    }
    for _ in 0..400 {
        c.stop_what_was_cancelled();
        while let Some(task) = chosen(c, 0) {
            c.succeed(task);
        }
        if c.accepted.keys().all(|task| c.finished.contains_key(task)) {
            return;
        }
        // Agents that were fenced or given up meanwhile dial again.
        for n in (0..6).filter(|n| !c.sessions.contains_key(&format!("a{n}"))).collect::<Vec<_>>() {
            apply(c, Step::Join(n));
        }
        c.advance_alive(ms(500));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// P2, P5 and P6, over any history and any number of restarts: every accepted task reaches exactly one terminal
    /// state (the fixture refuses a second), once the fleet is well again.
    #[test]
    fn every_accepted_task_ends_exactly_once(steps in prop::collection::vec(step(), 1..120)) {
        let mut c = Cluster::with(random_guards::settings());
        for step in steps {
            apply(&mut c, step);
        }
        heal(&mut c);
        for task in c.accepted.values() {
            let finished = c.finished.get(&task.id);
            prop_assert!(finished.is_some(), "{} never ended: {:?}", task.id, c.engine.explain(c.now, task.id, 9));
            if task.spec.delivery == Default::default() {
                prop_assert_eq!(finished.map(|f| f.state), c.store.state(task.id), "what was said is what is stored");
            }
        }
        prop_assert_eq!(c.store.live_tasks(), 0);
    }

    #[test]
    fn the_same_history_has_the_same_effects(steps in prop::collection::vec(step(), 1..60)) {
        let run = || {
            let mut c = Cluster::with(random_guards::settings());
            let mut effects = Vec::new();
            for step in &steps {
                apply(&mut c, step.clone());
                effects.push(format!("{:?}{:?}", c.changes, c.messages));
            }
            effects
        };
        prop_assert_eq!(run(), run());
    }
}

/// The same steps with each budget as it was put first, which stays: a cap that nobody lowers is not passed, whatever else happens.
fn with_caps_that_stay(steps: Vec<Step>) -> Vec<Step> {
    let mut first = BTreeMap::new();
    let same = |step| match step {
        Step::Budget { n, .. } => first.entry(n).or_insert(step).clone(),
        step => step,
    };
    steps.into_iter().filter(|step| !matches!(step, Step::RemoveBudget(_))).map(same).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_cap_that_nobody_lowers_is_passed_by_overruns_alone(steps in prop::collection::vec(step(), 1..120)) {
        let mut c = Cluster::with(random_guards::settings());
        for step in with_caps_that_stay(steps) {
            apply(&mut c, step);
            let over = invariants::over_budget(&c.engine);
            prop_assert!(over.is_empty(), "{over:?}");
        }
    }
}

/// Histories that never shut anything would prove nothing.
#[test]
fn histories_reach_what_they_are_about() {
    let mut runner = TestRunner::deterministic();
    let mut reached = Reached::default();
    for _ in 0..60 {
        let steps = prop::collection::vec(step(), 60..120).new_tree(&mut runner).unwrap().current();
        let mut c = Cluster::with(random_guards::settings());
        for step in steps {
            apply(&mut c, step);
            reached.look(&c);
        }
    }
    let Reached { quotas_shut, breakers_open, breakers_half_open, slots_taken, failovers } = reached;
    let all = [quotas_shut, breakers_open, breakers_half_open, slots_taken, failovers];
    assert!(all.iter().all(|&times| times >= 20), "{reached:?}");
}

#[test]
fn a_task_is_over_when_its_outcome_is_told() {
    let mut c = Cluster::new();
    c.join(agent("a"));
    let t = c.submit(task("work"));
    c.succeed(t);
    assert_eq!(c.store.state(t), Some(TaskState::Succeeded));
}

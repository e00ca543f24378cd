//! Random histories of budgets: what is reserved and spent stays within every cap, whatever becomes of attempts, agents and the
//! coordinator.

use bytes::Bytes;
use evenkeel_shared::{Failure, FailureClass, Kind, Micros, Outcome, TaskId, Tenant};
use proptest::prelude::*;

use super::{
    budgets::{budget, cluster, costing_of, end},
    fixture::{Cluster, agent, ms, task},
};
use crate::{
    cost::{Budget, BudgetWindow},
    engine::ControlCommand,
};

#[derive(Clone, Debug)]
enum Step {
    Submit { tenant: u8, kind: u8, cents: u8 },
    Succeed(u8, u8),
    Fail(u8, u8),
    HandBack(u8),
    Cancel(u8),
    Kill(u8),
    Join(u8),
    Advance(u32),
    Raise(u8, u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..3u8, 0..2u8, 0..20u8).prop_map(|(tenant, kind, cents)| Step::Submit { tenant, kind, cents }),
        6 => (any::<u8>(), 0..=100u8).prop_map(|(n, percent)| Step::Succeed(n, percent)),
        3 => (any::<u8>(), 0..=100u8).prop_map(|(n, percent)| Step::Fail(n, percent)),
        1 => any::<u8>().prop_map(Step::HandBack),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => (0..3u8).prop_map(Step::Kill),
        2 => (0..3u8).prop_map(Step::Join),
        3 => (1..2_000_000u32).prop_map(Step::Advance),
        1 => (0..3u8, 1..50u8).prop_map(|(n, cents)| Step::Raise(n, cents)),
        1 => Just(Step::Restart),
    ]
}

fn running(c: &Cluster, n: u8) -> Option<TaskId> {
    let placed: Vec<_> = c.placements().into_iter().filter(|(_, agent)| c.sessions.contains_key(agent)).collect();
    (!placed.is_empty()).then(|| placed[usize::from(n) % placed.len()].0)
}

/// Ends a task that runs, at so many per cent of what was reserved for it.
fn end_at(c: &mut Cluster, n: u8, percent: u8, outcome: Outcome) {
    let Some(t) = running(c, n) else { return };
    let reserved = c.reserved_by(t).iter().map(|share| share.amount).min().unwrap_or_default();
    end(c, t, outcome, Some((reserved.0 * u64::from(percent) / 100) as f64 / Micros::PER_UNIT as f64));
}

fn apply(c: &mut Cluster, step: Step, caps: &mut [f64; 3]) {
    match step {
        Step::Submit { tenant, kind, cents } => {
            let kind = ["work", "k1"][usize::from(kind)];
            // One that says nothing reserves by the mean of its kind.
            let says = cents > 5;
            let builder = if says { costing_of(kind, f64::from(cents) / 100.0) } else { task(kind) };
            let builder = builder.tenant(&format!("t{tenant}")).attempts(3);
            let _ = c.try_submit(builder);
        }
        Step::Succeed(n, percent) => end_at(c, n, percent, Outcome::Succeeded(Bytes::new())),
        Step::Fail(n, percent) => {
            end_at(c, n, percent, Outcome::Failed(Failure::new(FailureClass::Retryable, "no")));
        }
        Step::HandBack(n) => end_at(c, n, 0, Outcome::HandedBack("full".into())),
        Step::Cancel(n) => {
            if let Some(t) = running(c, n) {
                c.cancel(t).unwrap();
            }
        }
        Step::Kill(n) if c.sessions.contains_key(&format!("a{n}")) => c.kill(&format!("a{n}")),
        Step::Kill(_) => {}
        Step::Join(n) => c.join(agent(&format!("a{n}")).slots(8).kinds(&["k1", "work"])),
        Step::Advance(by) => c.advance(ms(by.into())),
        Step::Raise(n, cents) => {
            let cap = &mut caps[usize::from(n)];
            *cap += f64::from(cents) / 100.0;
            c.control(ControlCommand::PutBudget(three(n, *cap))).unwrap();
        }
        Step::Restart => {
            let before: Vec<_> = c.engine.budget_views(c.now).into_iter().map(|(view, _)| view).collect();
            c.restart();
            let after: Vec<_> = c.engine.budget_views(c.now).into_iter().map(|(view, _)| view).collect();
            assert_eq!(after, before);
        }
    }
}

/// Three that nest: for all, of a tenant by the hour, of a kind by the day.
fn three(n: u8, cap: f64) -> Budget {
    match n {
        0 => budget("b0", cap),
        1 => Budget { tenant: Some(Tenant::new("t0").unwrap()), window: BudgetWindow::Hour, ..budget("b1", cap) },
        _ => Budget { kind: Some(Kind::new("k1").unwrap()), window: BudgetWindow::Day, ..budget("b2", cap) },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever becomes of attempts, agents and the coordinator: if no attempt costs more than was reserved for it, spent and
    /// reserved never pass a cap, in no window, and a restart changes neither.
    #[test]
    fn no_history_passes_a_cap(steps in prop::collection::vec(step(), 1..150)) {
        let mut caps = [1.0, 0.5, 0.7];
        let mut c = cluster((0..3).map(|n| three(n, caps[usize::from(n)])));
        for step in steps {
            apply(&mut c, step, &mut caps);
            for (view, _) in c.engine.budget_views(c.now) {
                prop_assert!(view.spent.plus(view.reserved) <= view.budget.cap, "{view:?}");
                prop_assert_eq!(view.overrun, Micros::ZERO);
            }
        }
    }
}

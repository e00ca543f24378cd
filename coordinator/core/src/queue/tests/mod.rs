//! The queue: each rule by an example or a bound, and all of them against a naive model.

mod lanes;
mod model;

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);
const INTERVAL: Duration = Duration::from_secs(10);

fn tenant(n: u32) -> Tenant {
    Tenant::new(&format!("tenant-{n}")).unwrap()
}

fn priority(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

/// A task to push; its index is the order of pushing.
#[derive(Clone, Copy, Debug)]
struct Spec {
    class: u32,
    level: u8,
    tenant: u32,
    cost: u32,
}

const PLAIN: Spec = Spec { class: 0, level: 5, tenant: 0, cost: 1 };

/// A queue with its clock, that numbers its tasks.
struct Bench {
    queue: Queue,
    now: Timestamp,
    next: u32,
    may_go_ahead: bool,
    /// Lanes that are shut: tenant and class.
    shut: BTreeSet<(u32, u32)>,
}

impl Bench {
    fn new(ageing_interval: Option<Duration>, weights: &[u32]) -> Self {
        let tenant_weights = (0..).map(tenant).zip(weights.iter().copied()).collect();
        let queue = Queue::new(QueueConfig { ageing_interval, tenant_weights, default_weight: 1 });
        Self { queue, now: START, next: 0, may_go_ahead: true, shut: BTreeSet::new() }
    }

    fn push(&mut self, spec: Spec) -> TaskIx {
        let task = TaskIx(self.next);
        self.next += 1;
        self.push_again(task, spec);
        task
    }

    fn push_again(&mut self, task: TaskIx, Spec { class, level, tenant: n, cost }: Spec) {
        self.queue.push(Waiting {
            task,
            class: ClassIx(class),
            priority: priority(level),
            tenant: &tenant(n),
            cost,
            order: task.0.into(),
            since: self.now,
            ahead: self.may_go_ahead,
            shut: self.shut.contains(&(n, class)),
        });
    }

    fn set_shut(&mut self, n: u32, class: u32, shut: bool) {
        if shut {
            self.shut.insert((n, class));
        } else {
            self.shut.remove(&(n, class));
        }
        let _ = self.queue.set_shut(&tenant(n), ClassIx(class), shut);
    }

    fn best_of(&self, classes: &[u32]) -> Option<TaskIx> {
        self.queue.best(self.now, classes.iter().copied().map(ClassIx))
    }

    fn take_of(&mut self, classes: &[u32]) -> Option<u32> {
        let task = self.best_of(classes)?;
        assert!(self.queue.take(self.now, task).is_some());
        Some(task.0)
    }

    /// Takes all there is in these classes.
    fn drain(&mut self, classes: &[u32]) -> Vec<u32> {
        std::iter::from_fn(|| self.take_of(classes)).collect()
    }
}

/// Pushes these tasks to one class without ageing, and expects them to come out in this order.
fn check(specs: &[Spec], order: &[u32]) {
    let mut bench = Bench::new(None, &[]);
    for &spec in specs {
        bench.push(spec);
    }
    assert_eq!(bench.drain(&[0]), order);
    assert!(bench.queue.is_empty());
}

#[test]
fn without_ageing_priorities_are_strict_and_equal_ones_go_in_order() {
    let level = |level| Spec { level, ..PLAIN };
    check(&[level(5), level(0), level(9), level(5), level(9)], &[2, 4, 0, 3, 1]);
}

#[test]
fn tenants_take_turns_and_a_costly_task_counts_for_more() {
    let of = |tenant, cost| Spec { tenant, cost, ..PLAIN };
    check(&[of(0, 1), of(0, 1), of(0, 1), of(1, 1), of(1, 1)], &[0, 3, 1, 4, 2]);
    check(&[of(0, 3), of(0, 1), of(1, 1), of(1, 1), of(1, 1), of(1, 1)], &[0, 2, 3, 4, 1, 5]);
}

#[test]
fn a_task_that_waits_once_more_returns_to_its_place() {
    let mut bench = Bench::new(None, &[]);
    let first = bench.push(PLAIN);
    bench.push(PLAIN);
    assert_eq!(bench.take_of(&[0]), Some(first.0));
    bench.push_again(first, PLAIN);
    assert_eq!(bench.drain(&[0]), [0, 1]);
}

#[test]
fn a_wait_raises_a_priority_by_one_an_interval() {
    let mut bench = Bench::new(Some(INTERVAL), &[]);
    let old = bench.push(Spec { level: 3, ..PLAIN });
    bench.now = START.plus(INTERVAL);
    let fresh = bench.push(PLAIN);
    assert_eq!(bench.best_of(&[0]), Some(fresh));
    bench.now = START.plus(3 * INTERVAL - Duration::from_micros(1));
    bench.push_again(fresh, PLAIN);
    assert_eq!(bench.best_of(&[0]), Some(fresh), "4.99 is still level 5 - 1");
    bench.now = START.plus(3 * INTERVAL);
    assert_eq!(bench.best_of(&[0]), Some(old));
}

#[test]
fn what_is_not_admitted_is_passed_over_and_does_not_count() {
    let mut bench = Bench::new(Some(INTERVAL), &[]);
    let bulk = bench.push(Spec { level: 1, ..PLAIN });
    let urgent = bench.push(Spec { level: 8, ..PLAIN });
    let other = bench.push(Spec { class: 1, level: 3, ..PLAIN });
    bench.may_go_ahead = false;
    let last = bench.push(Spec { class: 1, level: 9, ..PLAIN });
    let check = |bench: &Bench, what: &str, admitted: [Option<Admitted>; 2], expected: Option<TaskIx>| {
        let best = bench.queue.best_where(bench.now, |ClassIx(class)| admitted[class as usize]);
        assert_eq!(best, expected, "{what}");
    };
    let from = |from_level| Some(Admitted { from_level, ahead: false });
    let ahead = |from_level| Some(Admitted { from_level, ahead: true });
    check(&bench, "everything", [from(0), from(0)], Some(last));
    check(&bench, "what may go ahead", [ahead(0), ahead(0)], Some(urgent));
    check(&bench, "one class", [None, ahead(0)], Some(other));
    check(&bench, "nothing of a class but the urgent", [from(9), ahead(3)], Some(other));
    check(&bench, "only the urgent of each, ahead", [ahead(9), ahead(9)], None);
    check(&bench, "the priority itself is let pass", [ahead(8), None], Some(urgent));
    bench.queue.remove(urgent);
    check(&bench, "one class without its urgent task", [ahead(1), None], Some(bulk));
}

#[test]
fn aged_bulk_work_gets_a_share_and_no_more() {
    let mut bench = Bench::new(Some(INTERVAL), &[]);
    for _ in 0..200 {
        bench.push(Spec { level: 1, ..PLAIN });
    }
    bench.now = START.plus(8 * INTERVAL);
    for _ in 0..200 {
        bench.push(Spec { level: 9, ..PLAIN });
    }
    let bulk = (0..120).filter_map(|_| bench.take_of(&[0])).filter(|&task| task < 200).count();
    assert_eq!(bulk, 120 * 2 / 12);
}

#[test]
fn a_tenant_that_was_idle_gets_no_credit_for_it() {
    let mut bench = Bench::new(None, &[]);
    for _ in 0..100 {
        bench.push(PLAIN);
    }
    for _ in 0..50 {
        bench.take_of(&[0]);
    }
    for _ in 0..50 {
        bench.push(Spec { tenant: 1, ..PLAIN });
    }
    let newcomer = (0..20).filter_map(|_| bench.take_of(&[0])).filter(|&task| task >= 100).count();
    assert_eq!(newcomer, 10);
}

#[test]
fn service_in_one_class_counts_in_the_others() {
    let mut bench = Bench::new(None, &[]);
    for _ in 0..60 {
        bench.push(PLAIN);
        bench.push(Spec { class: 1, ..PLAIN });
        bench.push(Spec { tenant: 1, ..PLAIN });
    }
    // Tenant 0 is alone in class 1; what it gets there it does not get in class 0.
    let mut of_tenant_1 = 0;
    for _ in 0..30 {
        bench.take_of(&[1]);
        of_tenant_1 += usize::from(bench.take_of(&[0]).unwrap() % 3 == 2);
    }
    assert!(of_tenant_1 >= 29, "{of_tenant_1} of 30");
}

#[test]
fn newcomers_pass_a_tenant_for_a_bounded_time_only() {
    let mut bench = Bench::new(None, &[]);
    bench.push(PLAIN);
    let second = bench.push(PLAIN);
    bench.take_of(&[0]);
    let mut passed = 0;
    loop {
        bench.push(Spec { tenant: bench.next, ..PLAIN });
        if bench.take_of(&[0]) == Some(second.0) {
            break;
        }
        passed += 1;
        assert!(passed <= fair::IDLE_ACCOUNTS_MAX + 1);
    }
    assert!(bench.queue.tenant_lens().count() <= fair::IDLE_ACCOUNTS_MAX + 1);
}

#[test]
fn accounts_that_owe_nothing_are_forgotten() {
    let mut bench = Bench::new(None, &[]);
    for n in 0..1_000 {
        let task = bench.push(Spec { tenant: n, ..PLAIN });
        assert!(bench.queue.remove(task));
    }
    assert_eq!(bench.queue.tenant_lens().count(), 0);
}

fn specs(classes: u32, tenants: u32, len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Spec>> {
    let spec = (0..classes, 0u8..10, 0..tenants, 1u32..5);
    vec(spec.prop_map(|(class, level, tenant, cost)| Spec { class, level, tenant, cost }), len)
}

proptest! {
    #[test]
    fn every_task_comes_out_once_and_priorities_are_strict(specs in specs(3, 4, 1..100)) {
        let mut bench = Bench::new(None, &[]);
        for &spec in &specs {
            bench.push(spec);
        }
        let out = bench.drain(&[0, 1, 2]);
        prop_assert!(out.windows(2).all(|pair| specs[pair[0] as usize].level >= specs[pair[1] as usize].level));
        let mut sorted = out;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..specs.len() as u32).collect::<Vec<_>>());
    }

    /// The bound of Goyal et al.: two backlogged tenants differ by at most one task each, per weight.
    #[test]
    fn backlogged_tenants_share_by_weight(weights in vec(1u32..10, 2..5), costs in vec(1u32..5, 400), turns in 1usize..100) {
        let mut bench = Bench::new(None, &weights);
        let tenants = weights.len();
        for (n, &cost) in costs.iter().enumerate() {
            bench.push(Spec { tenant: (n % tenants) as u32, cost, ..PLAIN });
        }
        let mut service = vec![0.0; tenants];
        for _ in 0..turns {
            let task = bench.take_of(&[0]).unwrap() as usize;
            service[task % tenants] += f64::from(costs[task]) / f64::from(weights[task % tenants]);
            if (0..tenants).any(|t| !bench.queue.tenant_lens().any(|(name, len)| *name == tenant(t as u32) && len > 0)) {
                break;
            }
            let most_of = |t: usize| 4.0 / f64::from(weights[t]);
            for (a, b) in (0..tenants).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let bound = most_of(a) + most_of(b) + 1e-6;
                prop_assert!((service[a] - service[b]).abs() <= bound, "{service:?} of {weights:?}");
            }
        }
    }

    #[test]
    fn a_blocked_class_changes_nothing_for_the_others(specs in specs(3, 3, 1..120), ageing in any::<bool>()) {
        let run = |with_blocked: bool| {
            let mut bench = Bench::new(ageing.then_some(INTERVAL), &[3, 1]);
            let mut out = Vec::new();
            for (n, &spec) in specs.iter().enumerate() {
                bench.now = bench.now.plus(INTERVAL / 3);
                if spec.class != 2 || with_blocked {
                    bench.push_again(TaskIx(n as u32), spec);
                }
                if n % 2 == 0 {
                    out.extend(bench.take_of(&[0, 1]));
                }
            }
            out.extend(bench.drain(&[0, 1]));
            out
        };
        prop_assert_eq!(run(true), run(false));
    }

    /// At most `9 - p` intervals at the wrong level, then one turn in 55 / (p + 1) of its tenant, the only one here.
    #[test]
    fn no_stream_of_urgent_tasks_starves_another(level in 0u8..9, urgent in 1u8..10) {
        let mut bench = Bench::new(Some(INTERVAL), &[]);
        let task = bench.push(Spec { level, ..PLAIN });
        let per_interval = 20;
        let turns_max = usize::from(9 - level) * per_interval + 55usize.div_ceil(usize::from(level) + 1) + 1;
        for turn in 0.. {
            prop_assert!(turn <= turns_max, "still waits after {turn} turns");
            bench.push(Spec { level: urgent, ..PLAIN });
            if bench.take_of(&[0]) == Some(task.0) {
                break;
            }
            bench.now = bench.now.plus(INTERVAL / per_interval as u32);
        }
    }

    #[test]
    fn the_position_says_how_many_go_before(specs in specs(1, 4, 1..60), weights in vec(1u32..4, 4), taken in 0usize..20) {
        let mut bench = Bench::new(None, &weights);
        for &spec in &specs {
            bench.push(spec);
        }
        for _ in 0..taken {
            bench.take_of(&[0]);
        }
        let position = |task| bench.queue.position(bench.now, TaskIx(task));
        let positions: Vec<_> = (0..specs.len() as u32).map(position).collect();
        let out = bench.drain(&[0]);
        for (task, position) in (0..).zip(positions) {
            prop_assert_eq!(position, out.iter().position(|&other| other == task), "of task {}", task);
        }
    }
}

#[test]
fn a_position_among_priorities_that_share_follows_their_shares() {
    let mut bench = Bench::new(Some(INTERVAL), &[]);
    for _ in 0..60 {
        bench.push(Spec { level: 4, ..PLAIN });
    }
    bench.now = START.plus(5 * INTERVAL);
    for _ in 0..60 {
        bench.push(Spec { level: 9, ..PLAIN });
    }
    // The twenty-first of level 4, with twice as many of level 9 in between.
    assert_eq!(bench.queue.position(bench.now, TaskIx(20)), Some(20 + 40));
    assert!(bench.drain(&[0]).iter().position(|&task| task == 20).unwrap().abs_diff(60) <= 1);
}

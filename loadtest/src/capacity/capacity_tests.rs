//! Sweeps of queues that are known: the analysis finds what the formulas say.

use super::*;

/// A fleet with Poisson arrivals and exponential times (M/M/c), behind a coordinator with a largest rate.
#[derive(Clone, Copy)]
struct World {
    agents: u32,
    execution_s: f64,
    /// What the coordinator does at most.
    coordinator_per_s: f64,
}

const FLEET: World = World { agents: 100, execution_s: 0.02, coordinator_per_s: 1e9 };

impl World {
    fn fleet_per_s(self) -> f64 {
        f64::from(self.agents) / self.execution_s
    }

    fn measure(self, rate: f64) -> Step {
        let capacity = self.fleet_per_s().min(self.coordinator_per_s);
        let completed = rate.min(capacity);
        let p99_alone_ms = self.execution_s * 100_f64.ln() * 1e3;
        let p99_ms = if rate < capacity {
            // Of those that wait, the share beyond t is exp(-(capacity - rate) t).
            let waits = erlang_c(self.agents, rate * self.execution_s);
            p99_alone_ms + (waits / 0.01).ln().max(0.0) / (capacity - rate) * 1e3
        } else {
            10_000.0
        };
        Step {
            rate_per_s: rate,
            offered_per_s: rate,
            completed_per_s: completed,
            p50_ms: self.execution_s * 1e3,
            p99_ms,
            execution_ms: self.execution_s * 1e3,
            agents: self.agents,
            slots: self.agents,
            utilisation: completed * self.execution_s / f64::from(self.agents),
            cpu_cores: Some(0.05 * f64::from(self.agents) / 1e3 + 0.2 * completed / 1e3),
            harness_cpu_cores: Some(0.1),
            memory_mib: Some(30.0 + 60.0 * f64::from(self.agents) / 1e3 + 5.0 * completed / 1e3),
            cpus: 2,
            levels: vec![
                LevelKept { name: "p99".to_owned(), kept: p99_ms <= 120.0 },
                LevelKept { name: "always".to_owned(), kept: true },
            ],
            ..Step::default()
        }
    }

    fn sweep(self, rates: Rates) -> Vec<Step> {
        let search = Search::new(rates, self.fleet_per_s());
        let mut steps = Vec::new();
        while let Some(rate) = search.next(&steps) {
            steps.push(self.measure(rate));
        }
        steps
    }
}

/// The probability of having to wait, by the recurrence of Erlang B.
fn erlang_c(servers: u32, load: f64) -> f64 {
    let blocked = (1..=servers).fold(1.0, |blocked, n| load * blocked / (f64::from(n) + load * blocked));
    let servers = f64::from(servers);
    servers * blocked / (servers - load * (1.0 - blocked))
}

#[test]
fn the_knee_of_a_fleet_is_close_below_what_it_can_do() {
    for agents in [10, 100, 1_000] {
        let world = World { agents, ..FLEET };
        let steps = world.sweep(Rates::Auto);
        assert!(steps.len() <= 12, "{} steps", steps.len());
        let plan = analyse("x", &steps, &[], None);
        let (knee, broken) = (plan.knee_per_s.unwrap(), plan.broken_at_per_s.unwrap());
        let low = world.measure(world.fleet_per_s() * 0.1).p99_ms;
        assert!(world.measure(knee).p99_ms <= 3.0 * low && knee < broken && broken <= knee * 1.08);
        let share = knee / world.fleet_per_s();
        assert!((0.6..1.0).contains(&share), "{share} of {agents} agents");
        assert_eq!(plan.bound, Bound::Agents);
    }
}

#[test]
fn a_coordinator_that_is_the_bottleneck_is_named() {
    // 0.2 cores for 1,000 tasks a second: two cores are busy at 9,000.
    let world = World { agents: 10_000, coordinator_per_s: 9_000.0, ..FLEET };
    let plan = analyse("x", &world.sweep(Rates::Range(100.0, 100_000.0)), &[], Some(9_500.0));
    let knee = plan.knee_per_s.unwrap();
    assert!((8_000.0..=9_100.0).contains(&knee), "{knee}");
    assert_eq!(plan.bound, Bound::Coordinator);
    let with_harness = Step { harness_cpu_cores: Some(1.5), ..FLEET.measure(1_000.0) };
    let broken = Step { completed_per_s: 500.0, rate_per_s: 2_000.0, utilisation: 0.2, ..with_harness.clone() };
    assert_eq!(analyse("x", &[with_harness, broken.clone()], &[], None).bound, Bound::Machine);
    let idle = Step { harness_cpu_cores: None, cpu_cores: None, ..broken };
    assert_eq!(analyse("x", &[FLEET.measure(100.0), idle], &[], None).bound, Bound::Other);
}

#[test]
fn agents_for_a_target_are_enough_and_not_many_more() {
    let steps = FLEET.sweep(Rates::Auto);
    let target = 40_000.0;
    let needed = analyse("x", &steps, &[], Some(target)).needed.unwrap();
    let bare = target * FLEET.execution_s;
    assert!(f64::from(needed.agents) > bare && f64::from(needed.agents) < bare * 1.3, "{needed:?} for {bare}");
    let fleet = World { agents: needed.agents, ..FLEET };
    assert!(fleet.measure(target).is_sustained(steps[0].p99_ms));
    assert!((needed.coordinator_cores.unwrap() - 8.0).abs() < 0.1, "{needed:?}");
    assert_eq!(needed.coordinator_fits, Some(false));
}

#[test]
fn the_rate_at_which_each_level_breaks_is_told() {
    let plan = analyse("x", &FLEET.sweep(Rates::Auto), &[], None);
    let [p99, always] = plan.levels.as_slice() else { panic!("{:?}", plan.levels) };
    let (kept, broken) = (p99.kept_to_per_s.unwrap(), p99.broken_at_per_s.unwrap());
    assert!(FLEET.measure(kept).p99_ms <= 120.0 && FLEET.measure(broken).p99_ms > 120.0, "{p99:?}");
    assert_eq!(always.broken_at_per_s, None);
}

#[test]
fn costs_of_agents_and_tasks_are_told_apart_by_a_smaller_fleet() {
    let steps = FLEET.sweep(Rates::Auto);
    let alone = analyse("x", &steps, &[], None).cost;
    assert_eq!(alone.cpu_cores_per_1000_agents, None);
    assert!((alone.cpu_cores_per_1000_tasks_per_s.unwrap() - 0.2).abs() < 1e-6, "{alone:?}");
    let cost = analyse("x", &steps, &[World { agents: 25, ..FLEET }.measure(100.0)], None).cost;
    for (found, wanted) in [
        (cost.cpu_cores_per_1000_agents, 0.05),
        (cost.cpu_cores_per_1000_tasks_per_s, 0.2),
        (cost.memory_mib_per_1000_agents, 60.0),
        (cost.memory_mib_per_1000_tasks_per_s, 5.0),
    ] {
        assert!((found.unwrap() - wanted).abs() < 1e-6, "{cost:?}");
    }
}

#[test]
fn a_sweep_ends_at_the_end_of_its_range_and_when_nothing_is_carried() {
    let steps = FLEET.sweep(Rates::Range(100.0, 1_000.0));
    assert_eq!(steps.iter().map(|step| step.rate_per_s as u32).collect::<Vec<_>>(), [100, 200, 400, 800, 1_000]);
    assert_eq!(analyse("x", &steps, &[], None).bound, Bound::NotReached);
    let overloaded = FLEET.sweep(Rates::Range(6_000.0, 9_000.0));
    assert_eq!(overloaded.len(), 1);
    assert_eq!(analyse("x", &overloaded, &[], Some(1.0)).knee_per_s, None);
    assert_eq!(analyse("x", &[], &[], None).knee_per_s, None);
}

#[test]
fn rates_are_read_as_they_are_written() {
    assert_eq!("auto".parse(), Ok(Rates::Auto));
    assert_eq!("100..2000".parse(), Ok(Rates::Range(100.0, 2_000.0)));
    for wrong in ["", "100", "5..1", "0..5", "a..b", "1..inf"] {
        assert!(wrong.parse::<Rates>().is_err(), "{wrong}");
    }
}

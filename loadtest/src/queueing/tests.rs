use evenkeel_core::replay::Job;
use evenkeel_shared::StrategyConfig;

use super::{
    figures::Estimate,
    plan::QueueingPlan,
    run::{Runner, simulate},
    *,
};

pub(super) fn plan(agents: u32, service: &str, rho: f64) -> QueueingPlan {
    QueueingPlan {
        agents,
        slots: 1,
        service: service.parse().unwrap(),
        rho,
        strategies: vec![StrategyConfig::LeastLoaded],
        heartbeat_age: 0.0,
        speed_spread: 1.0,
        tasks: 60_000,
        warm_up: 10_000,
        seed: 1,
        seeds: 1,
        mean_service_s: None,
        threads: 2,
    }
}

/// Mean wait with Poisson arrivals, exponential demands and so many servers: Erlang's formula, in mean service times.
fn erlang_wait(servers: u32, rho: f64) -> f64 {
    let offered = rho * f64::from(servers);
    // The inverse of the probability that all are busy where nobody waits, by its recursion.
    let inverse = (1..=servers).fold(1.0, |inverse, n| 1.0 + f64::from(n) / offered * inverse);
    let blocked = 1.0 / inverse;
    let waits = blocked / (1.0 - rho * (1.0 - blocked));
    waits / (f64::from(servers) * (1.0 - rho))
}

/// Mean wait at one server: the formula of Pollaczek and Khinchine, in mean service times.
fn pollaczek_khinchine_wait(rho: f64, variation: f64) -> f64 {
    rho * (1.0 + variation) / (2.0 * (1.0 - rho))
}

/// That the central queue's mean wait is the one expected, which lies in the interval that seeds give, and that this
/// is narrow enough to mean something.
#[track_caller]
fn check_central_wait(plan: &QueueingPlan, expected: f64) {
    let runner = Runner::new(plan).unwrap();
    let waits: Vec<f64> = (1..=20).map(|seed| runner.central(seed).figures.wait).collect();
    let wait = Estimate::of(&waits);
    let text = format!("{}:{} at {}: {wait:?}, expected {expected}", plan.agents, plan.service, plan.rho);
    assert!(wait.plus_minus < 0.2 * expected, "{text}");
    assert!((wait.value - expected).abs() < wait.plus_minus, "{text}");
}

#[test]
fn the_central_queue_waits_as_erlang_says() {
    for (servers, rho) in [(1, 0.5), (1, 0.8), (10, 0.9), (100, 0.95)] {
        check_central_wait(&plan(servers, "exp", rho), erlang_wait(servers, rho));
    }
    assert!((erlang_wait(1, 0.8) - 4.0).abs() < 1e-9, "M/M/1: rho / (1 - rho)");
    assert!((erlang_wait(2, 0.5) - 1.0 / 3.0).abs() < 1e-9, "M/M/2: rho^2 / (1 - rho^2)");
}

#[test]
fn one_server_waits_as_pollaczek_and_khinchine_say() {
    for (service, variation) in [("fixed", 0.0), ("exp", 1.0), ("h2:4", 4.0)] {
        check_central_wait(&plan(1, service, 0.7), pollaczek_khinchine_wait(0.7, variation));
    }
}

#[test]
fn with_equal_speeds_every_strategy_that_keeps_no_room_back_is_the_central_queue() {
    for name in StrategyConfig::NAMES.into_iter().filter(|&name| name != "priority") {
        for service in ["exp", "h2:10"] {
            let plan = QueueingPlan { tasks: 20_000, warm_up: 2_000, ..plan(50, service, 0.9) };
            let runner = Runner::new(&plan).unwrap();
            let engine = runner.engine(3, &StrategyConfig::named(name).unwrap()).unwrap();
            assert_eq!(engine.figures, runner.central(3).figures, "{name}, {service}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_report_to_the_byte_on_any_number_of_threads() {
    let report = |threads, seed| {
        let strategies = ["random", "power_of_two", "weighted"].map(|name| StrategyConfig::named(name).unwrap()).into();
        let wide = QueueingPlan {
            strategies,
            speed_spread: 10.0,
            heartbeat_age: 5.0,
            seeds: 2,
            threads,
            ..plan(20, "h2:10", 0.8)
        };
        let plan = QueueingPlan { tasks: 10_000, warm_up: 1_000, seed, ..wide };
        let report = simulate(&plan, &|_| ()).unwrap();
        serde_json::to_string(&(&report.plan, &report.central, &report.strategies)).unwrap()
    };
    assert_eq!(report(1, 1), report(4, 1));
    assert_ne!(report(1, 1), report(1, 2));
}

/// That each task ends once, runs as long as its demand takes on its agent, and never on a slot in use.
fn check_conserved(slots: u32, mean_service_s: f64) {
    const TASKS: u64 = 5_000;
    for name in StrategyConfig::NAMES {
        let plan = QueueingPlan { slots, tasks: TASKS, mean_service_s: Some(mean_service_s), ..plan(30, "h2:10", 0.7) };
        let runner = Runner::new(&plan).unwrap();
        let jobs: Vec<Job> = runner.work(5).collect();
        let slownesses = draws::slownesses(5, 30, 10.0);
        let mut fleet = runner.fleet(5, &StrategyConfig::named(name).unwrap(), &slownesses).unwrap();
        let mut ends = Vec::new();
        let totals = fleet.run(jobs.iter().copied(), |done| ends.push(done)).unwrap();
        assert_eq!((totals.finished, totals.stuck), (TASKS, 0), "{name}");
        ends.sort_by_key(|done| done.index);
        assert!(ends.iter().map(|done| done.index).eq(0..TASKS), "{name}: each once");
        let mut changes = Vec::new();
        for (done, job) in ends.iter().zip(&jobs) {
            assert!(done.submitted == job.at && done.started >= job.at, "{name}: {done:?}");
            assert_eq!(done.finished - done.started, job.service(slownesses[done.agent as usize]), "{name}: {done:?}");
            changes.extend([(done.agent, done.started, 1), (done.agent, done.finished, -1)]);
        }
        changes.sort_unstable();
        let mut busy = [0; 30];
        for (agent, at, change) in changes {
            busy[agent as usize] += change;
            assert!((0..=slots as i32).contains(&busy[agent as usize]), "{name}: agent {agent} at {at} us");
        }
    }
}

#[test]
fn every_task_ends_once_on_a_slot_of_its_own() {
    check_conserved(1, 0.1);
    check_conserved(4, 0.1);
}

#[test]
fn tasks_taken_ahead_wait_for_their_slot() {
    check_conserved(2, 0.001);
}

#[test]
fn a_plan_out_of_range_is_refused_with_the_range() {
    let refused = |plan: QueueingPlan| simulate(&plan, &|_| ()).unwrap_err().to_string();
    assert_eq!(refused(plan(0, "exp", 0.5)), "agents is 0; it can be 1 to 262144");
    assert_eq!(refused(plan(1, "exp", 1.0)), "rho is 1; it can be 0.01 to 0.999");
    assert!(refused(plan(1, "exp", f64::NAN)).starts_with("rho is NaN"));
    assert_eq!(refused(QueueingPlan { strategies: Vec::new(), ..plan(1, "exp", 0.5) }), "no strategy is named");
    assert!(refused(plan(1, "trace:no/such.csv", 0.5)).starts_with("cannot open the trace no/such.csv"));
}

use std::time::Duration;

use evenkeel_shared::{AgentId, Kind};

use evenkeel_core::replay::{Done, Job};

use super::*;
use crate::queueing::{draws::slownesses, law::Demands, run::Runner, work::Poisson};

const AGENTS: u32 = 20;

fn plan(names: &[&str]) -> ShadowPlan {
    let strategies = names.iter().map(|name| StrategyConfig::named(name).unwrap()).collect();
    ShadowPlan { path: PathBuf::new(), strategies, slots: None, equal_speeds: false, seed: 1 }
}

/// What a fleet of two slots an agent made of four thousand tasks under this strategy.
fn history(name: &str, spread: f64) -> Vec<TraceTask> {
    let plan = crate::queueing::tests::plan(AGENTS, "exp", 0.8);
    let plan = crate::queueing::QueueingPlan { slots: 2, ..plan };
    let runner = Runner::new(&plan).unwrap();
    let demands = Demands::of(&plan.service).unwrap().0;
    let jobs: Vec<Job> = Poisson::new(9, demands, 100_000.0, 3_125.0, 4_000).collect();
    let mut fleet = runner.fleet(9, &StrategyConfig::named(name).unwrap(), &slownesses(9, AGENTS, spread)).unwrap();
    let mut ends = Vec::new();
    fleet.run(jobs.into_iter(), |done| ends.push(done)).unwrap();
    ends.sort_by_key(|done| done.index);
    ends.into_iter().map(recorded).collect()
}

fn recorded(done: Done) -> TraceTask {
    let us = Duration::from_micros;
    TraceTask {
        agent: Some(AgentId::new(&format!("agent-{:06}", done.agent)).unwrap()),
        queued: Some(us(done.started - done.submitted)),
        ..TraceTask::new(us(done.submitted), us(done.finished - done.started))
    }
}

#[test]
fn the_strategy_that_was_in_force_changes_nothing() {
    for name in ["least_loaded", "round_robin", "bin_pack", "weighted"] {
        let report = replay(history(name, 1.0), &plan(&[name])).unwrap();
        let row = &report.replayed[0];
        assert_eq!((report.slots, report.speed_spread), (u64::from(2 * AGENTS), 1.0), "{name}");
        assert!(row.elsewhere <= 40 && row.better + row.worse <= 40, "{name}: {row:?}");
        assert_eq!(row.stuck, 0);
        let (then, now) = (report.then.unwrap(), row.times);
        assert!(
            (then.response_mean_ms - now.response_mean_ms).abs() < 0.01 * then.response_mean_ms,
            "{then:?} {now:?}"
        );
    }
}

#[test]
fn what_tasks_waited_although_there_was_room_is_added_to_every_replay() {
    let mut tasks = history("least_loaded", 1.0);
    let overhead = Duration::from_millis(7);
    tasks.iter_mut().for_each(|task| task.queued = task.queued.map(|queued| queued + overhead));
    let report = replay(tasks, &plan(&["least_loaded"])).unwrap();
    let (then, row) = (report.then.unwrap(), &report.replayed[0]);
    assert_eq!(report.overhead_ms, 7.0);
    assert!(row.better + row.worse <= 40, "{row:?}");
    assert!((then.wait_mean_ms - row.times.wait_mean_ms).abs() < 0.1, "{then:?} {row:?}");
}

#[test]
fn another_strategy_moves_tasks_and_the_load_with_them() {
    let report = replay(history("bin_pack", 1.0), &plan(&["least_loaded"])).unwrap();
    let row = &report.replayed[0];
    assert!(row.elsewhere > 2_000, "{row:?}");
    assert!(report.then_load.variation > 2.0 * row.load.variation, "{:?} {:?}", report.then_load, row.load);
}

#[test]
fn speeds_are_read_off_the_history_and_used_in_the_replay() {
    let report = replay(history("random", 10.0), &plan(&["least_loaded", "random"])).unwrap();
    assert!((6.0..14.0).contains(&report.speed_spread), "{}", report.speed_spread);
    let means = [0, 1].map(|at| report.replayed[at].times.response_mean_ms);
    let then = report.then.unwrap().response_mean_ms;
    assert!(means[0] < 0.97 * means[1] && (means[1] - then).abs() < 0.1 * then, "{means:?}, then {then}");
}

#[test]
fn agents_get_only_kinds_that_they_were_seen_with() {
    let mut tasks = history("least_loaded", 1.0);
    for task in &mut tasks {
        let special = task.agent.as_ref().is_some_and(|agent| agent.as_str() == "agent-000003");
        task.kind = Kind::new(if special { "special" } else { "plain" }).unwrap();
    }
    let special = tasks.iter().filter(|task| task.kind.as_str() == "special").count() as u64;
    let report = replay(tasks, &plan(&["random"])).unwrap();
    assert!(report.replayed[0].elsewhere <= report.tasks - special, "{report:?}");
    assert_eq!(report.replayed[0].stuck, 0);
}

#[test]
fn tasks_that_no_agent_had_are_left_out_and_a_history_without_agents_is_refused() {
    let mut tasks = history("least_loaded", 1.0);
    tasks[0].agent = None;
    assert_eq!(replay(tasks.clone(), &plan(&["random"])).unwrap().left_out, 1);
    tasks.iter_mut().for_each(|task| task.agent = None);
    let error = replay(tasks, &plan(&["random"])).unwrap_err().to_string();
    assert!(error.contains("needs the column `agent`"), "{error}");
}

#[test]
fn without_waits_the_past_has_no_times() {
    let mut tasks = history("least_loaded", 1.0);
    tasks.iter_mut().for_each(|task| task.queued = None);
    let report = replay(tasks, &ShadowPlan { slots: Some(2), ..plan(&["least_loaded"]) }).unwrap();
    assert_eq!(report.then, None);
    assert!(report.to_string().contains("waits are not in the trace"));
}

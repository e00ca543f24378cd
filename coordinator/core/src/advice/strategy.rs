//! Whether another strategy would have done better with what was recorded.
//!
//! The newest tasks are replayed ([`crate::replay`]) through the strategy in force and through others, in simulated time. What the
//! replay makes of the strategy in force, beside what was recorded, is the error of the model; where that is large, nothing is
//! said. Strategies that are chosen for something else than times (affinity, tiers, few agents) are neither judged nor advised.

use evenkeel_shared::StrategyConfig;

use super::{Action, AdviceKind, Finding};
use crate::replay::{Recorded, ShadowReport, ShadowSettings, shadow};

/// Tasks that must be recorded: of fewer, chance makes up more than what is advised.
pub const TASKS_MIN: usize = 500;
/// What is tried.
const CANDIDATES: [&str; 4] = ["least_loaded", "weighted", "power_of_two", "round_robin"];
/// Those that are about times alone, and may be replaced.
const REPLACEABLE: [&str; 5] = ["least_loaded", "weighted", "power_of_two", "round_robin", "random"];
/// The mean response must be better by this share.
const GAIN_MIN: f64 = 0.1;
/// The model may be off by this share of what was recorded.
const ERROR_MAX: f64 = 0.2;
/// Of the draws in the replay.
const SEED: u64 = 1;

/// What is found, if another strategy would have been noticeably better. Takes some microseconds a task and strategy.
#[must_use]
pub fn finding(tasks: Vec<Recorded>, current: &StrategyConfig) -> Option<Finding> {
    if tasks.len() < TASKS_MIN || !REPLACEABLE.contains(&current.name()) {
        return None;
    }
    let others = CANDIDATES.into_iter().filter(|name| *name != current.name());
    let others = others.filter_map(|name| StrategyConfig::named(name).ok());
    let strategies: Vec<StrategyConfig> = std::iter::once(current.clone()).chain(others).collect();
    let settings = ShadowSettings { strategies: strategies.clone(), slots: None, equal_speeds: false, seed: SEED };
    // A history that cannot be replayed tells nothing.
    judged(&shadow(tasks, &settings).ok()?, &strategies)
}

fn judged(report: &ShadowReport, strategies: &[StrategyConfig]) -> Option<Finding> {
    let then = report.then?;
    let (now, others) = report.replayed.split_first()?;
    let error = (now.times.response_mean_ms - then.response_mean_ms).abs() / then.response_mean_ms.max(1e-9);
    let (best, strategy) = others
        .iter()
        .zip(&strategies[1..])
        .min_by(|(a, _), (b, _)| a.times.response_mean_ms.total_cmp(&b.times.response_mean_ms))?;
    let gain = 1.0 - best.times.response_mean_ms / now.times.response_mean_ms.max(1e-9);
    let tail = best.times.response_p99_ms <= now.times.response_p99_ms;
    if error > ERROR_MAX || gain < GAIN_MIN || !tail || best.stuck > 0 || report.agents < 2 {
        return None;
    }
    let row = |name: &str, times: &crate::replay::Times| {
        format!(
            "{name}: mean {:.1} ms, p99 {:.1} ms, mean wait {:.1} ms",
            times.response_mean_ms, times.response_p99_ms, times.wait_mean_ms
        )
    };
    let mut evidence = vec![
        format!("{} recorded tasks on {} agents of {} slots, replayed", report.tasks, report.agents, report.slots),
        row("recorded", &then),
    ];
    evidence.extend(report.replayed.iter().map(|replayed| row(replayed.strategy, &replayed.times)));
    evidence.push(format!("the replay of what was in force is off by {:.0} %", 100.0 * error));
    Some(Finding {
        id: "performance:strategy".to_owned(),
        kind: AdviceKind::Performance,
        title: format!("{} would have been faster than {} by {:.0} %", best.strategy, now.strategy, 100.0 * gain),
        evidence,
        expected_effect: format!(
            "mean response of {:.1} ms instead of {:.1} ms, 99 % within {:.1} ms instead of {:.1} ms",
            best.times.response_mean_ms,
            now.times.response_mean_ms,
            best.times.response_p99_ms,
            now.times.response_p99_ms
        ),
        confidence: (0.9 - 2.0 * error).max(0.5),
        action: Action::Strategy(strategy.clone()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_shared::{AgentId, Kind, Priority, TaskSpec, Tenant};

    use super::*;
    use crate::{
        engine::Settings,
        replay::{AgentPlan, Done, Fleet, Heartbeats, Job},
    };

    /// What ten agents, the fastest of them ten times as fast as the slowest, made of so many tasks under this strategy.
    fn recorded(strategy: &str, count: usize, gap_us: f64) -> Vec<Recorded> {
        let kind = Kind::new("work").unwrap();
        let agents = (0..10).map(|n| AgentPlan {
            id: AgentId::new(&format!("a{n}")).unwrap(),
            kinds: vec![kind.clone()],
            slots: 2,
            slowness: 10_f64.powf(f64::from(n) / 9.0),
        });
        let settings = Settings { strategy: StrategyConfig::named(strategy).unwrap(), ..Settings::default() };
        let heartbeats = Heartbeats { every_us: 1_000_000, age_us: 0 };
        let mut fleet = Fleet::new(settings, agents.collect(), &[TaskSpec::of_kind(kind.clone())], heartbeats).unwrap();
        let mut draws = fastrand::Rng::with_seed(7);
        let mut at = 0.0;
        let jobs = (0..count).map(move |_| {
            at -= gap_us * draws.f64().ln();
            Job { at: at as u64, demand_us: 50_000.0, sort: 0 }
        });
        let mut done: Vec<Done> = Vec::new();
        fleet.run(jobs, |one| done.push(one)).unwrap();
        done.sort_by_key(|one| one.index);
        let us = Duration::from_micros;
        let task = |one: Done| Recorded {
            submitted_at: us(one.submitted),
            tenant: Tenant::default(),
            priority: Priority::default(),
            kind: kind.clone(),
            service: us(one.finished - one.started),
            agent: Some(AgentId::new(&format!("a{}", one.agent)).unwrap()),
            queued: Some(us(one.started - one.submitted)),
        };
        done.into_iter().map(task).collect()
    }

    fn named(name: &str) -> StrategyConfig {
        StrategyConfig::named(name).unwrap()
    }

    #[test]
    fn a_strategy_that_is_blind_to_speeds_is_found_out() {
        let found = finding(recorded("random", 4_000, 15_000.0), &named("random")).unwrap();
        assert!(
            matches!(&found.action, Action::Strategy(strategy) if CANDIDATES.contains(&strategy.name())),
            "{found:?}"
        );
        assert!(found.evidence.len() >= 6 && found.title.contains("faster than random"), "{found:?}");
    }

    #[test]
    fn nothing_is_said_of_few_tasks_or_of_what_was_chosen_for_something_else() {
        let tasks = recorded("random", 4_000, 15_000.0);
        assert_eq!(finding(tasks[..TASKS_MIN - 1].to_vec(), &named("random")), None);
        assert_eq!(finding(tasks, &named("consistent_hash")), None);
    }

    #[test]
    fn the_best_is_not_replaced_by_itself() {
        let best = finding(recorded("random", 4_000, 15_000.0), &named("random")).unwrap().action;
        let Action::Strategy(best) = best else { panic!("{best:?}") };
        assert_eq!(finding(recorded(best.name(), 4_000, 15_000.0), &best), None);
    }

    #[test]
    fn what_the_model_does_not_explain_is_not_advised() {
        let mut tasks = recorded("random", 4_000, 15_000.0);
        // Waits that come and go for reasons that are not in the record.
        let late = tasks.iter_mut().enumerate().filter(|(at, _)| at % 3 == 0);
        late.for_each(|(_, task)| task.queued = task.queued.map(|queued| queued + Duration::from_secs(2)));
        assert_eq!(finding(tasks, &named("random")), None);
    }
}

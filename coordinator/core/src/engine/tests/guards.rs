//! Upstream quotas, circuit breakers, and slots that follow latency.

use std::sync::Arc;

use evenkeel_shared::{AgentId, Failure, FailureClass, Kind, Outcome, QuotaKey, TaskId, TaskState};

use super::{super::*, fixture::*};
use crate::{
    admission::{
        BreakerId, BreakerOrder, DynamicAlgorithm, DynamicLimitSettings,
        breaker::{BreakerSettings, BreakerState},
    },
    model::{ClusterEventKind, Record},
};

fn key(name: &str) -> QuotaKey {
    QuotaKey::new(name).unwrap()
}

/// A task that draws on an upstream quota.
fn drawing(name: &str) -> TaskBuilder {
    let mut task = task("work");
    Arc::make_mut(&mut task.0.spec).requirements.quota_keys = vec![key(name)];
    task
}

/// An agent all of whose work draws on an upstream quota.
fn sharing(id: &str, name: &str) -> AgentBuilder {
    let mut agent = agent(id);
    agent.spec.quota_keys = vec![key(name)];
    agent
}

impl Cluster {
    fn used_up(&mut self, agent: &str, name: &str, retry_after_ms: u64) {
        let session = self.sessions[agent];
        let (key, retry_after) = (key(name), ms(retry_after_ms));
        self.handle(Event::QuotaExhausted { session, key, retry_after, reason: "429".into() });
    }

    fn waits_for(&self, task: TaskId) -> String {
        self.explain(task).waiting_for.unwrap_or_default()
    }

    fn breaker(&self, id: &BreakerId) -> Option<BreakerState> {
        self.engine.breaker_views(self.now).into_iter().find(|view| view.id == *id).map(|view| view.state)
    }

    /// Everything that is assigned fails so, again and again, until nothing is.
    fn fail_all(&mut self, class: FailureClass) {
        while let Some((&task, _)) = self.placements().iter().next() {
            self.fail(task, class);
        }
    }
}

#[test]
fn what_draws_on_a_quota_that_is_used_up_waits_and_nothing_else_does() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    cluster.used_up("a", "openai", 5_000);
    let (shut, open) = (cluster.submit(drawing("openai")), cluster.submit(drawing("other")));
    cluster.expect(shut, TaskState::Queued);
    cluster.expect(open, TaskState::Assigned);
    assert_eq!(cluster.waits_for(shut), "the upstream quota `openai`, which is used up (429), for another 5.0s");
    let quotas = cluster.engine.quota_views();
    assert_eq!((quotas[0].key.as_str(), quotas[0].waiting), ("openai", 1));
    assert_eq!(quotas[0].cooldown.reported_by, Some(AgentId::new("a").unwrap()));
    cluster.advance_alive(ms(4_999));
    cluster.expect(shut, TaskState::Queued);
    cluster.advance_alive(ms(1));
    cluster.expect(shut, TaskState::Assigned);
    assert_eq!(cluster.events_of(ClusterEventKind::Quota), 2, "used up, and open again");
    assert!(cluster.engine.quota_views().is_empty());
}

#[test]
fn agents_that_share_a_key_cool_down_together_and_others_take_their_work() {
    let mut cluster = Cluster::new();
    cluster.join(sharing("a", "openai").slots(10));
    cluster.join(sharing("b", "openai").slots(10));
    cluster.used_up("a", "openai", 5_000);
    let task = cluster.submit(task("work"));
    cluster.expect(task, TaskState::Queued);
    let why: Vec<String> =
        cluster.explain(task).candidates.into_iter().filter_map(|c| c.refusal).map(|r| r.1).collect();
    assert_eq!(why, ["draws on the upstream quota `openai`, which is used up (429)"; 2]);
    cluster.join(agent("c"));
    assert_eq!(cluster.agent_with(task), "c");
    let next = cluster.submit(super::fixture::task("work"));
    cluster.expect(next, TaskState::Queued);
    cluster.advance_alive(ms(5_000));
    cluster.expect(next, TaskState::Assigned);
}

#[test]
fn an_agent_that_registers_while_its_quota_is_used_up_gets_nothing_either() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    cluster.used_up("a", "openai", 5_000);
    cluster.join(sharing("b", "openai").slots(10));
    let tasks = [cluster.submit(task("work")), cluster.submit(task("work"))];
    assert_eq!(cluster.agent_with(tasks[0]), "a");
    cluster.expect(tasks[1], TaskState::Queued);
    // It comes back without the key.
    cluster.disconnect("b");
    cluster.join(agent("b").slots(10));
    assert_eq!(cluster.agent_with(tasks[1]), "b");
}

#[test]
fn a_whole_fleet_that_shares_a_key_is_looked_at_in_parts() {
    let mut cluster = Cluster::new();
    let agents = limits::KEYED_AGENTS_MAX + 10;
    for number in 0..agents {
        cluster.join(sharing(&format!("a{number}"), "openai"));
    }
    let usable = |cluster: &Cluster| cluster.engine.agents.iter().filter(|(_, row)| !row.quota_shut).count();
    cluster.used_up("a0", "openai", 1_000);
    let left = usable(&cluster);
    assert!(left > 0 && left < agents, "so many with one event");
    cluster.handle(Event::Tick);
    assert_eq!(usable(&cluster), 0, "and the rest with the next");
    let task = cluster.submit(task("work"));
    cluster.expect(task, TaskState::Queued);
    cluster.advance(ms(1_000));
    cluster.expect(task, TaskState::Assigned);
    assert_eq!(usable(&cluster), agents);
}

#[test]
fn an_attempt_that_ran_into_a_quota_is_made_again_when_it_is_open_and_costs_its_agent_nothing() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(20));
    cluster.join(agent("b").slots(20));
    let tasks: Vec<_> = (0..20).map(|_| cluster.submit(drawing("openai"))).collect();
    let agent = cluster.agent_with(tasks[0]);
    cluster.used_up(&agent, "openai", 60_000);
    cluster.fail_all(FailureClass::QuotaExhausted);
    assert_eq!(cluster.events_of(ClusterEventKind::AgentEjected), 0);
    assert!(tasks.iter().all(|&task| cluster.state(task) == TaskState::Queued));
    cluster.advance_alive(ms(59_000));
    assert!(cluster.placements().is_empty(), "one attempt each is all that it cost");
    cluster.advance_alive(ms(1_000));
    assert_eq!(cluster.placements().len(), 20);
    tasks.iter().for_each(|&task| cluster.succeed(task));
    assert!(tasks.iter().all(|task| cluster.finished[task].attempts_made == 2));
}

#[test]
fn a_quota_of_which_nobody_said_for_how_long_is_left_alone_for_longer_each_time() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    let task = cluster.submit(drawing("openai").attempts(4));
    let mut waits = Vec::new();
    for _ in 0..3 {
        cluster.fail(task, FailureClass::QuotaExhausted);
        cluster.expect(task, TaskState::Queued);
        let until = cluster.engine.quota_views()[0].cooldown.until;
        waits.push(until.since(cluster.now).as_secs_f64());
        let wait = until.since(cluster.now);
        cluster.advance_alive(wait + ms(1));
        cluster.expect(task, TaskState::Assigned);
    }
    for (wait, least) in waits.iter().zip([1.0, 2.0, 4.0]) {
        assert!((least..=least * 1.2).contains(wait), "{waits:?}");
    }
    cluster.fail(task, FailureClass::QuotaExhausted);
    cluster.expect(task, TaskState::Failed);
    assert_eq!(cluster.finished[&task].attempts_made, 4, "the bound on attempts is absolute");
}

#[test]
fn a_quota_without_a_name_is_a_failure_like_others() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    let task = cluster.submit(task("work"));
    cluster.fail(task, FailureClass::QuotaExhausted);
    cluster.expect(task, TaskState::RetryWait);
}

#[test]
fn an_operator_reports_and_clears_a_quota() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    cluster.control(ControlCommand::ReportQuota(key("openai"), ms(3_600_000))).unwrap();
    let task = cluster.submit(drawing("openai"));
    cluster.expect(task, TaskState::Queued);
    cluster.control(ControlCommand::ClearQuota(key("openai"))).unwrap();
    cluster.expect(task, TaskState::Assigned);
    let error = cluster.control(ControlCommand::ClearQuota(key("openai"))).unwrap_err();
    assert_eq!(error.code, evenkeel_shared::Code::NotFound);
}

#[test]
fn a_quota_is_forgotten_with_a_restart_and_found_again() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    cluster.used_up("a", "openai", 3_600_000);
    let task = cluster.submit(drawing("openai"));
    cluster.restart();
    cluster.join(agent("a").slots(10));
    cluster.expect(task, TaskState::Assigned);
}

/// Five agents with room, and breakers without chance.
fn five(breakers: BreakerSettings) -> Cluster {
    let settings = Settings { breakers: BreakerSettings { jitter: 0.0, ..breakers }, ..Settings::default() };
    let mut cluster = Cluster::with(settings);
    for id in ["a", "b", "c", "d", "e"] {
        cluster.join(agent(id).slots(20).kinds(&["other", "work"]));
    }
    cluster
}

#[test]
fn a_kind_that_fails_everywhere_waits_is_tried_and_goes_on() {
    let mut cluster = five(BreakerSettings::default());
    let id = BreakerId::Kind(Kind::new("work").unwrap());
    let tasks: Vec<_> = (0..40).map(|_| cluster.submit(task("work").attempts(3))).collect();
    for &task in &tasks[..20] {
        cluster.fail(task, FailureClass::Retryable);
    }
    let Some(BreakerState::Open { until }) = cluster.breaker(&id) else { panic!("it is not open") };
    assert_eq!(until, cluster.now.plus(ms(5_000)));
    cluster.advance_alive(ms(2_000));
    cluster.expect(tasks[0], TaskState::Queued);
    let why = "the circuit breaker of kind `work`, which is open, for another 3.0s";
    assert_eq!(cluster.waits_for(tasks[0]), why);
    let other = cluster.submit(task("other"));
    cluster.expect(other, TaskState::Assigned);
    // What runs still ends, and says nothing any more.
    tasks[20..].iter().for_each(|&task| cluster.succeed(task));
    assert!(matches!(cluster.breaker(&id), Some(BreakerState::Open { .. })));
    cluster.advance_alive(ms(3_000));
    let trials = cluster.placements();
    assert_eq!(trials.len(), 5 + 1, "five trials, and the other kind");
    let trials: Vec<_> = trials.into_keys().filter(|&task| task != other).collect();
    assert!(cluster.waits_for(*tasks[..20].iter().find(|task| !trials.contains(task)).unwrap()).contains("half-open"));
    trials[..3].iter().for_each(|&task| cluster.succeed(task));
    assert_eq!(cluster.breaker(&id), Some(BreakerState::Closed));
    assert_eq!(cluster.placements().len(), 20 - 3 + 1, "all that waited goes at once");
    assert_eq!(cluster.events_of(ClusterEventKind::Breaker), 3);
}

#[test]
fn trials_that_fail_are_the_end_of_it_for_longer() {
    let mut cluster = five(BreakerSettings::default());
    let id = BreakerId::Kind(Kind::new("work").unwrap());
    let tasks: Vec<_> = (0..20).map(|_| cluster.submit(task("work").attempts(9))).collect();
    tasks.iter().for_each(|&task| cluster.fail(task, FailureClass::Retryable));
    cluster.advance_alive(ms(5_000));
    cluster.fail_all(FailureClass::Retryable);
    let Some(BreakerState::Open { until }) = cluster.breaker(&id) else { panic!("it is not open") };
    assert_eq!(until.since(cluster.now), ms(10_000));
    assert!(
        tasks
            .iter()
            .all(|&task| cluster.state(task) == TaskState::Queued || cluster.state(task) == TaskState::RetryWait)
    );
}

#[test]
fn one_broken_agent_is_ejected_and_its_kinds_breaker_stays_closed() {
    let mut cluster = five(BreakerSettings::default());
    let tasks: Vec<_> = (0..60).map(|_| cluster.submit(task("work").attempts(20))).collect();
    for _ in 0..50 {
        let placed = cluster.placements();
        for (task, agent) in placed {
            if agent == "a" {
                cluster.fail(task, FailureClass::Retryable);
            }
        }
        cluster.advance_alive(ms(100));
    }
    assert_eq!(cluster.breaker(&BreakerId::Kind(Kind::new("work").unwrap())), Some(BreakerState::Closed));
    let shown = cluster.breaker(&BreakerId::Agent(AgentId::new("a").unwrap()));
    assert!(shown.is_some_and(|state| state != BreakerState::Closed), "{shown:?}");
    assert!(cluster.events_of(ClusterEventKind::AgentEjected) > 0);
    drop(tasks);
}

#[test]
fn an_ejected_agent_comes_back_in_steps() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    cluster.join(agent("b").slots(1));
    let id = BreakerId::Agent(AgentId::new("a").unwrap());
    cluster.control(ControlCommand::SetBreaker(id.clone(), BreakerOrder::Open(ms(60_000)))).unwrap();
    let tasks: Vec<_> = (0..11).map(|_| cluster.submit(task("work"))).collect();
    assert_eq!(cluster.placements().len(), 1);
    cluster.advance_alive(ms(60_000));
    assert_eq!((cluster.breaker(&id), cluster.placements().len()), (Some(BreakerState::HalfOpen), 2));
    cluster.advance_alive(ms(10_000));
    assert_eq!((cluster.breaker(&id), cluster.placements().len()), (Some(BreakerState::Closed), tasks.len()));
}

#[test]
fn an_operator_closes_the_breaker_of_an_agent_at_once() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    let id = BreakerId::Agent(AgentId::new("a").unwrap());
    cluster.control(ControlCommand::SetBreaker(id.clone(), BreakerOrder::Open(ms(60_000)))).unwrap();
    let task = cluster.submit(task("work"));
    cluster.expect(task, TaskState::Queued);
    cluster.control(ControlCommand::SetBreaker(id, BreakerOrder::Close)).unwrap();
    cluster.expect(task, TaskState::Assigned);
    let unknown = BreakerId::Agent(AgentId::new("nobody").unwrap());
    let error = cluster.control(ControlCommand::SetBreaker(unknown, BreakerOrder::Close)).unwrap_err();
    assert_eq!(error.code, evenkeel_shared::Code::NotFound);
}

#[test]
fn what_breakers_and_quotas_do_is_in_the_history() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a"));
    cluster.used_up("a", "openai", 5_000);
    let records: Vec<_> = cluster
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Record(record) => match &**record {
                Record::Allocation(it) => Some((it.what, it.subject.clone(), it.message.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let words = "the upstream quota `openai` is used up for 5.0s, says a: 429";
    assert_eq!(records, [("cooldown", "quota:openai".to_owned(), words.to_owned())]);
}

#[test]
fn without_guards_routing_goes_on_as_before() {
    let mut cluster = Cluster::with(Settings { guards: false, ..Settings::default() });
    cluster.join(agent("a").slots(30));
    cluster.used_up("a", "openai", 5_000);
    let task = cluster.submit(drawing("openai"));
    cluster.expect(task, TaskState::Assigned);
    let refused = cluster.control(ControlCommand::ReportQuota(key("openai"), ms(5))).unwrap_err();
    assert_eq!(refused.code, evenkeel_shared::Code::FailedPrecondition);
    cluster.fail(task, FailureClass::QuotaExhausted);
    cluster.expect(task, TaskState::RetryWait);
}

fn dynamic(algorithm: DynamicAlgorithm) -> DynamicLimitSettings {
    DynamicLimitSettings { enabled: true, algorithm, ..DynamicLimitSettings::default() }
}

/// An agent that says it has 32 slots and bears 8: with more, its attempts take longer, in proportion, and those that take
/// longer than their timeout fail. Tasks come in at 100 a second, which is more than it can do, for so long; then it has
/// time to finish. Answers how many failed and how many succeeded of the second half of those that came in.
fn overload(settings: Option<DynamicLimitSettings>, seconds: u64) -> (usize, usize) {
    // Without breakers, which would hold the kind back as well.
    let breakers = BreakerSettings { enabled: false, ..BreakerSettings::default() };
    let mut cluster = Cluster::with(Settings { breakers, ..Settings::default() });
    if let Some(settings) = settings {
        cluster.control(ControlCommand::SetDynamicLimits(settings)).unwrap();
    }
    cluster.join(agent("a").slots(32));
    let mut running: Vec<(u64, TaskId, u64)> = Vec::new();
    let mut submitted = Vec::new();
    let mut machine = |cluster: &mut Cluster, tick: u64| {
        // In steps of 10 ms: what has ended, then what began.
        let over: Vec<_> = running.iter().copied().filter(|&(end, ..)| end <= tick).collect();
        running.retain(|&(end, ..)| end > tick);
        for (_, task, took_ms) in over {
            match took_ms {
                0..300 => cluster.succeed_in(task, ms(took_ms)),
                _ => cluster.fail(task, FailureClass::Timeout),
            }
        }
        let live = |task: &TaskId| !cluster.finished.contains_key(task);
        let known = |task: &TaskId| running.iter().any(|(_, known, _)| known == task);
        let new: Vec<_> = cluster.assigned.keys().copied().filter(|task| live(task) && !known(task)).collect();
        for task in new {
            let at_a_time = running.len() as u64 + 1;
            let took_ms = (100 * at_a_time / 8).max(100);
            running.push((tick + took_ms.min(300) / 10, task, took_ms));
        }
    };
    // A calm start, in which it shows what is normal.
    for tick in 0..500 {
        if tick % 4 == 0 {
            submitted.push(cluster.submit(task("work").attempts(1)));
        }
        machine(&mut cluster, tick);
        cluster.advance(ms(10));
    }
    let calm = submitted.len();
    for tick in 500..500 + seconds * 100 + 1_500 {
        if tick < 500 + seconds * 100 {
            submitted.push(cluster.submit(task("work").attempts(1)));
        }
        machine(&mut cluster, tick);
        cluster.advance(ms(10));
        if tick % 100 == 0 {
            cluster.heartbeat("a", evenkeel_shared::AgentLoad::default());
        }
    }
    let (first, later) = submitted[calm..].split_at(submitted[calm..].len() / 2);
    assert!(first.iter().all(|task| cluster.finished.contains_key(task)), "nothing is left over");
    let states: Vec<_> = later.iter().map(|&task| cluster.state(task)).collect();
    let count = |wanted| states.iter().filter(|&&state| state == wanted).count();
    assert_eq!(count(TaskState::Failed) + count(TaskState::Succeeded), states.len(), "nothing is left over");
    (count(TaskState::Failed), count(TaskState::Succeeded))
}

#[test]
fn overload_looks_like_failure_without_limits_that_follow_latency_and_like_a_queue_with_them() {
    let (failed, succeeded) = overload(None, 4);
    assert!(failed > succeeded, "without: {failed} failed, {succeeded} succeeded");
    for algorithm in [DynamicAlgorithm::Gradient, DynamicAlgorithm::Aimd] {
        let (failed, succeeded) = overload(Some(dynamic(algorithm)), 4);
        assert!(failed * 20 < succeeded, "{algorithm:?}: {failed} failed, {succeeded} succeeded");
    }
}

/// An agent of eight slots to which latency has left one.
fn slowed() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.control(ControlCommand::SetDynamicLimits(dynamic(DynamicAlgorithm::Aimd))).unwrap();
    cluster.join(agent("a").slots(8));
    for _ in 0..100 {
        let task = cluster.submit(task("work").attempts(1));
        cluster.fail(task, FailureClass::Timeout);
        cluster.advance_alive(ms(10_000));
    }
    assert_eq!(cluster.engine.dynamic_limit_views()[0].limit, 1);
    cluster
}

#[test]
fn a_slow_agent_gets_fewer_tasks_at_a_time_and_urgent_ones_still_have_its_slots() {
    let mut cluster = slowed();
    let usual: Vec<_> = (0..5).map(|_| cluster.submit(task("work"))).collect();
    assert_eq!(cluster.placements().len(), 1);
    let urgent: Vec<_> = (0..5).map(|_| cluster.submit(task("work").priority(8))).collect();
    assert_eq!(cluster.placements().len(), 1 + 5);
    assert!(urgent.iter().all(|task| cluster.placements().contains_key(task)));
    // One that waits is offered the place that an urgent one leaves only if it is urgent itself.
    let more: Vec<_> = (0..4).map(|_| cluster.submit(task("work").priority(9))).collect();
    assert_eq!(cluster.placements().len(), 8, "no more than its slots");
    cluster.succeed(urgent[0]);
    assert_eq!(cluster.placements().keys().filter(|task| more.contains(task)).count(), 3);
    let left: Vec<_> = cluster.placements().into_keys().collect();
    left.into_iter().for_each(|task| cluster.succeed(task));
    assert_eq!(cluster.placements().len(), 1, "the last urgent one, or one of the others");
    drop(usual);
}

#[test]
fn what_needs_more_slots_than_a_slow_agent_has_left_goes_alone() {
    let mut cluster = slowed();
    let small = cluster.submit(task("work"));
    let large = cluster.submit(task("work").slots(4));
    cluster.expect(large, TaskState::Queued);
    cluster.succeed(small);
    cluster.expect(large, TaskState::Assigned);
}

#[test]
fn limits_that_follow_latency_are_switched_off_live_and_survive_a_restart() {
    let mut cluster = slowed();
    let tasks: Vec<_> = (0..5).map(|_| cluster.submit(task("work"))).collect();
    assert_eq!(cluster.placements().len(), 1);
    cluster.control(ControlCommand::SetDynamicLimits(DynamicLimitSettings::default())).unwrap();
    assert_eq!(cluster.placements().len(), tasks.len());
    cluster.control(ControlCommand::SetDynamicLimits(dynamic(DynamicAlgorithm::Gradient))).unwrap();
    cluster.restart();
    assert_eq!(cluster.engine.dynamic_limit_settings(), dynamic(DynamicAlgorithm::Gradient));
    let wrong = DynamicLimitSettings { tolerance: 0.5, ..dynamic(DynamicAlgorithm::Aimd) };
    let error = cluster.control(ControlCommand::SetDynamicLimits(wrong)).unwrap_err();
    assert_eq!(error.violations[0].field, "tolerance");
}

#[test]
fn nothing_is_taken_ahead_by_an_agent_that_has_become_slow() {
    let mut cluster = Cluster::new();
    cluster.control(ControlCommand::SetDynamicLimits(dynamic(DynamicAlgorithm::Aimd))).unwrap();
    cluster.join(agent("a").slots(8).prefetch(Some(1)));
    for _ in 0..100 {
        let task = cluster.submit(task("work").attempts(1));
        let (agent, attempt) = cluster.assignment(task);
        cluster.report(&agent, attempt, Outcome::Failed(Failure::new(FailureClass::Timeout, "no")));
        cluster.advance_alive(ms(10_000));
    }
    for _ in 0..5 {
        cluster.submit(task("work"));
    }
    assert_eq!(cluster.placements().len(), 1);
}

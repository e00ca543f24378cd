//! Quotas that are used up: what waits for them, and for how long.

use evenkeel_shared::AgentId;

use super::*;

#[test]
fn what_draws_on_a_quota_that_is_used_up_waits_and_nothing_else_does() {
    let mut cluster = Cluster::new();
    cluster.join(agent("a").slots(10));
    cluster.used_up("a", "openai", 5_000);
    let (shut, open) = (cluster.submit(drawing("openai")), cluster.submit(drawing("other")));
    cluster.expect(shut, TaskState::Queued);
    cluster.expect(open, TaskState::Assigned);
    assert_eq!(cluster.waits_for(shut), "the upstream quota `openai`, which is used up (429), for another 5.0s");
    assert_eq!(cluster.explain(shut).refused_by_reason.get("quota"), Some(&1), "the agent would take it");
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
    let next = cluster.submit(super::super::fixture::task("work"));
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
    assert_eq!(error.code, Code::NotFound);
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

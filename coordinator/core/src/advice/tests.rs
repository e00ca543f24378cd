use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_shared::{AgentId, Code, Error, Kind, Resources};

use super::{findings::Seen, history::PastTask, *};
use crate::{
    capacity::{policy::Policy, templates::Template, validate},
    insight::{
        Insight,
        fixture::{agent, at},
        sample::{LimitSample, MoreSamples},
    },
    manager::{FleetSample, Outputs},
    model::{AgentView, Declaration, EngineStatus, Record},
    sizing::SizedResource,
};

fn finding(id: &str, confidence: f64) -> Finding {
    Finding {
        id: id.to_owned(),
        kind: AdviceKind::Cost,
        title: "t".to_owned(),
        evidence: vec!["e".to_owned()],
        expected_effect: "x".to_owned(),
        confidence,
        action: Action::PolicyPredictive,
    }
}

const DAY: u64 = 86_400;

/// Declarations as a restart would be given them.
fn stored(out: &Outputs) -> Vec<Declaration> {
    let mut newest: BTreeMap<String, Declaration> = BTreeMap::new();
    for record in &out.records {
        if let Record::Declared(declaration) = record {
            let before = newest.insert(declaration.name.clone(), declaration.clone());
            let version = before.map_or(0, |before| before.version);
            assert_eq!(declaration.version, version + 1, "{}", declaration.name);
        }
    }
    newest.into_values().filter(|declaration| declaration.body.is_some()).collect()
}

#[test]
fn a_finding_becomes_one_recommendation_and_is_kept_over_a_restart() {
    let (mut advisor, mut out) = (Advisor::default(), Outputs::default());
    advisor.found(at(0), vec![finding("a", 0.6)], &mut out);
    advisor.found(at(60), vec![finding("a", 0.8)], &mut out);
    assert_eq!(
        (out.records.len(), advisor.get("a").unwrap().confidence),
        (1, 0.8),
        "fresher, and not stored each minute"
    );
    advisor.found(at(3_700), vec![finding("a", 0.8)], &mut out);
    assert_eq!(out.records.len(), 2);
    let again = Advisor::new(at(4_000), &stored(&out));
    assert_eq!(again.list(), advisor.list());
}

#[test]
fn what_is_dismissed_does_not_come_back_for_a_week() {
    let (mut advisor, mut out) = (Advisor::default(), Outputs::default());
    advisor.found(at(0), vec![finding("a", 0.6)], &mut out);
    advisor.dismissed("a", at(10), "no", &mut out).unwrap();
    let mut advisor = Advisor::new(at(20), &stored(&out));
    for hour in 1..24 * 7 {
        advisor.found(at(hour * 3_600), vec![finding("a", 0.6)], &mut out);
        assert_eq!(advisor.get("a").unwrap().state, AdviceState::Dismissed);
    }
    advisor.found(at(7 * DAY + 11), vec![finding("a", 0.6)], &mut out);
    assert_eq!(advisor.get("a").unwrap().state, AdviceState::Open);
}

#[test]
fn what_is_no_longer_found_is_withdrawn_unless_it_was_applied() {
    let (mut advisor, mut out) = (Advisor::default(), Outputs::default());
    advisor.found(at(0), vec![finding("a", 0.6), finding("b", 0.6)], &mut out);
    advisor.applied("b", at(1), Undo::Resume(Vec::new()), "yes", &mut out).unwrap();
    advisor.found(at(6 * 3_600 - 1), Vec::new(), &mut out);
    assert!(advisor.get("a").is_ok());
    advisor.found(at(6 * 3_600), Vec::new(), &mut out);
    assert_eq!(advisor.get("a").unwrap_err().code, Code::NotFound);
    assert!(advisor.get("b").is_ok());
    assert_eq!(stored(&out).len(), 1);
}

#[test]
fn few_are_open_and_they_are_the_surest() {
    let (mut advisor, mut out) = (Advisor::default(), Outputs::default());
    let many = (0..2 * OPEN_MAX).map(|n| finding(&format!("f{n:02}"), n as f64 / 100.0)).collect();
    advisor.found(at(0), many, &mut out);
    let open = advisor.list();
    assert_eq!(open.len(), OPEN_MAX);
    assert!(open.iter().all(|advice| advice.confidence >= OPEN_MAX as f64 / 100.0));
}

#[test]
fn states_follow_each_other_in_order_alone() {
    let (mut advisor, mut out) = (Advisor::default(), Outputs::default());
    let told = Finding { action: Action::Tell("stop two agents".to_owned()), ..finding("told", 0.5) };
    advisor.found(at(0), vec![finding("a", 0.6), told], &mut out);
    let code = |result: Result<Recommendation, Error>| result.unwrap_err().code;
    let undo = || Undo::Resume(Vec::new());
    let refused = advisor.applied("told", at(1), undo(), "", &mut out).unwrap_err();
    assert!(refused.message.ends_with("what to do: stop two agents"), "{refused}");
    assert_eq!(code(advisor.reopened("a", at(1), "", &mut out)), Code::FailedPrecondition);
    assert_eq!(code(advisor.applied("zz", at(1), undo(), "", &mut out)), Code::NotFound);
    let applied = advisor.applied("a", at(1), undo(), "", &mut out).unwrap();
    assert_eq!((applied.state, applied.undo.is_some()), (AdviceState::Applied, true));
    assert_eq!(code(advisor.applied("a", at(2), undo(), "", &mut out)), Code::FailedPrecondition);
    assert_eq!(code(advisor.dismissed("a", at(2), "", &mut out)), Code::FailedPrecondition);
    let open = advisor.reopened("a", at(3), "", &mut out).unwrap();
    assert_eq!((open.state, open.undo), (AdviceState::Open, None));
}

/// An hour and more of a fleet of which so many slots of ten agents are used, each with one.
fn hour(used: u32, queued: u64, limits: Vec<LimitSample>) -> Insight {
    seen_for(3_660, used, queued, limits)
}

fn seen_for(seconds: u64, used: u32, queued: u64, limits: Vec<LimitSample>) -> Insight {
    let agents: Vec<Arc<AgentView>> = (0..10_u32)
        .map(|n| agent(&format!("a{n}")).kinds(&["echo"]).slots(1, u32::from(n < used)).heard(3_700).view())
        .collect();
    let mut insight = Insight::default();
    let status = EngineStatus { slots_total: 10, slots_used: used, queued, ..EngineStatus::default() };
    for second in 0..seconds {
        let more = MoreSamples { limits: limits.clone(), ..MoreSamples::default() };
        let sample = FleetSample { at: at(second), status: Arc::new(status.clone()), agents: agents.clone(), more };
        insight.observe(&sample, &mut Outputs::default());
    }
    insight
}

fn found(insight: &Insight, policy: Option<&Policy>) -> Vec<Finding> {
    findings::findings(&Seen { insight, policy, carried: false, now: at(3_660) })
}

fn policy(agents_min: u32, agents_max: u32) -> Policy {
    Policy { agents_min, agents_max, ..Template::named("web-balanced").unwrap().policy() }
}

#[test]
fn a_fleet_with_room_to_spare_is_told_how_much() {
    let insight = hour(2, 0, Vec::new());
    let all = found(&insight, None);
    let ids: Vec<&str> = all.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(ids, ["cost:over-provisioned", "cost:idle-agents"]);
    assert_eq!(all[0].title, "7 of 10 agents are not needed");
    assert!(matches!(&all[0].action, Action::Drain(agents) if agents.len() == 7), "{:?}", all[0].action);
    assert!(matches!(&all[1].action, Action::Drain(agents) if agents.len() == 8));
    let bounded = found(&insight, Some(&policy(5, 20)));
    assert_eq!(bounded[0].action, Action::PolicyBounds { agents_min: Some(3), agents_max: None });
    assert_eq!(found(&insight, Some(&policy(1, 20))), [], "the policy sees to it");
}

#[test]
fn a_fleet_that_is_well_used_or_hardly_known_is_told_nothing() {
    assert_eq!(found(&hour(7, 0, Vec::new()), Some(&policy(1, 20))), []);
    assert_eq!(found(&Insight::default(), None), []);
    let insight = seen_for(1_500, 2, 0, Vec::new());
    assert_eq!(
        findings::findings(&Seen { insight: &insight, policy: None, carried: false, now: at(1_500) }),
        [],
        "25 minutes"
    );
}

#[test]
fn a_policy_that_is_too_tight_for_what_waits_is_widened() {
    let insight = hour(10, 50, Vec::new());
    let all = found(&insight, Some(&policy(1, 10)));
    assert_eq!(all[0].action, Action::PolicyBounds { agents_min: None, agents_max: Some(15) });
    assert_eq!(found(&insight, Some(&policy(1, 20))), [], "it can grow by itself");
    assert!(matches!(&found(&insight, None)[0].action, Action::Tell(words) if words.contains("start agents")));
}

#[test]
fn a_limit_that_holds_tasks_up_in_an_idle_fleet_is_raised() {
    let limit = LimitSample { name: "api".to_owned(), concurrency_max: 4, closed: true, waiting: 30 };
    let all = found(&hour(4, 30, vec![limit]), Some(&policy(1, 20)));
    assert_eq!(all[0].action, Action::LimitConcurrency { name: "api".to_owned(), concurrency_max: 6 });
    assert_eq!(
        (all[0].id.as_str(), all[0].title.as_str()),
        ("performance:queued:limit:api", "the limit api holds tasks up, for long")
    );
}

#[test]
fn a_daily_rhythm_is_found_and_the_policy_told_to_look_ahead() {
    let mut insight = Insight::default();
    let mut status = EngineStatus::default();
    // Three days, a sample every 20 s: a wave that peaks at the same time each day.
    for step in 0..3 * DAY / 20 {
        let angle = (step * 20) as f64 * std::f64::consts::TAU / DAY as f64;
        status.counters.accepted += (20.0 * (50.0 + 40.0 * angle.sin())) as u64;
        let (status, more) = (Arc::new(status.clone()), MoreSamples::default());
        let sample = FleetSample { at: at(step * 20), status, agents: Vec::new(), more };
        insight.observe(&sample, &mut Outputs::default());
    }
    let seen = |policy| Seen { insight: &insight, policy, carried: policy.is_none(), now: at(3 * DAY) };
    let policy = Policy { predictive: false, ..policy(1, 9) };
    let ahead = Policy { predictive: true, ..policy.clone() };
    let all = findings::findings(&seen(Some(&policy)));
    assert_eq!((all[0].id.as_str(), &all[0].action), ("schedule:request-rate", &Action::PolicyPredictive), "{all:?}");
    assert_eq!(all[0].title, "work comes in a rhythm of 24.0 h");
    assert!(findings::findings(&seen(Some(&ahead))).is_empty());
    let Action::PolicyPut(put) = &findings::findings(&seen(None))[0].action else { panic!("no policy is put") };
    assert!(put.predictive && validate(put).iter().all(|advice| !advice.error), "{put:?}");
}

#[test]
fn where_something_carries_decisions_out_a_policy_is_put_in_force() {
    let put = |insight: &Insight| {
        let found = findings::findings(&Seen { insight, policy: None, carried: true, now: at(3_660) });
        let Action::PolicyPut(policy) = found[0].action.clone() else { panic!("{found:?}") };
        assert!(validate(&policy).iter().all(|advice| !advice.error), "{policy:?}");
        (policy.agents_min, policy.agents_max)
    };
    assert_eq!(put(&hour(2, 0, Vec::new())), (1, 10), "room to spare: never more than there are");
    assert_eq!(put(&hour(10, 50, Vec::new())), (10, 15), "no room: never fewer than there are");
}

#[test]
fn the_spare_agents_that_are_drained_are_the_cheapest_to_lose_and_leave_enough() {
    let fleet = |used: u32, unusable: u32| {
        let agents: Vec<Arc<AgentView>> = (0..10_u32)
            .map(|n| {
                let plan = agent(&format!("a{n}")).kinds(&["echo"]).slots(1, u32::from(n < used)).heard(3_700);
                if n >= 10 - unusable { plan.admin(evenkeel_shared::AdminState::Cordoned).view() } else { plan.view() }
            })
            .collect();
        let mut insight = Insight::default();
        let status = Arc::new(EngineStatus { slots_total: 10, slots_used: used, ..EngineStatus::default() });
        for second in 0..3_660 {
            let more = MoreSamples::default();
            let sample = FleetSample { at: at(second), status: status.clone(), agents: agents.clone(), more };
            insight.observe(&sample, &mut Outputs::default());
        }
        found(&insight, None)[0].action.clone()
    };
    let Action::Drain(go) = fleet(2, 0) else { panic!("nobody goes") };
    let names: Vec<&str> = go.iter().map(AgentId::as_str).collect();
    assert_eq!(names, ["a9", "a8", "a7", "a6", "a5", "a4", "a3"], "idle ones, and three stay");
    let Action::Drain(go) = fleet(2, 5) else { panic!("nobody goes") };
    assert_eq!(go.len(), 2, "of five that can be given work three stay");
    assert!(matches!(fleet(2, 7), Action::Tell(_)), "those who are in work are needed");
}

fn past(memory_mib: u64, used_mib: impl Fn(u64) -> u64, count: u64) -> Vec<PastTask> {
    let task = |n| PastTask {
        kind: Kind::new("train").unwrap(),
        requested: Resources { memory_bytes: memory_mib << 20, cpu_millis: 2_000, ..Resources::slots(1) },
        accepted_at: at(n),
        run: Duration::from_secs(10),
        cpu: Some(Duration::from_secs(15)),
        memory_max_bytes: Some(used_mib(n) << 20),
    };
    (0..count).map(task).collect()
}

#[test]
fn requests_are_compared_with_the_95th_percentile_of_use() {
    let titles = |tasks: &[PastTask]| history::findings(tasks).into_iter().map(|found| found.title).collect::<Vec<_>>();
    let usual = |n| if n % 50 == 0 { 900 } else { 100 + n % 10 };
    let large = history::findings(&past(1_024, usual, 200));
    assert_eq!(large[0].title, "tasks of kind train request 9.4 times the memory that they need");
    assert_eq!(large[0].evidence[1], "used: 109 MiB at the 95th percentile, 900 MiB at the most");
    let kind = Kind::new("train").unwrap();
    let size = Action::Size { kind, resource: SizedResource::MemoryBytes, amount: 144 << 20 };
    assert_eq!(large[0].action, size);
    assert!(
        large[0].action.words().starts_with("let tasks of kind train reserve 144 MiB of memory, from the next one")
    );
    assert_eq!(titles(&past(50, usual, 200)), ["tasks of kind train use more memory than they request"]);
    assert_eq!(titles(&past(150, usual, 200)), Vec::<String>::new(), "a fit");
    assert_eq!(titles(&past(1_024, usual, 49)), Vec::<String>::new(), "too few to say");
}

#[test]
fn no_one_size_is_applied_to_tasks_that_request_different_amounts() {
    let of = |others: u64| {
        let mixed = [past(1_024, |_| 100, 200 - others), past(2_048, |_| 100, others)].concat();
        history::findings(&mixed)[0].action.clone()
    };
    assert!(matches!(of(20), Action::Size { amount, .. } if amount == 128 << 20), "one in ten");
    let Action::Tell(what) = of(21) else { panic!("one size for all") };
    assert!(what.contains("memory_bytes = 134217728 (128 MiB) at the most"), "{what}");
}

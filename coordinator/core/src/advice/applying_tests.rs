use evenkeel_shared::Health;

use super::*;
use crate::{
    admission::LimitScope,
    insight::fixture::{Plan, agent},
    sizing::SizedResource::{CpuMillis, MemoryBytes},
};

fn ids(names: &[&str]) -> Vec<AgentId> {
    names.iter().map(|name| AgentId::new(name).unwrap()).collect()
}

fn of_kind(name: &str, kind: &str) -> Plan {
    agent(name).kinds(&[kind])
}

fn fleet(plans: Vec<Plan>) -> Vec<Arc<AgentView>> {
    plans.into_iter().map(Plan::view).collect()
}

#[test]
fn those_are_drained_that_are_there_and_in_work() {
    let fleet = fleet(vec![
        of_kind("a", "echo"),
        of_kind("b", "echo").admin(AdminState::Cordoned),
        of_kind("c", "echo").health(Health::Lost),
        of_kind("d", "echo"),
    ]);
    assert_eq!(drainable("x", &ids(&["a", "b", "c", "gone"]), &fleet), Ok(ids(&["a"])), "undoing resumes nobody else");
    let refused = drainable("x", &ids(&["b", "c", "gone"]), &fleet).unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
}

#[test]
fn the_last_agent_of_a_kind_is_not_drained_however_old_the_advice() {
    let all = fleet(vec![of_kind("a", "echo"), of_kind("b", "gpu"), of_kind("c", "echo")]);
    assert_eq!(drainable("x", &ids(&["a"]), &all), Ok(ids(&["a"])));
    let refused = drainable("x", &ids(&["a", "b"]), &all).unwrap_err();
    assert!(refused.message.contains("without b no agent would take tasks of kind gpu"), "{refused}");
    // The one that stays cannot take any: it is drained itself.
    let left = fleet(vec![of_kind("a", "echo"), of_kind("c", "echo").admin(AdminState::Draining)]);
    assert!(drainable("x", &ids(&["a"]), &left).is_err());
}

#[test]
fn those_are_resumed_that_are_drained_still() {
    let fleet = fleet(vec![
        of_kind("a", "echo").admin(AdminState::Draining),
        of_kind("b", "echo").admin(AdminState::Cordoned),
        of_kind("c", "echo").admin(AdminState::Draining),
    ]);
    assert_eq!(resumable(&ids(&["a", "b", "gone"]), &fleet), ids(&["a"]));
}

#[test]
fn a_limit_is_put_back_if_nobody_has_touched_it_since() {
    let before = Limit {
        name: "api".to_owned(),
        scope: LimitScope::default(),
        concurrency_max: Some(4),
        rate_per_s: None,
        burst: 1,
    };
    let action = Action::LimitConcurrency { name: "api".to_owned(), concurrency_max: 6 };
    let applied = limit_after(&action, &before).unwrap();
    assert_eq!(applied.concurrency_max, Some(6));
    assert_eq!(limit_undone("x", &action, &before, Some(&applied)), Ok(()));
    let touched = Limit { concurrency_max: Some(9), ..applied };
    for now in [Some(&touched), None] {
        let refused = limit_undone("x", &action, &before, now).unwrap_err();
        assert_eq!(refused.code, Code::FailedPrecondition);
        assert!(refused.message.contains("the limit `api` was changed"), "{refused}");
    }
}

#[test]
fn of_a_size_that_is_put_back_which_was_applied_and_nothing_else() {
    let kind = || Kind::new("train").unwrap();
    let of = |resource, amount| Action::Size { kind: kind(), resource, amount };
    let (memory, cpu) = (of(MemoryBytes, 7), of(CpuMillis, 500));
    let first = size_after(&memory, None).unwrap();
    let both = size_after(&cpu, Some(&first)).unwrap();
    assert_eq!(both, Size::of(kind()).with(MemoryBytes, Some(7)).with(CpuMillis, Some(500)));
    let only_cpu = size_undone("x", &memory, None, Some(&both)).unwrap().unwrap();
    assert_eq!(only_cpu, Size::of(kind()).with(CpuMillis, Some(500)), "the other recommendation stays applied");
    assert!(size_undone("x", &cpu, None, Some(&only_cpu)).unwrap().unwrap().is_empty());
    assert_eq!(size_undone("x", &memory, None, Some(&only_cpu)), Ok(None), "twice is once");
    assert_eq!(size_undone("x", &memory, Some(9), Some(&first)), Ok(Some(first.with(MemoryBytes, Some(9)))));
    for now in [Some(&Size::of(kind()).with(MemoryBytes, Some(8))), None] {
        let refused = size_undone("x", &memory, Some(9), now).unwrap_err();
        assert_eq!(refused.code, Code::FailedPrecondition);
        assert!(refused.message.contains("the request size of kind `train` was changed"), "{refused}");
    }
}

#[test]
fn a_strategy_is_put_back_if_nobody_has_set_another_since() {
    let named = |name| StrategyConfig::named(name).unwrap();
    let action = Action::Strategy(named("least_loaded"));
    assert_eq!(strategy_undone("x", &action, &named("least_loaded")), Ok(()));
    assert_eq!(strategy_undone("x", &action, &named("weighted")).unwrap_err().code, Code::FailedPrecondition);
}

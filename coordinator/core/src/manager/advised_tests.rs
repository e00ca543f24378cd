use super::*;
use crate::{
    advice::{Action, AdviceKind, AdviceState, Finding},
    capacity::Template,
    insight::fixture::at,
    manager::{ManagerRecovery, ManagerSettings, scaling::ScalingSettings},
    model::{Declaration, DeclarationKind, Record},
};

/// A manager to which one thing was found.
fn advised(settings: &ManagerSettings, action: Action) -> Manager {
    let mut manager = Manager::new(at(0), settings, &ManagerRecovery::default());
    let finding = Finding {
        id: "it".to_owned(),
        kind: AdviceKind::Cost,
        title: String::new(),
        evidence: Vec::new(),
        expected_effect: String::new(),
        confidence: 0.9,
        action,
    };
    manager.advisor.found(at(0), vec![finding], &mut Outputs::default());
    manager
}

fn put(manager: &mut Manager, agents_min: u32, agents_max: u32) {
    let policy = Policy { agents_min, agents_max, ..Template::named("web-balanced").unwrap().policy() };
    manager.scaling.put_policy(at(1), policy, String::new(), &mut Outputs::default());
}

fn bounds(manager: &Manager) -> (u32, u32) {
    (manager.scaling.policy().agents_min, manager.scaling.policy().agents_max)
}

/// What is declared of the policy, as a restart would be given it.
fn declared(out: &Outputs) -> Vec<Declaration> {
    let declared = out.records.iter().filter_map(|record| match record {
        Record::Declared(declaration) => Some(declaration.clone()),
        _ => None,
    });
    declared.filter(|declaration| declaration.kind == DeclarationKind::ScalingPolicy).collect()
}

fn raised() -> Action {
    Action::PolicyBounds { agents_min: None, agents_max: Some(15) }
}

#[test]
fn a_bound_is_changed_and_put_back_each_as_a_version_with_its_reason() {
    let mut manager = advised(&ManagerSettings::default(), raised());
    put(&mut manager, 2, 10);
    let mut out = Outputs::default();
    let applied = manager.apply_policy(at(10), "it", "more", &mut out).unwrap();
    assert_eq!((applied.state, bounds(&manager)), (AdviceState::Applied, (2, 15)));
    let open = manager.undo_policy(at(20), "it", "", &mut out).unwrap();
    assert_eq!((open.state, bounds(&manager)), (AdviceState::Open, (2, 10)));
    let said: Vec<_> = declared(&out).into_iter().map(|it| (it.version, it.reason)).collect();
    assert_eq!(
        said,
        [(2, "applied the recommendation it: more".to_owned()), (3, "undid the recommendation it".to_owned())]
    );
}

#[test]
fn what_was_changed_since_is_left_alone() {
    let mut manager = advised(&ManagerSettings::default(), raised());
    put(&mut manager, 2, 10);
    let mut out = Outputs::default();
    manager.apply_policy(at(10), "it", "", &mut out).unwrap();
    put(&mut manager, 2, 40);
    let refused = manager.undo_policy(at(20), "it", "", &mut out).unwrap_err();
    assert_eq!((refused.code, bounds(&manager)), (Code::FailedPrecondition, (2, 40)));
    assert!(refused.message.contains("evenkeel scaling policy put"), "{refused}");
    assert_eq!(manager.advisor.get("it").unwrap().state, AdviceState::Applied);
}

#[test]
fn a_change_of_something_else_in_the_meantime_is_kept_or_found_out() {
    let mut manager =
        advised(&ManagerSettings::default(), Action::PolicyBounds { agents_min: Some(3), agents_max: None });
    put(&mut manager, 5, 10);
    put(&mut manager, 5, 20);
    manager.apply_policy(at(10), "it", "", &mut Outputs::default()).unwrap();
    assert_eq!(bounds(&manager), (3, 20), "of what is in force now");
    // A floor above a ceiling that came down meanwhile.
    let mut manager =
        advised(&ManagerSettings::default(), Action::PolicyBounds { agents_min: Some(3), agents_max: None });
    put(&mut manager, 1, 2);
    let refused = manager.apply_policy(at(10), "it", "", &mut Outputs::default()).unwrap_err();
    assert!(refused.message.contains("agents_min"), "{refused}");
    assert_eq!((bounds(&manager), manager.advisor.get("it").unwrap().state), ((1, 2), AdviceState::Open));
}

#[test]
fn a_policy_is_put_where_there_was_none_and_there_is_none_again_over_a_restart_too() {
    let policy = Policy { agents_min: 1, agents_max: 8, ..Template::named("web-balanced").unwrap().policy() };
    let mut manager = advised(&ManagerSettings::default(), Action::PolicyPut(Box::new(policy)));
    let mut out = Outputs::default();
    manager.apply_policy(at(10), "it", "", &mut out).unwrap();
    assert_eq!(manager.scaling.deciding().map(|policy| policy.agents_max), Some(8));
    manager.undo_policy(at(20), "it", "", &mut out).unwrap();
    assert_eq!(manager.scaling.deciding(), None);
    let last = declared(&out).pop().unwrap();
    assert_eq!((last.version, &last.body), (2, &None));
    let recovery = ManagerRecovery { declarations: vec![last], ..ManagerRecovery::default() };
    let mut again = Manager::new(at(30), &ManagerSettings::default(), &recovery);
    assert_eq!(again.scaling.deciding(), None);
    put(&mut again, 1, 3);
    assert_eq!(again.scaling.policy().version, 3, "versions count on");
}

#[test]
fn a_policy_is_not_put_over_one_that_came_meanwhile() {
    let policy = Template::named("web-balanced").unwrap().policy();
    let mut manager = advised(&ManagerSettings::default(), Action::PolicyPut(Box::new(policy)));
    put(&mut manager, 2, 3);
    let refused = manager.apply_policy(at(10), "it", "", &mut Outputs::default()).unwrap_err();
    assert!(refused.message.contains("there is a scaling policy by now"), "{refused}");
    assert_eq!(bounds(&manager), (2, 3));
}

#[test]
fn the_policy_of_the_settings_is_in_force_again_not_a_copy_of_it() {
    let policy = Policy { agents_min: 2, agents_max: 10, ..Template::named("web-balanced").unwrap().policy() };
    let scaling = ScalingSettings { policy: Some(policy), ..ScalingSettings::default() };
    let mut manager = advised(&ManagerSettings { scaling }, raised());
    let mut out = Outputs::default();
    manager.apply_policy(at(10), "it", "", &mut out).unwrap();
    assert_eq!((bounds(&manager), manager.scaling.is_put()), ((2, 15), true));
    manager.undo_policy(at(20), "it", "", &mut out).unwrap();
    assert_eq!((bounds(&manager), manager.scaling.is_put()), ((2, 10), false));
    assert!(manager.scaling.deciding().is_some());
}

#[test]
fn what_is_not_about_the_policy_is_not_applied_to_it() {
    let mut manager = advised(&ManagerSettings::default(), Action::Drain(Vec::new()));
    let refused = manager.apply_policy(at(10), "it", "", &mut Outputs::default()).unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
}

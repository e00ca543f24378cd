use super::*;
use crate::{capacity::Effect, insight::sample::MoreSamples, model::EngineStatus};

const SETTINGS: ChangeSettings = ChangeSettings { drain: Duration::from_secs(60), join: Duration::from_secs(30) };

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_000 * second)
}

fn decision(action: Action, agents: &[&str]) -> Decision {
    let (agents_before, agents_after) = if action == Action::Up { (1, 3) } else { (3, 1) };
    Decision {
        id: 7,
        at: at(0),
        action,
        agents_before,
        agents_after,
        agents: agents.iter().map(|id| AgentId::new(id).unwrap()).collect(),
        reasons: Vec::new(),
        waiting_for: None,
        actuator: "command".into(),
        outcome: ScalingOutcome::Decided,
        error: String::new(),
        policy: "trial".into(),
        policy_version: 1,
        score_percent: 0.0,
        demand_slots: 0.0,
        effect: Effect::NONE,
    }
}

fn empty_fleet(second: u64) -> FleetSample {
    let status = Arc::new(EngineStatus::default());
    FleetSample { at: at(second), status, agents: Vec::new(), more: MoreSamples::default() }
}

fn outcome(progress: Progress) -> (ScalingOutcome, String) {
    let Progress::Ended(decision) = progress else { panic!("it goes on") };
    (decision.outcome, decision.error)
}

#[test]
fn an_actuator_that_never_answers_ends_the_change() {
    let mut steps = Vec::new();
    let mut change = Change::begin(at(0), decision(Action::Up, &[]), SETTINGS, &mut steps);
    assert!(matches!(steps[..], [Step::Act(_)]));
    let last = ACT_MAX.as_secs();
    assert_eq!(change.advance(&empty_fleet(last - 1), &mut steps), Progress::Goes);
    let (outcome, error) = outcome(change.advance(&empty_fleet(last), &mut steps));
    assert_eq!(outcome, ScalingOutcome::Failed);
    assert!(error.contains("`command` has not answered"), "{error}");
}

#[test]
fn an_agent_that_vanishes_while_it_drains_is_gone_and_its_name_is_welcome_again() {
    let mut steps = Vec::new();
    let mut change = Change::begin(at(0), decision(Action::Down, &["a", "b"]), SETTINGS, &mut steps);
    assert!(matches!(steps[..], [Step::Drain { .. }, Step::Drain { .. }]));
    steps.clear();
    assert_eq!(change.advance(&empty_fleet(1), &mut steps), Progress::Goes);
    assert!(matches!(steps[..], [Step::Act(_)]), "nobody is left to wait for: {steps:?}");
    assert_eq!(change.acted(at(2), Ok(()), &mut steps), Progress::Goes);
    assert_eq!(outcome(change.advance(&empty_fleet(3), &mut steps)).0, ScalingOutcome::Done);
    assert!(matches!(steps[1..], [Step::Resume(_), Step::Resume(_)]), "{steps:?}");
}

#[test]
fn a_word_of_the_actuator_out_of_turn_changes_nothing() {
    let mut steps = Vec::new();
    let mut change = Change::begin(at(0), decision(Action::Up, &[]), SETTINGS, &mut steps);
    assert_eq!(change.acted(at(1), Ok(()), &mut steps), Progress::Goes);
    assert_eq!(change.acted(at(2), Err("late".into()), &mut steps), Progress::Goes);
    let (outcome, error) = outcome(change.advance(&empty_fleet(31), &mut steps));
    assert_eq!((outcome, error.as_str()), (ScalingOutcome::Failed, "0 of 3 agents are there"));
}

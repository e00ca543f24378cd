use super::*;
use crate::{
    capacity::Effect,
    insight::{fixture, sample::MoreSamples},
    model::EngineStatus,
};

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

/// An agent that is being drained and runs nothing, but for this.
fn draining(id: &str, but: impl FnOnce(&mut AgentView)) -> Arc<AgentView> {
    let mut agent = AgentView::clone(&fixture::agent(id).view());
    agent.admin = AdminState::Draining;
    but(&mut agent);
    Arc::new(agent)
}

/// The fleet at this second, its agents by their names in order.
fn fleet<const N: usize>(second: u64, agents: [Arc<AgentView>; N]) -> FleetSample {
    FleetSample { agents: agents.into(), ..empty_fleet(second) }
}

fn nothing(_: &mut AgentView) {}

/// Whether the actuator is told to take `a` away, five seconds into a scale-down, if `a` is so.
fn goes(a: Arc<AgentView>) -> bool {
    let mut steps = Vec::new();
    let mut change = Change::begin(at(0), decision(Action::Down, &["a"]), SETTINGS, &mut steps);
    assert_eq!(change.advance(&fleet(5, [a]), &mut steps), Progress::Goes);
    matches!(steps.last(), Some(Step::Act(_)))
}

#[test]
fn an_agent_goes_when_it_is_drained_and_holds_nothing_or_is_gone() {
    assert!(goes(draining("a", nothing)));
    assert!(!goes(draining("a", |agent| agent.running_tasks = 1)));
    assert!(!goes(draining("a", |agent| agent.prefetched_tasks = 1)), "it was promised that one");
    assert!(!goes(draining("a", |agent| agent.admin = AdminState::Active)), "it may be given work at any moment");
    let lost = |agent: &mut AgentView| (agent.health, agent.running_tasks) = (Health::Lost, 1);
    assert!(goes(draining("a", lost)), "what it ran moves on without it");
}

#[test]
fn an_agent_that_is_given_work_again_is_kept_and_so_are_the_others() {
    let mut steps = Vec::new();
    let mut change = Change::begin(at(0), decision(Action::Down, &["a", "b"]), SETTINGS, &mut steps);
    let busy = |agent: &mut AgentView| agent.running_tasks = 1;
    let resumed = |agent: &mut AgentView| (agent.admin, agent.running_tasks) = (AdminState::Active, 1);
    steps.clear();
    // The order to drain may take a while to show.
    let early = fleet(9, [draining("a", busy), draining("b", resumed)]);
    assert_eq!(change.advance(&early, &mut steps), Progress::Goes);
    let late = fleet(10, [draining("a", busy), draining("b", resumed)]);
    let (outcome, error) = outcome(change.advance(&late, &mut steps));
    assert_eq!(outcome, ScalingOutcome::Failed);
    assert!(error.starts_with("b is not drained any more"), "{error}");
    let all = ["a", "b"].map(|id| Step::Resume(AgentId::new(id).unwrap()));
    assert_eq!(steps, all, "nobody is left half drained");
}

#[test]
fn what_is_left_at_the_deadline_has_time_to_move_on() {
    let mut steps = Vec::new();
    let mut change = Change::begin(at(0), decision(Action::Down, &["a"]), SETTINGS, &mut steps);
    let busy = |second| fleet(second, [draining("a", |agent| agent.running_tasks = 1)]);
    let deadline = SETTINGS.drain.as_secs();
    steps.clear();
    assert_eq!(change.advance(&busy(deadline + MOVE_MAX.as_secs() - 1), &mut steps), Progress::Goes);
    assert_eq!(steps, []);
    assert_eq!(change.advance(&busy(deadline + MOVE_MAX.as_secs()), &mut steps), Progress::Goes);
    assert!(matches!(steps[..], [Step::Act(_)]), "{steps:?}");
}

#[test]
fn a_scale_down_is_over_when_those_who_go_are_gone() {
    let begin = || {
        let mut steps = Vec::new();
        let mut change = Change::begin(at(0), decision(Action::Down, &["a"]), SETTINGS, &mut steps);
        assert_eq!(change.advance(&empty_fleet(1), &mut steps), Progress::Goes);
        assert_eq!(change.acted(at(2), Ok(()), &mut steps), Progress::Goes);
        change
    };
    let there = |second| fleet(second, [draining("a", nothing)]);
    let mut change = begin();
    assert_eq!(change.advance(&there(3), &mut Vec::new()), Progress::Goes);
    let gone = fleet(4, [draining("a", |agent| agent.health = Health::Lost)]);
    assert_eq!(outcome(change.advance(&gone, &mut Vec::new())).0, ScalingOutcome::Done);
    let (mut change, last) = (begin(), 2 + GONE_MAX.as_secs());
    assert_eq!(change.advance(&there(last - 1), &mut Vec::new()), Progress::Goes);
    let (outcome, error) = outcome(change.advance(&there(last), &mut Vec::new()));
    assert_eq!((outcome, error.as_str()), (ScalingOutcome::Failed, "still there: a"));
}

#[test]
fn where_the_actuator_chooses_who_goes_they_are_counted() {
    let mut steps = Vec::new();
    let mut change = Change::begin(at(0), decision(Action::Down, &[]), SETTINGS, &mut steps);
    assert!(matches!(steps[..], [Step::Act(_)]), "nobody is drained here: {steps:?}");
    assert_eq!(change.acted(at(1), Ok(()), &mut steps), Progress::Goes);
    let active = |id| draining(id, |agent| agent.admin = AdminState::Active);
    assert_eq!(change.advance(&fleet(2, [active("a"), active("b")]), &mut steps), Progress::Goes);
    let lost = draining("b", |agent| (agent.admin, agent.health) = (AdminState::Active, Health::Lost));
    let left = fleet(3, [active("a"), lost, draining("c", nothing)]);
    assert_eq!(outcome(change.advance(&left, &mut steps)).0, ScalingOutcome::Done, "one is left, as was wanted");
}

#[test]
fn agents_that_were_asked_for_and_are_not_there_are_on_their_way() {
    let active = fleet(1, [draining("a", |agent| agent.admin = AdminState::Active)]);
    let starting = |action| Change::begin(at(0), decision(action, &[]), SETTINGS, &mut Vec::new()).starting(&active);
    assert_eq!((starting(Action::Up), starting(Action::Down)), (2, 0));
}

//! Single decisions: what the rules say, one by one.

use std::time::Duration;

use super::*;
use crate::capacity::{Action, Demand, Hold, Override, Reason, Rules, proposal::propose, score::Score};

/// Grows and shrinks at once, by as much as is proposed.
fn eager() -> Policy {
    let free = Rules { period_ms: 60_000, ..Rules::default() };
    Policy { up: free, down: free, ..policy("web-balanced") }
}

#[test]
fn demand_is_what_runs_and_comes_and_the_part_of_the_backlog_that_is_due() {
    let policy = eager();
    let demand = |load: &Load| Demand::of(&policy, load);
    // 10 tasks a second of 2 s are 20 slots, on 8 agents of 4.
    let steady = demand(&load(8, 20.0));
    assert_eq!((steady.slots, steady.agents, steady.headroom, steady.utilisation), (20.0, 5.0, 3.0, 0.625));
    // 300 that wait for their 2 s, to be begun within 30 s, are 20 slots more.
    let behind = demand(&Load { waiting: 300, ..load(8, 20.0) });
    assert_eq!((behind.slots, behind.backlog_slots), (40.0, 20.0));
    // Three of an hour are three slots, not 360.
    let hour = Some(Duration::from_secs(3_600));
    let long = demand(&Load { waiting: 3, service_mean: hour, arrivals_per_s: 0.0, ..load(8, 20.0) });
    assert_eq!(long.backlog_slots, 3.0);
    // And where nothing has ended yet, each is one.
    assert_eq!(demand(&Load { waiting: 3, service_mean: None, ..load(8, 0.0) }).slots, 3.0);
}

#[test]
fn more_demand_than_the_target_bears_makes_the_fleet_grow_to_it() {
    let verdict = Fleet::new(eager(), 4).run(0..1, |_| 30.0).last.clone();
    // 30 slots of 4 at 75 %.
    assert_eq!((verdict.wanted, verdict.action), (10, Action::Up));
    assert!(matches!(verdict.reasons[0], Reason::Demand { agents: 10, target_percent: 75, .. }), "{verdict:?}");
}

#[test]
fn what_is_off_by_less_than_the_tolerance_is_left_alone() {
    let tight = Policy { scale_up_percent: 100, ..eager() };
    // 10 agents are made for 30 slots: 10 % more is 33.
    assert_eq!(Fleet::new(tight.clone(), 10).run(0..1, |_| 32.9).agents, 10);
    assert_eq!(Fleet::new(tight, 10).run(0..1, |_| 33.2).agents, 12);
}

#[test]
fn a_strained_fleet_grows_though_its_slots_are_free() {
    let busy = Load { cpu_share: 1.0, memory_share: 0.95, error_share: 0.3, ..load(10, 28.0) };
    let policy = Policy { scale_up_percent: 60, ..eager() };
    let verdict = Scaler::new(policy.clone()).decide(at(0), &busy, None);
    let expected = (10.0 * verdict.score.percent / 60.0).ceil() as u32;
    assert_eq!(verdict.wanted, expected);
    assert!(matches!(verdict.reasons[0], Reason::ScoreHigh { threshold_percent: 60, .. }), "{verdict:?}");
    // Agents that are on their way already count.
    let coming = Load { starting: expected - 10, ..busy };
    assert_eq!(Scaler::new(policy).decide(at(0), &coming, None).action, Action::None);
}

#[test]
fn it_shrinks_only_below_its_score_and_not_so_far_that_the_score_would_call_for_more() {
    let verdict = Fleet::new(eager(), 10).run(0..1, |_| 22.0).last.clone();
    assert_eq!(verdict.action, Action::None);
    assert!(matches!(verdict.waiting_for, Some(Reason::ScoreNotLow { .. })), "{verdict:?}");
    let mut fleet = Fleet::new(eager(), 10);
    assert_eq!(fleet.run(0..1, |_| 6.0).agents, 2);
    // A score that no demand explains holds agents back: of 28 % on ten, 63 % are on five.
    let hot = Load { cpu_share: 0.9, memory_share: 0.5, ..load(10, 1.0) };
    let verdict = Scaler::new(eager()).decide(at(0), &hot, None);
    assert!(verdict.score.percent < 30.0, "{}", verdict.score.percent);
    assert_eq!(verdict.wanted, (10.0 * verdict.score.percent / 63.0).ceil() as u32);
}

#[test]
fn bounds_hold_and_a_fleet_beyond_them_is_put_right_at_once() {
    let slow = Rules {
        stabilisation_ms: 600_000,
        step_agents_max: Some(1),
        period_ms: 60_000,
        cooldown_ms: 600_000,
        ..Rules::default()
    };
    let policy = Policy { agents_min: 3, agents_max: 6, up: slow, down: slow, ..eager() };
    for (agents, work, wanted) in [(1, 0.0, 3), (9, 100.0, 6), (3, 0.0, 3), (6, 1_000.0, 6)] {
        let mut fleet = Fleet::new(policy.clone(), agents);
        assert_eq!(fleet.run(0..1, |_| work).agents, wanted, "{agents} agents");
        let said = fleet.last.reasons.iter().filter(|reason| matches!(reason, Reason::Bound { .. }));
        assert!(said.count() <= 1, "{:?}", fleet.last.reasons);
    }
}

#[test]
fn an_empty_fleet_gets_its_first_agent_at_once() {
    let slow = Rules { stabilisation_ms: 600_000, period_ms: 60_000, ..Rules::default() };
    let policy = Policy { agents_min: 0, up: slow, ..eager() };
    let mut fleet = Fleet::new(policy, 0);
    assert_eq!(fleet.run(0..5, |_| 0.0).agents, 0);
    let waiting = Load { waiting: 1, ..load(0, 0.0) };
    assert_eq!(fleet.scaler.decide(at(5), &waiting, None).wanted, 1);
    // Which is on its way then.
    let coming = Load { starting: 1, ..waiting };
    assert_eq!(fleet.scaler.decide(at(6), &coming, None).wanted, 1);
}

#[test]
fn an_idle_fleet_may_go_down_to_nothing() {
    let policy = Policy { agents_min: 0, ..eager() };
    assert_eq!(Fleet::new(policy, 3).run(0..1, |_| 0.0).agents, 0);
}

#[test]
fn the_mildest_proposal_of_the_window_counts() {
    let up = Rules { stabilisation_ms: 30_000, ..eager().up };
    let down = Rules { stabilisation_ms: 300_000, ..eager().down };
    let mut fleet = Fleet::new(Policy { up, down, ..eager() }, 4);
    // A spike of 20 s is let pass.
    fleet.run(0..60, |_| 12.0).run(60..80, |_| 60.0).run(80..120, |_| 12.0);
    assert_eq!(fleet.changes, []);
    // One that stays is followed after half a minute.
    fleet.run(120..160, |_| 60.0);
    assert_eq!(fleet.changes, [(149, 20)]);
    // A lull is followed after five minutes, down to the most that was needed in them.
    fleet.run(160..600, |_| 4.0);
    assert_eq!(fleet.changes[1..], [(459, 2)]);
}

#[test]
fn a_scaler_that_has_just_begun_does_not_shrink_the_fleet_before_a_window_is_over() {
    let down = Rules { stabilisation_ms: 300_000, ..eager().down };
    let mut fleet = Fleet::new(Policy { down, ..eager() }, 10);
    fleet.run(0..400, |_| 4.0);
    assert_eq!(fleet.changes, [(300, 2)]);
}

#[test]
fn steps_are_of_the_size_at_the_begin_of_the_period() {
    let up = Rules { step_percent_max: Some(50), period_ms: 60_000, ..Rules::default() };
    let mut fleet = Fleet::new(Policy { up, ..eager() }, 4);
    fleet.run(0..130, |_| 100.0);
    assert_eq!(fleet.changes, [(0, 6), (60, 9), (120, 14)]);
    assert!(matches!(fleet.last.waiting_for, Some(Reason::Step { wanted: 34, .. })), "{:?}", fleet.last);
    // Of both steps the smaller holds, and a percentage is at least one agent.
    let up = Rules { step_agents_max: Some(3), step_percent_max: Some(1), ..up };
    let mut fleet = Fleet::new(Policy { up, ..eager() }, 4);
    fleet.run(0..61, |_| 100.0);
    assert_eq!(fleet.changes, [(0, 5), (60, 6)]);
}

#[test]
fn after_a_change_it_waits_but_not_to_grow_after_shrinking() {
    let rules = Rules { cooldown_ms: 60_000, period_ms: 1_000, ..Rules::default() };
    let mut fleet = Fleet::new(Policy { up: rules, down: rules, ..eager() }, 10);
    fleet.run(0..10, |_| 6.0).run(10..20, |_| 30.0);
    assert_eq!(fleet.changes, [(0, 2), (10, 10)], "growing does not wait for the cooldown of shrinking");
    fleet.run(20..100, |_| 6.0);
    assert_eq!(fleet.changes[2..], [(70, 2)], "shrinking waits for that of both");
}

#[test]
fn an_override_counts_until_its_end() {
    let mut fleet = Fleet::new(eager(), 4);
    let fixed = Override { agents: 9, until: at(100), reason: "a demonstration".into(), set: at(10) };
    fleet.run(0..10, |_| 12.0);
    fleet.scaler.set_override(Some(fixed));
    fleet.run(10..150, |_| 12.0);
    assert_eq!(fleet.changes, [(10, 9), (100, 4)]);
}

#[test]
fn nothing_is_decided_while_the_fleet_comes_back() {
    let mut scaler = Scaler::new(eager());
    for hold in [Hold::Recovering, Hold::Panic, Hold::InFlight] {
        let verdict = scaler.decide(at(0), &load(1, 50.0), Some(hold));
        assert_eq!((verdict.wanted, verdict.action), (1, Action::None));
        assert_eq!(verdict.waiting_for, Some(Reason::Held { hold }));
    }
}

#[test]
fn a_forecast_counts_where_the_policy_says_so() {
    for (predictive, agents) in [(true, 20), (false, 4)] {
        let mut fleet = Fleet::new(Policy { predictive, ..eager() }, 4);
        fleet.run_foreseen(0..1, |_| 12.0, |_| Some(60.0));
        assert_eq!(fleet.agents, agents);
    }
    // It keeps agents that are wanted again soon.
    let mut fleet = Fleet::new(Policy { predictive: true, ..eager() }, 10);
    assert_eq!(fleet.run_foreseen(0..1, |_| 6.0, |_| Some(30.0)).agents, 10);
}

#[test]
fn reasons_read_as_sentences() {
    let mut fleet = Fleet::new(eager(), 4);
    let verdict = fleet.run(0..1, |_| 30.0).last.clone();
    assert_eq!(verdict.reasons[0].to_string(), "30.0 slots are asked for: 10 agents at 75 % utilisation");
    let held = Reason::Stabilising { proposed: 2, mildest: 5, window_ms: 300_000 };
    assert_eq!(held.to_string(), "2 are proposed now, but 5 were within the last 300 s");
}

proptest::proptest! {
    /// More work never makes a smaller proposal.
    #[test]
    fn proposals_grow_with_the_load(
        agents in 0_u32..60, used in 0.0..240.0_f64, rate in 0.0..120.0_f64, waiting in 0_u64..1_000, cpu in 0.0..1.0_f64,
        more in 0.0..100.0_f64, which in 0_usize..4, template in 0_usize..6,
    ) {
        let policy = Policy { agents_min: 0, agents_max: 100, ..crate::capacity::TEMPLATES[template].policy() };
        let wanted = |load: &Load| {
            let demand = Demand::of(&policy, load);
            propose(&policy, load, &demand, &Score::of(&policy, load, &demand)).agents
        };
        let less = Load {
            slots_used: used, arrivals_per_s: rate, waiting, cpu_share: cpu, service_mean: Some(Duration::from_secs(2)),
            response_mean: Duration::from_secs(2), ..load(agents, 0.0)
        };
        let mut greater = less.clone();
        match which {
            0 => greater.slots_used += more,
            1 => greater.arrivals_per_s += more,
            2 => greater.waiting += more as u64,
            _ => greater.cpu_share = (cpu + more / 100.0).min(1.0),
        }
        proptest::prop_assert!(wanted(&less) <= wanted(&greater));
    }
}

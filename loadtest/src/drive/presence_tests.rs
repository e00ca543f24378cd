use super::*;

const AGENTS: u32 = 100;

fn scenario(change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = Scenario::find("smoke").unwrap();
    scenario.fleet.agents = AGENTS;
    scenario.fleet.churn = Churn::default();
    scenario.network.agent_breaks_per_minute = 0.0;
    scenario.duration_s = 100.0;
    change(&mut scenario);
    scenario
}

fn there(presence: &Presence) -> usize {
    (0..AGENTS).filter(|agent| presence.is_there(*agent)).count()
}

#[test]
fn the_fleet_follows_its_curve() {
    let curve = Curve(vec![(0.0, 0.1), (0.5, 1.0), (1.0, 0.0)]);
    let mut presence = Presence::new(&scenario(|scenario| scenario.fleet.curve = curve), 1);
    assert_eq!(there(&presence), 10);
    assert_eq!(presence.step(25.0, true).len(), 45);
    assert_eq!(there(&presence), 55);
    presence.step(50.0, true);
    assert_eq!(there(&presence), 100);
    let orders = presence.step(75.0, true);
    assert!(orders.contains(&Order::Leave(99, Away::Orderly)) && !orders.contains(&Order::Leave(49, Away::Orderly)));
    presence.step(100.0, true);
    assert_eq!(there(&presence), 1, "one is always there");
}

#[test]
fn churn_takes_as_many_as_it_says_and_they_come_back() {
    let churn = Churn { per_minute: 600.0, orderly_share: 0.25, away_s: 1.0 };
    let mut presence = Presence::new(&scenario(|scenario| scenario.fleet.churn = churn), 1);
    let (mut abrupt, mut orderly, mut came) = (0, 0, 0);
    for step in 1..=2_000 {
        for order in presence.step(f64::from(step) * 0.05, true) {
            match order {
                Order::Leave(_, Away::Abrupt) => abrupt += 1,
                Order::Leave(_, Away::Orderly) => orderly += 1,
                Order::Come(_) => came += 1,
                Order::Break(_) => panic!("nothing was to break"),
            }
        }
    }
    assert!((900..1_100).contains(&(abrupt + orderly)), "{abrupt} + {orderly}");
    assert!((0.2..0.3).contains(&(f64::from(orderly) / 1_000.0)), "{orderly}");
    assert!(came > 900, "{came}");
    presence.step(101.0, false);
    assert_eq!(there(&presence), 100, "after the run all are back");
}

#[test]
fn connections_break_and_nobody_leaves() {
    let mut presence = Presence::new(&scenario(|scenario| scenario.network.agent_breaks_per_minute = 60.0), 1);
    let orders: Vec<_> = (1..=1_000).flat_map(|step| presence.step(f64::from(step) * 0.1, true)).collect();
    assert!((70..130).contains(&orders.len()), "{}", orders.len());
    assert!(orders.iter().all(|order| matches!(order, Order::Break(_))));
}

#[test]
fn lost_agents_stay_away_as_long_as_the_longest_reason() {
    let mut presence = Presence::new(&scenario(|_| {}), 1);
    let lost = presence.choose(0.25, |agent| agent % 2 == 0);
    assert!(lost.len() == 13 && lost.iter().all(|agent| agent % 2 == 0), "{lost:?}");
    presence.leave(lost[0], 10.0, Away::Abrupt);
    presence.leave(lost[0], 5.0, Away::Abrupt);
    assert_eq!(presence.step(9.0, true), []);
    assert_eq!(presence.step(10.0, true), [Order::Come(lost[0])]);
}

#[test]
fn the_same_seed_has_the_same_fate() {
    let churn = Churn { per_minute: 600.0, orderly_share: 0.5, away_s: 1.0 };
    let fate = |seed| {
        let mut presence = Presence::new(&scenario(|scenario| scenario.fleet.churn = churn.clone()), seed);
        (1..=100).flat_map(|step| presence.step(f64::from(step), true)).collect::<Vec<_>>()
    };
    assert_eq!(fate(1), fate(1));
    assert_ne!(fate(1), fate(2));
}

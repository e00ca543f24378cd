use super::*;

/// Agents that run tasks of some kinds in turn, with some chance.
struct World {
    norms: Norms,
    paces: Vec<Pace>,
    rng: fastrand::Rng,
    now: Timestamp,
}

fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

impl World {
    fn new(agents: usize) -> Self {
        let now = Timestamp::from_unix_millis(1_000_000);
        Self { norms: Norms::default(), paces: vec![Pace::default(); agents], rng: fastrand::Rng::with_seed(1), now }
    }

    /// Exponential times of this mean.
    fn run(&mut self, agent: usize, name: &str, mean_ms: f64) {
        let drawn = -(1.0 - self.rng.f64()).ln() * mean_ms / 1e3;
        self.norms.observe(self.now, &kind(name), Duration::from_secs_f64(drawn), &mut self.paces[agent]);
    }

    fn octaves(&self) -> Vec<f64> {
        self.paces.iter().map(|pace| self.norms.octaves(pace)).collect()
    }
}

#[test]
fn equal_agents_count_as_equal() {
    let mut world = World::new(100);
    for _ in 0..200 {
        (0..100).for_each(|agent| world.run(agent, "a", 100.0));
    }
    let unequal = world.octaves().into_iter().filter(|&octaves| octaves != 0.0).count();
    assert!(unequal <= 3, "{:?}", world.octaves());
}

#[test]
fn a_slow_agent_is_found_out_by_as_much_as_it_is_slow() {
    let mut world = World::new(20);
    for _ in 0..200 {
        (0..20).for_each(|agent| world.run(agent, "a", if agent == 7 { 400.0 } else { 100.0 }));
    }
    let octaves = world.octaves();
    assert!((octaves[7] - (2.0 - DEAD_BAND)).abs() < 0.5, "{octaves:?}");
    assert!(octaves.iter().enumerate().all(|(agent, &octaves)| agent == 7 || octaves < 0.5), "{octaves:?}");
}

#[test]
fn an_agent_is_not_slow_because_its_tasks_are_of_a_longer_kind() {
    let mut world = World::new(20);
    for _ in 0..400 {
        for agent in 0..20 {
            // The first ten take long tasks alone, the others nine short ones out of ten.
            let long = agent < 10 || world.rng.u32(..10) == 0;
            world.run(agent, if long { "long" } else { "short" }, if long { 3_000.0 } else { 10.0 });
        }
    }
    assert!(world.octaves().iter().all(|octaves| octaves.abs() < 0.5), "{:?}", world.octaves());
}

#[test]
fn a_kind_that_takes_longer_than_it_did_makes_no_agent_slow_and_newcomers_not_fast() {
    let mut world = World::new(10);
    for mean_ms in [100.0, 800.0] {
        for _ in 0..300 {
            (0..9).for_each(|agent| world.run(agent, "a", mean_ms));
        }
    }
    (0..30).for_each(|_| world.run(9, "a", 800.0));
    assert!(world.octaves().iter().all(|octaves| octaves.abs() < 0.5), "{:?}", world.octaves());
}

#[test]
fn an_agent_that_does_nothing_becomes_an_ordinary_one() {
    let mut world = World::new(10);
    for _ in 0..200 {
        (0..10).for_each(|agent| world.run(agent, "a", if agent == 0 { 300.0 } else { 100.0 }));
    }
    let before = world.octaves()[0];
    world.now = world.now.plus(HALF_LIFE);
    world.norms.fade(world.now, false, &mut world.paces[0]);
    assert_eq!(world.octaves()[0], before, "it has something to do");
    world.now = world.now.plus(HALF_LIFE);
    world.norms.fade(world.now, true, &mut world.paces[0]);
    let halfway = world.octaves()[0];
    assert!(before > 0.5 && (halfway + DEAD_BAND - (before + DEAD_BAND) / 2.0).abs() < 0.01, "{before} {halfway}");
    world.now = world.now.plus(5 * HALF_LIFE);
    world.norms.fade(world.now, true, &mut world.paces[0]);
    assert_eq!(world.octaves()[0], 0.0);
}

#[test]
fn what_counts_is_bounded_and_the_unknown_counts_as_ordinary() {
    let mut world = World::new(3);
    assert_eq!(world.octaves(), [0.0; 3]);
    for _ in 0..100 {
        world.run(0, "a", 0.000_01);
        world.run(1, "a", 1e9);
    }
    let octaves = world.octaves();
    assert_eq!((octaves[0], octaves[1], octaves[2]), (-COUNTED_MAX, COUNTED_MAX, 0.0));
}

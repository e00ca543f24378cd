use super::*;

const SLOTS: u32 = 32;

/// An agent that bears so many attempts at a time; beyond that each takes longer, in proportion.
struct Machine {
    bears: u32,
    /// What an attempt takes on it alone.
    base_ms: f64,
    /// How far run times scatter, in octaves.
    noise: f64,
}

/// One machine that always has more to do than it may, run attempt by attempt.
struct Bench {
    machine: Machine,
    settings: DynamicLimitSettings,
    limits: DynamicLimits,
    agent: SlotLimit,
    kind: Kind,
    /// Attempts that run: when they end, and how long they take, in milliseconds.
    running: Vec<(f64, f64)>,
    now_ms: f64,
    draws: fastrand::Rng,
}

fn settings(algorithm: DynamicAlgorithm) -> DynamicLimitSettings {
    DynamicLimitSettings { enabled: true, algorithm, ..DynamicLimitSettings::default() }
}

impl Bench {
    fn new(algorithm: DynamicAlgorithm, machine: Machine) -> Self {
        Self {
            machine,
            settings: settings(algorithm),
            limits: DynamicLimits::default(),
            agent: SlotLimit::default(),
            kind: Kind::new("a").unwrap(),
            running: Vec::new(),
            now_ms: 0.0,
            draws: fastrand::Rng::with_seed(7),
        }
    }

    fn limit(&self) -> u32 {
        self.agent.slots(&self.settings, SLOTS)
    }

    /// So many attempts end, while there is work for `load` at a time.
    fn run(&mut self, attempts: u32, load: u32) -> &mut Self {
        for _ in 0..attempts {
            while (self.running.len() as u32) < self.limit().min(load) {
                let at_a_time = self.running.len() as f64 + 1.0;
                let slowed = (at_a_time / f64::from(self.machine.bears)).max(1.0);
                // The sum of twelve even draws is near enough to a normal law.
                let normal: f64 = (0..12).map(|_| self.draws.f64()).sum::<f64>() - 6.0;
                let took = self.machine.base_ms * slowed * (self.machine.noise * normal).exp2();
                self.running.push((self.now_ms + took, took));
            }
            self.running.sort_by(|a, b| a.0.total_cmp(&b.0));
            let in_use = self.running.len() as u32;
            let (at, took) = self.running.remove(0);
            self.now_ms = at;
            let ran = Ran::For(Duration::from_secs_f64(took / 1e3));
            self.limits.observe(&self.settings, &self.kind, ran, (in_use, SLOTS), &mut self.agent);
        }
        self
    }
}

const BOTH: [DynamicAlgorithm; 2] = [DynamicAlgorithm::Gradient, DynamicAlgorithm::Aimd];

#[test]
fn an_agent_that_slows_down_beyond_so_many_comes_to_rest_where_the_tolerance_is_used_up() {
    for algorithm in BOTH {
        for noise in [0.0, 0.5] {
            let mut bench = Bench::new(algorithm, Machine { bears: 8, base_ms: 100.0, noise });
            // First it has little to do, so that its best is known; then more than it bears.
            bench.run(500, 4).run(4_000, SLOTS);
            let limits: Vec<u32> = (0..200).map(|_| bench.run(50, SLOTS).limit()).collect();
            let mean = limits.iter().sum::<u32>() / 200;
            // Eight are borne, twelve are at the tolerance of 1.5; what scatters moves the limit about.
            assert!((8..=14).contains(&mean), "{algorithm:?} with noise {noise}: {mean} on average");
            assert!(
                limits.iter().all(|limit| (6..=20).contains(limit)),
                "{algorithm:?} with noise {noise}: {limits:?}"
            );
        }
    }
}

#[test]
fn a_latency_that_does_not_depend_on_the_load_leaves_the_limit_alone() {
    for algorithm in BOTH {
        for noise in [0.0, 1.0] {
            let mut bench = Bench::new(algorithm, Machine { bears: u32::MAX, base_ms: 100.0, noise });
            let mut least = SLOTS;
            for _ in 0..400 {
                bench.run(50, SLOTS);
                least = least.min(bench.limit());
            }
            assert!(least >= SLOTS * 3 / 4, "{algorithm:?} with noise {noise}: down to {least} of {SLOTS}");
        }
    }
}

#[test]
fn an_agent_that_bears_more_again_gets_its_slots_back() {
    for algorithm in BOTH {
        let mut bench = Bench::new(algorithm, Machine { bears: 4, base_ms: 100.0, noise: 0.2 });
        bench.run(500, 3).run(5_000, SLOTS);
        assert!(bench.limit() <= 9, "{algorithm:?}: {}", bench.limit());
        bench.machine.bears = 64;
        bench.run(3_000, SLOTS);
        assert_eq!(bench.limit(), SLOTS, "{algorithm:?}");
    }
}

#[test]
fn work_that_takes_longer_for_another_reason_is_learned_as_normal() {
    for algorithm in BOTH {
        let mut bench = Bench::new(algorithm, Machine { bears: u32::MAX, base_ms: 100.0, noise: 0.3 });
        bench.run(2_000, SLOTS);
        bench.machine.base_ms = 800.0;
        bench.run(10_000, SLOTS);
        assert_eq!(bench.limit(), SLOTS, "{algorithm:?}: eight times as long, however few there are");
    }
}

#[test]
fn kinds_that_take_different_times_are_not_taken_for_a_slow_agent() {
    let settings = settings(DynamicAlgorithm::Gradient);
    let (mut limits, mut agent) = (DynamicLimits::default(), SlotLimit::default());
    let (short, long) = (Kind::new("short").unwrap(), Kind::new("long").unwrap());
    let ends = |limits: &mut DynamicLimits, agent: &mut SlotLimit, kind: &Kind, ms| {
        limits.observe(&settings, kind, Ran::For(Duration::from_millis(ms)), (SLOTS, SLOTS), agent);
    };
    for _ in 0..500 {
        ends(&mut limits, &mut agent, &short, 10);
        ends(&mut limits, &mut agent, &long, 5_000);
    }
    for _ in 0..500 {
        ends(&mut limits, &mut agent, &long, 5_000);
    }
    assert_eq!(agent.slots(&settings, SLOTS), SLOTS);
    assert!((agent.latency_ratio() - 1.0).abs() < 0.1, "{}", agent.latency_ratio());
}

#[test]
fn a_timeout_takes_a_tenth_once_a_round_and_nothing_takes_the_last_slots() {
    for algorithm in BOTH {
        let settings = DynamicLimitSettings { slots_min: 3, ..settings(algorithm) };
        let (mut limits, mut agent, kind) = (DynamicLimits::default(), SlotLimit::default(), Kind::new("a").unwrap());
        let mut overload = || {
            limits.observe(&settings, &kind, Ran::Overload, (20, 20), &mut agent);
            agent.slots(&settings, 20)
        };
        assert_eq!(overload(), 18);
        assert_eq!((1..18).map(|_| overload()).max(), Some(18), "the rest of the round is one event");
        let after: Vec<u32> = (0..1_000).map(|_| overload()).collect();
        assert_eq!(after.last(), Some(&3), "{algorithm:?}");
    }
}

#[test]
fn a_limit_grows_only_where_it_is_used() {
    for algorithm in BOTH {
        let mut bench = Bench::new(algorithm, Machine { bears: 4, base_ms: 100.0, noise: 0.0 });
        bench.run(200, 2).run(3_000, SLOTS);
        let limited = bench.limit();
        bench.run(3_000, 2);
        assert!(bench.limit() <= limited, "{algorithm:?}: two at a time prove nothing about more");
    }
}

#[test]
fn a_limit_never_leaves_its_bounds_whatever_is_observed() {
    let mut draws = fastrand::Rng::with_seed(1);
    for algorithm in BOTH {
        let settings = DynamicLimitSettings { slots_min: 2, ..settings(algorithm) };
        let (mut limits, mut agent, kind) = (DynamicLimits::default(), SlotLimit::default(), Kind::new("a").unwrap());
        for _ in 0..20_000 {
            let slots = draws.u32(1..40);
            let ran = match draws.u8(0..4) {
                0 => Ran::Overload,
                1 => Ran::For(Duration::ZERO),
                2 => Ran::For(Duration::MAX),
                _ => Ran::For(Duration::from_micros(draws.u64(..))),
            };
            limits.observe(&settings, &kind, ran, (draws.u32(0..=slots), slots), &mut agent);
            let limit = agent.slots(&settings, slots);
            assert!((2.min(slots)..=slots).contains(&limit), "{limit} of {slots}");
            assert!(agent.latency_ratio().is_finite());
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |change: fn(&mut DynamicLimitSettings), field: &str| {
        let mut settings = DynamicLimitSettings::default();
        assert_eq!(settings.validate(), Ok(()));
        change(&mut settings);
        assert_eq!(settings.validate().unwrap_err().field, field);
    };
    check(|settings| settings.slots_min = 0, "slots_min");
    check(|settings| settings.tolerance = 0.9, "tolerance");
    check(|settings| settings.tolerance = f64::NAN, "tolerance");
    check(|settings| settings.headroom_priority = 10, "headroom_priority");
}

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

/// An agent that is watched: one heartbeat a second.
struct Watched {
    tracker: HealthTracker,
    now: Timestamp,
}

impl Watched {
    fn new() -> Self {
        Self { tracker: HealthTracker::new(HealthSettings::default()), now: START }
    }

    fn heartbeats(mut self, times: u32, cpu_share: f64, memory_share: f64) -> Self {
        for _ in 0..times {
            self.now = self.now.plus(Duration::from_secs(1));
            self.tracker.observe_load(self.now, &AgentLoad { cpu_share, memory_share, ..AgentLoad::default() });
        }
        self
    }

    fn attempts(mut self, times: u32, ok: bool) -> Self {
        (0..times).for_each(|_| self.tracker.observe_outcome(self.now, ok));
        self
    }

    fn health(&self) -> Health {
        self.tracker.assess().health
    }

    #[track_caller]
    fn check(self, expected: Health, conditions: &[&str]) -> Self {
        let assessment = self.tracker.assess();
        let said: Vec<_> = assessment.conditions.iter().map(ToString::to_string).collect();
        assert_eq!(said, conditions);
        assert_eq!(assessment.health, expected);
        self
    }
}

#[test]
fn memory_has_to_stay_high_before_it_counts() {
    Watched::new()
        .heartbeats(2, 0.1, 0.90)
        .check(Health::Healthy, &[])
        .heartbeats(1, 0.1, 0.90)
        .check(Health::Degraded, &["memory in use: 90 % (warning from 85 %)"])
        .heartbeats(3, 0.1, 0.97)
        .check(Health::Unhealthy, &["memory in use: 97 % (critical from 95 %)"]);
}

#[test]
fn a_level_is_left_only_well_below_its_bound_and_not_at_once() {
    Watched::new()
        .heartbeats(3, 0.1, 0.97)
        .heartbeats(9, 0.1, 0.91)
        .check(Health::Unhealthy, &["memory in use: 91 % (critical from 95 %)"])
        .heartbeats(2, 0.1, 0.5)
        .check(Health::Unhealthy, &["memory in use: 50 % (critical from 95 %)"])
        .heartbeats(1, 0.1, 0.5)
        .check(Health::Healthy, &[]);
}

#[test]
fn a_spike_of_the_processor_changes_nothing() {
    Watched::new()
        .heartbeats(9, 1.0, 0.1)
        .check(Health::Healthy, &[])
        .heartbeats(1, 0.2, 0.1)
        .heartbeats(9, 1.0, 0.1)
        .check(Health::Healthy, &[])
        .heartbeats(1, 1.0, 0.1)
        .check(Health::Unhealthy, &["processor in use: 100 % (critical from 98 %)"]);
}

#[test]
fn one_critical_reading_among_warnings_is_a_warning() {
    Watched::new()
        .heartbeats(1, 0.1, 0.99)
        .heartbeats(2, 0.1, 0.90)
        .check(Health::Degraded, &["memory in use: 90 % (warning from 85 %)"]);
}

#[test]
fn few_failures_prove_nothing() {
    Watched::new()
        .attempts(2, false)
        .check(Health::Healthy, &[])
        .attempts(1, false)
        .check(Health::Degraded, &["failed attempts: 30 % (warning from 25 %)"])
        .attempts(90, true)
        .check(Health::Healthy, &[]);
}

#[test]
fn an_agent_that_failed_everything_is_tried_again_once_the_evidence_has_faded() {
    let failing = Watched::new().attempts(5_000, false);
    assert_eq!(failing.health(), Health::Unhealthy);
    let later = failing.heartbeats(119, 0.1, 0.1);
    assert_eq!(later.health(), Health::Unhealthy);
    let last = later.heartbeats(31, 0.1, 0.1);
    assert_eq!(last.health(), Health::Degraded, "five half-lives");
}

#[test]
fn the_worst_condition_comes_first() {
    Watched::new().attempts(50, false).heartbeats(3, 0.1, 0.90).check(
        Health::Unhealthy,
        &["failed attempts: 100 % (critical from 60 %)", "memory in use: 90 % (warning from 85 %)"],
    );
}

#[test]
fn settings_out_of_range_are_refused_by_their_path() {
    let defaults = HealthSettings::default();
    assert_eq!(defaults.validate(), Ok(()));
    let field = |settings: HealthSettings| settings.validate().unwrap_err().field;
    assert_eq!(field(HealthSettings { cpu: Bounds { critical: 0.9, ..defaults.cpu }, ..defaults }), "cpu.critical");
    assert_eq!(
        field(HealthSettings { memory: Bounds { warning: f64::NAN, ..defaults.memory }, ..defaults }),
        "memory.warning"
    );
    assert_eq!(field(HealthSettings { failure_samples_min: 0, ..defaults }), "failure_samples_min");
    assert!(serde_json::from_str::<HealthSettings>(r#"{"disk":{}}"#).is_err());
    assert_eq!(serde_json::from_str::<HealthSettings>("{}").unwrap(), defaults);
}

/// How often the health changes over readings of memory.
fn changes(readings: &[f64]) -> usize {
    let (mut watched, mut changes) = (Watched::new(), 0);
    for &memory_share in readings {
        let before = watched.health();
        watched = watched.heartbeats(1, 0.1, memory_share);
        changes += usize::from(watched.health() != before);
    }
    changes
}

proptest! {
    #[test]
    fn readings_that_waver_around_a_bound_change_the_health_at_most_once(
        bound in prop_oneof![Just(0.85), Just(0.95)],
        noise in proptest::collection::vec(-0.024..0.024_f64, 1..200),
    ) {
        // Enter at a settled level first, so that what is counted is the wavering.
        let settled = if bound > 0.9 { 0.90 } else { 0.5 };
        let readings: Vec<_> = std::iter::repeat_n(settled, 5).chain(noise.iter().map(|n| bound + n)).collect();
        prop_assert!(changes(&readings) <= 1 + changes(&[settled; 5]));
    }

    #[test]
    fn the_health_never_changes_faster_than_the_readings_it_takes(
        readings in proptest::collection::vec(0.0..=1.0_f64, 1..200),
    ) {
        prop_assert!(changes(&readings) <= readings.len() / 3);
    }
}

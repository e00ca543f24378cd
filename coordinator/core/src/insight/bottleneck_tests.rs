use super::*;
use crate::insight::{
    fixture::{at, group},
    sample::{GroupSample, LimitSample},
    thresholds::Thresholds,
};

/// A fleet of which only this is told.
struct Fleet {
    watch: Watch,
    now: u64,
    said: Vec<String>,
}

fn fleet() -> Fleet {
    Fleet { watch: Watch::default(), now: 0, said: Vec::new() }
}

fn values(told: &[(Metric, f64)]) -> Vec<Option<f64>> {
    Metric::ALL.map(|metric| told.iter().find(|(other, _)| *other == metric).map(|(_, value)| *value)).to_vec()
}

impl Fleet {
    fn goes_on(&mut self, seconds: u64, told: &[(Metric, f64)], kinds: &[GroupSample], limits: &[LimitSample]) {
        let fleet = values(told);
        let thresholds = Thresholds::default();
        let untaken: Vec<&GroupSample> = kinds.iter().filter(|kind| kind.name != "echo").collect();
        let surroundings =
            Surroundings { thresholds: &thresholds, fleet: &fleet, pools: &[], untaken: &untaken, limits };
        for _ in 0..seconds {
            self.now += 1;
            let mut notices = Vec::new();
            self.watch.observe(at(self.now), &readings(&surroundings), &mut notices);
            self.said.extend(notices.into_iter().map(|notice| notice.message));
        }
    }

    fn uses(&mut self, seconds: u64, utilisation: f64, queued: f64) {
        self.goes_on(seconds, &[(Metric::Utilisation, utilisation), (Metric::Queued, queued)], &[], &[]);
    }

    fn active(&self) -> Vec<Bottleneck> {
        self.watch.list(at(self.now), false)
    }
}

#[test]
fn a_fleet_that_is_full_holds_up_only_while_somebody_waits() {
    let mut fleet = fleet();
    fleet.uses(300, 1.0, 0.0);
    assert!(fleet.active().is_empty() && fleet.said.is_empty());
    fleet.uses(29, 1.0, 5.0);
    assert!(fleet.active().is_empty(), "not yet for 30 s");
    fleet.uses(2, 1.0, 5.0);
    let found = &fleet.active()[0];
    assert_eq!((found.metric, &found.subject, found.since), (Metric::Utilisation, &Subject::Fleet, at(301)));
    assert_eq!(found.severity, Severity::High);
    assert_eq!(fleet.said.len(), 1);
    assert!(fleet.said[0].starts_with("fleet is held up: utilisation is 1.000"), "{:?}", fleet.said);
    fleet.uses(31, 0.5, 0.0);
    assert!(fleet.active().is_empty());
    assert_eq!(fleet.said[1], "fleet is no longer held up by utilisation, after 61 s; it was high at the worst");
    let ended = fleet.watch.list(at(fleet.now), true);
    assert_eq!((ended.len(), ended[0].active, ended[0].frequency), (1, false, 1));
}

#[test]
fn one_that_wavers_is_one_bottleneck() {
    let mut fleet = fleet();
    for _ in 0..20 {
        fleet.uses(31, 0.86, 5.0);
        fleet.uses(31, 0.80, 5.0);
    }
    assert_eq!((fleet.said.len(), fleet.active().len()), (1, 1), "{:?}", fleet.said);
    fleet.uses(31, 0.70, 5.0);
    assert_eq!(fleet.active().len(), 0);
    fleet.uses(31, 0.9, 5.0);
    assert_eq!(fleet.active()[0].frequency, 2);
}

#[test]
fn severity_grows_with_how_far_and_how_long() {
    let severity = |value: f64, seconds: u64| {
        let mut fleet = fleet();
        fleet.goes_on(seconds, &[(Metric::CommitMs, value)], &[], &[]);
        fleet.active().first().map(|found| found.severity)
    };
    assert_eq!(severity(19.0, 100), None);
    assert_eq!(severity(25.0, 100), Some(Severity::Low));
    assert_eq!(severity(70.0, 100), Some(Severity::Medium));
    assert_eq!(severity(110.0, 100), Some(Severity::High));
    assert_eq!(severity(190.0, 100), Some(Severity::Critical));
    assert_eq!(severity(25.0, 400), Some(Severity::Medium), "longer than five minutes");
    assert_eq!(severity(110.0, 400), Some(Severity::Critical));
}

#[test]
fn a_kind_without_agents_holds_up_its_tasks() {
    let mut fleet = fleet();
    fleet.goes_on(11, &[], &[group("echo", 4), group("rare", 1)], &[]);
    let found = fleet.active();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].subject.to_string().as_str(), found[0].severity), ("kind:rare", Severity::High));
    assert!(found[0].advice.contains("no connected agent takes tasks of kind rare"));
    fleet.goes_on(11, &[], &[group("echo", 4)], &[]);
    assert!(fleet.active().is_empty(), "nobody waits for it any more");
}

#[test]
fn a_limit_holds_up_if_it_is_what_tasks_wait_for() {
    let closed = LimitSample { name: "openai".to_owned(), concurrency_max: 4, closed: true, waiting: 40 };
    let mut idle = fleet();
    idle.goes_on(11, &[(Metric::Utilisation, 0.3)], &[], std::slice::from_ref(&closed));
    assert_eq!(idle.active()[0].severity, Severity::High);
    assert_eq!(idle.active()[0].subject.to_string(), "limit:openai");
    let mut full = fleet();
    full.goes_on(11, &[(Metric::Utilisation, 1.0)], &[], &[closed]);
    assert!(full.active().is_empty(), "they would wait anyway");
}

#[test]
fn what_is_followed_is_bounded_and_forgotten() {
    let mut fleet = fleet();
    let kinds: Vec<GroupSample> = (0..2 * WATCHED_MAX).map(|n| group(&format!("k{n}"), 1)).collect();
    fleet.goes_on(1, &[], &kinds, &[]);
    assert_eq!(fleet.watch.tracks.len(), WATCHED_MAX);
    fleet.goes_on(2, &[], &[], &[]);
    assert_eq!(fleet.watch.tracks.len(), 0, "none of them lasted");
}

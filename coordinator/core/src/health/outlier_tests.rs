use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_000_000);
const OK: Ended = Ended { ok: true, run: Duration::from_secs(1), run_normal: Some(Duration::from_secs(1)) };
const FAILED: Ended = Ended { ok: false, ..OK };
const FAILED_FAST: Ended = Ended { ok: false, run: Duration::from_millis(5), ..OK };

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// A fleet whose agents end attempts.
struct Fleet {
    outliers: Outliers,
    size: usize,
}

impl Fleet {
    fn of(size: usize) -> Self {
        Self { outliers: Outliers::new(OutlierSettings::default()), size }
    }

    /// The first ejection among `times` such ends, and after how many.
    fn ends(&mut self, now: Timestamp, agent: u32, ended: Ended, times: u32) -> Option<(u32, Ejection)> {
        (1..=times).find_map(|nth| Some((nth, self.outliers.record(now, AgentIx(agent), ended, self.size)?)))
    }

    fn ejected(&self) -> usize {
        (0..self.size).filter(|&agent| self.outliers.is_ejected(AgentIx::from(agent))).count()
    }
}

#[test]
fn five_failures_in_a_row_eject_for_ten_seconds() {
    let mut fleet = Fleet::of(10);
    assert_eq!(fleet.ends(at(0), 1, FAILED, 4), None);
    assert_eq!(fleet.ends(at(0), 1, OK, 1), None, "a success breaks the row");
    assert_eq!(fleet.ends(at(0), 1, FAILED, 9), Some((5, Ejection { until: at(10) })));
    assert_eq!(fleet.outliers.release_due(at(9)), None);
    assert_eq!(fleet.outliers.release_due(at(10)), Some(AgentIx(1)));
    assert!(!fleet.outliers.is_ejected(AgentIx(1)));
}

#[test]
fn fast_failures_count_twice() {
    assert_eq!(Fleet::of(10).ends(at(0), 1, FAILED_FAST, 9), Some((3, Ejection { until: at(10) })));
    let unknown = Ended { run_normal: None, ..FAILED_FAST };
    assert_eq!(Fleet::of(10).ends(at(0), 1, unknown, 9), Some((5, Ejection { until: at(10) })));
}

#[test]
fn each_ejection_lasts_longer_up_to_a_cap_and_a_quiet_spell_is_rewarded() {
    let mut fleet = Fleet::of(10);
    let mut now = at(0);
    let mut lengths = Vec::new();
    for _ in 0..32 {
        let (_, ejection) = fleet.ends(now, 1, FAILED, 5).unwrap();
        lengths.push(ejection.until.since(now).as_secs());
        now = ejection.until;
        assert_eq!(fleet.outliers.release_due(now), Some(AgentIx(1)));
    }
    assert_eq!((&lengths[..3], &lengths[29..]), ([10, 20, 30].as_slice(), [300, 300, 300].as_slice()));
    now = now.plus(Duration::from_secs(300));
    assert_eq!(fleet.ends(now, 1, FAILED, 5).unwrap().1.until, now.plus(Duration::from_secs(10)));
}

#[test]
fn an_agent_that_fails_far_more_than_the_others_is_ejected_without_a_row() {
    let mut fleet = Fleet::of(10);
    fleet.ends(at(0), 2, OK, 100);
    let ejected = (0..10).find_map(|_| {
        fleet.ends(at(0), 1, OK, 1);
        fleet.ends(at(0), 1, FAILED, 2)
    });
    assert!(ejected.is_some(), "two of three failed");
}

#[test]
fn where_everybody_fails_alike_nobody_stands_out() {
    let mut fleet = Fleet::of(10);
    for _ in 0..50 {
        for agent in 0..10 {
            assert_eq!(fleet.ends(at(0), agent, OK, 1), None);
            assert_eq!(fleet.ends(at(0), agent, FAILED, 2), None);
        }
    }
}

#[test]
fn a_tenth_of_the_fleet_at_most_but_one_of_two_is_ejected() {
    for (size, ejected) in [(1, 0), (2, 1), (9, 1), (20, 2), (35, 3)] {
        let mut fleet = Fleet::of(size);
        for agent in 0..size as u32 {
            fleet.ends(at(0), agent, FAILED, 10);
        }
        assert_eq!(fleet.ejected(), ejected, "of {size}");
    }
}

#[test]
fn results_of_an_ejected_agent_do_not_prolong_its_rest() {
    let mut fleet = Fleet::of(10);
    fleet.ends(at(0), 1, FAILED, 5);
    assert_eq!(fleet.ends(at(5), 1, FAILED, 20), None);
    assert_eq!(fleet.outliers.release_due(at(10)), Some(AgentIx(1)));
}

#[test]
fn a_forgotten_agent_leaves_nothing_behind() {
    let mut fleet = Fleet::of(10);
    fleet.ends(at(0), 1, FAILED, 5);
    fleet.outliers.forget(at(1), AgentIx(1));
    assert_eq!((fleet.ejected(), fleet.outliers.release_due(at(1_000))), (0, None));
    assert_eq!(fleet.ends(at(2), 1, FAILED, 9), Some((5, Ejection { until: at(12) })), "as if it were new");
    fleet.outliers.forget(at(1), AgentIx(99));
}

#[test]
fn settings_out_of_range_are_refused() {
    let defaults = OutlierSettings::default();
    assert_eq!(defaults.validate(), Ok(()));
    assert!(OutlierSettings { ejection_max_ms: 5, ..defaults }.validate().is_err());
    assert!(OutlierSettings { fleet_share_max: 0.6, ..defaults }.validate().is_err());
    assert!(OutlierSettings { consecutive_failures: 0, ..defaults }.validate().is_err());
}

proptest! {
    #[test]
    fn the_fleet_is_never_ejected_beyond_its_share_and_everybody_returns(
        size in 1_usize..40,
        ends in proptest::collection::vec((0_u32..40, any::<bool>(), 0_u64..3), 0..400),
    ) {
        let mut fleet = Fleet::of(size);
        let mut seconds = 0;
        for (agent, ok, pause_s) in ends {
            seconds += pause_s;
            while fleet.outliers.release_due(at(seconds)).is_some() {}
            fleet.ends(at(seconds), agent % size as u32, Ended { ok, ..OK }, 1);
            let share_max = (size / 10).max(1);
            prop_assert!(fleet.ejected() <= share_max && fleet.ejected() < size);
        }
        while fleet.outliers.release_due(at(seconds + 301)).is_some() {}
        prop_assert_eq!(fleet.ejected(), 0);
    }
}

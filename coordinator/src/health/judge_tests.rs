//! Every rule at its threshold, on both sides.

use super::*;

const MIB: u64 = 1 << 20;

fn settings() -> HealthConfig {
    HealthConfig {
        loop_lag_degraded_ms: 100,
        loop_lag_unhealthy_ms: 500,
        commit_degraded_ms: 200,
        commit_unhealthy_ms: 900,
        disk_free_degraded_bytes: 100 * MIB,
        disk_free_unhealthy_bytes: 10 * MIB,
        connections_degraded: 0.9,
        ..HealthConfig::default()
    }
}

/// The level, and that exactly what is not healthy has a reason.
fn check(finding: &Finding, level: Level) {
    assert_eq!(finding.level, level, "{finding:?}");
    assert_eq!(finding.reasons.is_empty(), level == Level::Healthy, "{finding:?}");
}

#[test]
fn a_loop_that_is_late_is_degraded_and_one_that_is_very_late_unhealthy() {
    for (lag, level) in [
        (0, Level::Healthy),
        (99, Level::Healthy),
        (100, Level::Degraded),
        (499, Level::Degraded),
        (500, Level::Unhealthy),
    ] {
        let lag = Duration::from_millis(lag);
        check(&engine(&settings(), EngineSample { lag, ..EngineSample::default() }), level);
        check(&engine(&settings(), EngineSample { silent: lag, ..EngineSample::default() }), level);
    }
}

#[test]
fn an_engine_that_waits_for_the_store_is_not_called_stuck() {
    let sample = EngineSample { silent: Duration::from_secs(60), waits_for_store: true, ..EngineSample::default() };
    check(&engine(&settings(), sample), Level::Degraded);
}

#[test]
fn a_full_store_is_unhealthy_at_once_and_well_at_once() {
    let finding = store(&settings(), StoreSample { full: true, ..StoreSample::default() });
    check(&finding, Level::Unhealthy);
    assert!(finding.exact, "who waits for room need not wait for anything else");
    for (ms, level) in [(199, Level::Healthy), (200, Level::Degraded), (900, Level::Unhealthy)] {
        let sample = StoreSample { full: false, commit_under_way: Duration::from_millis(ms) };
        check(&store(&settings(), sample), level);
    }
}

#[test]
fn a_disk_is_judged_by_what_is_free() {
    for (free_bytes, level) in [
        (100 * MIB, Level::Healthy),
        (100 * MIB - 1, Level::Degraded),
        (10 * MIB, Level::Degraded),
        (10 * MIB - 1, Level::Unhealthy),
        (0, Level::Unhealthy),
    ] {
        check(&disk(&settings(), DiskSample::Room { free_bytes, total_bytes: 1 << 40 }), level);
    }
    check(&disk(&settings(), DiskSample::Silent(Duration::from_secs(1))), Level::Unhealthy);
    check(&disk(&settings(), DiskSample::Failed), Level::Degraded);
}

#[test]
fn connections_that_run_out_are_seen_before_they_have() {
    for (connections, level) in [(89, Level::Healthy), (90, Level::Degraded), (100, Level::Unhealthy)] {
        let sample = SessionsSample { connections, connections_max: 100, ..SessionsSample::default() };
        check(&sessions(&settings(), sample), level);
    }
    let sample = SessionsSample { panic_mode: true, connections_max: 100, ..SessionsSample::default() };
    check(&sessions(&settings(), sample), Level::Degraded);
    let both = sessions(&settings(), SessionsSample { connections: 100, ..sample });
    assert_eq!((both.level, both.reasons.len()), (Level::Unhealthy, 2), "each reason is said");
}

#[test]
fn a_manager_that_failed_is_degraded_and_one_that_is_off_is_as_it_should_be() {
    check(&manager(ManagerSample::Running), Level::Healthy);
    check(&manager(ManagerSample::Off), Level::Healthy);
    check(&manager(ManagerSample::Failed), Level::Degraded);
}

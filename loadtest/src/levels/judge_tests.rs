use serde_json::json;
use tonic::transport::Endpoint;

use super::*;
use crate::record::{Phase, Slice};

/// A scenario of ten seconds whose tasks may take longer than 100 ms for less than two seconds.
fn scenario(stops_run: bool) -> Scenario {
    let level = json!({
        "name": "latency",
        "measure": {"kind": "percentile", "phase": "end_to_end", "percent": 99.0},
        "at_most": 100.0,
        "grace_s": 2.0,
        "stops_run": stops_run,
    });
    let scenario = json!({
        "name": "quick",
        "description": "A quick one.",
        "duration_s": 10.0,
        "fleet": {"agents": 1, "slots": 1},
        "arrivals": {"rate_per_s": 1.0, "process": {"kind": "poisson"}},
        "work": [],
        "levels": [level],
    });
    serde_json::from_value(scenario).unwrap()
}

fn judge(scenario: &Scenario) -> Judge {
    // Nobody is there, and nobody is asked.
    let cluster = ClusterServiceClient::new(Endpoint::from_static("http://127.0.0.1:9").connect_lazy().into());
    Judge::start(scenario, "r1", &cluster, Instant::now()).unwrap()
}

/// Judges a second in which one task ended.
fn second(judge: &mut Judge, at_s: f64, latency_ms: u64) -> Observed {
    let mut seen = Histograms::default();
    seen.record(&Slice::All, Phase::EndToEnd, latency_ms * 1_000);
    let (offered, completed) = (1, 1);
    judge.observe(&Window { at_s, length_s: 1.0, offered, completed, ..Window::default() }, &seen)
}

#[tokio::test]
async fn a_violation_is_told_once_it_counts_and_when_it_is_over() {
    let mut judge = judge(&scenario(false));
    assert_eq!(second(&mut judge, 1.0, 500), Observed::default());
    assert_eq!(judge.violated().collect::<Vec<_>>(), ["latency"]);
    let counted = second(&mut judge, 2.0, 500);
    let text = "latency: p99 of end to end is 500.2 ms, at most 100 ms, violated since 0.0 s";
    assert_eq!(counted.marks, [Mark { at_s: 2.0, kind: MarkKind::Level, text: text.to_owned() }]);
    assert_eq!(counted.lines, [format!("    2.0 s  critical: {text}")]);
    assert_eq!(counted.stop, None);
    assert_eq!(second(&mut judge, 3.0, 500), Observed::default(), "it is told once");
    let over = second(&mut judge, 4.0, 50);
    assert!(over.lines[0].starts_with("    4.0 s  recovered: latency"), "{over:?}");
    let judgement = judge.finish(&Totals::default()).await;
    assert_eq!(judgement.verdict, Decision::NoGo);
    assert_eq!(judgement.levels[0].violations, [(0.0, 3.0)]);
}

#[tokio::test]
async fn a_level_that_stops_the_run_says_why_once() {
    let mut judge = judge(&scenario(true));
    second(&mut judge, 1.0, 500);
    let stop = second(&mut judge, 2.0, 500).stop.unwrap();
    assert!(stop.starts_with("stopped by the service level latency: p99"), "{stop}");
    second(&mut judge, 3.0, 50);
    second(&mut judge, 4.0, 500);
    assert_eq!(second(&mut judge, 5.0, 500).stop, None);
}

#[tokio::test]
async fn a_run_that_kept_its_levels_is_go() {
    let mut judge = judge(&scenario(true));
    second(&mut judge, 1.0, 50);
    let judgement = judge.finish(&Totals::default()).await;
    assert_eq!((judgement.verdict, judgement.reasons), (Decision::Go, Vec::new()));
    assert_eq!((judgement.lines, judgement.change), (Vec::new(), None));
}

#[test]
fn a_strategy_is_described_with_its_settings() {
    assert_eq!(describe(&StrategyConfig::Random), "strategy random");
    let hash = StrategyConfig::ConsistentHash { load_bound_percent: 150 };
    assert_eq!(describe(&hash), "strategy consistent_hash (load_bound_percent = 150)");
}

use super::*;
use crate::record::Phase;

fn level() -> ServiceLevel {
    ServiceLevel {
        name: "latency".to_owned(),
        measure: Measure::Percentile { phase: Phase::EndToEnd, percent: 99.0 },
        at_most: Some(100.0),
        at_least: None,
        severity: Severity::Critical,
        grace_s: 2.0,
        from_s: 0.0,
        stops_run: false,
        rolls_back: false,
        work: None,
        priority: None,
    }
}

fn change() -> Change {
    Change { at_share: 0.5, strategy: "random".to_owned(), parameters: [].into(), recovery_max_s: 5.0 }
}

/// That this level alone is refused, with these words.
#[track_caller]
fn refused(level: ServiceLevel, words: &str) {
    let error = check(&[level], 10.0, None, None).unwrap_err().to_string();
    assert!(error.starts_with("service level `") && error.contains(words), "{error}");
}

#[track_caller]
fn change_refused(change: &Change, words: &str) {
    let levels = [ServiceLevel { rolls_back: true, ..level() }];
    let error = check(&levels, 10.0, Some(change), None).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn what_makes_sense_is_taken() {
    let rolls_back = ServiceLevel { rolls_back: true, name: "other".to_owned(), ..level() };
    let webhook = Webhook { url: "http://127.0.0.1:9/alerts".to_owned() };
    assert_eq!(check(&[level(), rolls_back], 10.0, Some(&change()), Some(&webhook)), Ok(()));
    assert_eq!(check(&[], 10.0, None, None), Ok(()));
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let limits = |at_least, at_most| ServiceLevel { at_least, at_most, ..level() };
    refused(limits(None, None), "both missing");
    refused(limits(Some(2.0), Some(1.0)), "above at_most");
    refused(limits(None, Some(f64::NAN)), "at_most is NaN");
    refused(limits(Some(-1.0), None), "at_least is -1");
    refused(ServiceLevel { measure: Measure::ErrorRate, ..level() }, "at_most is 100; it is a share");
}

#[test]
fn measures_that_make_no_sense_are_refused() {
    let measure = |measure| ServiceLevel { measure, at_most: Some(0.5), ..level() };
    refused(measure(Measure::Percentile { phase: Phase::EndToEnd, percent: 0.0 }), "percent = 0");
    refused(measure(Measure::Percentile { phase: Phase::EndToEnd, percent: 101.0 }), "percent = 101");
    refused(measure(Measure::Compliance { phase: Phase::EndToEnd, within_ms: 0.0 }), "within_ms = 0");
    refused(ServiceLevel { work: Some("simple".to_owned()), ..measure(Measure::Throughput) }, "work can be chosen");
    refused(ServiceLevel { priority: Some(3), ..measure(Measure::QueueDepth) }, "priority can be chosen");
    refused(ServiceLevel { priority: Some(10), ..level() }, "priority is 10");
    refused(ServiceLevel { priority: Some(3), work: Some("simple".to_owned()), ..level() }, "exclude each other");
}

#[test]
fn times_and_names_out_of_range_are_refused() {
    refused(ServiceLevel { grace_s: -1.0, ..level() }, "grace_s is -1");
    refused(ServiceLevel { grace_s: f64::INFINITY, ..level() }, "grace_s is inf");
    refused(ServiceLevel { from_s: 10.0, ..level() }, "from_s is 10");
    refused(ServiceLevel { name: " ".to_owned(), ..level() }, "1 to 64");
    refused(ServiceLevel { name: "a\nb".to_owned(), ..level() }, "control");
    let error = check(&[level(), level()], 10.0, None, None).unwrap_err().to_string();
    assert!(error.contains("another level's too"), "{error}");
    let many: Vec<_> = (0..=LEVELS_MAX).map(|index| ServiceLevel { name: index.to_string(), ..level() }).collect();
    assert_eq!(check(&many, 10.0, None, None), Err(LevelError::TooMany { found: 65 }));
}

#[test]
fn what_a_violation_calls_for_has_to_be_possible() {
    refused(ServiceLevel { rolls_back: true, ..level() }, "no change under test");
    refused(ServiceLevel { stops_run: true, severity: Severity::Warning, ..level() }, "severity critical");
    let both = ServiceLevel { rolls_back: true, stops_run: true, ..level() };
    let error = check(&[both], 10.0, Some(&change()), None).unwrap_err().to_string();
    assert!(error.contains("exclude each other"), "{error}");
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let with = |name: &str, value| Change { parameters: [(name.to_owned(), value)].into(), ..change() };
    change_refused(&Change { at_share: 1.0, ..change() }, "at_share is 1");
    change_refused(&Change { recovery_max_s: 0.0, ..change() }, "recovery_max_s is 0");
    change_refused(&Change { strategy: "best".to_owned(), ..change() }, "there is no strategy `best`");
    change_refused(&with("cpu", 0.5), "`cpu`, which random does not have");
    change_refused(&with("name", 0.5), "`name`, which random");
    let weighted = |value| Change { strategy: "weighted".to_owned(), ..with("cpu", value) };
    change_refused(&weighted(-1.0), "weighted.cpu");
    change_refused(&weighted(f64::NAN), "finite");
    let error = check(&[level()], 10.0, Some(&change()), None).unwrap_err().to_string();
    assert!(error.contains("would never be undone"), "{error}");
}

#[test]
fn parameters_reach_the_strategy() {
    let parameters = [("load_bound_percent".to_owned(), 150.0)].into();
    let hash = Change { strategy: "consistent_hash".to_owned(), parameters, ..change() };
    assert_eq!(strategy_of(&hash), Ok(StrategyConfig::ConsistentHash { load_bound_percent: 150 }));
    let half = Change { parameters: [("load_bound_percent".to_owned(), 150.5)].into(), ..hash };
    assert!(strategy_of(&half).is_err());
}

#[test]
fn a_webhook_that_cannot_be_posted_to_is_refused() {
    let refused = |url: &str, words: &str| {
        let webhook = Webhook { url: url.to_owned() };
        let error = check(&[], 10.0, None, Some(&webhook)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused("https://example.org/", "TLS");
    refused("/alerts", "no http URL");
    refused("ftp://example.org/", "no http URL");
    refused("not a url", "no URL");
}

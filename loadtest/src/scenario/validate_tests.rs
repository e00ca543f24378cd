use super::*;
use crate::scenario::BUILT_IN;

/// A scenario with one of everything.
fn text() -> String {
    let smoke = BUILT_IN.iter().find(|(name, _)| *name == "smoke").unwrap().1;
    format!(
        "{smoke}\n[[faults]]\nat_share = 0.5\nwhat = {{ kind = \"lose_agents\", share = 0.1, away_s = 1, region = \"north\" }}\n"
    )
}

/// The smoke scenario with one piece of its text replaced must be refused with this complaint.
fn check(piece: &str, by: &str, complaint: &str) {
    assert!(text().contains(piece), "{piece} is not in the scenario");
    let changed = text().replacen(piece, by, 1);
    let error = Scenario::parse(&changed, "test").map(drop).unwrap_err().to_string();
    assert!(error.contains(complaint), "{piece} -> {by}: {error}");
}

#[test]
fn the_scenarios_of_the_program_are_right_and_have_their_names() {
    for (name, text) in BUILT_IN {
        let scenario = Scenario::parse(text, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.name, name);
        assert!(name == "soak" || scenario.duration_s <= 120.0, "{name} is long");
    }
    Scenario::parse(&text(), "test").unwrap();
}

#[test]
fn a_scenario_reads_back_as_it_is_written() {
    let scenario = Scenario::parse(&text(), "test").unwrap();
    let written = toml::to_string(&scenario).unwrap();
    assert_eq!(Scenario::parse(&written, "test").unwrap(), scenario);
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_with_their_line() {
    check("agents = 50", "agent = 50", "unknown field `agent`");
    check("rate_per_s = 200", "rate_per_s = \"fast\"", "rate_per_s = \"fast\"");
    check("uniform:1ms..20ms", "gauss:5ms", "write fixed:5ms");
}

#[test]
fn numbers_of_the_run_and_the_fleet_have_ranges() {
    check("name = \"smoke\"", "name = \"Smoke\"", "name: `Smoke` is no name");
    check("duration_s = 10", "duration_s = 0", "duration_s: is 0; it must be 0.1 to 604800");
    check("duration_s = 10", "duration_s = nan", "duration_s: is NaN");
    check("agents = 50", "agents = 0", "fleet.agents: is 0; it must be 1 to 20000");
    check("agents = 50", "agents = 1", "fleet.agents: is 1, which is the specialist");
    check("slots = 2", "slots = 5000", "fleet.slots: is 5000; it must be 1 to 4096");
    check("slots = 2", "slots = 2\nagents_per_connection = 0", "fleet.agents_per_connection: is 0");
    check("specialists_share = 0.1", "specialists_share = 1", "fleet.specialists_share: is 1; it must be 0 to 0.9");
    check("specialists_share = 0.1", "specialists_share = 0", "`complex` escalates");
    check("north = 0.6", "north = 0", "fleet.regions.north: is 0; it must be above 0");
    check("per_minute = 30", "per_minute = -1", "fleet.churn.per_minute: is -1");
    check("orderly_share = 0.7", "orderly_share = 70", "fleet.churn.orderly_share: is 70; it must be 0 to 1");
    check("away_s = 2", "away_s = 1e9", "fleet.churn.away_s: is 1000000000");
    check("slots = 2", "slots = 2\ncurve = [[0.5, 1.0], [0.2, 1.0]]", "fleet.curve: its points are not in the order");
    check("slots = 2", "slots = 2\ncurve = [[0.5, 1.5]]", "fleet.curve[0][1]: is 1.5; it must be 0 to 1");
}

#[test]
fn numbers_of_arrivals_have_ranges() {
    check("rate_per_s = 200", "rate_per_s = 0", "arrivals.rate_per_s: is 0; it must be above 0");
    let process = "process = { kind = \"poisson\" }";
    check(process, "process = { kind = \"bursts\", mean_size = 0.5 }", "arrivals.process.mean_size: is 0.5");
    let sessions = "process = { kind = \"sessions\", mean_tasks = 0, think_time = \"fixed:1s\" }";
    check(process, sessions, "arrivals.process.mean_tasks: is 0");
    check(process, "process = { kind = \"trace\", file = \"a.csv\", speed = 0 }", "arrivals.process.speed: is 0");
    let spike = |spike: &str| format!("{process}\nspikes = [{{ {spike} }}]");
    check(process, &spike("at_share = 2, length_share = 0.1, times = 2"), "arrivals.spikes[0].at_share: is 2");
    check(process, &spike("at_share = 0, length_share = 2, times = 2"), "arrivals.spikes[0].length_share: is 2");
    check(process, &spike("at_share = 0, length_share = 1, times = -2"), "arrivals.spikes[0].times: is -2");
    let named = spike("at_share = 0, length_share = 1, times = 2, work = \"hard\"");
    check(process, &named, "arrivals.spikes[0].work: there is no work `hard`");
    let sessions =
        named.replace("kind = \"poisson\"", "kind = \"sessions\", mean_tasks = 2, think_time = \"fixed:1s\"");
    check(process, &sessions, "arrivals.spikes[0].work: is not for sessions");
}

#[test]
fn numbers_of_work_have_ranges() {
    check("name = \"risky\"", "name = \"simple\"", "work[1].name: `simple` is there twice");
    check("weight = 20", "weight = -1", "work[1].weight: is -1");
    check("priority = 6", "priority = 10", "work[1].priority: is 10; it must be 0 to 9");
    check("payload_bytes = 1024", "payload_bytes = 2000000", "work[2].payload_bytes: is 2000000");
    check("failure_share = 0.01", "failure_share = 1.1", "work[1].failure_share: is 1.1");
    check("wholesale = 1", "wholesale = 0", "work[0].tenants.wholesale: is 0");
    check("retail = 2", "\"no tenant\" = 2", "work[0].tenants.no tenant");
    check("share = 0.3", "share = 3", "work[2].escalation.share: is 3");
    let weightless = text().replace("weight = 70", "weight = 0").replace("weight = 20", "weight = 0");
    let error = Scenario::parse(&weightless.replace("weight = 10", "weight = 0"), "test").unwrap_err().to_string();
    assert!(error.contains("all weights are 0"), "{error}");
}

#[test]
fn numbers_of_the_network_and_of_faults_have_ranges() {
    check("client_breaks_per_minute = 6", "client_breaks_per_minute = -6", "network.client_breaks_per_minute: is -6");
    check("agent_breaks_per_minute = 12", "agent_breaks_per_minute = 1e9", "network.agent_breaks_per_minute");
    check("client_breaks_per_minute = 6", "tries_max = 0", "network.tries_max: is 0; it must be 1 to 100");
    check("client_breaks_per_minute = 6", "backoff_ms = 0", "network.backoff_ms: is 0");
    check("at_share = 0.5", "at_share = 5", "faults[0].at_share: is 5; it must be 0 to 1");
    check("region = \"north\" }", "region = \"east\" }", "faults[0].what.region: the fleet has no region `east`");
    check("share = 0.1, away_s = 1,", "share = 10, away_s = 1,", "faults[0].what.share: is 10");
    check("share = 0.1, away_s = 1,", "share = 0.1, away_s = -1,", "faults[0].what.away_s: is -1");
    let slow = "kind = \"slow_agents\", share = 0.1, factor = 0, length_s = 1";
    check("kind = \"lose_agents\", share = 0.1, away_s = 1, region = \"north\"", slow, "faults[0].what.factor: is 0");
}

#[test]
fn a_level_of_work_that_is_not_there_is_refused() {
    check("percent = 99 }", "percent = 99 }\nwork = \"hard\"", "levels[2].work: there is no work `hard`");
    let escalated = text().replace("percent = 99 }", "percent = 99 }\nwork = \"complex_escalated\"");
    Scenario::parse(&escalated, "test").unwrap();
}

#[test]
fn a_curve_is_straight_between_its_points() {
    let curve = Curve(vec![(0.2, 1.0), (0.4, 3.0)]);
    for (share, factor) in [(0.0, 1.0), (0.2, 1.0), (0.3, 2.0), (0.4, 3.0), (1.0, 3.0)] {
        assert!((curve.at(share) - factor).abs() < 1e-9, "{share}: {}", curve.at(share));
    }
    assert_eq!(Curve::default().at(0.5), 1.0);
}

#[test]
fn what_is_neither_a_name_nor_a_file_lists_the_names() {
    let error = Scenario::find("smok").unwrap_err().to_string();
    assert!(error.contains("there is no scenario `smok`") && error.contains("scale_test"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("own.toml");
    let traced = text().replace("kind = \"poisson\"", "kind = \"trace\", file = \"day.csv\"");
    std::fs::write(&path, traced).unwrap();
    let own = Scenario::find(path.to_str().unwrap()).unwrap();
    let Process::Trace { file, .. } = own.arrivals.process else { panic!("{:?}", own.arrivals) };
    assert_eq!(file, directory.path().join("day.csv"), "a trace is found beside its scenario");
}

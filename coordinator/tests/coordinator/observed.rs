//! Metrics as they are scraped: that what is written of them, and what is made to look at them, fits what is served.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use evenkeel_coordinator::{Coordinator, config::TlsConfig};
use evenkeel_proto::v1;
use serde_json::Value;
use tonic::Request;

use crate::{
    certificates::{Authority, Holder},
    promql::Scrape,
    support::{World, config, get, soon, task},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const KEPT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn file(path: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What two coordinators serve between them that have all there is: one that has done a task, and one with certificates.
async fn served() -> [String; 2] {
    let world = World::start().await;
    let mut agent = world.agent("a").await;
    let id = world.submit(task("echo", "in")).await;
    agent.work("out").await;
    world.wait(&[&id]).await;
    world.metric_becomes("evenkeel_tasks_succeeded_total", 1.0).await;
    let files = tempfile::tempdir().unwrap();
    Authority::new("test").issue(&Holder::server()).write(files.path(), "server");
    let mut secured = config();
    secured.tls = TlsConfig {
        cert_file: files.path().join("server.pem"),
        key_file: files.path().join("server.key"),
        http: false,
        ..TlsConfig::default()
    };
    let secured = soon(Coordinator::start(secured)).await.unwrap();
    let (first, second) = (world.http("/metrics").await, get(secured.http_addr(), "/metrics").await);
    assert_eq!((first.0, second.0), (200, 200));
    [first.1, second.1]
}

async fn scrape() -> Scrape {
    let mut scrape = Scrape::default();
    served().await.iter().for_each(|text| scrape.add(text));
    scrape
}

/// Rows of the page: a family of metrics each, in the order of their names.
fn rows(texts: &[String]) -> String {
    let mut scrape = Scrape::default();
    texts.iter().for_each(|text| scrape.add(text));
    let lines = || texts.iter().flat_map(|text| text.lines());
    let helps: Vec<_> = lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    let families: BTreeSet<_> = lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut page = "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for (family, sort) in families {
        let (name, sample) = match sort {
            "counter" => (format!("{family}_total"), format!("{family}_total")),
            "histogram" => (family.to_owned(), format!("{family}_count")),
            _ => (family.to_owned(), family.to_owned()),
        };
        let unit = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(&format!("_{unit}")));
        let labels: Vec<_> = scrape.labels(&sample).into_iter().map(|label| format!("`{label}`")).collect();
        let (_, help) = helps.iter().find(|(of, _)| *of == family).expect("a help text");
        writeln!(page, "| `{name}` | {sort} | {} | {} | {help} |", unit.unwrap_or_default(), labels.join(", "))
            .unwrap();
    }
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_has_each_that_is_served_and_no_other() {
    let (begin, end) = ("<!-- begin of the generated table -->\n", "<!-- end of the generated table -->");
    let page = file("docs/metrics.md");
    let (before, rest) = page.split_once(begin).expect("a place for the table");
    let (written, after) = rest.split_once(end).expect("its end");
    let wanted = rows(&served().await);
    if written != wanted && std::env::var_os("EVENKEEL_WRITE_DOCS").is_some() {
        fs::write(format!("{ROOT}/docs/metrics.md"), format!("{before}{begin}{wanted}{end}{after}")).unwrap();
        return;
    }
    let odd: Vec<_> = {
        let (written, wanted): (BTreeSet<_>, BTreeSet<_>) = (written.lines().collect(), wanted.lines().collect());
        written.symmetric_difference(&wanted).copied().collect()
    };
    assert!(written == wanted, "docs/metrics.md is out of date: run this test with EVENKEEL_WRITE_DOCS=1; {odd:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_pages_call_a_metric_is_one() {
    // Programs' parts, as targets of the log.
    const CRATES: [&str; 4] = ["evenkeel_agent", "evenkeel_coordinator", "evenkeel_core", "evenkeel_loadtest"];
    let scrape = scrape().await;
    let series: BTreeSet<_> = scrape.names().collect();
    let histograms: BTreeSet<_> = series.iter().filter_map(|name| name.strip_suffix("_bucket")).collect();
    let mut seen = 0;
    for page in fs::read_dir(format!("{ROOT}/docs")).unwrap() {
        let path = page.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if word.starts_with("evenkeel_") && !CRATES.contains(&word) {
                assert!(series.contains(word) || histograms.contains(word), "{}: there is no `{word}`", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

/// Names in double braces.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_reads_series_that_there_are() {
    let scrape = scrape().await;
    let board: Value = serde_json::from_str(&file("deploy/grafana/evenkeel.json")).unwrap();
    let rows = board["panels"].as_array().unwrap().iter();
    let panels = rows.flat_map(|panel| panel["panels"].as_array().into_iter().flatten().chain([panel]));
    let mut read = 0;
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let labels = scrape.check(target["expr"].as_str().unwrap()).unwrap_or_else(|problem| panic!("{problem}"));
            for label in placeholders(target["legendFormat"].as_str().unwrap()) {
                assert!(labels.contains(label), "{}: the legend's `{label}` is none of {labels:?}", panel["title"]);
            }
            read += 1;
        }
    }
    assert!(read > 40, "{read} expressions: where have the others gone?");
    for variable in board["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"].as_str().and_then(|query| query.strip_prefix("label_values(")) else {
            continue;
        };
        let (series, label) = query.strip_suffix(')').and_then(|query| query.rsplit_once(',')).unwrap();
        let labels = scrape.check(series).unwrap_or_else(|problem| panic!("{problem}"));
        assert!(labels.contains(label.trim()), "{query}");
    }
}

/// An alert: its name, its expression, and the labels that its words have.
struct Alert<'a> {
    name: &'a str,
    expression: &'a str,
    labels: Vec<&'a str>,
}

/// Alerts of the file, of which each entry is on a line of its own.
fn alerts(rules: &str) -> Vec<Alert<'_>> {
    rules
        .split("- alert: ")
        .skip(1)
        .map(|rule| {
            let (name, rest) = rule.split_once('\n').unwrap();
            let expression = rest.lines().find_map(|line| line.trim().strip_prefix("expr: ")).expect("an expression");
            let labels = placeholders(rest).filter_map(|word| word.strip_prefix("$labels.")).collect();
            Alert { name: name.trim(), expression, labels }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_read_series_that_there_are_and_each_says_what_to_do() {
    let scrape = scrape().await;
    let rules = file("deploy/prometheus/alerts.yml");
    let operations = file("docs/operations.md");
    let alerts = alerts(&rules);
    assert!(alerts.len() > 10, "{} alerts: where have the others gone?", alerts.len());
    for Alert { name, expression, labels } in &alerts {
        let known = scrape.check(expression).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        for label in labels {
            assert!(known.contains(*label), "{name}: its words have `{label}`, which is none of {known:?}");
        }
        assert!(operations.contains(&format!("| {name} |")), "docs/operations.md says nothing of {name}");
    }
    let named: BTreeSet<_> = alerts.iter().map(|alert| alert.name).collect();
    let explained = operations.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    for (name, _) in explained.filter(|(name, _)| name.starts_with("Evenkeel")) {
        assert!(named.contains(name), "docs/operations.md explains {name}, which there is not");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_call_names_its_trace_if_somebody_keeps_it() {
    let mut config = config();
    // Nobody takes the spans.
    config.telemetry.otlp_endpoint = Some("http://127.0.0.1:9".into());
    config.telemetry.sample_ratio = 0.0;
    let world = World::with(config).await;
    let with = |parent: &str| {
        let mut request = Request::new(v1::StatusRequest::default());
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        request
    };
    soon(world.cluster().status(with(&format!("00-{KEPT}-00f067aa0ba902b7-00")))).await.unwrap();
    assert_eq!(exemplars(&world).await, []);
    soon(world.cluster().status(with(&format!("00-{KEPT}-00f067aa0ba902b7-01")))).await.unwrap();
    assert_eq!(exemplars(&world).await, [("Status".to_owned(), KEPT.to_owned())]);
    // A submission is of the trace that its task is of.
    let other = KEPT.replace('4', "5");
    let traced = v1::TaskSpec { traceparent: format!("00-{other}-00f067aa0ba902b7-01"), ..task("echo", "in") };
    world.submit(traced).await;
    let expected = [("Status".to_owned(), KEPT.to_owned()), ("Submit".to_owned(), other)];
    assert_eq!(exemplars(&world).await, expected);
}

/// Methods whose times have an exemplar, each with its trace.
async fn exemplars(world: &World) -> Vec<(String, String)> {
    let (_, text) = world.http("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with("evenkeel_grpc_call_duration_seconds_bucket"));
    let found = lines.filter_map(|line| {
        let (_, method) = line.split_once("method=\"")?;
        let (_, trace) = line.split_once("# {trace_id=\"")?;
        Some((method.split_once('"')?.0.to_owned(), trace.split_once('"')?.0.to_owned()))
    });
    let found: BTreeSet<_> = found.collect();
    found.into_iter().collect()
}

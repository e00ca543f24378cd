//! That every metric is served, under a name that follows the conventions.

use std::collections::BTreeMap;

use evenkeel_core::model::{EngineStatus, view::Counters};

use super::*;
use crate::{directory::KeptLimits, snapshot::SnapshotUpdate};

fn metrics(snapshot: Snapshot) -> Metrics {
    let directory = Directory::new(&[], KeptLimits { tasks: 1, bytes: 1 });
    Metrics::new(snapshot, directory, Sessions::new(1, 1), ManagerState::new(true))
}

fn text(metrics: &Metrics) -> String {
    metrics.encode().unwrap()
}

/// Names of families and their types.
fn families(open: &str) -> BTreeMap<&str, &str> {
    open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn every_metric_is_in_the_text_under_its_name() {
    let snapshot = Snapshot::default();
    let counters = Counters { accepted: 7, ..Counters::default() };
    let status = EngineStatus { counters, agents_by_health: [3, 0, 0, 1], ..EngineStatus::default() };
    snapshot.apply(SnapshotUpdate { agents: Vec::new(), status });
    let metrics = metrics(snapshot);
    metrics.bad_input(BadInput::AgentIdTaken);
    metrics.slow_consumers(SlowConsumer::Watch, 2);
    metrics.committed(5, Duration::from_millis(1));
    metrics.store_full(true);
    metrics.commit_retried();
    metrics.disk(DiskSample::Room { free_bytes: 10, total_bytes: 20 });
    metrics.loop_lag(Duration::from_millis(1_500));
    let text = text(&metrics);
    for expected in [
        "evenkeel_tasks_accepted_total 7",
        "evenkeel_agents{health=\"lost\"} 1",
        "evenkeel_bad_input_total{reason=\"agent_id_taken\"} 1",
        "evenkeel_bad_input_total{reason=\"invalid_task\"} 0",
        "evenkeel_slow_consumers_total{stream=\"watch\"} 2",
        "evenkeel_connections_closed_total{reason=\"too_many\"} 0",
        "evenkeel_commit_changes_count 1",
        "evenkeel_store_full 1",
        "evenkeel_commit_retries_total 1",
        "evenkeel_manager_running 1",
        "evenkeel_scaling_agents_wanted 0",
        "evenkeel_disk_free_bytes 10",
        "evenkeel_engine_loop_lag_seconds 1.5",
        "evenkeel_component_status{component=\"store\",status=\"healthy\"} 1",
        "evenkeel_component_status{component=\"store\",status=\"degraded\"} 0",
        "evenkeel_build_info{version=\"",
        "process_threads ",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in\n{text}");
    }
}

#[test]
fn a_part_that_is_made_later_adds_its_counts() {
    let metrics = metrics(Snapshot::default());
    let values = || vec![(vec![("of", "a".to_owned())], 3.0), (vec![("of", "b".to_owned())], 4.0)];
    metrics.add(Row { name: "things", help: "Things.", sort: rows::Sort::Counter, values: Arc::new(values) });
    let text = text(&metrics);
    assert!(text.contains("evenkeel_things_total{of=\"b\"} 4"), "{text}");
}

#[tokio::test]
async fn names_follow_the_conventions() {
    const UNITS: [&str; 3] = ["_seconds", "_bytes", "_ratio"];
    // Anything else than seconds and bytes is a count of what the name says.
    const NO_UNITS: [&str; 10] =
        ["_ms", "_us", "_ns", "_millis", "_micros", "_minutes", "_hours", "_kib", "_mib", "_percent"];
    let metrics = metrics(Snapshot::default());
    drop(metrics.calls().begin("/evenkeel.v1.TaskService/Submit"));
    let text = text(&metrics);
    for (name, sort) in families(&text) {
        let legal = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        assert!(legal && (name.starts_with("evenkeel_") || name.starts_with("process_")), "{name}");
        assert!(NO_UNITS.iter().all(|unit| !name.ends_with(unit)), "{name} is not in a base unit");
        assert!(!name.ends_with("_total") && !name.ends_with("_count") && !name.ends_with("_sum"), "{name}");
        for unit in UNITS {
            assert!(!name.contains(unit) || name.ends_with(unit), "the unit of {name} is not at its end");
        }
        assert!(["counter", "gauge", "histogram"].contains(&sort), "{name} is of the type {sort}");
        let help = format!("# HELP {name} ");
        let help = text.lines().find_map(|line| line.strip_prefix(&help)).unwrap_or_default();
        assert!(help.len() > 5 && help.ends_with('.') && !help.ends_with(".."), "{name}: `{help}`");
    }
}

#[tokio::test]
async fn the_runtime_is_measured_where_there_is_one() {
    let text = text(&metrics(Snapshot::default()));
    assert!(text.contains("evenkeel_runtime_workers 1"), "{text}");
}

#[test]
fn times_have_native_buckets_for_scrapers_that_take_protobuf() {
    let metrics = metrics(Snapshot::default());
    metrics.committed(1, Duration::from_millis(7));
    let Exposition { content_type, body } = metrics.expose(Form::Protobuf).unwrap();
    assert!(content_type.contains("io.prometheus.client.MetricFamily"));
    let families = native::families(&body);
    let text = text(&metrics);
    assert_eq!(families.len(), self::families(&text).len(), "both forms have the same families");
    let commits = families.iter().find(|family| family.name == "evenkeel_commit_seconds").unwrap();
    let histogram = commits.metric[0].histogram.as_ref().unwrap();
    assert_eq!((histogram.sample_count, histogram.schema), (1, Some(3)), "8 buckets for each power of two");
    assert_eq!((histogram.positive_delta.as_slice(), histogram.bucket.len()), (&[1][..], 17));
}

/// As much of `io.prometheus.client` as the test above reads; numbers as in its `metrics.proto`.
mod native {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Family {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, repeated, tag = "4")]
        pub metric: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Metric {
        #[prost(message, optional, tag = "7")]
        pub histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Histogram {
        #[prost(uint64, tag = "1")]
        pub sample_count: u64,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub bucket: Vec<Vec<u8>>,
        #[prost(sint32, optional, tag = "5")]
        pub schema: Option<i32>,
        #[prost(sint64, repeated, tag = "13")]
        pub positive_delta: Vec<i64>,
    }

    pub fn families(mut body: &[u8]) -> Vec<Family> {
        let mut families = Vec::new();
        while !body.is_empty() {
            families.push(Family::decode_length_delimited(&mut body).unwrap());
        }
        families
    }
}

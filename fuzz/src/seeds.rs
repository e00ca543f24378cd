//! Inputs to begin with: for each target a few that go deep, and a history for the databases.
//!
//! They are made by code, so that they name tasks and attempts that there are, and can be made anew when a message
//! changes (`cargo run --no-default-features --bin seeds`, or the test `fuzz_short` of the command line with
//! `EVENKEEL_WRITE_SEEDS=1`). Inputs that found something are kept beside them.

mod databases;
mod frames;

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use evenkeel_proto::v1;
use evenkeel_shared::{
    Kind, LabelRule, StrategyConfig, TaskSpec, Tenant,
    wire::{labels::to_label_rule, strategy::to_strategy, task::to_task_spec},
};
use prost::Message as _;

pub use self::databases::history;
use super::{
    cluster::{KIND, START},
    configs::{Input, Source},
};

/// Name and bytes of every seed of a target.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

/// The seeds of all targets.
#[must_use]
pub fn all() -> [(&'static str, Seeds); 5] {
    [
        ("frames", frames::frames()),
        ("submissions", submissions()),
        ("configs", configs()),
        ("words", words()),
        ("store", databases::store()),
    ]
}

/// A task in which everything is said.
fn full_spec() -> TaskSpec {
    let mut spec = TaskSpec::of_kind(Kind::new(KIND).unwrap());
    spec.idempotency_key = "key-1".to_owned();
    spec.tenant = Tenant::new("acme").unwrap();
    spec.affinity_key = "model-7".to_owned();
    spec.requirements.resources.slots = 2;
    spec.requirements.required = vec![LabelRule::equals("zone", "eu")];
    spec.requirements.preferred = vec![LabelRule { weight: 7, ..LabelRule::equals("ram", "16") }];
    spec.queue_timeout = Some(Duration::from_secs(5));
    spec.attempt_timeout = Some(Duration::from_secs(60));
    spec.deadline = Some(START.plus(Duration::from_secs(3_600)));
    spec
}

fn request(tasks: Vec<v1::TaskSpec>) -> Vec<u8> {
    v1::SubmitRequest { tasks }.encode_to_vec()
}

fn submissions() -> Seeds {
    let plain = v1::TaskSpec { kind: KIND.to_owned(), ..v1::TaskSpec::default() };
    let full = to_task_spec(&full_spec(), Bytes::from_static(b"payload"));
    let rules: Vec<_> = (0..=10)
        .map(|operator| {
            let rule = LabelRule::equals("ram", "8");
            v1::LabelRule { operator, ..to_label_rule(&rule) }
        })
        .collect();
    let custom = HashMap::from([("gpu".to_owned(), 1), ("none".to_owned(), 0)]);
    let resources = v1::Resources { slots: 1, cpu_millis: 500, memory_bytes: 1 << 20, custom };
    let requirements =
        v1::Requirements { resources: Some(resources), required: rules, preferred: vec![], quota_keys: vec![] };
    let retry = v1::RetryPolicy { max_attempts: 3, initial_backoff_ms: 10, max_backoff_ms: 1_000, multiplier: 1.5 };
    let odd = v1::TaskSpec {
        requirements: Some(requirements),
        retry: Some(retry),
        priority: Some(9),
        delivery: v1::Delivery::Ephemeral.into(),
        ..plain.clone()
    };
    let refused = v1::TaskSpec { deadline_unix_ms: 1, ..plain.clone() };
    vec![
        ("plain", request(vec![plain.clone(); 3])),
        ("full", request(vec![full.clone(), full.clone()])),
        ("rules", request(vec![odd, plain.clone()])),
        (
            "one-too-many",
            request((0..8).map(|n| v1::TaskSpec { idempotency_key: format!("key-{n}"), ..plain.clone() }).collect()),
        ),
        ("some-refused", request(vec![refused, plain.clone(), v1::TaskSpec::default(), full])),
        ("far-deadline", request(vec![v1::TaskSpec { deadline_unix_ms: i64::MAX, ..plain }])),
    ]
}

/// More than queues and semaphores can count to.
const LIMITS: &str = "[limits]\nsession_queue_max = 9223372036854775807\nwatcher_queue_max = 9223372036854775807\n\
    recent_events_max = 9223372036854775807\nwatchers_max = 9223372036854775807\n";

fn configs() -> Seeds {
    let input = |source| Input { source: Some(source) }.encode_to_vec();
    let coordinator = toml::to_string(&evenkeel_coordinator::CoordinatorConfig::default()).unwrap();
    let agent = toml::to_string(&evenkeel_agent::AgentConfig::default()).unwrap();
    let more = "id = \"a-1\"\nslots = 2\nmemory_bytes = 1073741824\ncustom = { gpu = 1 }\nlabels = { zone = \"eu\" }\n\
        [kinds.resize]\nexecutor = \"command\"\nprogram = \"convert\"\nargs = [\"-\"]\nnon_retryable_exit_codes = [1]\n\
        [kinds.command]\nexecutor = \"programs\"\nallowed_programs = [\"/usr/bin/python3\"]\n\
        [kinds.embed]\nexecutor = \"http\"\nurl = \"http://127.0.0.1:8080/embed\"\n";
    let engine = "grpc = \"0.0.0.0:7400\"\ninsecure = true\n[engine]\nageing_interval_ms = 0\nquarantine_after = 1\n\
        strategy = { name = \"weighted\", cpu = 0.5 }\n[engine.tenant_weights]\nacme = 3\n[limits]\nwatchers_max = 1\n";
    let mut seeds = vec![
        ("coordinator-default", input(Source::Coordinator(coordinator))),
        ("coordinator-engine", input(Source::Coordinator(engine.to_owned()))),
        ("coordinator-limits", input(Source::Coordinator(LIMITS.to_owned()))),
        ("agent-default", input(Source::Agent(agent))),
        ("agent-executors", input(Source::Agent(more.to_owned()))),
    ];
    for name in ["weighted", "priority", "consistent_hash"] {
        let strategy = StrategyConfig::named(name).unwrap();
        seeds.push((name, input(Source::Strategy(to_strategy(&strategy).encode_to_vec()))));
        let stored = serde_json::to_string(&strategy).unwrap();
        let kept = match name {
            "weighted" => "stored-weighted",
            "priority" => "stored-priority",
            _ => "stored-consistent-hash",
        };
        seeds.push((kept, input(Source::StoredStrategy(stored))));
    }
    seeds
}

fn words() -> Seeds {
    let texts = [
        ("equals", "gpu=a100"),
        ("differs", "gpu != a100"),
        ("in", "zone in (eu, us)"),
        ("notin", "zone notin(eu)"),
        ("at-least", "ram>=8.5"),
        ("absent", "!gpu"),
        ("duration", "1h 30m"),
        ("seconds", "90"),
        ("deadline", "2030-01-31T12:00:00Z"),
        ("size", "512MiB"),
        ("cores", "1.5"),
        ("millis", "1500m"),
        ("pair", "gpu=2"),
    ];
    texts.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec())).collect()
}

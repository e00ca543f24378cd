//! Inputs to begin with: for each target a few that go deep, and a history for the databases.
//!
//! They are made by code, so that they name tasks and attempts that there are, and can be made anew when a message
//! changes (`cargo run --no-default-features --bin seeds`). Inputs that found something are kept beside them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_core::{
    engine::{AdminCommand, Change, Event, NewTask, Settings, StoredKey},
    model::{
        AllocationRecord, BudgetSpent, CostEntry, Declaration, DeclarationKind, Record, ScalingRecord, UsageSample,
    },
};
use evenkeel_proto::v1::{self, agent_message::Message as Said, attempt_result::Outcome};
use evenkeel_shared::{
    AgentId, AttemptRef, CostUnit, FailureClass, Kind, LabelRule, Micros, Registration, StrategyConfig, TaskSpec,
    Tenant,
    wire::{
        agent::to_registration,
        labels::to_label_rule,
        strategy::to_strategy,
        task::{to_attempt_ref, to_task_spec},
    },
};
use prost::Message as _;

use super::{
    cluster::{Cluster, HONEST, KIND, START},
    configs::{Input, Source},
    frames::{Act, Script, Step, World},
    store::{Cell, Damage, Patch, Value},
};

/// Name and bytes of every seed of a target.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

/// The seeds of all targets.
#[must_use]
pub fn all() -> [(&'static str, Seeds); 5] {
    [
        ("frames", frames()),
        ("submissions", submissions()),
        ("configs", configs()),
        ("words", words()),
        ("store", store()),
    ]
}

fn said(message: Said) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

fn act(act: Act) -> Step {
    Step { act: Some(act) }
}

/// A frame of these messages.
fn frame(messages: Vec<Said>) -> Step {
    let messages = messages.into_iter().map(said).collect();
    act(Act::Frame(v1::AgentFrame { messages }.encode_to_vec()))
}

fn register(id: &str, slots: u32, held: &[AttemptRef]) -> Said {
    let mut spec = Cluster::honest_spec(slots);
    spec.id = AgentId::new(id).unwrap();
    // A map of one entry has one order on the wire.
    spec.labels.remove("ram");
    let registration = Registration { spec, instance: "another".to_owned(), dial: 0, held: held.to_vec() };
    Said::Register(to_registration(&registration))
}

fn heartbeat(memory_share: f64) -> Said {
    Said::Heartbeat(v1::Heartbeat {
        cpu_share: 0.5,
        memory_share,
        memory_used_bytes: 1 << 30,
        network_rx_bytes_per_s: 1e6,
        network_tx_bytes_per_s: 1e6,
        load_average: 1.5,
        running_tasks: 1,
        latencies: vec![v1::KindLatency { kind: KIND.to_owned(), completed: 3, mean_us: 250.5 }],
    })
}

fn started(attempt: AttemptRef) -> Said {
    Said::Started(v1::AttemptStarted { attempt: Some(to_attempt_ref(attempt)) })
}

fn progress(attempt: AttemptRef) -> Said {
    Said::Progress(v1::AttemptProgress {
        attempt: Some(to_attempt_ref(attempt)),
        fraction: 0.5,
        note: "half".to_owned(),
        usage: None,
    })
}

fn result(attempt: AttemptRef, outcome: Outcome) -> Said {
    let attempt = Some(to_attempt_ref(attempt));
    Said::Result(v1::AttemptResult { attempt, outcome: Some(outcome), run_us: 1_000, usage: None })
}

fn outcomes() -> [Outcome; 4] {
    let failure =
        v1::Failure { class: v1::FailureClass::Retryable.into(), message: "no".to_owned(), exit_code: Some(1) };
    [
        Outcome::Success(v1::Success { output: Bytes::from_static(b"forged") }),
        Outcome::Failure(failure),
        Outcome::Cancelled(v1::Cancelled {}),
        Outcome::HandedBack(v1::HandedBack { reason: "full".to_owned() }),
    ]
}

fn draining() -> Said {
    Said::Draining(v1::Draining { reason: "goes".to_owned() })
}

fn script(steps: Vec<Step>) -> Vec<u8> {
    Script { steps }.encode_to_vec()
}

fn frames() -> Seeds {
    // What the honest agent has, and what the hostile one is given once it registers.
    let mut world = World::new();
    let theirs = world.honest_attempts().to_vec();
    let joins = frame(vec![register("hostile", 2, &[])]);
    world.play(&Script { steps: vec![joins.clone()] });
    let own = world.hostile_attempts().to_vec();
    let each = |of: &dyn Fn(AttemptRef) -> Said| theirs.iter().map(|attempt| of(*attempt)).collect::<Vec<_>>();
    let mixed = AttemptRef { assignment: own[0].assignment, ..theirs[0] };
    let results = outcomes().into_iter().flat_map(|outcome| [result(own[0], outcome.clone()), result(own[1], outcome)]);
    vec![
        (
            "works-like-any",
            script(vec![
                joins.clone(),
                frame(vec![heartbeat(0.5), started(own[0]), progress(own[0])]),
                frame(vec![result(own[0], outcomes()[0].clone()), started(own[1])]),
                act(Act::Wait(1_000)),
                frame(vec![heartbeat(0.5), result(own[1], outcomes()[1].clone())]),
                act(Act::HonestSucceeds(0)),
                act(Act::Submit(true)),
                act(Act::Wait(500)),
                frame(vec![draining()]),
                act(Act::Redial(true)),
            ]),
        ),
        (
            "says-what-it-has-not",
            script(vec![
                joins.clone(),
                frame(each(&started)),
                frame(each(&progress)),
                frame(each(&|attempt| result(attempt, outcomes()[0].clone()))),
                frame(each(&|attempt| result(attempt, outcomes()[1].clone()))),
                frame(each(&|attempt| result(attempt, outcomes()[2].clone()))),
                frame(each(&|attempt| result(attempt, outcomes()[3].clone()))),
                frame(vec![result(mixed, outcomes()[0].clone()), started(mixed), progress(mixed)]),
            ]),
        ),
        (
            "holds-what-it-has-not",
            script(vec![
                frame(vec![register("hostile", 2, &theirs)]),
                frame(vec![register("hostile", 2, &[theirs[0], theirs[0], mixed])]),
                act(Act::Redial(true)),
                frame(vec![register("hostile", 1, &own)]),
            ]),
        ),
        (
            "is-somebody-else",
            script(vec![
                frame(vec![register(HONEST, 2, &theirs)]),
                act(Act::Wait(200)),
                frame(vec![register(HONEST, 2, &[])]),
            ]),
        ),
        (
            "on-two-connections",
            script(vec![
                joins.clone(),
                act(Act::Use(1)),
                joins.clone(),
                frame(vec![started(own[0])]),
                act(Act::Use(0)),
                frame(vec![started(own[1]), heartbeat(0.1)]),
            ]),
        ),
        (
            "every-result-twice",
            script([joins.clone()].into_iter().chain(results.map(|said| frame(vec![said.clone(), said]))).collect()),
        ),
        (
            "strained-and-silent",
            script(vec![
                joins.clone(),
                frame(vec![heartbeat(0.99)]),
                act(Act::Wait(900)),
                frame(vec![heartbeat(0.99); 20]),
                act(Act::Cancel(3)),
                act(Act::Wait(10_000)),
                joins,
            ]),
        ),
        (
            "comes-back-smaller",
            script(vec![
                frame(vec![register("hostile", 8, &[])]),
                act(Act::Redial(true)),
                frame(vec![register("hostile", 1, &own)]),
                act(Act::Submit(true)),
                act(Act::HonestSucceeds(1)),
            ]),
        ),
        ("says-nothing-first", script(vec![frame(vec![heartbeat(0.5)]), frame(vec![]), act(Act::Wait(20_000))])),
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

fn store() -> Seeds {
    let cell = |table, column, row, value| Cell { table, column, row, value: Some(value) };
    let damage = |database, cells: Vec<Cell>, patches| {
        Damage { database, without_sums: !cells.is_empty(), cells, patches }.encode_to_vec()
    };
    let patch = |log, at, bytes: &[u8], xor| Patch { log, at, bytes: bytes.to_vec(), xor };
    vec![
        ("sound", damage(0, vec![], vec![])),
        ("left", damage(1, vec![], vec![])),
        ("with-log", damage(2, vec![], vec![])),
        (
            "cells-of-tasks",
            damage(
                1,
                vec![
                    cell(0, 2, 0, Value::Int(1)),
                    cell(0, 5, 1, Value::Int(i64::from(u32::MAX))),
                    cell(0, 10, 2, Value::As(0)),
                    cell(0, 9, 3, Value::Text(b"no such agent".to_vec())),
                ],
                vec![],
            ),
        ),
        (
            "cells-of-inputs",
            damage(
                0,
                vec![
                    cell(1, 1, 0, Value::Blob(vec![0xff; 40])),
                    cell(1, 1, 1, Value::As(2)),
                    cell(1, 2, 2, Value::Null(true)),
                    cell(1, 0, 3, Value::Gone(true)),
                ],
                vec![],
            ),
        ),
        (
            "cells-with-sums",
            Damage {
                database: 1,
                cells: vec![cell(1, 1, 0, Value::As(1)), cell(0, 7, 1, Value::Text(b"else".to_vec()))],
                ..Damage::default()
            }
            .encode_to_vec(),
        ),
        (
            "too-many-attempts",
            damage(1, vec![cell(0, 5, 7, Value::Int(u32::MAX.into())), cell(0, 5, 8, Value::Int(2))], vec![]),
        ),
        (
            "one-assignment-twice",
            damage(1, (0..10).map(|row| cell(0, 10, row, Value::Int((1 << 40) + 3))).collect(), vec![]),
        ),
        (
            "cells-of-attempts",
            damage(
                0,
                vec![
                    cell(3, 3, 0, Value::Text(vec![0xc3, 0x28])),
                    cell(3, 6, 1, Value::Real(f64::MAX)),
                    cell(3, 14, 2, Value::Int(-1)),
                    cell(3, 9, 3, Value::Int(256)),
                ],
                vec![],
            ),
        ),
        (
            "cells-of-the-rest",
            damage(
                0,
                vec![
                    cell(4, 3, 0, Value::Int(99)),
                    cell(5, 2, 0, Value::Blob(vec![1])),
                    cell(6, 1, 0, Value::Text(b"asleep".to_vec())),
                    cell(7, 3, 0, Value::Text(b"{\"name\":\"priority\",\"held_back_percent\":255}".to_vec())),
                ],
                vec![],
            ),
        ),
        ("one-bit", damage(0, vec![], vec![patch(false, 9_000, &[1], true)])),
        ("header", damage(1, vec![], vec![patch(false, 16, &[0x02, 0x00], false)])),
        ("cut", damage(1, vec![], vec![patch(false, 50_000, &[], false)])),
        ("log-cut", damage(2, vec![], vec![patch(true, 40_000, &[], false)])),
        ("log-bit", damage(2, vec![], vec![patch(true, 10_000, &[0x80], true)])),
    ]
}

/// What makes the history of the databases: tasks in every state, with attempts, outputs and failures, agents that come
/// and go, what an operator wanted.
#[must_use]
pub fn history() -> Vec<Change> {
    let mut cluster = Cluster::new(Settings::default(), Cluster::honest_spec(2));
    for n in 0..10 {
        let mut spec = full_spec();
        spec.requirements.resources.slots = 1;
        spec.idempotency_key = format!("key-{n}");
        (spec.queue_timeout, spec.attempt_timeout) = (None, None);
        spec.retry.attempts_max = 2;
        let task = NewTask {
            spec: Arc::new(spec),
            payload: Bytes::from(vec![n; 100]),
            fingerprint: u128::from(n) + 1,
            stored_key: StoredKey::Absent { asked_at: cluster.now() },
            redrive_of: None,
        };
        cluster.submit(vec![task]);
    }
    cluster.honest_succeeds(0);
    cluster.honest_fails(0, FailureClass::NonRetryable);
    cluster.honest_fails(0, FailureClass::Retryable);
    cluster.wait(Duration::from_secs(1));
    let called_off = cluster.held()[0].task;
    cluster.cancel(called_off);
    let request = cluster.request();
    let agent = AgentId::new("away").unwrap();
    let session = cluster.open_session();
    let mut spec = Cluster::honest_spec(2);
    spec.id = agent.clone();
    let registration = Registration { spec, instance: "another".to_owned(), dial: 0, held: Vec::new() };
    cluster.handle(Event::Register { session, registration: Box::new(registration) });
    cluster.handle(Event::Admin { request, agent, command: AdminCommand::Cordon, reason: "repairs".to_owned() });
    cluster.handle(Event::SetStrategy { request, strategy: StrategyConfig::named("weighted").unwrap() });
    cluster.handle(Event::SessionClosed { session, reason: "the stream ended".to_owned() });
    cluster.wait(Duration::from_secs(1));
    // The task that failed once waits for its next attempt.
    cluster.honest_fails(0, FailureClass::Retryable);
    let mut changes = cluster.take_changes();
    changes.extend(records().into_iter().map(|record| Change::Record(Box::new(record))));
    changes
}

/// Something in every table about resources. What the bodies say is the engine's affair; here they say nothing.
fn records() -> Vec<Record> {
    let declared = |kind, name: &str, version, body: Option<&str>| {
        let (name, body) = (name.to_owned(), body.map(str::to_owned));
        Record::Declared(Declaration { kind, name, version, body, at: START, reason: "so it is".to_owned() })
    };
    let (length, subject, unit) = (Duration::from_secs(60), "fleet".to_owned(), CostUnit::usd());
    let usage = |n: u32| {
        let (at, metric, mean) = (START.plus(length * n), "cpu".to_owned(), f64::from(n));
        let subject = subject.clone();
        Record::Usage(UsageSample { at, length, subject, metric, mean, min: 0.0, max: mean })
    };
    let (resources, reported, idle) = (Micros(1), Micros(2), Micros(3));
    let costs = CostEntry {
        at: START,
        length,
        subject: subject.clone(),
        unit,
        resources,
        reported,
        idle,
        tasks: 4,
        attempts: 5,
    };
    let (id, at, message) = (1, START, "all in use".to_owned());
    vec![
        declared(DeclarationKind::Recommendation, "r", 1, Some("{}")),
        declared(DeclarationKind::Recommendation, "r", 2, None),
        declared(DeclarationKind::Limit, "l", 1, None),
        declared(DeclarationKind::Budget, "b", 1, None),
        declared(DeclarationKind::ScalingPolicy, "", 1, None),
        Record::Spent(BudgetSpent {
            budget: "b".to_owned(),
            window_start: START,
            spent: Micros(7),
            overrun: Micros(1),
        }),
        usage(0),
        usage(1),
        Record::Cost(costs),
        Record::Scaling(ScalingRecord { id, at, agents_before: 1, agents_after: 2, body: "{}".to_owned() }),
        Record::Allocation(AllocationRecord { id, at, what: "throttled", subject: "limit:l".to_owned(), message }),
    ]
}

//! Databases with a history in them, and what is done to them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_core::{
    engine::{AdminCommand, Change, Event, NewTask, Settings, StoredKey},
    model::{
        AllocationRecord, BudgetSpent, CostEntry, Declaration, DeclarationKind, Record, ScalingRecord, UsageSample,
    },
};
use evenkeel_shared::{AgentId, CostUnit, FailureClass, Micros, Registration, StrategyConfig};
use prost::Message as _;

use super::{
    super::{
        cluster::{Cluster, START},
        store::{Cell, Damage, Patch, Value},
    },
    Seeds, full_spec,
};

pub fn store() -> Seeds {
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

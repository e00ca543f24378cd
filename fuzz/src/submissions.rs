//! What clients submit: protobuf, the form of each task, the engine.
//!
//! What is refused leaves nothing behind. What is accepted reads back from the wire, and so from the store, as it was; it
//! has the fingerprint it had, or a repeated submission would be taken for another one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use evenkeel_coordinator::{
    fingerprint::fingerprint,
    services::{submission, view},
};
use evenkeel_core::engine::{Change, Effects, NewTask, Settings, StoredKey};
use evenkeel_proto::v1;
use evenkeel_shared::{
    TaskId,
    wire::{
        status,
        task::{task_spec, to_task_spec},
    },
};
use prost::Message as _;

use super::cluster::{Cluster, answers};

/// Slots of the agent that does what it can.
const SLOTS: u32 = 8;
/// Rounds in which it does.
const ROUNDS: usize = 4;
/// Live tasks and bytes of payload that the engine takes: few, so that some are refused for want of room.
const TASKS_MAX: usize = 6;
const PAYLOAD_BYTES_MAX: u64 = 8 << 10;
/// Tasks that are explained: it looks at everything.
const EXPLAINED_MAX: usize = 8;
/// Agents shown in an explanation.
const CANDIDATES_MAX: usize = 4;

/// Submits the bytes, as a `SubmitRequest`.
pub fn run(data: &[u8]) {
    let Ok(request) = v1::SubmitRequest::decode(data) else { return };
    let settings = Settings { tasks_max: TASKS_MAX, payload_bytes_max: PAYLOAD_BYTES_MAX, ..Settings::default() };
    let mut cluster = Cluster::new(settings, Cluster::honest_spec(SLOTS));
    let mut accepted = Vec::new();
    for wire in request.tasks {
        let payload = wire.payload.clone();
        match submission::read(wire, cluster.now()) {
            Ok(task) => {
                check_reads_back(&task, &payload);
                accepted.extend(submit(&mut cluster, task));
            }
            Err(violations) => {
                assert!(!violations.is_empty(), "refused for nothing");
                for violation in violations.as_slice() {
                    assert!(!violation.field.is_empty(), "a violation that names nothing: {violation:?}");
                }
                let _ = status::to_item_error(&violations.into());
            }
        }
    }
    for &task in accepted.iter().take(EXPLAINED_MAX) {
        if let Some(explanation) = cluster.engine().explain(cluster.now(), task, CANDIDATES_MAX) {
            let _ = view::explanation(explanation, &[]).encode_to_vec();
        }
    }
    for _ in 0..ROUNDS {
        cluster.wait(Duration::from_secs(1));
        cluster.honest_succeeds(0);
    }
    for task in accepted {
        cluster.cancel(task);
    }
    assert_eq!(cluster.ledger().unfinished().count(), 0, "what is called off is over");
}

/// What was read, written and read again, is the same.
fn check_reads_back(task: &NewTask, payload: &Bytes) {
    assert_eq!(task.payload, payload);
    let wire = to_task_spec(&task.spec, task.payload.clone());
    let bytes = wire.encode_to_vec();
    let again = v1::TaskSpec::decode(bytes.as_slice()).expect("what was written can be read");
    let (spec, again_payload) = task_spec(again).expect("what was accepted is accepted");
    assert_eq!((&spec, &again_payload), (task.spec.as_ref(), payload));
    if !spec.idempotency_key.is_empty() {
        assert_eq!(fingerprint(&spec, &again_payload), task.fingerprint);
    }
}

/// Submits a task, and the same once more. Answers its id if it was accepted.
fn submit(cluster: &mut Cluster, mut task: NewTask) -> Option<TaskId> {
    let keyed = !task.spec.idempotency_key.is_empty();
    if keyed {
        task.stored_key = StoredKey::Absent { asked_at: cluster.now() };
    }
    let (before, known) = (cluster.engine().status(cluster.now()), cluster.ledger().accepted());
    let effects = cluster.submit(vec![task.clone()]);
    match &answers(&effects)[0] {
        Ok(submitted) if submitted.duplicate => {
            assert!(keyed && accepts(&effects).is_empty() && cluster.ledger().accepted() == known);
            return None;
        }
        Ok(submitted) => {
            assert_eq!(cluster.ledger().accepted(), known + 1);
            for stored in accepts(&effects) {
                assert_eq!((stored.id, &stored.spec), (submitted.task, &task.spec));
            }
            if keyed {
                let again = cluster.submit(vec![task]);
                let same = matches!(&answers(&again)[0], Ok(same) if same.duplicate && same.task == submitted.task);
                assert!(same, "the same submission again: {:?}", answers(&again));
            }
            return Some(submitted.task);
        }
        Err(error) => {
            let _ = status::to_status(error);
            assert!(effects.changes.is_empty() && cluster.ledger().accepted() == known, "{:?}", effects.changes);
            let again = cluster.submit(vec![task]);
            let same = matches!(&answers(&again)[0], Err(refused) if refused == error);
            assert!(same, "refused with {error}, and then {:?}", answers(&again));
        }
    }
    let mut after = cluster.engine().status(cluster.now());
    // Refusals are counted, and nothing else is.
    after.counters.refused = before.counters.refused;
    assert_eq!(before, after, "a refused submission left something");
    None
}

fn accepts(effects: &Effects) -> Vec<Arc<evenkeel_core::engine::AcceptedTask>> {
    let accept = |change: &Change| match change {
        Change::Accept(task) => Some(task.clone()),
        _ => None,
    };
    effects.changes.iter().filter_map(accept).collect()
}

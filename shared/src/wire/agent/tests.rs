//! Every field is checked, and what was written reads back.

use proptest::{collection, option, prelude::*};

use super::*;
use crate::{
    ids::{AssignmentId, AttemptNumber, TaskId},
    limits::{LABELS_MAX, SLOTS_MAX},
    task::{Failure, FailureClass},
    wire::task::tests::{quota_keys, resources, spec},
};

const TOKEN: AttemptRef =
    AttemptRef { task: TaskId::from_u128(7), attempt: AttemptNumber(2), assignment: AssignmentId(u64::MAX) };

fn register() -> v1::Register {
    v1::Register {
        agent_id: "a-1".into(),
        kinds: vec!["echo".into()],
        capacity: Some(v1::Resources { slots: 4, ..Default::default() }),
        ..Default::default()
    }
}

/// Changes one thing of a legal registration, and expects this field to be refused.
fn check(field: &str, change: impl FnOnce(&mut v1::Register)) {
    let mut wire = register();
    change(&mut wire);
    let refused = registration(wire).expect_err(field);
    assert_eq!(refused.field, field, "{refused}");
}

fn check_load(field: &str, change: impl FnOnce(&mut v1::Heartbeat)) {
    let mut wire = v1::Heartbeat::default();
    change(&mut wire);
    assert_eq!(load(wire).expect_err(field).field, field);
}

#[test]
fn a_registration_is_checked_field_by_field() {
    check("agent_id", |r| r.agent_id.clear());
    check("instance_id", |r| r.instance_id = "x".repeat(NAME_BYTES_MAX + 1));
    check("kinds", |r| r.kinds.clear());
    check("kinds", |r| r.kinds = vec!["echo".into(); KINDS_MAX + 1]);
    check("kinds[1]", |r| r.kinds.push("two words".into()));
    check("labels", |r| r.labels = (0..=LABELS_MAX).map(|n| (n.to_string(), String::new())).collect());
    check("labels", |r| r.labels = [(String::new(), "x".into())].into());
    check("labels[zone]", |r| r.labels = [("zone".into(), "x".repeat(257))].into());
    check("capacity.slots", |r| r.capacity = None);
    check("capacity.slots", |r| r.capacity = Some(v1::Resources { slots: SLOTS_MAX + 1, ..Default::default() }));
    check("tier", |r| r.tier = 16);
    check("tier", |r| r.tier = 256);
    check("weight", |r| r.weight = 1_001);
    check("prefetch_per_slot", |r| r.prefetch_per_slot = Some(2));
    check("version", |r| r.version = "x".repeat(NAME_BYTES_MAX + 1));
    check("held", |r| r.held = vec![task::to_attempt_ref(TOKEN); HELD_ATTEMPTS_MAX + 1]);
    check("held[1].task_id", |r| {
        r.held = vec![task::to_attempt_ref(TOKEN), v1::AttemptRef { attempt: 1, ..Default::default() }];
    });
}

#[test]
fn a_registration_has_defaults_and_one_form() {
    let kinds = ["b", "a", "b"].map(str::to_owned).to_vec();
    let held = vec![task::to_attempt_ref(TOKEN); 3];
    let Registration { spec: read, held, .. } = registration(v1::Register { kinds, held, ..register() }).unwrap();
    assert_eq!(held, [TOKEN], "what is said twice is held once");
    assert_eq!(read.kinds, [Kind::new("a").unwrap(), Kind::new("b").unwrap()]);
    assert_eq!((read.weight, read.tier, read.prefetch_per_slot), (AgentSpec::WEIGHT_ORDINARY, 0, None));
}

#[test]
fn measurements_are_finite_and_shares_end_at_one() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
        check_load("cpu_share", |l| l.cpu_share = bad);
        check_load("memory_share", |l| l.memory_share = bad);
        check_load("network_rx_bytes_per_s", |l| l.network_rx_bytes_per_s = bad);
        check_load("network_tx_bytes_per_s", |l| l.network_tx_bytes_per_s = bad);
        check_load("load_average", |l| l.load_average = bad);
        let latency = v1::KindLatency { kind: "echo".into(), completed: 1, mean_us: bad };
        check_load("latencies[0].mean_us", |l| l.latencies = vec![latency]);
    }
    check_load("latencies[0].kind", |l| l.latencies = vec![v1::KindLatency::default()]);
    check_load("latencies", |l| l.latencies = vec![v1::KindLatency::default(); KINDS_MAX + 1]);
    check_load("cpu_share", |l| l.cpu_share = 1.06);
    check_load("memory_share", |l| l.memory_share = 97.0);
    let busy = v1::Heartbeat { cpu_share: 1.04, memory_share: 1.0, ..Default::default() };
    assert_eq!(load(busy).unwrap().cpu_share, 1.0);
}

#[test]
fn a_result_without_token_or_outcome_is_refused_and_so_is_a_huge_output() {
    let good = to_outcome(TOKEN, &Outcome::Cancelled, Duration::ZERO, None);
    let field = |wire| outcome(wire).unwrap_err().field;
    assert_eq!(field(v1::AttemptResult { attempt: None, ..good.clone() }), "attempt");
    assert_eq!(field(v1::AttemptResult { outcome: None, ..good }), "outcome");
    let huge = Outcome::Succeeded(vec![0; OUTPUT_BYTES_MAX + 1].into());
    assert_eq!(field(to_outcome(TOKEN, &huge, Duration::ZERO, None)), "success.output");
}

#[test]
fn work_for_an_agent_always_has_a_timeout() {
    let spec = TaskSpec::of_kind(Kind::new("echo").unwrap());
    let wire = to_assignment(TOKEN, &spec, Bytes::new(), Duration::from_micros(1));
    assert_eq!(assignment(wire.clone()).unwrap().timeout, Duration::from_millis(1));
    assert_eq!(assignment(v1::Assignment { timeout_ms: 0, ..wire }).unwrap_err().field, "timeout_ms");
}

fn kind() -> impl Strategy<Value = Kind> {
    "[a-z]{1,10}".prop_map(|name| Kind::new(&name).unwrap())
}

fn token() -> impl Strategy<Value = AttemptRef> {
    (any::<u128>(), 1u32.., any::<u64>()).prop_map(|(task, attempt, assignment)| AttemptRef {
        task: TaskId::from_u128(task),
        attempt: AttemptNumber(attempt),
        assignment: AssignmentId(assignment),
    })
}

fn an_outcome() -> impl Strategy<Value = Outcome> {
    use FailureClass as Class;
    let classes = vec![
        Class::Retryable,
        Class::NonRetryable,
        Class::Timeout,
        Class::Rejected,
        Class::AgentLost,
        Class::BudgetExceeded,
        Class::QuotaExhausted,
    ];
    let failure = (proptest::sample::select(classes), ".{0,40}", option::of(any::<i32>()))
        .prop_map(|(class, message, exit_code)| Failure { class, message, exit_code });
    prop_oneof![
        collection::vec(any::<u8>(), 0..64).prop_map(|output| Outcome::Succeeded(output.into())),
        failure.prop_map(Outcome::Failed),
        Just(Outcome::Cancelled),
        ".{0,40}".prop_map(Outcome::HandedBack),
    ]
}

prop_compose! {
    fn a_registration()(
        (id, instance, version) in ("[a-z0-9-]{1,20}", ".{0,20}", ".{0,20}"),
        kinds in collection::btree_set(kind(), 1..8),
        labels in collection::btree_map("[a-z.]{1,10}", ".{0,20}", 0..8),
        capacity in resources(),
        (tier, weight) in (0..=TIER_MAX, 1..=WEIGHT_MAX),
        prefetch_per_slot in option::of(0u8..=1),
        (dial, held) in (any::<u64>(), collection::vec(token(), 0..5)),
        quota_keys in quota_keys(),
    ) -> Registration {
        let (id, kinds) = (AgentId::new(&id).unwrap(), kinds.into_iter().collect());
        let spec = AgentSpec { id, kinds, labels, capacity, tier, weight, version, prefetch_per_slot, quota_keys };
        Registration { spec, instance, dial, held }
    }
}

prop_compose! {
    fn a_load()(
        (cpu_share, memory_share) in (0.0..=1.0, 0.0..=1.0),
        memory_used_bytes in any::<u64>(),
        (network_rx_bytes_per_s, network_tx_bytes_per_s, load_average) in (0.0..1e12, 0.0..1e12, 0.0..1e4),
        running_tasks in any::<u32>(),
        latencies in collection::vec((kind(), any::<u64>(), 0.0..1e12), 0..5),
    ) -> AgentLoad {
        let latency = |(kind, completed, mean_us)| KindLatency { kind, completed, mean_us };
        let latencies = latencies.into_iter().map(latency).collect();
        AgentLoad {
            cpu_share,
            memory_share,
            memory_used_bytes,
            network_rx_bytes_per_s,
            network_tx_bytes_per_s,
            load_average,
            running_tasks,
            latencies,
        }
    }
}

proptest! {
    #[test]
    fn what_agents_say_reads_back(
        registration in a_registration(),
        load in a_load(),
        (attempt, outcome, run_us) in (token(), an_outcome(), any::<u64>()),
        usage in option::of((1u64..1_000_000, any::<u64>()).prop_map(|(cpu_ms, memory_max_bytes)| {
            Box::new(Usage { cpu: Duration::from_millis(cpu_ms), memory_max_bytes, ..Usage::default() })
        })),
    ) {
        prop_assert_eq!(super::registration(to_registration(&registration)), Ok(registration));
        prop_assert_eq!(super::load(to_load(&load)), Ok(load));
        let run = Duration::from_micros(run_us);
        let wire = to_outcome(attempt, &outcome, run, usage.as_deref());
        prop_assert_eq!(super::outcome(wire), Ok((attempt, outcome, run, usage)));
    }

    #[test]
    fn work_for_an_agent_reads_back(attempt in token(), spec in spec(), timeout_ms in 1u64..1_000_000) {
        let timeout = Duration::from_millis(timeout_ms);
        let expected = Assignment {
            attempt,
            payload: Bytes::from_static(b"work"),
            timeout,
            kind: spec.kind.clone(),
            tenant: spec.tenant.clone(),
            priority: spec.priority,
            resources: spec.requirements.resources.clone(),
            deadline: spec.deadline,
            affinity_key: spec.affinity_key.clone(),
            idempotency_key: spec.idempotency_key.clone(),
            budget: spec.budget.clone(),
            quota_keys: spec.requirements.quota_keys.clone(),
            trace: spec.trace.clone(),
        };
        let wire = to_assignment(attempt, &spec, Bytes::from_static(b"work"), timeout);
        prop_assert_eq!(assignment(wire), Ok(expected));
    }
}

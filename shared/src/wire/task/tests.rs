//! Every field is checked, and what was written reads back.

use proptest::{collection, option, prelude::*};

use super::*;
use crate::{
    Error,
    ids::{QuotaKey, TaskId},
    labels::{LabelOperator, LabelRule},
    limits::{
        COST_UNITS_MAX, DURATION_MAX, LABEL_VALUE_BYTES_MAX, NOTE_BYTES_MAX, PREFERRED_RULES_MAX, QUOTA_KEYS_MAX,
        REQUIRED_RULES_MAX, RULE_VALUES_MAX, SLOTS_MAX,
    },
    spend::{Cost, CostUnit, Micros, TaskBudget},
    task::Requirements,
    time::Timestamp,
};

/// Changes one thing of a legal task, and expects this field to be refused.
fn check(field: &str, change: impl FnOnce(&mut v1::TaskSpec)) {
    let mut wire = v1::TaskSpec { kind: "echo".into(), ..v1::TaskSpec::default() };
    change(&mut wire);
    let refused = task_spec(wire).expect_err(field);
    let fields: Vec<_> = refused.as_slice().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, [field], "{refused}");
}

fn check_rule(field: &str, operator: v1::LabelOperator, values: &[&str]) {
    let values = values.iter().map(|&value| value.to_owned()).collect();
    let rule = v1::LabelRule { key: "gpu".into(), operator: operator.into(), values, weight: 0 };
    check(&format!("requirements.required[1].{field}"), |task| {
        let good = v1::LabelRule { key: "a".into(), values: vec!["b".into()], ..v1::LabelRule::default() };
        task.requirements = Some(v1::Requirements { required: vec![good, rule], ..v1::Requirements::default() });
    });
}

fn check_retry(field: &str, retry: v1::RetryPolicy) {
    check(&format!("retry.{field}"), |task| task.retry = Some(retry));
}

fn check_resources(field: &str, resources: v1::Resources) {
    check(&format!("requirements.resources.{field}"), |task| {
        task.requirements = Some(v1::Requirements { resources: Some(resources), ..v1::Requirements::default() });
    });
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let retry = v1::RetryPolicy { multiplier: 0.5, ..v1::RetryPolicy::default() };
    let wire = v1::TaskSpec { priority: Some(99), delivery: 7, retry: Some(retry), ..v1::TaskSpec::default() };
    let refused = Error::from(task_spec(wire).unwrap_err());
    let fields: Vec<_> = refused.violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["kind", "priority", "delivery", "retry.multiplier"]);
    assert_eq!(
        refused.message,
        "kind: must not be empty; priority: 99 is not a priority; use 0 to 9; delivery: 7 is not a known kind of delivery; \
         retry.multiplier: 0.5 is not a growth; use a number from 1 up"
    );
}

#[test]
fn what_is_not_said_is_the_default() {
    let payload = Bytes::from_static(b"work");
    let wire = v1::TaskSpec { kind: "echo".into(), payload: payload.clone(), ..v1::TaskSpec::default() };
    assert_eq!(task_spec(wire), Ok((TaskSpec::of_kind(Kind::new("echo").unwrap()), payload)));
    let zero = v1::TaskSpec { kind: "echo".into(), priority: Some(0), ..v1::TaskSpec::default() };
    assert_eq!(task_spec(zero).unwrap().0.priority.level(), 0);
}

#[test]
fn a_place_in_a_trace_that_is_none_is_left_out() {
    let wire = v1::TaskSpec { kind: "echo".into(), traceparent: "nonsense".into(), ..v1::TaskSpec::default() };
    assert_eq!(task_spec(wire).unwrap().0.trace, None);
}

#[test]
fn names_keys_and_payloads_have_their_limits() {
    check("kind", |task| task.kind.clear());
    check("kind", |task| task.kind = "two words".into());
    check("tenant", |task| task.tenant = "x".repeat(129));
    check("idempotency_key", |task| task.idempotency_key = "x".repeat(KEY_BYTES_MAX + 1));
    check("affinity_key", |task| task.affinity_key = "x".repeat(KEY_BYTES_MAX + 1));
    check("payload", |task| task.payload = vec![0; PAYLOAD_BYTES_MAX + 1].into());
    check("priority", |task| task.priority = Some(10));
    check("priority", |task| task.priority = Some(256));
    check("delivery", |task| task.delivery = 77);
}

#[test]
fn times_have_their_limits() {
    let year_ms = u64::try_from(DURATION_MAX.as_millis()).unwrap();
    check("queue_timeout_ms", |task| task.queue_timeout_ms = year_ms + 1);
    check("attempt_timeout_ms", |task| task.attempt_timeout_ms = u64::MAX);
    check("deadline_unix_ms", |task| task.deadline_unix_ms = -1);
    check_retry("max_attempts", v1::RetryPolicy { max_attempts: ATTEMPTS_MAX + 1, ..Default::default() });
    check_retry("initial_backoff_ms", v1::RetryPolicy { initial_backoff_ms: year_ms + 1, ..Default::default() });
    let falling = v1::RetryPolicy { initial_backoff_ms: 2, max_backoff_ms: 1, ..Default::default() };
    check_retry("max_backoff_ms", falling);
    for multiplier in [f64::NAN, f64::INFINITY, 0.5, -2.0] {
        check_retry("multiplier", v1::RetryPolicy { multiplier, ..Default::default() });
    }
}

#[test]
fn a_first_backoff_above_the_default_cap_raises_the_cap() {
    let wire = v1::RetryPolicy { initial_backoff_ms: 60_000, ..Default::default() };
    assert_eq!(retry(wire).unwrap().backoff_max, Duration::from_secs(60));
}

#[test]
fn resources_have_their_limits() {
    let custom = |name: &str, n: usize| v1::Resources {
        custom: (0..n).map(|i| (format!("{name}{i}"), 1)).collect(),
        ..Default::default()
    };
    check_resources("slots", v1::Resources { slots: SLOTS_MAX + 1, ..Default::default() });
    check_resources("custom", custom("gpu", 17));
    check_resources("custom", custom("a gpu", 1));
}

#[test]
fn rules_are_checked_one_by_one() {
    use v1::LabelOperator as Op;
    check_rule("values", Op::Equals, &[]);
    check_rule("values", Op::NotEquals, &["a", "b"]);
    check_rule("values", Op::Unspecified, &["a", "b"]);
    check_rule("values", Op::In, &[]);
    check_rule("values", Op::NotIn, &["a"; RULE_VALUES_MAX + 1]);
    check_rule("values", Op::Exists, &["a"]);
    check_rule("values", Op::Absent, &["a"]);
    check_rule("values[1]", Op::In, &["a", &"x".repeat(LABEL_VALUE_BYTES_MAX + 1)]);
    for text in ["many", "NaN", "inf", ""] {
        check_rule("values[0]", Op::Greater, &[text]);
        check_rule("values[0]", Op::LessOrEqual, &[text]);
    }
    let preferred = |rule: v1::LabelRule| v1::Requirements { preferred: vec![rule], ..Default::default() };
    let exists = |key: &str| v1::LabelRule { key: key.into(), operator: Op::Exists.into(), ..Default::default() };
    let field = |name: &str| format!("requirements.preferred[0].{name}");
    check(&field("key"), |task| task.requirements = Some(preferred(exists(""))));
    check(&field("weight"), |task| task.requirements = Some(preferred(v1::LabelRule { weight: 101, ..exists("a") })));
    check(&field("weight"), |task| task.requirements = Some(preferred(v1::LabelRule { weight: 257, ..exists("a") })));
    check(&field("operator"), |task| {
        task.requirements = Some(preferred(v1::LabelRule { operator: 11, ..exists("a") }));
    });
    let many = v1::Requirements { required: vec![exists("a"); 17], ..Default::default() };
    check("requirements.required", |task| task.requirements = Some(many));
    let many = v1::Requirements { preferred: vec![exists("a"); 9], ..Default::default() };
    check("requirements.preferred", |task| task.requirements = Some(many));
}

#[test]
fn equal_requirements_read_alike_whatever_their_order() {
    let rule = |key: &str, values: &[&str], weight| v1::LabelRule {
        key: key.into(),
        operator: v1::LabelOperator::In.into(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
        weight,
    };
    let read = |required| labels::requirements(Some(v1::Requirements { required, ..Default::default() })).unwrap();
    let one = read(vec![rule("a", &["x", "y"], 0), rule("b", &["z"], 1)]);
    let other = read(vec![rule("b", &["z", "z"], 7), rule("a", &["y", "x"], 3), rule("b", &["z"], 0)]);
    assert_eq!(one, other);
}

#[test]
fn a_token_names_a_task_and_counts_attempts_from_one() {
    let good = v1::AttemptRef { task_id: TaskId::from_u128(7).to_string(), attempt: 1, assignment_id: 9 };
    assert_eq!(to_attempt_ref(attempt_ref(good.clone()).unwrap()), good);
    let field = |wire| required_attempt_ref(wire).unwrap_err().field;
    assert_eq!(field(None), "attempt");
    assert_eq!(field(Some(v1::AttemptRef { attempt: 0, ..good.clone() })), "attempt.attempt");
    assert_eq!(field(Some(v1::AttemptRef { task_id: "7".into(), ..good })), "attempt.task_id");
}

#[test]
fn a_failure_keeps_its_sense_and_loses_what_is_too_long() {
    let wire = v1::Failure { class: 99, message: "x".repeat(5_000), exit_code: Some(-9) };
    let read = failure(wire);
    assert_eq!((read.class, read.message.len(), read.exit_code), (FailureClass::Retryable, NOTE_BYTES_MAX, Some(-9)));
    assert_eq!(failure(to_failure(&read)), read);
}

#[test]
fn a_decision_reads_back() {
    let decided = Decision {
        strategy: "least_loaded".into(),
        score: 0.25,
        agents_with_room: 3,
        prefetched: true,
        preferences_given_up: 2,
        queued: Duration::from_micros(1_234),
    };
    assert_eq!(decision(to_decision(&decided)), Ok(decided));
    assert!(decision(v1::Decision { preferences_given_up: 256, ..v1::Decision::default() }).is_err());
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._:/-]{1,20}"
}

fn millis() -> impl Strategy<Value = Duration> {
    (1..=DURATION_MAX.as_millis() as u64).prop_map(Duration::from_millis)
}

pub(in crate::wire) fn resources() -> impl Strategy<Value = Resources> {
    let custom = collection::btree_map(name(), 1u64.., 0..4);
    (1..=SLOTS_MAX, any::<u64>(), any::<u64>(), custom)
        .prop_map(|(slots, cpu_millis, memory_bytes, custom)| Resources { slots, cpu_millis, memory_bytes, custom })
}

fn rule(weights: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = LabelRule> {
    use LabelOperator as Op;
    let operators = [Op::Equals, Op::NotEquals, Op::In, Op::NotIn, Op::Exists, Op::Absent, Op::Greater, Op::Less];
    let values = collection::btree_set("[a-z]{0,8}", 1..RULE_VALUES_MAX);
    (name(), proptest::sample::select(operators.to_vec()), values, any::<i32>(), weights).prop_map(
        |(key, operator, values, number, weight)| {
            let values = match operator {
                Op::In | Op::NotIn => values.into_iter().collect(),
                Op::Exists | Op::Absent => Vec::new(),
                Op::Greater | Op::Less => vec![number.to_string()],
                _ => values.into_iter().take(1).collect(),
            };
            LabelRule { key, operator, values, weight }
        },
    )
}

fn requirements() -> impl Strategy<Value = Requirements> {
    let required =
        collection::btree_set(rule(1..=1), 0..=REQUIRED_RULES_MAX).prop_map(|rules| rules.into_iter().collect());
    (resources(), required, collection::vec(rule(1..=100), 0..=PREFERRED_RULES_MAX), quota_keys()).prop_map(
        |(resources, required, preferred, quota_keys)| Requirements { resources, required, preferred, quota_keys },
    )
}

pub(in crate::wire) fn quota_keys() -> impl Strategy<Value = Vec<QuotaKey>> {
    collection::btree_set(name(), 0..=QUOTA_KEYS_MAX)
        .prop_map(|keys| keys.iter().map(|key| QuotaKey::new(key).unwrap()).collect())
}

fn cost() -> impl Strategy<Value = Cost> {
    collection::btree_map(name(), 1u64.., 0..=COST_UNITS_MAX).prop_map(|cost| {
        cost.into_iter().map(|(unit, micros)| (CostUnit::new(&unit).unwrap(), Micros(micros))).collect()
    })
}

fn budget() -> impl Strategy<Value = Option<Box<TaskBudget>>> {
    (cost(), option::of(1u64..), option::of(millis()), option::of(millis())).prop_map(
        |(estimate, memory_max_bytes, cpu_max, wall_max)| {
            let max = estimate.iter().map(|(unit, amount)| (unit.clone(), amount.plus(Micros(1)))).collect();
            let budget = TaskBudget { estimate, max, memory_max_bytes, cpu_max, wall_max };
            (budget != TaskBudget::default()).then(|| Box::new(budget))
        },
    )
}

fn retry_policy() -> impl Strategy<Value = RetryPolicy> {
    (1..=ATTEMPTS_MAX, millis(), millis(), 1.0..100.0).prop_map(|(attempts_max, one, other, multiplier)| RetryPolicy {
        attempts_max,
        backoff_initial: one.min(other),
        backoff_max: one.max(other),
        multiplier,
    })
}

prop_compose! {
    fn trace()(ids in (1_u128.., 1_u64..), sampled: bool, state in option::of("[a-z]{1,9}=[a-z:]{1,9}")) -> TraceContext {
        let parent = format!("00-{:032x}-{:016x}-0{}", ids.0, ids.1, u8::from(sampled));
        TraceContext::parse(&parent, &state.unwrap_or_default()).unwrap()
    }
}

prop_compose! {
    pub(in crate::wire) fn spec()(
        (idempotency_key, affinity_key) in (".{0,60}", ".{0,60}"),
        (kind, tenant) in (name(), name()),
        level in 0u8..10,
        requirements in requirements(),
        ephemeral in any::<bool>(),
        (queue_timeout, attempt_timeout) in (option::of(millis()), option::of(millis())),
        deadline in option::of(1..=i64::MAX as u64 / 1_000),
        retry in retry_policy(),
        budget in budget(),
        trace in option::of(trace()),
        asked in option::of(any::<(u64, u64, u64)>()),
    ) -> TaskSpec {
        TaskSpec {
            idempotency_key,
            kind: Kind::new(&kind).unwrap(),
            tenant: Tenant::new(&tenant).unwrap(),
            priority: Priority::new(level).unwrap(),
            requirements,
            affinity_key,
            delivery: if ephemeral { Delivery::Ephemeral } else { Delivery::Durable },
            queue_timeout,
            attempt_timeout,
            deadline: deadline.map(Timestamp::from_unix_millis),
            retry,
            budget,
            trace: trace.map(Box::new),
            asked: asked.map(|(cpu_millis, memory_bytes, size_version)| {
                Box::new(Asked { cpu_millis, memory_bytes, size_version })
            }),
        }
    }
}

#[test]
fn what_was_asked_for_is_written_where_it_was_asked_and_what_is_reserved_beside_it() {
    let asked = Resources { cpu_millis: 2_000, memory_bytes: 4 << 30, ..Resources::slots(3) };
    let mut spec = TaskSpec::of_kind(Kind::new("build").unwrap());
    spec.requirements.resources = Resources { memory_bytes: 1 << 30, ..asked.clone() };
    spec.asked = Some(Box::new(Asked { cpu_millis: 2_000, memory_bytes: 4 << 30, size_version: 7 }));
    let wire = to_task_spec(&spec, Bytes::new());
    let written = wire.requirements.unwrap().resources.unwrap();
    assert_eq!((written.slots, written.cpu_millis, written.memory_bytes), (3, 2_000, 4 << 30));
    assert_eq!(wire.reserved, Some(v1::Reserved { cpu_millis: 2_000, memory_bytes: 1 << 30, size_version: 7 }));
    let words = "requested 4096 MiB, reserves 1024 MiB: request size of kind `build`, version 7";
    assert_eq!(spec.sized_in_words().as_deref(), Some(words));
    let plain = spec.as_asked();
    assert_eq!((plain.requirements.resources.clone(), plain.sized_in_words()), (asked, None));
}

proptest! {
    #[test]
    fn a_task_that_was_written_reads_back(spec in spec(), payload in collection::vec(any::<u8>(), 0..64)) {
        let payload = Bytes::from(payload);
        prop_assert_eq!(task_spec(to_task_spec(&spec, payload.clone())), Ok((spec, payload)));
    }
}

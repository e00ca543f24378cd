use evenkeel_shared::limits::LABELS_MAX;

use super::*;
use crate::executors::Echo;

fn minimal() -> AgentBuilder {
    Agent::builder("http://127.0.0.1:7400").id("a-1").kind("echo", Echo)
}

fn check_refused(builder: AgentBuilder, expected: &str) {
    match builder.build() {
        Ok(agent) => panic!("{:?} was built", agent.spec()),
        Err(error) => assert!(error.to_string().contains(expected), "{error}"),
    }
}

#[test]
fn what_is_said_is_registered() {
    let agent = minimal()
        .slots(4)
        .cpu_millis(500)
        .memory_bytes(1 << 30)
        .resource("gpu", 1)
        .label("zone", "eu")
        .tier(2)
        .weight(50)
        .version("7.1")
        .prefetch_per_slot(0)
        .quota_key("openai/a")
        .kind_fn("double", |task| async move { Ok([&task.payload[..], &task.payload[..]].concat().into()) })
        .build()
        .unwrap();
    let custom = BTreeMap::from([("gpu".to_owned(), 1)]);
    let expected = AgentSpec {
        id: AgentId::new("a-1").unwrap(),
        kinds: vec![Kind::new("double").unwrap(), Kind::new("echo").unwrap()],
        labels: Labels::from([("zone".to_owned(), "eu".to_owned())]),
        capacity: Resources { slots: 4, cpu_millis: 500, memory_bytes: 1 << 30, custom },
        tier: 2,
        weight: 50,
        version: "7.1".into(),
        prefetch_per_slot: Some(0),
        quota_keys: vec![evenkeel_shared::QuotaKey::new("openai/a").unwrap()],
    };
    assert_eq!(agent.spec(), &expected);
}

#[test]
fn what_is_not_said_is_taken_from_the_machine() {
    let agent = minimal().build().unwrap();
    let capacity = &agent.spec().capacity;
    assert!(capacity.slots >= 1 && capacity.cpu_millis > 0 && capacity.memory_bytes > 0, "{capacity:?}");
}

#[test]
fn every_setting_is_checked() {
    check_refused(minimal().id("a b"), "agent_id");
    check_refused(minimal().slots(0), "capacity.slots");
    check_refused(minimal().slots(5_000), "capacity.slots");
    check_refused(minimal().resource("a b", 1), "custom");
    check_refused(minimal().tier(16), "tier");
    check_refused(minimal().weight(1_001), "weight");
    check_refused(minimal().prefetch_per_slot(2), "prefetch_per_slot");
    check_refused(minimal().label("a b", ""), "labels");
    check_refused((0..=LABELS_MAX).fold(minimal(), |builder, n| builder.label(n.to_string(), "")), "labels");
    check_refused(minimal().kind("echo", Echo), "two executors");
    check_refused(minimal().kind("a b", Echo), "kind");
    check_refused(Agent::builder("http://127.0.0.1:7400").id("a-1"), "kinds");
    for url in ["", "127.0.0.1:7400", "ftp://x", "http://"] {
        check_refused(Agent::builder(url).id("a-1").kind("echo", Echo), "the coordinator cannot be dialled");
    }
}

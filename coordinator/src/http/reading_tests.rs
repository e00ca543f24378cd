//! Messages read from JSON and shown as JSON.

use evenkeel_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _};
use serde_json::{Value as Json, json};

use super::*;
use crate::http::showing::Shown;

fn of(name: &str) -> MessageDescriptor {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    pool.get_message_by_name(&format!("evenkeel.v1.{name}")).unwrap()
}

fn read(name: &str, json: &Json) -> Result<DynamicMessage, Vec<(String, String)>> {
    let mut faults = Faults::default();
    let read = message(&of(name), json, "", &mut faults);
    let faults: Vec<_> = faults.into_violations().into_iter().map(|fault| (fault.field, fault.description)).collect();
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

fn shown(message: &DynamicMessage) -> Json {
    serde_json::to_value(Shown(message)).unwrap()
}

/// Reads it, and shows it with at least these fields.
fn check(name: &str, given: Json, expected: &Json) {
    let message = read(name, &given).unwrap_or_else(|faults| panic!("{given}: {faults:?}"));
    let shown = shown(&message);
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field} of {shown}");
    }
}

/// Refuses it, for this field and with these words.
fn refuses(name: &str, given: Json, field: &str, words: &str) {
    let faults = read(name, &given).expect_err("refused");
    let named = faults.iter().any(|(at, what)| at == field && what.contains(words));
    assert!(named, "{given}: {faults:?}");
}

#[test]
fn fields_have_their_names_and_enumerations_are_words() {
    let budget = json!({ "name": "b", "unit": "usd", "cap": 5.5, "window": "day", "action": "refuse" });
    check("Budget", budget.clone(), &budget);
    check("Breaker", json!({ "state": "half_open" }), &json!({ "state": "half_open" }));
}

#[test]
fn an_answer_has_every_field_and_can_be_put_back() {
    let empty = shown(&DynamicMessage::new(of("Task")));
    assert_eq!((&empty["spec"], &empty["state"], &empty["attempts"]), (&Json::Null, &Json::Null, &json!([])));
    assert_eq!((&empty["latency_us"], &empty["progress"], &empty["task_id"]), (&json!(0), &json!(0.0), &json!("")));
    for name in ["Task", "Limit", "Budget", "Prices", "ScalingPolicy", "TaskSpec", "StrategyConfig", "Thresholds"] {
        let answer = shown(&DynamicMessage::new(of(name)));
        let again = read(name, &answer).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        assert_eq!(shown(&again), answer);
    }
}

#[test]
fn bytes_are_base64_or_text() {
    let both = json!({ "payload": "aGVsbG8=", "payload_text": "hello" });
    for given in [json!({ "payload": "aGVsbG8=" }), json!({ "payload": "aGVsbG8" }), json!({ "payload_text": "hello" })]
    {
        check("TaskSpec", given, &both);
    }
    check("TaskSpec", both.clone(), &both);
    check("TaskSpec", json!({ "payload": "/w==" }), &json!({ "payload": "/w==", "payload_text": null }));
    refuses("TaskSpec", json!({ "payload": "a€" }), "payload", "base64");
    refuses("TaskSpec", json!({ "payload": "aGVsbG8=", "payload_text": "world" }), "payload_text", "not the same");
}

#[test]
fn numbers_of_64_bits_are_numbers_and_positions_are_text() {
    let most = json!({ "mean_us": 1.5, "completed": u64::MAX });
    check("KindStatistics", most.clone(), &most);
    check("TaskEvent", json!({ "position": "18446744073709551615" }), &json!({ "position": "18446744073709551615" }));
    refuses("TaskEvent", json!({ "position": 7 }), "position", "as text");
    refuses("TaskEvent", json!({ "position": "18446744073709551616" }), "position", "from 0 to");
}

#[test]
fn whole_numbers_may_be_written_with_a_fraction_of_nothing() {
    check("Limit", json!({ "concurrency_max": 5.0 }), &json!({ "concurrency_max": 5 }));
    for wrong in [json!(5.5), json!(-1), json!(4_294_967_296_u64), json!("5"), json!(null), json!(1e300), json!([5])] {
        refuses("Limit", json!({ "concurrency_max": wrong }), "concurrency_max", "a whole number from 0 to 4294967295");
    }
}

#[test]
fn a_number_beyond_64_bits_is_not_rounded_to_one_within() {
    for beyond in ["-9223372036854775809", "9223372036854775808", "9.3e18"] {
        let policy = serde_json::from_str(&format!("{{\"stored_unix_ms\": {beyond}}}")).unwrap();
        refuses("ScalingPolicy", policy, "stored_unix_ms", "must be a whole number");
    }
    check("ScalingPolicy", json!({ "stored_unix_ms": i64::MIN }), &json!({ "stored_unix_ms": i64::MIN }));
}

#[test]
fn what_is_not_known_is_refused_with_the_nearest_that_is() {
    refuses("Limit", json!({ "scope": { "tennant": "a" } }), "scope.tennant", "did you mean `tenant`?");
    refuses("Budget", json!({ "window": "dya" }), "window", "did you mean `day`?");
    refuses("Budget", json!({ "window": "WINDOW" }), "window", "there are hour, day, month, total");
    refuses("Budget", json!({ "window": "unspecified" }), "window", "not known");
    refuses("Budget", json!({ "zzz": 1 }), "zzz", "`zzz` is not known");
    refuses("RetryPolicy", json!({ "payload_text": "x" }), "payload_text", "not known");
}

#[test]
fn each_fault_names_its_place() {
    let rule = json!({ "key": 1, "values": ["a", 2] });
    let given =
        json!({ "requirements": { "required": [{ "key": "a" }, rule], "resources": { "custom": { "gpu": -1 } } } });
    refuses("TaskSpec", given.clone(), "requirements.required[1].key", "must be text, not 1");
    refuses("TaskSpec", given.clone(), "requirements.required[1].values[1]", "must be text, not 2");
    refuses("TaskSpec", given, "requirements.resources.custom.gpu", "from 0 to 18446744073709551615, not -1");
    refuses("TaskSpec", json!([]), "body", "must be an object, not a list");
    let many: Json = (0..100).map(|i| (format!("field-{i}"), json!(1))).collect::<Map<String, Json>>().into();
    assert_eq!(read("TaskSpec", &many).unwrap_err().len(), FAULTS_MAX);
}

#[test]
fn one_of_a_choice_can_be_set() {
    check("StrategyConfig", json!({ "random": {} }), &json!({ "random": {} }));
    let empty = shown(&DynamicMessage::new(of("StrategyConfig")));
    assert_eq!(empty, json!({}));
    refuses("StrategyConfig", json!({ "random": {}, "bin_pack": {} }), "random", "`bin_pack` is as well");
}

#[test]
fn the_text_of_an_address_is_read_as_its_field_s_type() {
    let mut message = DynamicMessage::new(of("ListRequest"));
    let mut set = |name: &str, given: &str| {
        let (field, mut faults) = (message.descriptor().get_field_by_name(name).unwrap(), Faults::default());
        set_from_text(&mut message, &[field], given, name, &mut faults);
        faults.into_violations().into_iter().map(|fault| fault.description).next()
    };
    assert_eq!(set("states", "queued"), None);
    assert_eq!(set("states", "running"), None);
    assert_eq!(set("page_size", "7"), None);
    assert_eq!(set("tenant", "7"), None);
    assert_eq!(set("page_size", "many").unwrap(), "must be a whole number from 0 to 4294967295, not `many`");
    let shown = shown(&message);
    assert_eq!((&shown["states"], &shown["page_size"]), (&json!(["queued", "running"]), &json!(7)));
    assert_eq!(shown["tenant"], "7");
}

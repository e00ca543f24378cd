//! Requests as the log shows them: JSON by the descriptors, without what is nobody's business.

use std::sync::LazyLock;

use evenkeel_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, Value};
use serde_json::{Map, Value as Json, json};

/// Before each message of gRPC: whether it is compressed, and its length in bytes.
const FRAME_HEAD_BYTES: usize = 5;
/// What is left out of fields with such words in their names.
const SECRETS: [&str; 6] = ["token", "secret", "password", "authorization", "private", "credentials"];

/// The request of a call, by its path and its framed message. What cannot be read is said to be so.
#[must_use]
pub fn shown(path: &str, frame: &[u8]) -> String {
    static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());
    let message = || {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = POOL.as_ref()?.get_service_by_name(service)?;
        let method = service.methods().find(|rpc| rpc.name() == method)?;
        let bytes = frame.get(FRAME_HEAD_BYTES..).filter(|_| frame.first() == Some(&0))?;
        DynamicMessage::decode(method.input(), bytes).ok()
    };
    message().map_or_else(|| "\"(not readable)\"".into(), |message| object(&message).to_string())
}

fn object(message: &DynamicMessage) -> Json {
    let fields = message.fields().map(|(field, value)| {
        let secret = SECRETS.iter().any(|word| field.name().contains(word));
        (field.name().to_owned(), if secret { json!("***") } else { json_of(&field, value) })
    });
    Json::Object(fields.collect())
}

fn json_of(field: &FieldDescriptor, value: &Value) -> Json {
    match value {
        Value::List(items) => items.iter().map(|item| json_of(field, item)).collect(),
        Value::Map(entries) => {
            let Kind::Message(of) = field.kind() else { return Json::Null };
            let of = of.map_entry_value_field();
            let entries: Map<String, Json> =
                entries.iter().map(|(key, value)| (key_of(key), json_of(&of, value))).collect();
            Json::Object(entries)
        }
        Value::Message(message) => object(message),
        Value::Bool(yes) => json!(yes),
        Value::I32(number) => json!(number),
        Value::U32(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::U64(number) => json!(number),
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::String(text) => json!(text),
        // Payloads and outputs are the tenants' own.
        Value::Bytes(bytes) => json!(format!("({} bytes)", bytes.len())),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(of) => of.get_value(*number).map_or_else(|| json!(number), |value| json!(value.name())),
            _ => json!(number),
        },
    }
}

fn key_of(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(yes) => yes.to_string(),
        MapKey::I32(number) => number.to_string(),
        MapKey::I64(number) => number.to_string(),
        MapKey::U32(number) => number.to_string(),
        MapKey::U64(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_proto::v1;

    use super::*;

    fn framed(message: &impl prost::Message) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 0, 0];
        message.encode(&mut frame).unwrap();
        frame
    }

    #[test]
    fn what_was_asked_for_is_shown_by_its_names() {
        let request = v1::CancelRequest { task_id: "t1".into(), reason: "late".into() };
        let shown = shown("/evenkeel.v1.TaskService/Cancel", &framed(&request));
        assert_eq!(shown, r#"{"reason":"late","task_id":"t1"}"#);
    }

    #[test]
    fn payloads_are_left_out() {
        let task = v1::TaskSpec { kind: "echo".into(), payload: "sentinel".into(), ..v1::TaskSpec::default() };
        let request = v1::SubmitRequest { tasks: vec![task] };
        let shown = shown("/evenkeel.v1.TaskService/Submit", &framed(&request));
        assert!(shown.contains("(8 bytes)") && !shown.contains("sentinel"), "{shown}");
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_so() {
        for (path, frame) in [("/x/y", &[0, 0, 0, 0, 0][..]), ("/evenkeel.v1.TaskService/Cancel", &[1, 2]), ("", &[])] {
            assert_eq!(shown(path, frame), "\"(not readable)\"");
        }
    }
}

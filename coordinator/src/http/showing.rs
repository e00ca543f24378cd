//! From messages to JSON.
//!
//! Every field is there, under its name, whether it is set or not, so that a reader needs no defaults: `null` stands for a
//! message or a number that is not set, and for an enumeration that says nothing. Of a choice of several fields (`oneof`) only
//! the one that is set is there. Bytes are base64, and under `NAME_text` text, if they are text.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use super::{
    interface::{choice, is_wide, word},
    reading::{TEXT, has_text},
};

/// A message, to be written as JSON.
pub struct Shown<'a>(pub &'a DynamicMessage);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(message) = self;
        let mut object = to.serialize_map(None)?;
        for field in message.descriptor().fields() {
            let is_set = !field.supports_presence() || message.has_field(&field);
            if !is_set && choice(&field).is_some() {
                continue;
            }
            if !is_set {
                object.serialize_entry(field.name(), &())?;
                continue;
            }
            let value = message.get_field(&field);
            object.serialize_entry(field.name(), &Entry { field: &field, value: &value })?;
            if let (true, Cow::Borrowed(Value::Bytes(bytes)) | Cow::Owned(Value::Bytes(bytes))) =
                (has_text(&field), &value)
            {
                let name = format!("{}{TEXT}", field.name());
                object.serialize_entry(&name, &std::str::from_utf8(bytes).ok())?;
            }
        }
        object.end()
    }
}

/// A field's value.
struct Entry<'a> {
    field: &'a FieldDescriptor,
    value: &'a Value,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let field = self.field;
        match self.value {
            Value::List(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Entry { field, value })?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let Kind::Message(entry) = field.kind() else { return to.serialize_unit() };
                let of = entry.map_entry_value_field();
                // The message keeps them in no order; in the answer they have one.
                let mut sorted: Vec<(Cow<'_, str>, &Value)> = entries.iter().map(|(k, v)| (key(k), v)).collect();
                sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                let mut object = to.serialize_map(Some(sorted.len()))?;
                for (key, value) in sorted {
                    object.serialize_entry(&key, &Entry { field: &of, value })?;
                }
                object.end()
            }
            Value::Message(message) => Shown(message).serialize(to),
            Value::Bool(yes) => to.serialize_bool(*yes),
            Value::I32(number) => to.serialize_i32(*number),
            Value::U32(number) => to.serialize_u32(*number),
            Value::I64(number) if is_wide(field) => to.collect_str(number),
            Value::I64(number) => to.serialize_i64(*number),
            Value::U64(number) if is_wide(field) => to.collect_str(number),
            Value::U64(number) => to.serialize_u64(*number),
            Value::F32(number) => to.serialize_f32(*number),
            Value::F64(number) => to.serialize_f64(*number),
            Value::String(text) => to.serialize_str(text),
            Value::Bytes(bytes) => to.serialize_str(&BASE64_STANDARD.encode(bytes)),
            Value::EnumNumber(number) => match field.kind() {
                Kind::Enum(of) => of.get_value(*number).and_then(|value| word(&value)).serialize(to),
                _ => to.serialize_unit(),
            },
        }
    }
}

fn key(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::String(text) => Cow::Borrowed(text),
        MapKey::Bool(yes) => Cow::Owned(yes.to_string()),
        MapKey::I32(number) => Cow::Owned(number.to_string()),
        MapKey::I64(number) => Cow::Owned(number.to_string()),
        MapKey::U32(number) => Cow::Owned(number.to_string()),
        MapKey::U64(number) => Cow::Owned(number.to_string()),
    }
}

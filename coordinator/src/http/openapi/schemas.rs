//! Messages as JSON schemas.
//!
//! A message has two: as an answer, where every field is there, and, under `NAMEInput`, as a part of a request, where every one
//! may be left out.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{bounds::bounds, comment, field_comment};
use crate::http::{
    interface::{choice, is_wide, words},
    reading::{TEXT, has_text, is_nullable},
};

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The client.
    Request,
    /// The coordinator.
    Answer,
}

/// The schemas that the document needs.
#[derive(Default)]
pub struct Schemas {
    known: BTreeSet<String>,
    made: BTreeMap<String, Value>,
}

impl Schemas {
    /// All of them, with the one of errors.
    pub fn finish(mut self, problem: Value) -> Value {
        self.made.insert("Problem".into(), problem);
        json!(self.made)
    }

    /// The body of a call, under this name, without what the path says.
    pub fn body(&mut self, name: &str, of: &MessageDescriptor, without: &[FieldDescriptor]) -> Value {
        let schema = self.object(of, Side::Request, without);
        self.made.insert(name.to_owned(), schema);
        reference(name)
    }

    /// A message.
    pub fn message(&mut self, of: &MessageDescriptor, side: Side) -> Value {
        let name = match side {
            Side::Request => format!("{}Input", of.name()),
            Side::Answer => of.name().to_owned(),
        };
        if self.known.insert(name.clone()) {
            let schema = self.object(of, side, &[]);
            self.made.insert(name.clone(), schema);
        }
        reference(&name)
    }

    fn object(&mut self, of: &MessageDescriptor, side: Side, without: &[FieldDescriptor]) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        let mut both_spellings = Vec::new();
        for field in of.fields().filter(|field| !without.contains(field)) {
            let mut schema = self.field(&field, side);
            if let Some(text) = field_comment(&field) {
                schema["description"] = text.into();
            }
            properties.insert(field.name().to_owned(), schema);
            if choice(&field).is_none() {
                required.push(field.name().to_owned());
            }
            if has_text(&field) {
                let name = format!("{}{TEXT}", field.name());
                let what = format!("The same as `{}`, as text; null if it is none.", field.name());
                properties.insert(name.clone(), json!({ "type": ["string", "null"], "description": what }));
                both_spellings.push(json!({ "required": [field.name(), name.clone()] }));
                required.push(name);
            }
        }
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if side == Side::Answer {
            schema["required"] = required.into();
        } else if !both_spellings.is_empty() {
            schema["not"] = json!({ "anyOf": both_spellings });
        }
        if of.oneofs().any(|oneof| !oneof.is_synthetic()) {
            schema["maxProperties"] = 1.into();
        }
        let file = of.parent_file();
        if let Some(text) = comment(file.file_descriptor_proto().source_code_info.as_ref(), of.path()) {
            schema["description"] = text.into();
        }
        schema
    }

    /// A field, with all that it may be.
    fn field(&mut self, field: &FieldDescriptor, side: Side) -> Value {
        if field.is_list() {
            let mut list = json!({ "type": "array", "items": self.item(field, side) });
            merge(&mut list, bounds(field, true).filter(|_| side == Side::Request));
            return list;
        }
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return json!(true) };
            let values = self.value(&entry.map_entry_value_field(), side);
            return json!({ "type": "object", "additionalProperties": values });
        }
        let schema = self.value(field, side);
        if !is_nullable(field) || choice(field).is_some() {
            return schema;
        }
        match schema.get("type").cloned() {
            Some(Value::String(kind)) => {
                let mut schema = schema;
                schema["type"] = json!([kind, "null"]);
                schema
            }
            _ => json!({ "anyOf": [schema, { "type": "null" }] }),
        }
    }

    /// An item of a list, or a field that is one value.
    pub fn item(&mut self, field: &FieldDescriptor, side: Side) -> Value {
        self.value(field, side)
    }

    /// A parameter of a query.
    pub fn parameter(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_list() { self.field(field, Side::Request) } else { self.value(field, Side::Request) }
    }

    /// One value.
    pub fn value(&mut self, field: &FieldDescriptor, side: Side) -> Value {
        let mut schema = match field.kind() {
            Kind::Message(of) => return self.message(&of, side),
            Kind::Enum(of) => return self.enumeration(&of),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Double | Kind::Float => json!({ "type": "number", "format": "double" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64", "pattern": BASE64_PATTERN }),
            _ if is_wide(field) => json!({ "type": "string", "pattern": "^[0-9]{1,19}$" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => whole("int32", i32::MIN, i32::MAX),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => whole("int64", i64::MIN, i64::MAX),
            Kind::Uint32 | Kind::Fixed32 => whole("uint32", 0, u32::MAX),
            Kind::Uint64 | Kind::Fixed64 => whole("uint64", 0, u64::MAX),
        };
        if side == Side::Request {
            merge(&mut schema, bounds(field, false));
        }
        schema
    }

    fn enumeration(&mut self, of: &EnumDescriptor) -> Value {
        let name = of.name().to_owned();
        if self.known.insert(name.clone()) {
            let mut schema = json!({ "type": "string", "enum": words(of) });
            let file = of.parent_file();
            if let Some(text) = comment(file.file_descriptor_proto().source_code_info.as_ref(), of.path()) {
                schema["description"] = text.into();
            }
            self.made.insert(name.clone(), schema);
        }
        reference(&name)
    }
}

/// Base64 in whole groups of four, the last one padded.
const BASE64_PATTERN: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";

fn whole(format: &str, low: impl Into<Value>, high: impl Into<Value>) -> Value {
    json!({ "type": "integer", "format": format, "minimum": low.into(), "maximum": high.into() })
}

fn merge(schema: &mut Value, more: Option<Value>) {
    if let (Value::Object(schema), Some(Value::Object(more))) = (schema, more) {
        schema.extend(more);
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

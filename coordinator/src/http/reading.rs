//! From JSON, and from the text of addresses, to messages.
//!
//! What is accepted is what the document says: the fields of the messages under their names, enumerations as words, numbers as
//! numbers (text where they use all of 64 bits), bytes as base64 or, under `NAME_text`, as text. A field that is left out is
//! not set; so is one that is `null`, where an answer could have `null`, so that what was read can be put back. Nothing is
//! passed over: fields that are not known are refused, with the nearest that is.

use base64::engine::DecodePaddingMode;
use base64::{
    Engine as _, alphabet, engine::general_purpose::GeneralPurpose, engine::general_purpose::GeneralPurposeConfig,
};
use evenkeel_shared::Violation;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_json::{Map, Value as Json};

use super::interface::{choice, is_wide, word, words};

/// Faults named in one answer; who has made more learns of the rest with the next.
const FAULTS_MAX: usize = 8;
/// Below this likeness (0 to 1) a known name is no suggestion for an unknown one.
const LIKENESS_MIN: f64 = 0.55;
/// Whole numbers below this are exact in floating point.
const EXACT_BELOW: f64 = (1_u64 << 53) as f64;
/// The end of the name under which bytes are text.
pub const TEXT: &str = "_text";

/// Bytes in either alphabet's common spelling: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with a request.
#[derive(Debug, Default)]
pub struct Faults(Vec<Violation>);

impl Faults {
    /// One more.
    pub fn add(&mut self, field: &str, what: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            let field = if field.is_empty() { "body" } else { field };
            self.0.push(Violation::new(field, what));
        }
    }

    /// All of them.
    pub fn into_violations(self) -> Vec<Violation> {
        self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads a message.
pub fn message(of: &MessageDescriptor, json: &Json, at: &str, faults: &mut Faults) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    let Json::Object(fields) = json else {
        faults.add(at, format!("must be an object, not {}", named(json)));
        return message;
    };
    for (name, json) in fields {
        let at = join(at, name);
        match field_named(of, name) {
            Some((field, as_text)) => member(&mut message, &field, as_text, (json, fields), &at, faults),
            None => faults.add(&at, unknown(name, of.fields().map(|field| field.name().to_owned()))),
        }
    }
    message
}

/// The field of this name, and whether the name is the one for text.
fn field_named(of: &MessageDescriptor, name: &str) -> Option<(FieldDescriptor, bool)> {
    if let Some(field) = of.get_field_by_name(name) {
        return Some((field, false));
    }
    let field = of.get_field_by_name(name.strip_suffix(TEXT)?)?;
    (has_text(&field)).then_some((field, true))
}

/// Whether a field is also there as text.
pub fn has_text(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Bytes) && !field.is_list() && !field.is_map()
}

/// Whether an answer may have `null` for a field.
pub fn is_nullable(field: &FieldDescriptor) -> bool {
    !field.is_list() && !field.is_map() && (field.supports_presence() || matches!(field.kind(), Kind::Enum(_)))
}

fn member(
    message: &mut DynamicMessage,
    field: &FieldDescriptor,
    as_text: bool,
    (json, beside): (&Json, &Map<String, Json>),
    at: &str,
    faults: &mut Faults,
) {
    if json.is_null() && (as_text || is_nullable(field)) {
        return;
    }
    if message.has_field(field) && has_text(field) {
        // Both spellings of one value, as an answer has them.
        if value(field, as_text, json, at, faults).is_some_and(|other| *message.get_field(field) != other) {
            faults.add(at, format!("is not the same as `{}`; leave one of them out", field.name()));
        }
        return;
    }
    if let Some(oneof) = choice(field) {
        let other = field.containing_oneof().into_iter().flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
        let mut others = other.filter(|other| other != field && beside.get(other.name()).is_some_and(|j| !j.is_null()));
        if let Some(other) = others.next() {
            return faults.add(at, format!("only one {oneof} can be set, and `{}` is as well", other.name()));
        }
    }
    let read = if field.is_list() {
        list(field, json, at, faults)
    } else if field.is_map() {
        map(field, json, at, faults)
    } else {
        value(field, as_text, json, at, faults)
    };
    if let Some(value) = read
        && message.try_set_field(field, value).is_err()
    {
        faults.add(at, "is of another type");
    }
}

fn list(field: &FieldDescriptor, json: &Json, at: &str, faults: &mut Faults) -> Option<Value> {
    let Json::Array(items) = json else {
        faults.add(at, format!("must be a list, not {}", named(json)));
        return None;
    };
    let item = |(i, json): (usize, &Json)| value(field, false, json, &format!("{at}[{i}]"), faults);
    items.iter().enumerate().map(item).collect::<Option<Vec<Value>>>().map(Value::List)
}

fn map(field: &FieldDescriptor, json: &Json, at: &str, faults: &mut Faults) -> Option<Value> {
    let (Json::Object(entries), Kind::Message(entry)) = (json, field.kind()) else {
        faults.add(at, format!("must be an object, not {}", named(json)));
        return None;
    };
    let of = entry.map_entry_value_field();
    let item = |(key, json): (&String, &Json)| {
        Some((MapKey::String(key.clone()), value(&of, false, json, &join(at, key), faults)?))
    };
    entries.iter().map(item).collect::<Option<_>>().map(Value::Map)
}

/// One value; of a list, one of its items.
fn value(field: &FieldDescriptor, as_text: bool, json: &Json, at: &str, faults: &mut Faults) -> Option<Value> {
    if let Kind::Message(of) = field.kind() {
        let before = faults.0.len();
        let read = message(&of, json, at, faults);
        return (faults.0.len() == before).then_some(Value::Message(read));
    }
    let read = if as_text { text(json).map(|text| Value::Bytes(text.to_owned().into())) } else { scalar(field, json) };
    read.map_err(|what| faults.add(at, what)).ok()
}

fn scalar(field: &FieldDescriptor, json: &Json) -> Result<Value, String> {
    let wide = |low: i128, high: i128| if is_wide(field) { digits(json, low, high) } else { whole(json, low, high) };
    match field.kind() {
        Kind::Double => number(json).map(Value::F64),
        Kind::Float => number(json).map(|number| Value::F32(number as f32)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            whole(json, i32::MIN.into(), i32::MAX.into()).map(|n| Value::I32(n as i32))
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            wide(i64::MIN.into(), i64::MAX.into()).map(|n| Value::I64(n as i64))
        }
        Kind::Uint32 | Kind::Fixed32 => whole(json, 0, u32::MAX.into()).map(|n| Value::U32(n as u32)),
        Kind::Uint64 | Kind::Fixed64 => wide(0, u64::MAX.into()).map(|n| Value::U64(n as u64)),
        Kind::Bool => json.as_bool().map(Value::Bool).ok_or_else(|| expected("true or false", json)),
        Kind::String => text(json).map(|text| Value::String(text.to_owned())),
        Kind::Bytes => bytes(json),
        Kind::Enum(of) => enumerated(&of, json),
        Kind::Message(_) => Err("must be an object".into()),
    }
}

fn expected(what: &str, json: &Json) -> String {
    format!("must be {what}, not {}", named(json))
}

fn text(json: &Json) -> Result<&str, String> {
    json.as_str().ok_or_else(|| expected("text", json))
}

fn number(json: &Json) -> Result<f64, String> {
    // What does not fit is refused by the parser already.
    json.as_f64().ok_or_else(|| expected("a number", json))
}

/// A whole number; `5.0` is one, where floating point tells it from its neighbours: what is beyond 64 bits is read as such.
fn whole(json: &Json, low: i128, high: i128) -> Result<i128, String> {
    let what = || expected(&format!("a whole number from {low} to {high}"), json);
    let Json::Number(number) = json else { return Err(what()) };
    let fraction = || number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < EXACT_BELOW).map(|n| n as i128);
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).or_else(fraction);
    whole.filter(|whole| (low..=high).contains(whole)).ok_or_else(what)
}

/// A whole number as text.
fn digits(json: &Json, low: i128, high: i128) -> Result<i128, String> {
    let what = || expected(&format!("a whole number from {low} to {high}, as text"), json);
    let digits = json.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(what)?;
    digits.parse().ok().filter(|whole| (low..=high).contains(whole)).ok_or_else(what)
}

fn bytes(json: &Json) -> Result<Value, String> {
    let decoded = BASE64.decode(text(json)?);
    decoded.map(|bytes| Value::Bytes(bytes.into())).map_err(|error| format!("must be base64: {error}"))
}

fn enumerated(of: &EnumDescriptor, json: &Json) -> Result<Value, String> {
    let given = text(json)?;
    let value = of.values().find(|value| word(value).is_some_and(|word| word == given));
    value.map(|value| Value::EnumNumber(value.number())).ok_or_else(|| unknown(given, words(of).into_iter()))
}

/// What is said of a name or a word that is not known.
pub fn unknown(given: &str, known: impl Iterator<Item = String>) -> String {
    /// More than so many are not listed.
    const LISTED_MAX: usize = 12;
    let known: Vec<String> = known.collect();
    let likeness = |name: &&String| strsim::jaro_winkler(given, name);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|name| likeness(name) >= LIKENESS_MIN) {
        Some(nearest) => format!("`{}` is not known; did you mean `{nearest}`?", shortened(given)),
        None if known.is_empty() => format!("`{}` is not known; there is none to give", shortened(given)),
        None if known.len() > LISTED_MAX => format!("`{}` is not known", shortened(given)),
        None => format!("`{}` is not known; there are {}", shortened(given), known.join(", ")),
    }
}

fn shortened(given: &str) -> String {
    const SHOWN_MAX: usize = 40;
    if given.chars().count() <= SHOWN_MAX {
        return given.to_owned();
    }
    given.chars().take(SHOWN_MAX).chain(['…']).collect()
}

/// What a value is called.
fn named(json: &Json) -> String {
    match json {
        Json::Null => "null".into(),
        Json::Bool(yes) => yes.to_string(),
        Json::Number(number) => shortened(&number.to_string()),
        Json::String(text) => format!("`{}`", shortened(text)),
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "an object".into(),
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { shortened(name) } else { format!("{at}.{}", shortened(name)) }
}

/// The JSON that the text of an address stands for; what does not read as the field's type is text, which is then refused.
pub fn from_text(field: &FieldDescriptor, given: &str) -> Json {
    let as_json = match field.kind() {
        Kind::Bool => given.parse().ok().map(Json::Bool),
        Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_) => None,
        _ if is_wide(field) => None,
        _ => serde_json::from_str(given).ok().filter(Json::is_number),
    };
    as_json.unwrap_or_else(|| Json::String(given.to_owned()))
}

/// Sets a field, of a path of them, to what the text of an address says.
pub fn set_from_text(
    message: &mut DynamicMessage,
    path: &[FieldDescriptor],
    given: &str,
    at: &str,
    faults: &mut Faults,
) {
    let Some((field, rest)) = path.split_first() else { return };
    if !rest.is_empty() {
        if let Some(inner) = message.get_field_mut(field).as_message_mut() {
            set_from_text(inner, rest, given, at, faults);
        }
        return;
    }
    let Some(read) = value(field, false, &from_text(field, given), at, faults) else { return };
    if field.is_list() {
        if let Some(items) = message.get_field_mut(field).as_list_mut() {
            items.push(read);
        }
    } else if message.has_field(field) && *message.get_field(field) != read {
        faults.add(at, format!("is not the same as in the address, `{}`; leave it out of the body", shortened(given)));
    } else {
        message.set_field(field, read);
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;

//! A configuration file, setting by setting, each with its line.
//!
//! The text is read twice: for its values by serde, for the places of its keys by the parser below it. Both come from the same
//! crate and agree; a merged table of spanned values would have to carry the spans through serde, which has no room for them.

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::{
    layer::Layer,
    origin::Origin,
    problem::{Problem, meant},
    table,
};

/// Largest file, in bytes. All settings with their comments take 30 KiB; beyond this it is a mistake.
pub const FILE_BYTES_MAX: usize = 256 << 10;
/// Most that is said to be wrong with one file: after so much it is not a configuration.
const PROBLEMS_MAX: usize = 50;

/// Reads a text.
///
/// # Errors
/// All that is wrong with its form, and all names that no setting has.
pub fn read(text: &str) -> Result<Layer, Vec<Problem>> {
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![Problem::new("", format!("it has more than {} KiB", FILE_BYTES_MAX >> 10), None)]);
    }
    let (places, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let line = error.span().map(|span| line_of(text, span.start));
            Problem::new("", format!("it is not TOML: {}", error.message()), line.map(Origin::line))
        };
        return Err(errors.iter().take(PROBLEMS_MAX).map(problem).collect());
    }
    let values: Map<String, Value> = match toml::from_str::<toml::Table>(text).map(serde_json::to_value) {
        Ok(Ok(Value::Object(values))) => values,
        Ok(_) => return Err(vec![Problem::new("", "it has values that no setting can have", None)]),
        Err(error) => {
            let line = error.span().map(|span| Origin::line(line_of(text, span.start)));
            return Err(vec![Problem::new("", error.message(), line)]);
        }
    };
    let mut reading = Reading { text, layer: Layer::default(), problems: Vec::new() };
    reading.table("", places.get_ref(), &values);
    let Reading { layer, mut problems, .. } = reading;
    if problems.is_empty() {
        return Ok(layer);
    }
    problems.sort_by_key(Problem::line);
    problems.truncate(PROBLEMS_MAX);
    Err(problems)
}

struct Reading<'a> {
    text: &'a str,
    layer: Layer,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn table(&mut self, section: &str, places: &DeTable<'_>, values: &Map<String, Value>) {
        for (key, place) in places {
            let name: &str = key.get_ref();
            let Some(value) = values.get(name) else { continue };
            let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            let origin = Origin::line(line_of(self.text, key.span().start));
            if let Some(setting) = table::find(&path) {
                match setting.kind.check(value) {
                    Ok(()) => self.layer.put(setting, value.clone(), origin),
                    Err(message) => self.problems.push(Problem::new(path, message, Some(origin))),
                }
            } else if table::is_section(&path) {
                match (place.get_ref(), value) {
                    (DeValue::Table(places), Value::Object(values)) => self.table(&path, places, values),
                    _ => {
                        self.problems.push(Problem::new(path, "has settings of its own, and is a table", Some(origin)));
                    }
                }
            } else {
                let hint = nearest(&path);
                self.problems.push(Problem::new(path, "is no setting", Some(origin)).hint(hint));
            }
        }
    }
}

/// What was meant by the path of no setting: a name in the same section, or the same name in another.
pub fn nearest(path: &str) -> String {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let below = |path: &'static str| {
        let rest = if section.is_empty() { path } else { path.strip_prefix(section)?.strip_prefix('.')? };
        Some(rest.split('.').next().unwrap_or(rest))
    };
    let beside = meant(name, table::settings().filter_map(|setting| below(setting.path)));
    if !beside.is_empty() {
        return beside;
    }
    match table::settings().find(|setting| setting.name() == name) {
        Some(elsewhere) => format!("did you mean `{}`?", elsewhere.path),
        None => meant(path, table::settings().map(|setting| setting.path)),
    }
}

/// The line of a place, from 1.
fn line_of(text: &str, at: usize) -> u32 {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    u32::try_from(before.iter().filter(|byte| **byte == b'\n').count())
        .map_or(u32::MAX, |lines| lines.saturating_add(1))
}

//! What is made of the table of settings: a commented file, a JSON Schema, and the reference in `docs/configuration.md`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    CoordinatorConfig, Layer,
    setting::{Kind, Setting, shown},
    table,
};

/// Columns of a comment.
const COLUMNS: usize = 100;

/// A file with every setting, each with what it is for and its default, which is commented out: what is not said follows the
/// defaults of the next version.
#[must_use]
pub fn commented() -> String {
    let default = Layer::of(&CoordinatorConfig::default(), "");
    let mut text = String::from(
        "# Settings of `evenkeel coordinator`. What is commented out has its default.\n\
         # Each can be set in the environment as well: limits.connections_max is EVENKEEL_LIMITS__CONNECTIONS_MAX.\n",
    );
    let mut section = "";
    for setting in table::settings() {
        if setting.section() != section {
            section = setting.section();
            let about = table::section_about(section);
            let _ = writeln!(text, "\n[{section}]");
            if !about.is_empty() {
                let _ = writeln!(text, "# {about}");
            }
        }
        text.push('\n');
        let facts = facts(setting);
        for line in wrapped(&format!("{} {facts}", setting.about)) {
            let _ = writeln!(text, "# {line}");
        }
        match shown(default.value(setting.path)) {
            value if value.is_empty() => {
                let _ = writeln!(text, "# {} is not set", setting.name());
            }
            value => {
                let _ = writeln!(text, "#{} = {value}", setting.name());
            }
        }
    }
    text
}

/// Range, unit and when a change counts, in brackets.
fn facts(setting: &Setting) -> String {
    let unit = if setting.unit.is_empty() { String::new() } else { format!(" {}", setting.unit) };
    let when = if setting.live { "live" } else { "needs a restart" };
    format!("({}{unit}; {when})", setting.kind.words())
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > COLUMNS {
            lines.push(word.to_owned());
        } else {
            let line = &mut lines[last];
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// A JSON Schema (2020-12) of the file, for editors.
#[must_use]
pub fn schema() -> Value {
    let default = Layer::of(&CoordinatorConfig::default(), "");
    let mut root = section("Settings of `evenkeel coordinator`.");
    for setting in table::settings() {
        let mut at = &mut root;
        let mut path = String::new();
        for name in setting.section().split('.').filter(|name| !name.is_empty()) {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            let about = table::section_about(&path);
            at = properties(at).entry(name).or_insert_with(|| section(about));
        }
        let mut described = described(setting);
        let value = default.value(setting.path);
        if let (Value::Object(described), false) = (&mut described, value.is_null() || setting.secret) {
            described.insert("default".into(), value.clone());
        }
        properties(at).insert(setting.name().to_owned(), described);
    }
    if let Value::Object(root) = &mut root {
        root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        root.insert("title".into(), "evenkeel.toml".into());
    }
    root
}

fn section(about: &str) -> Value {
    json!({ "type": "object", "description": about, "additionalProperties": false, "properties": {} })
}

fn properties(section: &mut Value) -> &mut Map<String, Value> {
    // A section is always an object that has them.
    if !section["properties"].is_object() {
        section["properties"] = json!({});
    }
    match &mut section["properties"] {
        Value::Object(properties) => properties,
        _ => unreachable!("it was made an object just now"),
    }
}

fn described(setting: &Setting) -> Value {
    let mut form = match setting.kind {
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Whole { min, max: u64::MAX } => json!({ "type": "integer", "minimum": min }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::Text | Kind::Path | Kind::Address => json!({ "type": "string" }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Table(shape) => serde_json::from_str(shape.schema).unwrap_or_default(),
    };
    form["description"] = format!("{} {}", setting.about, facts(setting)).into();
    form
}

/// The reference: a table for each section, in Markdown.
#[must_use]
pub fn reference() -> String {
    let default = Layer::of(&CoordinatorConfig::default(), "");
    let mut text = String::new();
    let mut section = None;
    for setting in table::settings() {
        if section != Some(setting.section()) {
            section = Some(setting.section());
            let name = if setting.section().is_empty() {
                "Top of the file".into()
            } else {
                format!("`[{}]`", setting.section())
            };
            let about = table::section_about(setting.section());
            let _ = write!(
                text,
                "\n### {name}\n\n{about}\n\n| setting | default | range | change | what |\n|---|---|---|---|---|\n"
            );
        }
        let value = match shown(default.value(setting.path)) {
            value if value.is_empty() => "not set".to_owned(),
            value => format!("`{value}`"),
        };
        let unit = if setting.unit.is_empty() { String::new() } else { format!(" {}", setting.unit) };
        let when = if setting.live { "live" } else { "restart" };
        let secret = if setting.secret { " Secret." } else { "" };
        let short = setting.variable.map(|name| format!(" Also `{name}`.")).unwrap_or_default();
        let range = setting.kind.words().replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{}` | {value} | {range}{unit} | {when} | {}{secret}{short} |",
            setting.name(),
            setting.about
        );
    }
    text
}

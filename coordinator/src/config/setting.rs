//! What is known of one setting beside its value: where it stands, what it may be, and when a change of it counts.

use std::borrow::Cow;

use evenkeel_shared::{
    limits::DURATION_MAX,
    shown::{self, without_secrets},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Milliseconds of [`DURATION_MAX`].
const DURATION_MAX_MS: u64 = DURATION_MAX.as_secs() * 1_000;

/// One line of the table of settings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Where it stands, as in the file: `limits.connections_max`.
    pub path: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Of what its number is; empty for names and switches.
    pub unit: &'static str,
    /// A change is in force at once; otherwise after a restart.
    pub live: bool,
    /// Its value is shown to nobody.
    pub secret: bool,
    /// A short name of its environment variable, beside the one made of its path.
    pub variable: Option<&'static str>,
    /// What it is for, in a sentence or a few.
    pub about: &'static str,
}

/// What a setting may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number from `min` to `max`.
    Whole {
        /// At least.
        min: u64,
        /// At most.
        max: u64,
    },
    /// A number from `min` to `max`.
    Number {
        /// At least.
        min: f64,
        /// At most.
        max: f64,
    },
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An address and a port.
    Address,
    /// A file or a directory.
    Path,
    /// A list of texts.
    Texts,
    /// Something with settings of its own, which are checked as a whole.
    Table(Shape),
}

/// The form of a setting that has settings of its own.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// In words.
    pub words: &'static str,
    /// As a JSON Schema.
    pub schema: &'static str,
    /// In the environment a single word stands for a table in which this key has it.
    pub word_key: Option<&'static str>,
    /// What is wrong with a value of another form.
    pub check: fn(&Value) -> Result<(), String>,
}

/// A value of this type, or why it is none: the check of a [`Shape`].
///
/// # Errors
/// What serde says.
pub fn reads_as<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    T::deserialize(value).map(drop).map_err(|error| error.to_string())
}

impl Setting {
    /// A setting whose changes are in force after a restart.
    #[must_use]
    pub const fn new(path: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { path, kind, unit: "", live: false, secret: false, variable: None, about }
    }

    /// Milliseconds, from `min` to a year.
    #[must_use]
    pub const fn ms(path: &'static str, min: u64, about: &'static str) -> Self {
        Self::new(path, Kind::Whole { min, max: DURATION_MAX_MS }, about).of("ms")
    }

    /// A count.
    #[must_use]
    pub const fn count(path: &'static str, min: u64, max: u64, about: &'static str) -> Self {
        Self::new(path, Kind::Whole { min, max }, about)
    }

    /// A number.
    #[must_use]
    pub const fn number(path: &'static str, min: f64, max: f64, about: &'static str) -> Self {
        Self::new(path, Kind::Number { min, max }, about)
    }

    /// A switch.
    #[must_use]
    pub const fn switch(path: &'static str, about: &'static str) -> Self {
        Self::new(path, Kind::Switch, about)
    }

    /// A change of it is in force at once.
    #[must_use]
    pub const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    /// Nobody is shown it.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// In this unit.
    #[must_use]
    pub const fn of(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// It has this short environment variable too.
    #[must_use]
    pub const fn variable(self, name: &'static str) -> Self {
        Self { variable: Some(name), ..self }
    }

    /// Its environment variable: `EVENKEEL_LIMITS__CONNECTIONS_MAX`.
    #[must_use]
    pub fn long_variable(&self) -> String {
        format!("EVENKEEL_{}", self.path.replace('.', "__").to_uppercase())
    }

    /// Its name within its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The path of its section; empty at the top.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

impl Kind {
    /// What is wrong with a value, in words that follow the setting's name. Nothing is wrong with one that is not set.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if value.is_null() {
            return Ok(());
        }
        let wrong = |wanted: &str| Err(format!("is {}; {wanted} is needed", shown(value)));
        match self {
            Self::Switch if value.is_boolean() => Ok(()),
            Self::Switch => wrong("true or false"),
            Self::Whole { min, max } => match (value.as_u64(), value.as_i64()) {
                (Some(number), _) if number < *min => Err(format!("is {number}; at least {min} is needed")),
                (Some(number), _) if number > *max => Err(format!("is {number}; at most {max} is allowed")),
                (Some(_), _) => Ok(()),
                (None, Some(number)) => Err(format!("is {number}; at least {min} is needed")),
                (None, None) => wrong("a whole number"),
            },
            Self::Number { min, max } => match value.as_f64() {
                Some(number) if (*min..=*max).contains(&number) => Ok(()),
                Some(number) => Err(format!("is {number}; from {min} to {max} is allowed")),
                None => wrong("a number"),
            },
            Self::Text | Self::Path if value.is_string() => Ok(()),
            Self::Text => wrong("a text"),
            Self::Path => wrong("a path, as a text,"),
            Self::Word(words) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                _ => Err(format!("is {}; there are {}", shown(value), words.join(", "))),
            },
            Self::Address => match value.as_str().map(str::parse::<std::net::SocketAddr>) {
                Some(Ok(_)) => Ok(()),
                _ => wrong("an address and a port, such as \"127.0.0.1:7400\","),
            },
            Self::Texts => match value.as_array() {
                Some(texts) if texts.iter().all(Value::is_string) => Ok(()),
                _ => wrong("a list of texts"),
            },
            Self::Table(shape) => (shape.check)(value).map_err(|why| format!("is wrong: {}", without_secrets(&why))),
        }
    }

    /// Reads what a variable or a flag says.
    ///
    /// # Errors
    /// What is wrong, in words that follow its name.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let wrong = |wanted: &str| format!("is `{}`; {wanted} is needed", without_secrets(text));
        Ok(match self {
            Self::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true.into(),
                "false" | "0" | "no" | "off" => false.into(),
                _ => return Err(wrong("true or false")),
            },
            Self::Whole { .. } => text.replace('_', "").parse::<u64>().map_err(|_| wrong("a whole number"))?.into(),
            Self::Number { .. } => text.parse::<f64>().map_err(|_| wrong("a number"))?.into(),
            Self::Text | Self::Word(_) | Self::Address | Self::Path => text.into(),
            Self::Texts if text.starts_with('[') => toml_value(text).map_err(|_| wrong("a list"))?,
            Self::Texts => text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
            Self::Table(shape) => match shape.word_key {
                Some(key) if !text.starts_with('{') => serde_json::json!({ key: text }),
                _ => toml_value(text).map_err(|_| wrong(&format!("{}, in TOML,", shape.words)))?,
            },
        })
    }

    /// In a few words, with its range.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Switch => "true or false".into(),
            Self::Whole { min, max: u64::MAX } => format!("a whole number from {min}"),
            Self::Whole { min, max } => format!("{min} to {max}"),
            Self::Number { min, max } => format!("{min} to {max}, with decimals"),
            Self::Text => "text".into(),
            Self::Word(words) => words.join(", "),
            Self::Address => "address:port".into(),
            Self::Path => "path".into(),
            Self::Texts => "list of texts".into(),
            Self::Table(shape) => shape.words.into(),
        }
    }
}

fn toml_value(text: &str) -> Result<Value, toml::de::Error> {
    #[derive(serde::Deserialize)]
    struct Holder {
        value: Value,
    }
    toml::from_str::<Holder>(&format!("value = {text}")).map(|holder| holder.value)
}

/// A value in TOML, with nothing in it that is secret in an address; empty where it is not set.
#[must_use]
pub fn shown(value: &Value) -> String {
    let whole = whole(value);
    match without_secrets(&whole) {
        Cow::Owned(shown) => shown,
        Cow::Borrowed(_) => whole,
    }
}

/// Whether a part of a value is not shown.
#[must_use]
pub fn has_secrets(value: &Value) -> bool {
    shown::has_secrets(&whole(value))
}

fn whole(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // Beyond what the TOML crate writes.
        Value::Number(number) if number.is_u64() => number.to_string(),
        value => {
            toml::Value::try_from(without_nulls(value)).map_or_else(|_| value.to_string(), |value| value.to_string())
        }
    }
}

/// TOML has no null: what is not set is not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let set = entries.iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(values) => values.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

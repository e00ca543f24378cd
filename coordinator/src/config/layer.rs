//! Values of settings, each with where it comes from: a layer, or several on top of each other.
//!
//! Settings lie beside each other by their paths, not in a tree: what is put over what is then a matter of one key, whatever
//! section it stands in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    CoordinatorConfig,
    origin::{Origin, Source},
    problem::Problem,
    setting::Setting,
    table,
};

/// What is shown of a secret.
pub const HIDDEN: &str = "***";

/// A layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer(BTreeMap<&'static str, (Value, Origin)>);

impl Layer {
    /// All settings of a configuration, as nobody said them.
    #[must_use]
    pub fn of(config: &CoordinatorConfig, name: &str) -> Self {
        let tree = serde_json::to_value(config).unwrap_or_default();
        let value = |path: &str| path.split('.').try_fold(&tree, |tree, name| tree.get(name)).cloned();
        let origin = Origin::named(Source::Default, name);
        let settings = table::settings();
        Self(
            settings.map(|setting| (setting.path, (value(setting.path).unwrap_or_default(), origin.clone()))).collect(),
        )
    }

    /// Sets one.
    pub fn put(&mut self, setting: &'static Setting, value: Value, origin: Origin) {
        self.0.insert(setting.path, (value, origin));
    }

    /// Makes a path whole, because it is shown to people who may be in another directory.
    pub(super) fn make_absolute(&mut self, path: &str) {
        if let Some((value, _)) = self.0.get_mut(path)
            && let Some(whole) = value.as_str().and_then(|path| std::path::absolute(path).ok())
        {
            *value = whole.display().to_string().into();
        }
    }

    /// Puts another layer over this one.
    pub fn cover(&mut self, over: Self) {
        self.0.extend(over.0);
    }

    /// The value of a setting.
    #[must_use]
    pub fn value(&self, path: &str) -> &Value {
        self.0.get(path).map_or(&Value::Null, |(value, _)| value)
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.0.get(path).map(|(_, origin)| origin)
    }

    /// Where the setting comes from that is meant by the path of a violation, which may lie within it or be its section.
    pub(super) fn origin_of(&self, field: &str) -> Option<Origin> {
        let within =
            |path: &str| field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let (_, origin) = self.0.iter().find(|(path, _)| within(path)).map(|(_, found)| found)?;
        (origin.source != Source::Default).then(|| origin.clone())
    }

    /// The configuration that it makes.
    ///
    /// # Errors
    /// All settings that cannot be.
    pub fn config(&self) -> Result<CoordinatorConfig, Vec<Problem>> {
        let mut tree = Map::new();
        for (path, (value, _)) in &self.0 {
            plant(&mut tree, path, value.clone());
        }
        let config: CoordinatorConfig = serde_json::from_value(Value::Object(tree))
            .map_err(|error| vec![Problem::new("", error.to_string(), None)])?;
        let problems: Vec<Problem> = config.problems().into_iter().map(|problem| self.traced(problem)).collect();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    fn traced(&self, problem: Problem) -> Problem {
        Problem { origin: self.origin_of(&problem.path), ..problem }
    }

    /// What differs in `new`, in the order of the table.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let changed = table::settings().filter(|setting| self.value(setting.path) != new.value(setting.path));
        let change = |setting: &'static Setting| Change {
            setting,
            before: self.value(setting.path).clone(),
            after: new.value(setting.path).clone(),
        };
        changed.map(change).collect()
    }

    /// This with those settings of `other` that `wanted` names.
    #[must_use]
    pub fn with(&self, other: &Self, wanted: impl Fn(&Setting) -> bool) -> Self {
        let mut mixed = self.clone();
        for setting in table::settings().filter(|setting| wanted(setting)) {
            if let Some(found) = other.0.get(setting.path) {
                mixed.0.insert(setting.path, found.clone());
            }
        }
        mixed
    }
}

fn plant(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(tree.insert(path.to_owned(), value)),
        Some((section, rest)) => {
            let below = tree.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                plant(below, rest, value);
            }
        }
    }
}

/// A setting that is to have another value.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub setting: &'static Setting,
    /// Its value now.
    pub before: Value,
    /// And then.
    pub after: Value,
}

impl Change {
    /// The value now, in TOML, as it may be shown.
    #[must_use]
    pub fn shown_before(&self) -> String {
        shown(self.setting, &self.before)
    }

    /// The value then.
    #[must_use]
    pub fn shown_after(&self) -> String {
        shown(self.setting, &self.after)
    }
}

/// Whether a value, or a part of it, is a secret: then it is not kept with a version, and a rollback leaves it as it is.
#[must_use]
pub fn holds_secret(setting: &Setting, value: &Value) -> bool {
    setting.secret || super::setting::has_secrets(value)
}

/// A value in TOML, unless it is a secret. Empty: it is not set.
#[must_use]
pub fn shown(setting: &Setting, value: &Value) -> String {
    match setting.secret && !value.is_null() && value.as_str() != Some("") {
        true => format!("\"{HIDDEN}\""),
        false => super::setting::shown(value),
    }
}

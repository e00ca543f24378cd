//! Where a configuration comes from: default < file < environment < flags.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    CoordinatorConfig, file,
    layer::Layer,
    origin::{Origin, Source},
    problem::{Problem, Problems, meant},
    setting::{Kind, Setting},
    table,
};

/// Variables begin with this.
const PREFIX: &str = "EVENKEEL_";
/// Sections of variables that are not the coordinator's.
const FOREIGN_SECTIONS: [&str; 1] = ["agent"];

/// Where a configuration comes from. It can be read again, and is then what file, environment and flags say by then.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// What holds where nobody has said anything.
    pub base: CoordinatorConfig,
    /// Who says so, if it is not the default: `evenkeel dev`.
    pub base_name: String,
    /// The file.
    pub file: Option<PathBuf>,
    /// Variables, as they were at the start.
    pub variables: Vec<(String, String)>,
    /// Flags.
    pub flags: Vec<Flag>,
}

/// A flag of the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Its name, with dashes.
    pub name: &'static str,
    /// The setting.
    pub path: &'static str,
    /// Its value; null: it is not set, whatever lower layers say.
    pub value: Value,
}

impl Flag {
    /// A flag.
    #[must_use]
    pub fn new(name: &'static str, path: &'static str, value: impl Into<Value>) -> Self {
        Self { name, path, value: value.into() }
    }
}

/// A configuration with where each of its values comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: CoordinatorConfig,
    /// The same, setting by setting.
    pub layer: Layer,
    /// SHA-256 of the file, in hex; empty: there is none.
    pub file_hash: String,
    /// Where it was read from.
    pub sources: Sources,
}

impl From<CoordinatorConfig> for Loaded {
    /// A configuration that a program has made.
    fn from(config: CoordinatorConfig) -> Self {
        let layer = Layer::of(&config, "");
        let sources = Sources { base: config.clone(), ..Sources::default() };
        Self { config, layer, file_hash: String::new(), sources }
    }
}

/// The variables of this process that may be settings.
#[must_use]
pub fn variables() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let ours = |name: &str| name.starts_with(PREFIX) || table::settings().any(|setting| setting.variable == Some(name));
    env::vars_os().filter_map(text).filter(|(name, _)| ours(name)).collect()
}

impl Sources {
    /// Reads the file, and puts everything together.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let text = self.file.as_deref().map(read_file).transpose().map_err(|problem| Problems(vec![problem]))?;
        self.load_text(text.as_deref())
    }

    /// The same with this text for the file.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load_text(&self, text: Option<&str>) -> Result<Loaded, Problems> {
        let mut problems = Vec::new();
        let mut layer = Layer::of(&self.base, &self.base_name);
        for over in [text.map_or_else(|| Ok(Layer::default()), file::read), self.environment(), self.flags()] {
            match over {
                Ok(over) => layer.cover(over),
                Err(wrong) => problems.extend(wrong),
            }
        }
        layer.make_absolute("data_dir");
        // What was left out as wrong has its default here, so nothing is said twice.
        let config = layer.config().map_err(|wrong| problems.extend(wrong));
        match config {
            Ok(config) if problems.is_empty() => {
                Ok(Loaded { config, layer, file_hash: text.map(hash).unwrap_or_default(), sources: self.clone() })
            }
            _ => Err(Problems(problems)),
        }
    }

    fn environment(&self) -> Result<Layer, Vec<Problem>> {
        let (mut layer, mut problems) = (Layer::default(), Vec::new());
        let mut variables: Vec<_> = self.variables.iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        // The long name of a setting goes before its short one.
        variables.sort_by_key(|(name, _)| (name.contains("__"), name.as_str()));
        for (name, text) in variables {
            let origin = Origin::named(Source::Environment, name);
            match variable(name) {
                Named::Setting(setting) => match read_value(setting, text) {
                    Ok(value) => layer.put(setting, value, origin),
                    Err(message) => problems.push(Problem::new(setting.path, message, Some(origin))),
                },
                Named::Unknown(hint) => {
                    problems.push(Problem::new("", "is the variable of no setting", Some(origin)).hint(hint));
                }
                Named::Foreign => {}
            }
        }
        if problems.is_empty() { Ok(layer) } else { Err(problems) }
    }

    fn flags(&self) -> Result<Layer, Vec<Problem>> {
        let (mut layer, mut problems) = (Layer::default(), Vec::new());
        for Flag { name, path, value } in &self.flags {
            let origin = Origin::named(Source::Flag, *name);
            match table::find(path) {
                Some(setting) => match setting.kind.check(value) {
                    Ok(()) => layer.put(setting, value.clone(), origin),
                    Err(message) => problems.push(Problem::new(*path, message, Some(origin))),
                },
                None => problems.push(Problem::new(*path, "is no setting", Some(origin))),
            }
        }
        if problems.is_empty() { Ok(layer) } else { Err(problems) }
    }
}

fn read_value(setting: &Setting, text: &str) -> Result<Value, String> {
    let value = setting.kind.read(text).map_err(|why| if setting.secret { secretly(&setting.kind) } else { why })?;
    setting.kind.check(&value).map_err(|why| if setting.secret { secretly(&setting.kind) } else { why })?;
    Ok(value)
}

/// What is wrong with a secret, without it.
fn secretly(kind: &Kind) -> String {
    format!("has a value that it cannot have; {} is needed", kind.words())
}

/// What a variable names.
enum Named {
    Setting(&'static Setting),
    /// No setting, but it looks like one; with what was meant.
    Unknown(String),
    /// Something else.
    Foreign,
}

/// Variables with two underscores are settings for certain. Those without may be anybody's: a cluster that has a service of
/// the name `evenkeel` sets `EVENKEEL_PORT`, and there are those of other commands.
fn variable(name: &str) -> Named {
    if let Some(setting) = table::settings().find(|setting| setting.variable == Some(name)) {
        return Named::Setting(setting);
    }
    let Some(rest) = name.strip_prefix(PREFIX) else { return Named::Foreign };
    let path = rest.replace("__", ".").to_lowercase();
    if let Some(setting) = table::find(&path) {
        return Named::Setting(setting);
    }
    match path.split_once('.') {
        None => Named::Foreign,
        Some((section, _)) if FOREIGN_SECTIONS.contains(&section) => Named::Foreign,
        Some(_) => {
            let known: Vec<String> = table::settings().map(Setting::long_variable).collect();
            Named::Unknown(meant(name, known.iter().map(String::as_str)))
        }
    }
}

/// Reads the file of a configuration.
///
/// # Errors
/// Why it cannot be read.
pub fn read_file(path: &Path) -> Result<String, Problem> {
    let failed =
        |error: &dyn std::fmt::Display| Problem::new("", format!("`{}` cannot be read: {error}", path.display()), None);
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > file::FILE_BYTES_MAX as u64 {
        return Err(failed(&format!("it has more than {} KiB", file::FILE_BYTES_MAX >> 10)));
    }
    std::fs::read_to_string(path).map_err(|error: io::Error| failed(&error))
}

/// SHA-256 in hex: tells whether a file is the one that was seen before.
#[must_use]
pub fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

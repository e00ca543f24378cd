//! Settings from a file, below flags and environment.

use std::path::{Path, PathBuf};

use evenkeel_coordinator::config::{Flag, Loaded, Sources, table, variables};
use serde::{Serialize, de::DeserializeOwned};

use crate::exit::{CliError, Exit};

/// How alike (0 to 1, Jaro-Winkler) a known name must be to be suggested for an unknown one.
const ALIKE: f64 = 0.8;

/// Reads settings from a TOML file; without one all have their defaults.
///
/// # Errors
/// If the file cannot be read, or has something in it that is wrong or unknown.
pub fn load<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, CliError> {
    let Some(path) = path else { return Ok(T::default()) };
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::new(Exit::Error, format!("could not read the configuration `{shown}`")).because(error)
    })?;
    toml::from_str(&text).map_err(|error| {
        let wrong =
            CliError::usage(format!("the configuration `{shown}` is wrong")).because(error.to_string().trim_end());
        match suggestion(error.message()) {
            Some(name) => wrong.hint(format!("did you mean `{name}`?")),
            None => wrong,
        }
    })
}

/// The known name most like the unknown one, out of a message of serde: "unknown field `a`, expected one of `b`, `c`".
fn suggestion(message: &str) -> Option<&str> {
    let mut names = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let alike = names.map(|known| (strsim::jaro_winkler(unknown, known), known)).filter(|(alike, _)| *alike >= ALIKE);
    alike.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}

/// The settings of a coordinator: `base`, and over it a file, the environment and flags.
///
/// # Errors
/// All that is wrong, each with where it was said.
pub fn coordinator(file: Option<PathBuf>, flags: Vec<Flag>, base: Sources) -> Result<Loaded, CliError> {
    let shown = file.as_ref().map(|file| format!(" `{}`", file.display())).unwrap_or_default();
    let sources = Sources { file, flags, variables: variables(), ..base };
    sources.load().map_err(|problems| CliError::usage(format!("the configuration{shown} is wrong")).because(problems))
}

/// A whole section as one flag sets it.
pub fn section_flags(name: &'static str, section: &str, value: &impl Serialize) -> Vec<Flag> {
    let tree = serde_json::to_value(value).unwrap_or_default();
    let within = table::settings().filter(|setting| setting.section() == section);
    within.map(|setting| Flag::new(name, setting.path, tree.get(setting.name()).cloned().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use evenkeel_agent::AgentConfig;

    use super::*;

    fn load_text(text: &str) -> Result<AgentConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("evenkeel.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_file_does_not_say_has_its_default() {
        let config = load_text("slots = 3").unwrap();
        assert_eq!(config, AgentConfig { slots: Some(3), ..AgentConfig::default() });
        assert_eq!(load::<AgentConfig>(None).unwrap(), AgentConfig::default());
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_one_that_was_meant() {
        let error = load_text("slot = 3").unwrap_err();
        assert!(error.contains("unknown field `slot`") && error.contains("did you mean `slots`?"), "{error}");
        let error = load_text("zebra = 3").unwrap_err();
        assert!(error.contains("unknown field") && !error.contains("did you mean"), "{error}");
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert!(load::<AgentConfig>(Some(Path::new("/nonexistent/evenkeel.toml"))).is_err());
    }
}

//! Scenarios by name or from a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Process, Scenario};

/// Largest file that is read: a scenario is a page, and what is larger is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The scenarios that come with the program: their names and files.
pub const BUILT_IN: [(&str, &str); 7] = [
    ("smoke", include_str!("../../scenarios/smoke.toml")),
    ("business_hours", include_str!("../../scenarios/business_hours.toml")),
    ("maintenance", include_str!("../../scenarios/maintenance.toml")),
    ("incident_response", include_str!("../../scenarios/incident_response.toml")),
    ("scale_test", include_str!("../../scenarios/scale_test.toml")),
    ("failover", include_str!("../../scenarios/failover.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
];

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// No scenario that comes with the program has this name, and there is no such file.
    #[error("there is no scenario `{name}`, and no such file; there are: {known}")]
    Unknown {
        /// The name as given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The file could not be read.
    #[error("cannot read the scenario {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no scenario.
    #[error("the scenario {origin} is wrong: {what}")]
    Form {
        /// Its file or name.
        origin: String,
        /// Where, and what would be right.
        what: String,
    },
    /// A field is out of its range.
    #[error("{field}: {what}")]
    Field {
        /// Its path in the file.
        field: String,
        /// Its value, and what would be right.
        what: String,
    },
}

impl Scenario {
    /// The scenario of this name, or else in this file.
    ///
    /// # Errors
    /// There is none, or it is wrong.
    pub fn find(name_or_path: &str) -> Result<Self, ScenarioError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, name);
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let known = BUILT_IN.map(|(name, _)| name).join(", ");
            return Err(ScenarioError::Unknown { name: name_or_path.to_owned(), known });
        }
        let unreadable = |source| ScenarioError::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
            let what = format!("it has more than {FILE_BYTES_MAX} bytes");
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        let mut scenario = Self::parse(&fs::read_to_string(path).map_err(unreadable)?, name_or_path)?;
        if let Process::Trace { file, .. } = &mut scenario.arrivals.process
            && let Some(directory) = path.parent()
        {
            *file = directory.join(&*file);
        }
        Ok(scenario)
    }

    /// Reads the text of a scenario and checks it.
    ///
    /// # Errors
    /// It is none, or something is out of its range.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::Form {
            origin: origin.to_owned(),
            what: error.to_string().trim_end().to_owned(),
        })?;
        scenario.validate()?;
        Ok(scenario)
    }
}

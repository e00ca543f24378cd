//! What the process logs, and how.

use evenkeel_shared::Violation;
use serde::{Deserialize, Serialize};

use super::{ConfigError, at_most};

/// Bytes of a filter: a directive for each module is far less.
pub const FILTER_BYTES_MAX: usize = 4_096;
/// Lines a second of one place: more is no bound.
const LINES_MAX: u64 = 100_000;

/// How a line of log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// What the process logs, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level, or directives such as `info,evenkeel_core=debug`. The flag `--log` goes before it. Default:
    /// `info`.
    pub filter: String,
    /// How a line looks: `text` or `json`. The flag `--log-format` goes before it. Default: `text`.
    pub format: LogFormat,
    /// Lines a second of one place in the program; what is beyond is counted and summed up. 0: all. At most 100,000;
    /// default 20.
    pub lines_per_second: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text, lines_per_second: 20 }
    }
}

impl LogConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        at_most("log.lines_per_second", u64::from(self.lines_per_second), LINES_MAX)?;
        let bytes = self.filter.len();
        if bytes > FILTER_BYTES_MAX {
            let what = format!("has {bytes} bytes; at most {FILTER_BYTES_MAX} are allowed");
            return Err(Violation::new("log.filter", what).into());
        }
        Ok(())
    }
}

//! Log output of the programs: one line an event to standard error, for people or for machines.
//!
//! Standard output stays free for what a command was asked for.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// The variable that overrides the configured filter.
pub const FILTER_VARIABLE: &str = "EVENKEEL_LOG";

/// How a line of log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Why log output could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("`{filter}` (from {origin}) is not a log filter: {source}; write it like `info,evenkeel_core=debug`")]
    BadFilter {
        /// What was given.
        filter: String,
        /// Where it came from.
        origin: &'static str,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has log output already.
    #[error("log output is already set up in this process; set it up once, at the start")]
    AlreadySet(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends the log of this process to standard error, in colour only on a terminal and without `NO_COLOR`.
///
/// `filter` is a list of directives such as `info,evenkeel_core=debug`; a non-empty [`FILTER_VARIABLE`] overrides it.
///
/// # Errors
/// If the filter in force cannot be read, or if the process has log output already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let variable = env::var(FILTER_VARIABLE).ok().filter(|directives| !directives.trim().is_empty());
    let filter = match &variable {
        Some(directives) => parse(directives, FILTER_VARIABLE)?,
        None => parse(filter, "the configuration")?,
    };
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color);
    match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.finish())?,
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())?;
        }
    }
    Ok(())
}

fn parse(directives: &str, origin: &'static str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder().parse(directives).map_err(|source| TelemetryError::BadFilter {
        filter: directives.to_owned(),
        origin,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named_with_its_origin() {
        let message = parse("evenkeel=loud", FILTER_VARIABLE).unwrap_err().to_string();
        assert!(message.contains("`evenkeel=loud` (from EVENKEEL_LOG)"), "{message}");
        assert_eq!(parse("warn,evenkeel_core=debug", "a test").unwrap().to_string(), "evenkeel_core=debug,warn");
    }
}

//! Log output of the programs: one line an event to standard error, for people or for machines.
//!
//! Standard output stays free for what a command was asked for.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    layer::{Layered, SubscriberExt as _},
    reload,
};

mod control;
mod repeats;

pub use control::{FilterInForce, LogControl, control};
pub use repeats::Repeats;

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
    #[error("`{filter}` is not a log filter: {source}; write it like `info,evenkeel_core=debug`")]
    BadFilter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has log output already.
    #[error("log output is already set up in this process; set it up once, at the start")]
    AlreadySet(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// The log is gone.
    #[error("the log of this process cannot be changed any more: {0}")]
    Gone(#[from] reload::Error),
}

/// Between the program's log and standard error: what is left out, and what repeats.
type Filtered = Layered<Repeats, Layered<reload::Layer<EnvFilter, Registry>, Registry>>;
/// How lines are written.
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// Sends the log of this process to standard error, in colour only on a terminal and without `NO_COLOR`. What it lets through
/// and how it looks can be changed by the [`control`] from then on.
///
/// `filter` is a list of directives such as `info,evenkeel_core=debug`. The environment is not looked at: what goes before
/// what is the program's decision.
///
/// # Errors
/// If the filter cannot be read, or if the process has log output already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let (filter_layer, filter_handle) = reload::Layer::new(parse(filter)?);
    let (line_layer, line_handle) = reload::Layer::new(lines(format));
    let repeats = Repeats::default();
    let log = Registry::default().with(filter_layer).with(repeats.clone()).with(line_layer);
    tracing::subscriber::set_global_default(log)?;
    let set_format = move |format| line_handle.reload(lines(format)).map_err(TelemetryError::from);
    control::install(filter_handle, Box::new(set_format), filter, repeats);
    Ok(())
}

fn lines(format: LogFormat) -> Lines {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = io::stderr().is_terminal() && !no_color;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(ansi);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

fn parse(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| TelemetryError::BadFilter { filter: directives.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let message = parse("evenkeel=loud").unwrap_err().to_string();
        assert!(message.contains("`evenkeel=loud` is not a log filter"), "{message}");
        assert_eq!(parse("warn,evenkeel_core=debug").unwrap().to_string(), "evenkeel_core=debug,warn");
    }
}

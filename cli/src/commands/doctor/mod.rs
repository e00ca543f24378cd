//! `evenkeel doctor`: whether a coordinator could run here, and how the one that runs is.
//!
//! Each check says what it found and what to do about it. Nothing is changed: what is written to the data directory to see
//! whether that works is removed again.

mod credentials;
mod data;
mod machine;
mod service;

use std::path::PathBuf;

use clap::Args;
use evenkeel_coordinator::{CoordinatorConfig, config::Sources};
use serde::Serialize;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{
        Show,
        table::{self, Cell, Style, Tone},
    },
    settings,
};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The settings to check, in TOML
    #[arg(long, value_name = "FILE", env = "EVENKEEL_CONFIG")]
    config: Option<PathBuf>,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It will do, with less than it could.
    Warning,
    /// It will not do.
    Failure,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    name: &'static str,
    verdict: Verdict,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, what: what.into(), remedy: None }
    }

    fn warning(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn failure(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failure, ..Self::warning(name, what, remedy) }
    }
}

/// All checks.
#[derive(Debug, Serialize)]
struct Report {
    verdict: Verdict,
    checks: Vec<Check>,
}

impl Show for Report {
    fn show(&self, style: &Style) -> String {
        let row = |check: &Check| {
            let (word, tone) = match check.verdict {
                Verdict::Ok => ("ok", Tone::Good),
                Verdict::Warning => ("warning", Tone::Warn),
                Verdict::Failure => ("FAILURE", Tone::Bad),
            };
            let remedy = check.remedy.as_ref().map(|remedy| format!(". To do: {remedy}")).unwrap_or_default();
            vec![Cell::text(check.name), Cell::text(word).tone(tone), Cell::text(format!("{}{remedy}", check.what))]
        };
        table::cells(&["CHECK", "VERDICT", "WHAT"], self.checks.iter().map(row), style)
    }
}

/// Checks everything.
///
/// # Errors
/// If one of the checks failed; all are printed before.
pub async fn run(args: DoctorArgs, global: &Global) -> Outcome {
    let (config, first) = match settings::coordinator(args.config, Vec::new(), Sources::default()) {
        Ok(loaded) => {
            let config = loaded.config;
            let data_dir = std::path::absolute(&config.data_dir).unwrap_or(config.data_dir.clone());
            let what = format!("settings are sound; data in {}", data_dir.display());
            (config, Check::ok("configuration", what))
        }
        Err(error) => {
            let remedy = "see `evenkeel config check`; the checks below are of the defaults";
            (CoordinatorConfig::default(), Check::failure("configuration", error.in_one_line().0, remedy))
        }
    };
    let mut checks = vec![first];
    let running = service::find(&config, global).await;
    let ports = service::ports(&config, &running);
    let somebody_listens = ports.iter().any(|check| check.verdict == Verdict::Failure);
    checks.extend(ports);
    checks.extend(credentials::checks(&config));
    checks.extend(data::checks(&config));
    checks.extend(machine::checks(&config));
    checks.extend(service::checks(running, global, somebody_listens).await);
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    let failures = checks.iter().filter(|check| check.verdict == Verdict::Failure).count();
    global.output().one(&Report { verdict, checks })?;
    match failures {
        0 => Ok(Exit::Ok),
        1 => Err(CliError::new(Exit::Error, "one check failed")),
        _ => Err(CliError::new(Exit::Error, format!("{failures} checks failed"))),
    }
}

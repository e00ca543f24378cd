//! `evenkeel loadtest baseline`: the runs that others are compared with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use evenkeel_loadtest::record::{RecordError, RunStore, store};
use serde::Serialize;

use super::scenario::exit_of;
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Row, table::Cell},
};

/// Where runs are kept.
#[derive(Clone, Debug, Args)]
pub struct RunsDir {
    /// Where the records of runs are kept
    #[arg(long, value_name = "DIR", default_value = store::RUNS_DIR)]
    runs_dir: PathBuf,
}

impl RunsDir {
    /// The runs.
    pub fn open(&self) -> RunStore {
        RunStore::open(&self.runs_dir)
    }
}

/// What to do with baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Make a run the baseline of its scenario
    Set(SetArgs),
    /// Show the run that is the baseline of a scenario
    Show(ShowArgs),
    /// List all baselines
    List(ListArgs),
}

/// Arguments of `loadtest baseline set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// A run: `latest`, an id or the start of one
    #[arg(value_name = "RUN")]
    run: String,
    /// The name of the baseline; a scenario can have several
    #[arg(long, value_name = "NAME", default_value = store::BASELINE_NAME)]
    name: String,
    #[command(flatten)]
    runs: RunsDir,
}

/// Arguments of `loadtest baseline show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Of this scenario [default: that of the latest run]
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// The name of the baseline
    #[arg(long, value_name = "NAME", default_value = store::BASELINE_NAME)]
    name: String,
    #[command(flatten)]
    runs: RunsDir,
}

/// Arguments of `loadtest baseline list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    runs: RunsDir,
}

/// A baseline in a list.
#[derive(Debug, Serialize)]
struct Baseline {
    scenario: String,
    name: String,
    run: String,
}

impl Row for Baseline {
    const HEADERS: &'static [&'static str] = &["scenario", "name", "run"];

    fn cells(&self) -> Vec<Cell> {
        [&self.scenario, &self.name, &self.run].into_iter().map(Cell::text).collect()
    }
}

/// Carries out a command about baselines.
///
/// # Errors
/// If there is no such run or baseline, or a file cannot be used.
pub fn run(command: BaselineCommand, global: &Global) -> Outcome {
    match command {
        BaselineCommand::Set(args) => set(&args, global),
        BaselineCommand::Show(args) => {
            let reference = format!("baseline:{}", args.name);
            let record = args.runs.open().load_record(&reference, args.scenario.as_deref()).map_err(unusable)?;
            global.output().one(&record)?;
            Ok(Exit::Ok)
        }
        BaselineCommand::List(args) => {
            let baselines = args.runs.open().baselines().map_err(unusable)?;
            let of_scenario = |(scenario, names): (String, std::collections::BTreeMap<String, String>)| {
                names.into_iter().map(move |(name, run)| Baseline { scenario: scenario.clone(), name, run })
            };
            let rows: Vec<Baseline> = baselines.scenarios.into_iter().flat_map(of_scenario).collect();
            global.output().list(&rows, "there are no baselines; `evenkeel loadtest baseline set RUN` makes one")?;
            Ok(Exit::Ok)
        }
    }
}

fn set(args: &SetArgs, global: &Global) -> Outcome {
    let (record, before) = args.runs.open().set_baseline(&args.run, &args.name).map_err(unusable)?;
    if let Some(before) = before.filter(|before| *before != record.id) {
        eprintln!("it takes the place of {before}");
    }
    if exit_of(&record) != Exit::Ok {
        eprintln!("note: the verdict of this run is no-go: {}", record.reasons.join("; "));
    }
    let row = Baseline { scenario: record.scenario.name, name: args.name.clone(), run: record.id };
    global.output().list(&[row], "")?;
    Ok(Exit::Ok)
}

/// A record that cannot be used.
pub fn unusable(error: RecordError) -> CliError {
    let exit = match &error {
        error if error.is_not_found() => Exit::NotFound,
        RecordError::Id { .. } | RecordError::Ambiguous { .. } => Exit::Usage,
        _ => Exit::Error,
    };
    CliError::new(exit, error.to_string())
}

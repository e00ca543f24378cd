//! `evenkeel loadtest report`: a run as one HTML page.

use std::{fs, path::PathBuf, slice};

use clap::Args;
use evenkeel_loadtest::{compare::compare, html, record::RecordError};
use serde::Serialize;

use super::baseline::{RunsDir, unusable};
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Row, table::Cell},
};

/// Arguments of `loadtest report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run: `latest`, an id or the start of one, or the path of a record
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// The run beside it [default: the baseline of its scenario, if there is one]
    #[arg(long, value_name = "RUN")]
    baseline: Option<String>,
    /// Where the page goes; a file of this name is replaced [default: ID.html beside the record]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    runs: RunsDir,
}

/// Where the page is.
#[derive(Debug, Serialize)]
struct Written {
    run: String,
    baseline: Option<String>,
    page: PathBuf,
}

impl Row for Written {
    const HEADERS: &'static [&'static str] = &["run", "baseline", "page"];

    fn cells(&self) -> Vec<Cell> {
        let baseline = self.baseline.as_deref().unwrap_or_default();
        vec![Cell::text(&self.run), Cell::text(baseline), Cell::text(self.page.display().to_string())]
    }
}

/// Writes the page.
///
/// # Errors
/// If a run cannot be read, or the page not be written.
pub fn run(args: &ReportArgs, global: &Global) -> Outcome {
    let store = args.runs.open();
    let run = store.load(&args.run, None).map_err(unusable)?;
    let scenario = run.record.scenario.name.as_str();
    let baseline = match &args.baseline {
        Some(reference) => Some(store.load(reference, Some(scenario)).map_err(unusable)?),
        // Nobody asked for it, so it may be missing; one that is damaged is told.
        None => match store.load("baseline", Some(scenario)) {
            Err(RecordError::NoBaseline { .. }) => None,
            baseline => Some(baseline.map_err(unusable)?),
        },
    };
    let baseline = baseline.filter(|baseline| baseline.record.id != run.record.id);
    // By force: the page says what differs.
    let comparison =
        baseline.as_ref().and_then(|baseline| compare(slice::from_ref(baseline), slice::from_ref(&run), true).ok());
    let page = html::page(&run, baseline.as_ref(), comparison.as_ref());
    let out = args.out.clone().unwrap_or_else(|| run.path.with_file_name(format!("{}.html", run.record.id)));
    fs::write(&out, page)
        .map_err(|error| CliError::new(Exit::Error, format!("could not write {}", out.display())).because(error))?;
    let written = Written { run: run.record.id, baseline: baseline.map(|baseline| baseline.record.id), page: out };
    global.output().list(&[written], "")?;
    Ok(Exit::Ok)
}

//! `evenkeel loadtest compare`: whether a program became slower, and how sure that is.

use clap::Args;
use evenkeel_loadtest::{
    compare::{Change, CompareError, Comparison, Method, Verdict, compare},
    record::{KeptRun, RunStore},
};

use super::baseline::{RunsDir, unusable};
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{
        Show,
        table::{self, Cell, Style, Tone},
    },
};

/// Arguments of `loadtest compare`. A run is named by its id or the start of it, by the path of its record, as
/// `latest`, `baseline` or `baseline:NAME`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// What it is compared with, and what is judged; several runs of a side are separated by commas
    #[arg(value_names = ["A", "B"], num_args = 2, required_unless_present_all = ["a", "b"], conflicts_with_all = ["a", "b"])]
    sides: Vec<String>,
    /// Runs that it is compared with
    #[arg(long, value_name = "RUN", num_args = 1.., value_delimiter = ',', requires = "b")]
    a: Vec<String>,
    /// Runs that are judged
    #[arg(long, value_name = "RUN", num_args = 1.., value_delimiter = ',', requires = "a")]
    b: Vec<String>,
    /// Compare runs of different scenarios, machines or builds all the same
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    runs: RunsDir,
}

impl CompareArgs {
    fn sides(&self) -> (Vec<String>, Vec<String>) {
        if let [a, b] = self.sides.as_slice() {
            let split = |side: &str| side.split(',').map(str::to_owned).collect();
            return (split(a), split(b));
        }
        (self.a.clone(), self.b.clone())
    }
}

/// Compares runs.
///
/// # Errors
/// If a run cannot be read, or they cannot be compared.
pub fn run(args: &CompareArgs, global: &Global) -> Outcome {
    let store = args.runs.open();
    let (a, b) = args.sides();
    // `baseline` is that of the scenario of the other side.
    let scenario = a.iter().chain(&b).find(|reference| !reference.starts_with("baseline"));
    let scenario = match scenario {
        Some(reference) => Some(store.load_record(reference, None).map_err(unusable)?.scenario.name),
        None => None,
    };
    let (a, b) = (load(&store, &a, scenario.as_deref())?, load(&store, &b, scenario.as_deref())?);
    let comparison = compare(&a, &b, args.force).map_err(refused)?;
    global.output().one(&comparison)?;
    Ok(if comparison.regression { Exit::Regression } else { Exit::Ok })
}

fn load(store: &RunStore, references: &[String], scenario: Option<&str>) -> Result<Vec<KeptRun>, CliError> {
    let of_baseline = |reference: &str| reference.starts_with("baseline").then_some(scenario).flatten();
    references.iter().map(|name| store.load(name, of_baseline(name)).map_err(unusable)).collect()
}

fn refused(error: CompareError) -> CliError {
    let exit = match error {
        CompareError::Runs { .. } | CompareError::Twice { .. } => Exit::Usage,
        _ => Exit::Refused,
    };
    CliError::new(exit, error.to_string())
}

impl Show for Comparison {
    fn show(&self, style: &Style) -> String {
        let rows = self.changes.iter().map(row);
        let table =
            table::cells(&["metric", "A", "B", "change", "95 % together", "matters from", "verdict"], rows, style);
        let mut parts = vec![sides(self, style), table];
        if !self.differences.is_empty() {
            let text = format!("compared by force, although these differ: {}", self.differences.join("; "));
            parts.push(table::tinted(&table::printable(&text), Tone::Warn, style));
        }
        let (text, tone) = match self.regression {
            true => ("regression", Tone::Bad),
            false => ("no regression", Tone::Good),
        };
        parts.push(format!("verdict  {}", table::tinted(text, tone, style)));
        parts.join("\n\n")
    }
}

fn sides(comparison: &Comparison, style: &Style) -> String {
    let side = |side: &evenkeel_loadtest::compare::Side| {
        let commits = if side.commits.is_empty() { "commit unknown".to_owned() } else { side.commits.join(", ") };
        Cell::text(format!("{} ({commits})", side.runs.join(", ")))
    };
    let method = match comparison.method {
        Method::WithinRuns => {
            "the seconds of one run each; what differs from run to run is not seen, so repeat the runs to be sure"
        }
        Method::BetweenRuns => "the differences between the runs of each side",
        Method::OneAgainstMany => "the differences between the runs of one side; the other has one run",
    };
    let pairs = [
        ("scenario", Cell::text(&comparison.scenario)),
        ("A", side(&comparison.a)),
        ("B", side(&comparison.b)),
        ("intervals", Cell::text(format!("from {method}"))),
    ];
    table::pairs(&pairs, style)
}

fn row(change: &Change) -> Vec<Cell> {
    let tone = match change.verdict {
        Verdict::Regression => Tone::Bad,
        Verdict::Improvement => Tone::Good,
        Verdict::Unsure => Tone::Warn,
        Verdict::Same | Verdict::NotJudged => Tone::Plain,
    };
    vec![
        Cell::text(format!("{} ({})", change.metric.name(), change.unit)),
        Cell::number(format!("{:.2}", change.a)),
        Cell::number(format!("{:.2}", change.b)),
        Cell::number(format!("{:+.1} %", change.change_percent)),
        Cell::number(change.interval_text()),
        Cell::number(format!("{:.0} %", change.threshold_percent)),
        Cell::text(change.verdict.words()).tone(tone),
    ]
}

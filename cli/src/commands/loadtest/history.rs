//! `evenkeel loadtest history`: the runs that were kept, and where their metrics go.

use clap::Args;
use evenkeel_loadtest::{
    compare::history::{Direction, Entry, History, Trend, histories, sparkline},
    record::Decision,
};
use serde::Serialize;

use super::baseline::{RunsDir, unusable};
use crate::{
    args::Global,
    exit::{Exit, Outcome},
    output::{
        Format, Show,
        table::{self, Cell, Style, Tone},
    },
};

/// Arguments of `loadtest history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only runs of this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Only the latest runs, so many of all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    runs: RunsDir,
}

/// What was kept, by scenario.
#[derive(Debug, Serialize)]
struct Histories {
    scenarios: Vec<History>,
}

/// Shows the history.
///
/// # Errors
/// If the directory of runs cannot be read. Records that cannot be used are named and left out.
pub fn run(args: &HistoryArgs, global: &Global) -> Outcome {
    let store = args.runs.open();
    let ids = store.list().map_err(unusable)?;
    let mut records = Vec::new();
    for id in ids.iter().rev() {
        if records.len() == args.limit {
            break;
        }
        match store.load_record(id, None) {
            Ok(record) if args.scenario.as_ref().is_none_or(|name| record.scenario.name == *name) => {
                records.push(record);
            }
            Ok(_) => {}
            Err(error) => eprintln!("left out: {error}"),
        }
    }
    records.reverse();
    if records.is_empty() {
        eprintln!("no run is kept in {}; `evenkeel loadtest run --scenario NAME` keeps one", store.dir().display());
    }
    let shown = Histories { scenarios: histories(&records) };
    if !shown.scenarios.is_empty() || global.output().format != Format::Table {
        global.output().one(&shown)?;
    }
    Ok(Exit::Ok)
}

impl Show for Histories {
    fn show(&self, style: &Style) -> String {
        let parts: Vec<String> = self.scenarios.iter().map(|history| one(history, style)).collect();
        parts.join("\n\n")
    }
}

fn one(history: &History, style: &Style) -> String {
    let heads: Vec<String> =
        history.trends.iter().map(|trend| format!("{} ({})", trend.metric.name(), trend.unit)).collect();
    let mut headers = vec!["run", "commit", "verdict"];
    headers.extend(heads.iter().map(String::as_str));
    headers.push("not comparable with the latest");
    let runs = table::cells(&headers, history.runs.iter().map(row), style);
    let trends = table::cells(
        &["metric", "from run to run", "95 %", "trend", "oldest to newest"],
        history.trends.iter().map(trend),
        style,
    );
    format!("scenario {}\n\n{runs}\n\n{trends}", table::printable(&history.scenario))
}

fn row(entry: &Entry) -> Vec<Cell> {
    let (verdict, tone) = match entry.verdict {
        Decision::Go => ("go", Tone::Good),
        Decision::NoGo => ("no-go", Tone::Bad),
    };
    let number =
        |value: &Option<f64>| Cell::number(value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}")));
    let mut cells = vec![
        Cell::text(&entry.id),
        Cell::text(entry.commit.as_deref().unwrap_or_default()),
        Cell::text(verdict).tone(tone),
    ];
    cells.extend(entry.values.iter().map(number));
    // The first says enough; the JSON has all.
    cells.push(Cell::text(entry.differs.first().map(String::as_str).unwrap_or_default()));
    cells
}

fn trend(trend: &Trend) -> Vec<Cell> {
    let percent = |value: f64| format!("{value:+.1} %");
    let (words, tone) = match trend.direction {
        Direction::Better => ("better", Tone::Good),
        Direction::Worse => ("worse", Tone::Bad),
        Direction::None => ("none beyond noise", Tone::Plain),
    };
    let words = if trend.interval_percent.is_some() { words } else { "too few runs" };
    let interval = trend.interval_percent.map(|(low, high)| format!("{} .. {}", percent(low), percent(high)));
    vec![
        Cell::text(trend.metric.name()),
        Cell::number(trend.slope_percent.map_or_else(|| "-".to_owned(), percent)),
        Cell::number(interval.unwrap_or_else(|| "-".to_owned())),
        Cell::text(words).tone(tone),
        Cell::text(sparkline(&trend.values)),
    ]
}

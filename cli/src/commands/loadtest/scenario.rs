//! `evenkeel loadtest run --scenario` and `evenkeel loadtest scenarios`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use evenkeel_loadtest::{
    Bar, Latency, Target,
    drive::{self, Overrides, ScenarioPlan},
    levels::{LevelOutcome, Severity},
    record::{
        Decision, Mark, Phase, RunRecord, Slice, SliceLatency,
        store::{RUNS_DIR, RunStore},
    },
    scenario::{BUILT_IN, Scenario, ScenarioError},
};
use serde::Serialize;

use super::run::failed;
use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{
        Row, Show,
        table::{self, Cell, Style, Tone},
    },
    quantity, signals,
};

/// Arguments of `loadtest run` that make sense with a scenario only.
#[derive(Debug, Args)]
#[command(next_help_heading = "With a scenario")]
pub struct ScenarioArgs {
    /// Run this scenario, by its name (see `loadtest scenarios`) or from its file
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = [
        "tasks", "slots", "in_flight", "batch", "task_time", "payload_bytes", "ephemeral",
    ])]
    pub scenario: Option<String>,
    /// Tasks, or sessions, that are due in a second, before the scenario's curve and spikes
    #[arg(long, value_name = "R", requires = "scenario")]
    rate: Option<f64>,
    /// How long tasks arrive; everything in the scenario is stretched to it
    #[arg(long, value_name = "DURATION", requires = "scenario", value_parser = quantity::duration)]
    duration: Option<Duration>,
    /// Where the record of the run is kept
    #[arg(long, value_name = "DIR", requires = "scenario", default_value = RUNS_DIR)]
    runs_dir: PathBuf,
    /// Keep no record of the run
    #[arg(long, requires = "scenario")]
    no_save: bool,
    /// Run the tasks on the agents that the coordinator has, as tasks of the kind `sleep`; simulate none, and leave out
    /// the scenario's faults
    #[arg(long, requires = "scenario", conflicts_with_all = ["agents", "agents_per_connection"])]
    given_agents: bool,
    /// Run it so often, each time with a coordinator and a record of its own; the worst end is the program's
    #[arg(long, value_name = "N", requires = "scenario", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=REPEAT_MAX))]
    repeat: u32,
}

/// Repetitions in one command, at most: a hundred are more than a comparison needs.
const REPEAT_MAX: i64 = 100;

/// What a scenario shares with a run without one.
#[derive(Debug)]
pub struct Common {
    pub agents: Option<u32>,
    pub agents_per_connection: Option<u32>,
    pub strategy: Option<String>,
    pub seed: u64,
    pub stall_timeout: Duration,
    pub target: Target,
}

/// Arguments of `loadtest scenarios`.
#[derive(Debug, Args)]
pub struct ScenariosArgs {
    /// Print the file of this scenario, to start one of your own from
    #[arg(long, value_name = "NAME")]
    show: Option<String>,
}

/// A scenario in a list.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    description: String,
    duration_s: f64,
    agents: u32,
    rate_per_s: f64,
}

impl Row for Listed {
    const HEADERS: &'static [&'static str] = &["scenario", "seconds", "agents", "per second", "what it is like"];

    fn cells(&self) -> Vec<Cell> {
        let Self { name, description, duration_s, agents, rate_per_s } = self;
        let numbers = [Cell::number(duration_s), Cell::number(agents), Cell::number(rate_per_s)];
        [Cell::text(name)].into_iter().chain(numbers).chain([Cell::text(description)]).collect()
    }
}

/// Lists the scenarios that come with the program, or prints one.
///
/// # Errors
/// There is none of that name.
pub fn list(args: &ScenariosArgs, global: &Global) -> Outcome {
    if let Some(wanted) = &args.show {
        let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| name == wanted) else {
            let known = BUILT_IN.map(|(name, _)| name).join(", ");
            let what = format!("no scenario `{wanted}` comes with the program");
            return Err(CliError::new(Exit::NotFound, what).hint(format!("there are: {known}")));
        };
        global.output().raw(text.as_bytes())?;
        return Ok(Exit::Ok);
    }
    let mut listed = Vec::new();
    for (name, text) in BUILT_IN {
        let scenario = Scenario::parse(text, name).map_err(unusable)?;
        listed.push(Listed {
            name: scenario.name,
            description: scenario.description,
            duration_s: scenario.duration_s,
            agents: scenario.fleet.agents,
            rate_per_s: scenario.arrivals.rate_per_s,
        });
    }
    global.output().list(&listed, "there are no scenarios")?;
    Ok(Exit::Ok)
}

fn unusable(error: ScenarioError) -> CliError {
    CliError::usage("the scenario cannot be used").because(error)
}

/// Runs a scenario.
///
/// # Errors
/// If the run came to no verdict.
pub async fn run(name: &str, args: ScenarioArgs, common: Common, global: &Global) -> Outcome {
    let overrides = Overrides {
        agents: common.agents,
        rate_per_s: args.rate,
        duration: args.duration,
        agents_per_connection: common.agents_per_connection,
        strategy: common.strategy,
    };
    if args.repeat > 1 && matches!(common.target, Target::Own { data_dir: Some(_), .. }) {
        let what = "--repeat needs an empty directory for each run, and --data-dir names one";
        return Err(CliError::usage(what).hint("leave --data-dir out, or repeat the command"));
    }
    let scenario = overrides.apply(Scenario::find(name).map_err(unusable)?);
    let plan = ScenarioPlan {
        given_agents: args.given_agents,
        seed: common.seed,
        command: std::env::args().collect(),
        stall_timeout: common.stall_timeout,
        interrupted: signals::shutdown()?,
        ..ScenarioPlan::new(scenario, common.target)
    };
    let runs = RunStore::open(args.runs_dir);
    let mut worst = Exit::Ok;
    for _ in 0..args.repeat {
        let ran = drive::run(&plan, Arc::new(Bar::new())).await.map_err(failed)?;
        if ran.interrupted {
            return Ok(Exit::Interrupted);
        }
        if !args.no_save {
            let kept = runs.save(&ran.record, &ran.histograms);
            let path = kept.map_err(|error| CliError::new(Exit::Error, "the run was not kept").because(error))?;
            eprintln!("kept in {}", path.display());
        }
        global.output().one(&ran.record)?;
        worst = worse(worst, exit_of(&ran.record));
    }
    Ok(worst)
}

/// The graver of two ends of runs.
fn worse(one: Exit, other: Exit) -> Exit {
    let order = [Exit::Error, Exit::Unreachable, Exit::NoGo];
    order.into_iter().find(|exit| [one, other].contains(exit)).unwrap_or(Exit::Ok)
}

/// How the program ends after this run: a broken promise goes before everything else.
pub fn exit_of(record: &RunRecord) -> Exit {
    let totals = &record.totals;
    if totals.lost + totals.duplicated + totals.mismatched > 0 {
        Exit::Error
    } else if totals.unverified > 0 {
        Exit::Unreachable
    } else if record.verdict == Decision::NoGo {
        Exit::NoGo
    } else {
        Exit::Ok
    }
}

impl Show for RunRecord {
    fn show(&self, style: &Style) -> String {
        let mut parts = vec![summary(self, style), latencies(&self.latency_ms, style)];
        if !self.levels.is_empty() {
            parts.push(levels(&self.levels, style));
        }
        if !self.marks.is_empty() {
            parts.push(marks(&self.marks, style));
        }
        let (text, tone) = match self.verdict {
            Decision::Go => ("go".to_owned(), Tone::Good),
            Decision::NoGo => (format!("no-go: {}", self.reasons.join("; ")), Tone::Bad),
        };
        parts.push(format!("verdict  {}", table::tinted(&table::printable(&text), tone, style)));
        parts.join("\n\n")
    }
}

fn summary(record: &RunRecord, style: &Style) -> String {
    let totals = &record.totals;
    let scenario = &record.scenario;
    let bad = |count: u64| if count > 0 { Tone::Bad } else { Tone::Plain };
    let of_duration = |count: u64| count as f64 / record.duration_s.max(f64::EPSILON);
    let broken = totals.lost + totals.duplicated + totals.mismatched;
    let mut pairs = vec![
        ("run", Cell::text(&record.id)),
        (
            "scenario",
            Cell::text(format!(
                "{}, seed {}, {} agents, {} s of arrivals, {:.1} s in all",
                scenario.name, record.seed, scenario.fleet.agents, scenario.duration_s, record.duration_s
            )),
        ),
        (
            "offered",
            Cell::text(format!(
                "{} ({:.0}/s, {} escalated)",
                totals.offered,
                of_duration(totals.offered),
                totals.escalated
            )),
        ),
        (
            "accepted",
            Cell::text(format!("{} ({} refused, {} sent again)", totals.accepted, totals.refused, totals.retried)),
        ),
        (
            "completed",
            Cell::text(format!(
                "{} ({} failed, {} extra executions)",
                totals.completed, totals.failed, totals.executions_extra
            )),
        ),
        (
            "promises",
            Cell::text(format!(
                "{} lost, {} duplicated, {} mismatched, {} unverified",
                totals.lost, totals.duplicated, totals.mismatched, totals.unverified
            ))
            .tone(bad(broken + totals.unverified)),
        ),
    ];
    if let Some(usage) = &record.coordinator {
        let text = format!(
            "{:.1} s of processor ({:.0} us a task), {} at most, {} idle, {} context switches",
            usage.cpu_s,
            usage.cpu_s * 1e6 / totals.accepted.max(1) as f64,
            table::bytes(usage.memory_peak_bytes),
            table::bytes(usage.memory_idle_bytes),
            usage.context_switches
        );
        pairs.push(("coordinator", Cell::text(text)));
    }
    table::pairs(&pairs, style)
}

fn slice(slice: &Slice) -> String {
    match slice {
        Slice::All => "all".to_owned(),
        Slice::Tenant(name) => format!("tenant {name}"),
        Slice::Priority(level) => format!("priority {level}"),
        Slice::Work(name) => format!("work {name}"),
    }
}

/// All phases of all tasks; of each slice, end to end.
fn latencies(latencies: &[SliceLatency], style: &Style) -> String {
    let shown = latencies.iter().filter(|shown| shown.slice == Slice::All || shown.phase == Phase::EndToEnd);
    let rows = shown.map(|shown| {
        let Latency { p50, p90, p99, p999, max } = shown.latency;
        let times = [p50, p90, p99, p999, max].map(|ms| Cell::number(format!("{ms:.1}")));
        let names = [Cell::text(slice(&shown.slice)), Cell::text(shown.phase.words()), Cell::number(shown.count)];
        names.into_iter().chain(times).collect()
    });
    table::cells(&["tasks", "ms", "count", "p50", "p90", "p99", "p99.9", "max"], rows, style)
}

fn levels(levels: &[LevelOutcome], style: &Style) -> String {
    let number = |value: Option<f64>| Cell::number(value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}")));
    let rows = levels.iter().map(|outcome| {
        let level = &outcome.level;
        let limits =
            [level.at_least.map(|limit| format!(">= {limit}")), level.at_most.map(|limit| format!("<= {limit}"))];
        let limits: Vec<_> = limits.into_iter().flatten().collect();
        let (kept, tone) = match (outcome.kept, level.severity) {
            (true, _) => ("yes", Tone::Good),
            (false, Severity::Critical) => ("NO", Tone::Bad),
            (false, _) => ("no", Tone::Warn),
        };
        vec![
            Cell::text(&level.name),
            Cell::text(limits.join(", ")),
            number(outcome.value),
            number(outcome.worst),
            Cell::number(outcome.violations.len()),
            Cell::text(kept).tone(tone),
        ]
    });
    table::cells(&["service level", "limit", "value", "worst", "violations", "kept"], rows, style)
}

fn marks(marks: &[Mark], style: &Style) -> String {
    let rows = marks.iter().map(|mark| vec![Cell::number(format!("{:.1}", mark.at_s)), Cell::text(&mark.text)]);
    table::cells(&["second", "what happened"], rows, style)
}

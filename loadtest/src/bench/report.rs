//! What a bench came to: figures by contender, goals, and the machine. As text it is Markdown that can be pasted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};

use serde::Serialize;

use super::{BenchPlan, Contender, Outcome, contender::Measure, goals::GOALS, round::Figures};

/// What a bench came to.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// What was run.
    pub command: String,
    /// The version of this program.
    pub version: &'static str,
    /// Where.
    pub machine: Machine,
    /// With these numbers.
    pub settings: Settings,
    /// What was measured.
    pub contenders: Vec<Row>,
    /// What was not, because `nats-server` is not installed.
    pub skipped: Vec<&'static str>,
    /// And what of it.
    pub goals: Vec<Outcome>,
}

/// The numbers of a bench.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// How often each contender was measured.
    pub rounds: u32,
    /// Agents, each with a connection of its own.
    pub agents: u32,
    /// Slots of each.
    pub slots: u32,
    /// Tasks that count on a stream.
    pub tasks: u64,
    /// Tasks in flight on a stream.
    pub in_flight: u64,
    /// Tasks in one message of a stream.
    pub batch: u64,
    /// Bytes of each payload.
    pub payload_bytes: usize,
}

/// The machine, and what else it did.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// What they are.
    pub cpu: String,
    /// The operating system.
    pub kernel: String,
    /// Where durable tasks are kept.
    pub file_system: String,
    /// The load average of the last minute before the bench: what else ran here.
    pub load_before: String,
}

/// A contender and its figures.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Figures by name: median and spread, and each round.
    pub figures: BTreeMap<&'static str, Summary>,
    /// Why rounds failed.
    pub failures: Vec<String>,
    /// A promise was broken.
    pub broken: bool,
    #[serde(skip)]
    pub(super) rounds: Vec<Option<Figures>>,
    #[serde(skip)]
    measure: Measure,
}

/// A figure over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The one in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// In the order of the rounds.
    pub rounds: Vec<f64>,
}

/// The median; sorts the values. `None` without any.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => None,
        _ if values.len() % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

impl Row {
    pub(super) fn new(contender: &Contender) -> Self {
        let Contender { name, what, measure } = *contender;
        Self { name, what, figures: BTreeMap::new(), failures: Vec::new(), broken: false, rounds: Vec::new(), measure }
    }

    pub(super) fn failed(&mut self, why: String, broken: bool) {
        self.failures.push(why);
        self.broken |= broken;
    }

    fn summarize(&mut self) {
        let rounds: Vec<&Figures> = self.rounds.iter().flatten().collect();
        let names: BTreeSet<&'static str> = rounds.iter().flat_map(|figures| figures.keys().copied()).collect();
        for name in names {
            let in_order: Vec<f64> = rounds.iter().filter_map(|figures| figures.get(name).copied()).collect();
            let mut sorted = in_order.clone();
            let Some(median) = median(&mut sorted) else { continue };
            let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
            self.figures.insert(name, Summary { median, min, max, rounds: in_order });
        }
    }

    /// A cell: median and spread.
    fn cell(&self, name: &str, decimals: usize) -> String {
        self.figures.get(name).map_or_else(String::new, |figure| {
            let text = |value: f64| grouped(value, decimals);
            format!("{} ({}..{})", text(figure.median), text(figure.min), text(figure.max))
        })
    }
}

impl Machine {
    pub(super) fn look(file_system: String) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system,
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

impl BenchReport {
    pub(super) fn new(plan: &BenchPlan, machine: Machine, mut rows: Vec<Row>, absent: &[&Contender]) -> Self {
        let goals = GOALS.iter().map(|goal| goal.outcome(&rows)).filter(|outcome| outcome.met.is_some()).collect();
        rows.iter_mut().for_each(Row::summarize);
        Self {
            command: plan.command.clone(),
            version: env!("CARGO_PKG_VERSION"),
            machine,
            settings: Settings {
                rounds: plan.rounds,
                agents: plan.agents,
                slots: plan.slots,
                tasks: plan.tasks,
                in_flight: plan.in_flight,
                batch: plan.batch,
                payload_bytes: super::wire::PAYLOAD_BYTES,
            },
            contenders: rows,
            skipped: absent.iter().map(|contender| contender.name).collect(),
            goals,
        }
    }

    /// Whether a promise was broken, or a contender never came to figures.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.contenders.iter().any(|row| row.broken || row.figures.is_empty())
    }

    /// Whether every goal that was measured was met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.goals.iter().all(|goal| goal.met == Some(true))
    }
}

/// A column: its head, the figure and its decimals.
type Column = (&'static str, &'static str, usize);

const OF_TASKS: &[Column] = &[
    ("tasks/s", "tasks_per_s", 0),
    ("p50 µs", "p50_us", 0),
    ("p99 µs", "p99_us", 0),
    ("server CPU µs/task", "server_cpu_us_per_task", 2),
    ("agents", "agents_cpu_us_per_task", 2),
    ("client", "client_cpu_us_per_task", 2),
    ("all", "all_cpu_us_per_task", 2),
    ("server MiB", "server_resident_mib", 0),
    ("waits/task", "server_voluntary_switches_per_task", 3),
    ("preempted/task", "server_involuntary_switches_per_task", 3),
    ("fsync p50 µs", "fsync_p50_us", 0),
];
const OF_AGENTS: &[Column] = &[
    ("KiB/agent", "resident_kib_per_agent", 1),
    ("CPU % of a core", "server_cpu_percent", 2),
    ("CPU µs/heartbeat", "server_cpu_us_per_heartbeat", 2),
    ("server MiB", "server_resident_mib", 0),
];
const OF_OVERLOAD: &[Column] = &[
    ("peak/s", "peak_per_s", 0),
    ("goodput/s", "goodput_per_s", 0),
    ("refused/s", "refused_per_s", 0),
    ("urgent p99 µs, unloaded", "urgent_unloaded_p99_us", 0),
    ("urgent p99 µs", "urgent_p99_us", 0),
    ("urgent refused/s", "urgent_refused_per_s", 1),
    ("server MiB", "server_resident_mib", 0),
];

impl Measure {
    const fn columns(self) -> &'static [Column] {
        match self {
            Self::Tasks { .. } => OF_TASKS,
            Self::Idle { .. } | Self::Heartbeats { .. } => OF_AGENTS,
            Self::Overload { .. } => OF_OVERLOAD,
        }
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, settings) = (&self.machine, &self.settings);
        writeln!(f, "`{}`, version {}.", self.command, self.version)?;
        writeln!(
            f,
            "{} cores ({}), Linux {}; durable tasks on {}; load average before: {}. {} rounds; where tasks are measured \
             {} agents with {} slots each, payloads of {} bytes, on a stream {} tasks in flight in batches of {}. Medians, and \
             (least..most).",
            machine.cores,
            machine.cpu,
            machine.kernel,
            machine.file_system,
            machine.load_before,
            settings.rounds,
            settings.agents,
            settings.slots,
            settings.payload_bytes,
            settings.in_flight,
            settings.batch,
        )?;
        for columns in [OF_TASKS, OF_AGENTS, OF_OVERLOAD] {
            self.table(f, columns)?;
        }
        for row in self.contenders.iter().filter(|row| !row.failures.is_empty()) {
            writeln!(f, "\n{} failed {} times: {}", row.name, row.failures.len(), row.failures.join("; "))?;
        }
        if !self.skipped.is_empty() {
            writeln!(f, "\nSkipped, because nats-server is not installed: {}.", self.skipped.join(", "))?;
        }
        write!(f, "\n| goal | measure | bound | measured | |\n|---|---|---:|---:|---|")?;
        for goal in &self.goals {
            let (median, [least, most]) = (goal.median.unwrap_or(f64::NAN), goal.spread.unwrap_or_default());
            let met = if goal.met == Some(true) { "met" } else { "missed" };
            let Outcome { id, what, goal, .. } = goal;
            write!(f, "\n| {id} | {what} | {goal} | {median:.2} ({least:.2}..{most:.2}) | {met} |")?;
        }
        Ok(())
    }
}

impl BenchReport {
    /// The contenders that have these columns, and of the columns those that have figures.
    fn table(&self, f: &mut fmt::Formatter<'_>, columns: &'static [Column]) -> fmt::Result {
        let rows: Vec<&Row> = self.contenders.iter().filter(|row| row.measure.columns() == columns).collect();
        let has = |column: &&Column| rows.iter().any(|row| row.figures.contains_key(column.1));
        let columns: Vec<&Column> = columns.iter().filter(has).collect();
        if columns.is_empty() {
            return Ok(());
        }
        write!(f, "\n| contender |")?;
        columns.iter().try_for_each(|column| write!(f, " {} |", column.0))?;
        writeln!(f, "\n|---|{}", "---:|".repeat(columns.len()).as_str())?;
        for row in rows {
            write!(f, "| {}: {} |", row.name, row.what)?;
            columns.iter().try_for_each(|column| write!(f, " {} |", row.cell(column.1, column.2)))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A number with commas between thousands.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{}{grouped}{rest}", &whole[..whole.len() - digits.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        let check = |value: f64, decimals: usize, expected: &str| assert_eq!(grouped(value, decimals), expected);
        check(0.0, 0, "0");
        check(999.4, 0, "999");
        check(1_000.0, 0, "1,000");
        check(-1_234_567.891, 2, "-1,234,567.89");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}

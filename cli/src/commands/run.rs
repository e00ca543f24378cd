//! `evenkeel run`: a command for each file or line, on the fleet.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use evenkeel_proto::v1;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::task::SpecArgs;
use crate::{
    args::Global,
    client::Clients,
    exit::{CliError, Exit, Outcome},
    output::table,
    quantity,
    run::{
        drive::{Drive, Sink},
        journal::Journal,
        ledger::{Delivered, Ledger},
        plan::{Plan, Source},
    },
    signals,
    traces::Traces,
};

/// The kind of task that runs a program named by its payload.
const KIND: &str = "command";
/// Tasks in flight per slot: one runs, one is prefetched, two wait, so that no slot does.
const JOBS_PER_SLOT: u32 = 4;
/// Least and most of them without `--jobs`; the most also where there are no slots yet.
const JOBS_DEFAULT: (u32, u32) = (16, 256);
/// Most that `--jobs` may ask for: their outputs are held until it is their turn.
const JOBS_MAX: u32 = 10_000;
/// Failures listed in full at the end; beyond it they are counted.
const FAILURES_SHOWN: usize = 100;
/// Characters of an input in the list of failures.
const INPUT_CHARS: usize = 120;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(override_usage = "evenkeel run --each 'GLOB' [OPTIONS] -- CMD [ARG|{}]...\n       \
                            evenkeel run --lines FILE|- [OPTIONS] -- CMD [ARG|{}]...")]
pub struct RunArgs {
    /// A task for each file that matches, in the order of their names' bytes; ** crosses directories
    #[arg(long, value_name = "GLOB", required_unless_present = "lines", conflicts_with = "lines")]
    each: Option<String>,
    /// A task for each line of a file; - is stdin
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
    /// Tasks in flight at most [default: 4 per slot of the fleet, 16 to 256]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(JOBS_MAX)))]
    jobs: Option<u32>,
    /// Run everything anew, also what an unfinished run of the same command has done
    #[arg(long)]
    fresh: bool,
    /// How long the coordinator may be away before the run gives up
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = quantity::duration)]
    patience: Duration,
    #[command(flatten)]
    spec: SpecArgs,
    /// The command; {} stands for the input, which comes last if there is none
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command for each input.
///
/// # Errors
/// If an input cannot be read, or the coordinator refuses or stays away. Failed tasks are no error but an exit code.
pub async fn run(args: RunArgs, global: &Global) -> Outcome {
    let source = match (args.each, args.lines) {
        (Some(pattern), _) => Source::Files(pattern),
        (None, lines) => Source::Lines(lines.unwrap_or_else(|| "-".into())),
    };
    let directory = std::env::current_dir()
        .map_err(|error| CliError::new(Exit::Error, "could not find the current directory").because(error))?;
    let plan = Plan::new(&source, &args.command, &directory)?;
    let address = global.address()?;
    let mut clients = address.connect().await?;
    let jobs = match args.jobs {
        Some(jobs) => jobs,
        None => default_jobs(&mut clients).await?,
    };
    let interrupted = signals::shutdown()?;
    let journal = Journal::open(&plan.job, args.fresh);
    if let Some(age) = journal.resumed {
        let age = table::duration(age);
        eprintln!("going on with the unfinished run of {age} ago; --fresh runs everything anew");
    }
    let traces = Traces::from_environment()?;
    let drive = Drive {
        plan: &plan,
        run: &journal.run,
        template: args.spec.spec(KIND),
        address: &address,
        patience: args.patience,
        traces: &traces,
    };
    let mut ledger = Ledger::new(plan.items.len(), jobs as usize);
    let mut report = Report::new(&plan);
    let result = tokio::select! {
        result = drive.run(clients, &mut ledger, &mut report) => result,
        () = interrupted.cancelled() => {
            report.bar.finish_and_clear();
            eprintln!("interrupted with {} of {} done; the fleet finishes what it has", ledger.over(), plan.items.len());
            if journal.is_kept() {
                eprintln!("the same command goes on where this one stopped");
            }
            return Ok(Exit::Interrupted);
        }
    };
    report.bar.finish_and_clear();
    traces.stop().await;
    result?;
    Ok(report.conclude(journal))
}

async fn default_jobs(clients: &mut Clients) -> Result<u32, CliError> {
    let status = clients.cluster.status(v1::StatusRequest {}).await;
    let (least, most) = JOBS_DEFAULT;
    let status = match status {
        Ok(status) => status.into_inner(),
        // A client may submit, and not ask how large the fleet is.
        Err(status) if status.code() == tonic::Code::PermissionDenied => return Ok(most),
        Err(status) => return Err(CliError::status("read the status", &status)),
    };
    Ok(match status.slots_total {
        0 => most,
        slots => slots.saturating_mul(JOBS_PER_SLOT).clamp(least, most),
    })
}

/// Outputs to stdout, progress and failures to stderr.
struct Report<'a> {
    plan: &'a Plan,
    stdout: io::BufWriter<io::Stdout>,
    unsettled: bool,
    bar: ProgressBar,
    failed: usize,
    failures: String,
}

impl<'a> Report<'a> {
    fn new(plan: &'a Plan) -> Self {
        let length = u64::try_from(plan.items.len()).unwrap_or(u64::MAX);
        // On anything but a terminal it draws nothing.
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta} {msg}") {
            bar.set_style(style);
        }
        let stdout = io::BufWriter::new(io::stdout());
        Self { plan, stdout, unsettled: false, bar, failed: 0, failures: String::new() }
    }

    fn note_failure(&mut self, place: usize, reason: &str) {
        self.failed += 1;
        if self.failed <= FAILURES_SHOWN {
            let input = table::cut(&table::printable(&self.plan.items[place].input), INPUT_CHARS);
            let mut lines = reason.trim_end().lines().map(table::printable);
            let first = lines.next().unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(self.failures, "  {input}: {first}");
            for line in lines {
                let _ = writeln!(self.failures, "      {line}");
            }
        }
        self.bar.set_message(format!("{} failed", self.failed));
    }

    /// The list of failures, and what becomes of the journal.
    fn conclude(self, journal: Journal) -> Exit {
        if self.failed == 0 {
            journal.finish();
            return Exit::Ok;
        }
        eprint!("{} of {} failed:\n{}", self.failed, self.plan.items.len(), self.failures);
        if self.failed > FAILURES_SHOWN {
            eprintln!("  and {} more", self.failed - FAILURES_SHOWN);
        }
        if journal.is_kept() {
            eprintln!("the same command tries these again and answers the others from this run; --fresh runs all");
        }
        Exit::TaskFailed
    }
}

impl Sink for Report<'_> {
    fn deliver(&mut self, place: usize, delivered: Delivered) -> io::Result<()> {
        match delivered {
            Delivered::Output(output) => {
                self.unsettled = true;
                let stdout = &mut self.stdout;
                // The bar is taken off the screen while something is written, which may be the same terminal.
                self.bar.suspend(|| stdout.write_all(&output))
            }
            Delivered::Failed(reason) => {
                self.note_failure(place, &reason);
                Ok(())
            }
        }
    }

    fn settle(&mut self, over: usize) -> io::Result<()> {
        self.bar.set_position(u64::try_from(over).unwrap_or(u64::MAX));
        if !std::mem::take(&mut self.unsettled) {
            return Ok(());
        }
        let stdout = &mut self.stdout;
        self.bar.suspend(|| stdout.flush())
    }

    fn connected(&mut self, connected: bool) {
        if connected {
            self.bar.set_message("");
        } else if self.bar.is_hidden() {
            eprintln!("lost the coordinator; trying to reach it again");
        } else {
            self.bar.set_message("lost the coordinator; trying to reach it again");
        }
    }
}

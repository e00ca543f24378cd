//! `evenkeel loadtest simulate-faults`: the real engine and the real agents in simulated worlds full of faults.

use std::{num::NonZero, panic, thread, time::Duration};

use clap::{Args, ValueEnum};
use evenkeel_loadtest::simulation::{Profile, SimulationPlan, SimulationReport, current_seed, simulate};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
    quantity, signals,
};

/// Arguments of `loadtest simulate-faults`. It needs no coordinator and touches none.
#[derive(Clone, Debug, Args)]
pub struct SimulateFaultsArgs {
    /// Seeds to run, from 0 on or from --seed on [default: 20, or 1 with --seed]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Run this seed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Size of the clusters and how long they live
    #[arg(long, value_enum, default_value_t = Size::Medium)]
    profile: Size,
    /// Agents at most, in place of the profile's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=100_000))]
    agents: Option<u32>,
    /// Tasks at most, in place of the profile's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    tasks: Option<u32>,
    /// Simulated time with faults, in place of the profile's
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    duration: Option<Duration>,
    /// Seeds at a time [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write everything that happens to stderr
    #[arg(long)]
    trace: bool,
}

/// How large simulated clusters are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Size {
    /// A few agents, minutes
    Small,
    /// Tens of agents, an hour
    Medium,
    /// Thousands of agents, days
    Large,
}

impl SimulateFaultsArgs {
    fn profile(&self) -> Profile {
        let profile = match self.profile {
            Size::Small => Profile::small(),
            Size::Medium => Profile::medium(),
            Size::Large => Profile::large(),
        };
        Profile {
            agents: self.agents.unwrap_or(profile.agents),
            tasks: self.tasks.unwrap_or(profile.tasks),
            chaos: self.duration.unwrap_or(profile.chaos),
            ..profile
        }
    }

    fn plan(&self) -> SimulationPlan {
        let default = if self.seed.is_some() { 1 } else { 20 };
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        SimulationPlan {
            first_seed: self.seed.unwrap_or(0),
            seeds: self.seeds.unwrap_or(default),
            profile: self.profile(),
            threads: if self.trace { 1 } else { self.threads.unwrap_or(processors) },
            print: self.trace,
        }
    }

    /// The command that runs one seed again.
    fn replay(&self, seed: u64) -> String {
        let mut command = format!("evenkeel loadtest simulate-faults --seed {seed}");
        match self.profile {
            Size::Small => command.push_str(" --profile small"),
            Size::Medium => {}
            Size::Large => command.push_str(" --profile large"),
        }
        if let Some(agents) = self.agents {
            command.push_str(&format!(" --agents {agents}"));
        }
        if let Some(tasks) = self.tasks {
            command.push_str(&format!(" --tasks {tasks}"));
        }
        if let Some(duration) = self.duration {
            command.push_str(&format!(" --duration {}ms", duration.as_millis()));
        }
        command
    }
}

impl Show for SimulationReport {
    fn show(&self, _style: &Style) -> String {
        self.to_string().trim_end().to_owned()
    }
}

/// Runs the seeds.
///
/// # Errors
/// If they could not be run.
pub async fn run(args: SimulateFaultsArgs, global: &Global) -> Outcome {
    let interrupted = signals::shutdown()?;
    let plan = args.plan();
    say_which_seed_panics(args.clone());
    let bar = ProgressBar::with_draw_target(Some(plan.seeds), ProgressDrawTarget::stderr());
    let simulation = tokio::task::spawn_blocking(move || {
        let report = simulate(plan, &|done| bar.set_position(done), &|seed| args.replay(seed));
        bar.finish_and_clear();
        report
    });
    let report = tokio::select! {
        report = simulation => report.map_err(|error| CliError::new(Exit::Error, "a seed panicked").because(error))?,
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    global.output().one(&report)?;
    Ok(if report.is_clean() { Exit::Ok } else { Exit::Error })
}

/// A rule of the engine that is broken badly enough is a panic, which ends the process: the seed is said first.
fn say_which_seed_panics(args: SimulateFaultsArgs) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if let Some(seed) = current_seed() {
            eprintln!("seed {seed} panicked; run it again with: {} --trace", args.replay(seed));
        }
        before(info);
    }));
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SimulateFaultsArgs,
    }

    #[test]
    fn a_replay_is_of_the_same_clusters() {
        let given = ["x", "--seeds", "9", "--profile", "small", "--agents", "5", "--duration", "90s"];
        let args = Command::parse_from(given).args;
        let replay = args.replay(7);
        let words = replay.strip_prefix("evenkeel loadtest").unwrap().split_whitespace();
        let again = Command::parse_from(words).args;
        assert_eq!(again.profile(), args.profile());
        assert_eq!((again.plan().first_seed, again.plan().seeds), (7, 1));
    }
}

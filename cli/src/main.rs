//! `evenkeel`: coordinator, agent, client and load test in one binary.
//!
//! Data goes to stdout, everything else to stderr; the exit code says how it went ([`exit::Exit`]). The modules: `args` is
//! the command line, `overview` its help as a whole and `arguments` what of it fills which field, `commands` has one file per
//! command, `run` is the machinery behind `evenkeel run`, `output` prints.

mod args;
mod arguments;
mod client;
mod commands;
#[cfg(test)]
mod documented;
mod exit;
mod output;
mod overview;
mod quantity;
mod run;
mod security;
mod selector;
mod settings;
mod signals;
mod traces;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use evenkeel_shared::telemetry;

use args::{Cli, Command, Global};
use exit::{CliError, Exit, Outcome};

/// The system's allocator gives memory back badly under many threads, and is slower on small messages.
///
/// Built without its wish for huge pages (feature `no_thp`): each thread keeps a page of 64 KiB for each size of object, and
/// a huge page makes 2 MiB of the first byte of it. After a minute and a half with 100 agents a coordinator held 233 MiB with
/// them and 33 MiB without, at the same processor time for a task.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    evenkeel_coordinator::start::program_begins();
    let (cli, words) = Cli::read();
    let format = cli.global.output;
    match start(cli) {
        Ok(exit) => exit.code().into(),
        Err(error) => {
            let exit = error.exit;
            if exit != Exit::BrokenPipe {
                // Whoever reads stderr may be gone as well; the code is what is left to say.
                let _ = writeln!(io::stderr(), "{}", error.of_command(&words).render(format));
            }
            exit.code().into()
        }
    }
}

fn start(cli: Cli) -> Outcome {
    logs(&cli.global, &cli.command)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Error, "could not start the runtime").because(error))?;
    let outcome = runtime.block_on(commands::dispatch(cli.command, &cli.global));
    // What still runs (a watched stream, an idle connection) must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Services tell what they do; clients only what goes wrong, since their stderr is for people.
fn logs(global: &Global, command: &Command) -> Result<(), CliError> {
    let default = if command.is_service() { "info" } else { "warn" };
    let given = global.log.as_deref().filter(|filter| !filter.trim().is_empty());
    telemetry::init(global.log_format.unwrap_or_default().into(), given.unwrap_or(default))
        .map_err(|error| CliError::usage("no log can be kept").because(error))?;
    if let (Command::Coordinator(_), Some(control)) = (command, telemetry::control()) {
        control.follow_settings(given.is_none(), global.log_format.is_none());
    }
    Ok(())
}

//! `evenkeel loadtest trace`: records the history of a running coordinator, for a replay or a shadow.

use std::io;

use clap::Args;
use evenkeel_loadtest::{recorder, trace::TraceWriter};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    signals,
};

/// Arguments of `loadtest trace`. The coordinator is that of --coordinator; it is only asked, one call for each task.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The latest so many tasks
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    limit: usize,
}

/// Writes the history to stdout, as CSV.
///
/// # Errors
/// If the coordinator cannot be asked, or stdout not be written.
pub async fn run(args: TraceArgs, global: &Global) -> Outcome {
    let interrupted = signals::shutdown()?;
    let clients = global.address()?.connect().await?;
    let bar = ProgressBar::with_draw_target(Some(args.limit as u64), ProgressDrawTarget::stderr());
    let recording = recorder::record(&clients.tasks, args.limit, |tasks| bar.set_position(tasks as u64));
    let tasks = tokio::select! {
        tasks = recording => tasks.map_err(|error| CliError::new(Exit::Error, "the history was not recorded").because(error))?,
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    bar.finish_and_clear();
    let written = (|| {
        let mut writer = TraceWriter::new(io::BufWriter::new(io::stdout().lock()))?;
        tasks.iter().try_for_each(|task| writer.write(task))?;
        writer.finish()
    })();
    written.map_err(|error| CliError::new(Exit::Error, "the history was not written").because(error))?;
    Ok(Exit::Ok)
}

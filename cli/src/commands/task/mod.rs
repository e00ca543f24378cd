//! `evenkeel task`: submit tasks, and follow what becomes of them.

mod follow;
mod manage;
mod spec;
mod submit;

pub use spec::SpecArgs;

use clap::Subcommand;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
};

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Submit one task, or many alike
    Submit(Box<submit::SubmitArgs>),
    /// Show a task in full
    Get(manage::GetArgs),
    /// Wait until tasks are over
    Wait(follow::WaitArgs),
    /// Print events of tasks as they happen; of named tasks until they are over
    Watch(follow::WatchArgs),
    /// Cancel tasks, queued or running
    Cancel(manage::CancelArgs),
    /// List tasks, newest first
    List(manage::ListArgs),
    /// Say why a task is where it is: each agent with its score, or why it is refused
    Explain(manage::ExplainArgs),
    /// Submit the work of failed, expired, cancelled or quarantined tasks once more, as new tasks
    Redrive(manage::RedriveArgs),
}

/// Carries it out.
///
/// # Errors
/// If the coordinator refuses or does not answer.
pub async fn run(command: TaskCommand, global: &Global) -> Outcome {
    match command {
        TaskCommand::Submit(args) => submit::run(*args, global).await,
        TaskCommand::Get(args) => manage::get(args, global).await,
        TaskCommand::Wait(args) => follow::wait(args, global).await,
        TaskCommand::Watch(args) => follow::watch(args, global).await,
        TaskCommand::Cancel(args) => manage::cancel(args, global).await,
        TaskCommand::List(args) => manage::list(args, global).await,
        TaskCommand::Explain(args) => manage::explain(args, global).await,
        TaskCommand::Redrive(args) => manage::redrive(args, global).await,
    }
}

/// An error about one task, with where to find the right one.
fn about_task(doing: &str, status: &tonic::Status) -> CliError {
    let error = CliError::status(doing, status);
    if error.exit == Exit::NotFound { error.hint("see `evenkeel task list`") } else { error }
}

//! `evenkeel backup` and `evenkeel restore`: a copy of what a coordinator has stored, and a data directory made of one.

use std::path::{Path, PathBuf};

use clap::Args;
use evenkeel_coordinator::store::{StoreError, sqlite};
use serde::Serialize;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    output::{Show, table::Style},
};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write; it must not be there
    file: PathBuf,
    /// The data directory; a coordinator may be at work in it
    #[arg(long, value_name = "DIR", env = "EVENKEEL_DATA_DIR")]
    data_dir: PathBuf,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// What `evenkeel backup` wrote
    file: PathBuf,
    /// The data directory to make; it must have no database in it
    #[arg(long, value_name = "DIR", env = "EVENKEEL_DATA_DIR")]
    data_dir: PathBuf,
}

/// Writes a copy.
///
/// # Errors
/// If there is nothing to copy, or the copy cannot be written.
pub async fn backup(args: BackupArgs, global: &Global) -> Outcome {
    backup_problem(&args.data_dir, &args.file).map_or(Ok(()), Err)?;
    let to = args.file.clone();
    let copied = blocking(move || sqlite::backup(&args.data_dir, &args.file)).await;
    shown("back up", to, copied, global)
}

/// Makes a data directory of a copy.
///
/// # Errors
/// If the copy cannot be used, or the directory has a database.
pub async fn restore(args: RestoreArgs, global: &Global) -> Outcome {
    if !args.file.exists() {
        return Err(failed("restore", format!("there is no file `{}`", args.file.display())));
    }
    let to = args.data_dir.clone();
    let copied = blocking(move || sqlite::restore(&args.file, &args.data_dir)).await;
    shown("restore", to, copied, global)
}

/// What is plainly wrong with the paths: the store would say it of the parts of a database.
fn backup_problem(data_dir: &Path, file: &Path) -> Option<CliError> {
    let problem = |why: String, hint: &str| Some(failed("back up", why).hint(hint));
    if !sqlite::database_path(data_dir).exists() {
        let why = format!("there is no database in `{}`", data_dir.display());
        return problem(
            why,
            "--data-dir is the directory in which the coordinator keeps its data: its setting `data_dir`",
        );
    }
    if file.exists() {
        return problem(format!("`{}` is there already", file.display()), "give another name: no file is written over");
    }
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir())?;
    problem(format!("there is no directory `{}`", parent.display()), "make it, or give another place")
}

fn failed(what: &str, why: String) -> CliError {
    CliError::new(Exit::Error, format!("could not {what}")).because(why)
}

async fn blocking(
    work: impl FnOnce() -> Result<sqlite::Copied, StoreError> + Send + 'static,
) -> Result<sqlite::Copied, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn shown(what: &'static str, to: PathBuf, copied: Result<sqlite::Copied, String>, global: &Global) -> Outcome {
    let sqlite::Copied { bytes, tasks, live, version } = copied.map_err(|error| failed(what, error))?;
    global.output().one(&CopyView { to, bytes, tasks, tasks_live: live, version })?;
    Ok(Exit::Ok)
}

/// What was copied.
#[derive(Debug, Serialize)]
struct CopyView {
    to: PathBuf,
    bytes: u64,
    tasks: u64,
    tasks_live: u64,
    version: u32,
}

impl Show for CopyView {
    fn show(&self, _style: &Style) -> String {
        let Self { to, bytes, tasks, tasks_live, version } = self;
        format!("{}: {tasks} tasks, {tasks_live} of them not over, {bytes} bytes, version {version}", to.display())
    }
}

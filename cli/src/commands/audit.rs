//! `evenkeel audit`: who changed what, asked of a coordinator or read from its files.

use std::{path::PathBuf, time::SystemTime};

use clap::{Args, Subcommand};
use evenkeel_coordinator::security::audit::read::{self, Wanted};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome, answer},
    output::audit::{EntryView, VerifiedView},
    quantity,
};

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List what was changed, newest first
    List(ListArgs),
    /// Check that no entry was changed, removed or put in between
    ///
    /// Whoever can write the files can write all of them anew. Note the head that this prints somewhere else now and then, and
    /// give it with --head later: then what was there at that time is still there, or this says so.
    Verify {
        /// The directory of the log, instead of asking the coordinator: `audit` in its data directory
        #[arg(long, value_name = "DIR")]
        file: Option<PathBuf>,
        /// The head of an earlier check, which has to be in the log
        #[arg(long, value_name = "HASH", requires = "file")]
        head: Option<String>,
    },
}

/// Which entries.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The directory of the log, instead of asking the coordinator: `audit` in its data directory
    #[arg(long, value_name = "DIR")]
    file: Option<PathBuf>,
    /// Only of this caller
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    by: String,
    /// Only this action, for example SetStrategy or TaskService/Cancel
    #[arg(long, value_name = "ACTION", default_value = "", hide_default_value = true)]
    action: String,
    /// Only the latest, for example of the last 2h
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    since: Option<std::time::Duration>,
    /// Show so many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

/// Carries it out.
///
/// # Errors
/// If the log cannot be read, the caller may not, or the coordinator does not answer.
pub async fn run(command: AuditCommand, global: &Global) -> Outcome {
    match command {
        AuditCommand::List(args) => list(args, global).await,
        AuditCommand::Verify { file, head } => verify(file, head.as_deref(), global).await,
    }
}

async fn list(args: ListArgs, global: &Global) -> Outcome {
    let from = args.since.and_then(|since| SystemTime::now().checked_sub(since)).map_or(0, quantity::unix_ms);
    let entries: Vec<EntryView> = match args.file {
        Some(directory) => {
            let mut wanted = Wanted {
                by: args.by,
                action: args.action,
                from_unix_ms: from,
                count: args.limit as usize,
                ..Wanted::default()
            };
            let mut entries = Vec::new();
            loop {
                let found = read::list(&directory, &wanted);
                let (page, next) = found.map_err(|error| unreadable(&directory, error))?;
                entries.extend(page.into_iter().map(v1::AuditEntry::from).map(EntryView::from));
                wanted.count = (args.limit as usize).saturating_sub(entries.len());
                wanted.before = next;
                if next.is_none() || wanted.count == 0 {
                    break entries;
                }
            }
        }
        None => {
            let mut admin = global.address()?.connect().await?.admin;
            let request = v1::ListAuditRequest {
                by: args.by,
                action: args.action,
                from_unix_ms: from,
                page_size: args.limit,
                ..v1::ListAuditRequest::default()
            };
            let listed = answer("list the audit log", admin.list_audit(request).await)?;
            listed.entries.into_iter().map(EntryView::from).collect()
        }
    };
    global.output().list(&entries, "nothing like that was changed")?;
    Ok(Exit::Ok)
}

async fn verify(file: Option<PathBuf>, head: Option<&str>, global: &Global) -> Outcome {
    let found: VerifiedView = match file {
        Some(directory) => {
            let found = read::verify(&directory, head).map_err(|error| unreadable(&directory, error))?;
            v1::VerifyAuditResponse::from(found).into()
        }
        None => {
            let mut admin = global.address()?.connect().await?.admin;
            answer("check the audit log", admin.verify_audit(v1::VerifyAuditRequest {}).await)?.into()
        }
    };
    global.output().one(&found)?;
    Ok(if found.whole { Exit::Ok } else { Exit::Error })
}

fn unreadable(directory: &std::path::Path, error: std::io::Error) -> CliError {
    CliError::new(Exit::Error, format!("the audit log in {} cannot be read", directory.display()))
        .because(error)
        .hint("it is the directory `audit` in the data directory of the coordinator")
}

//! `evenkeel log`: what a running coordinator logs.

use std::time::Duration;

use clap::Subcommand;
use evenkeel_proto::v1;
use serde::Serialize;

use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::{
        Show,
        table::{self, Style},
    },
    quantity,
};

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Show what is logged
    Get,
    /// Log something else, for a while or until it is changed
    Set {
        /// A level, or directives such as info,evenkeel_coordinator=debug
        filter: String,
        /// For so long; then it is as before [default: until it is changed, or the coordinator ends]
        #[arg(long = "for", value_name = "DURATION", value_parser = quantity::duration)]
        for_: Option<Duration>,
    },
    /// Log what the settings say
    Reset,
}

/// Carries it out.
///
/// # Errors
/// If it is no filter, or the coordinator does not answer.
pub async fn run(command: LogCommand, global: &Global) -> Outcome {
    let mut admin = global.address()?.connect().await?.admin;
    let filter = match command {
        LogCommand::Get => answer("show the log's filter", admin.get_log_filter(v1::GetLogFilterRequest {}).await)?,
        LogCommand::Set { filter, for_ } => {
            let duration_ms = for_.map_or(0, |time| quantity::millis(time).max(1));
            let request = v1::SetLogFilterRequest { filter, duration_ms };
            answer("change the log's filter", admin.set_log_filter(request).await)?
        }
        LogCommand::Reset => {
            let request = v1::SetLogFilterRequest::default();
            answer("change the log's filter", admin.set_log_filter(request).await)?
        }
    };
    global.output().one(&FilterView::from(filter))?;
    Ok(Exit::Ok)
}

/// The fields are those of `LogFilter` in admin.proto.
#[derive(Debug, Serialize)]
struct FilterView {
    filter: String,
    until_unix_ms: Option<i64>,
    base_filter: String,
}

impl From<v1::LogFilter> for FilterView {
    fn from(wire: v1::LogFilter) -> Self {
        Self {
            filter: wire.filter,
            until_unix_ms: (wire.until_unix_ms > 0).then_some(wire.until_unix_ms),
            base_filter: wire.base_filter,
        }
    }
}

impl Show for FilterView {
    fn show(&self, _: &Style) -> String {
        match self.until_unix_ms {
            Some(until) => format!("{} until {}, then {}", self.filter, table::at(Some(until)), self.base_filter),
            None => self.filter.clone(),
        }
    }
}

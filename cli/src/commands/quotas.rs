//! `evenkeel quotas`: upstream quotas that are used up.

use std::time::Duration;

use clap::Subcommand;
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{Exit, Outcome, answer},
    output::{guard::QuotaView, limit::RemovedView},
    quantity,
};

/// What to do with quotas.
#[derive(Debug, Subcommand)]
pub enum QuotasCommand {
    /// List the quotas that are used up, and until when
    List,
    /// Say that a quota is used up: everything that shares the key cools down together
    Report {
        /// The key, as tasks name it, for example openai/team-a
        key: String,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", value_parser = quantity::duration)]
        for_: Duration,
        /// Why, for the history
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Say that a quota is there again
    Clear {
        /// The key
        key: String,
    },
}

/// Carries it out.
///
/// # Errors
/// If a key is wrong or not known, or the coordinator does not answer.
pub async fn run(command: QuotasCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let output = global.output();
    match command {
        QuotasCommand::List => {
            let quotas = answer("list quotas", resources.list_quotas(v1::ListQuotasRequest {}).await)?.quotas;
            let quotas: Vec<_> = quotas.into_iter().map(QuotaView::from).collect();
            output.list(&quotas, "no quota is used up")?;
        }
        QuotasCommand::Report { key, for_, reason } => {
            let request = v1::ReportQuotaRequest { key, retry_after_ms: quantity::millis(for_), reason };
            let quota = answer("report the quota", resources.report_quota(request).await)?;
            output.one(&QuotaView::from(quota))?;
        }
        QuotasCommand::Clear { key } => {
            let request = v1::ClearQuotaRequest { key: key.clone() };
            answer("clear the quota", resources.clear_quota(request).await)
                .map_err(|error| error.hint_if_missing("see `evenkeel quotas list`"))?;
            output.one(&RemovedView { what: "cooldown of quota", name: key })?;
        }
    }
    Ok(Exit::Ok)
}

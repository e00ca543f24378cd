//! `evenkeel healthcheck`: one question, one exit code, for probes of containers and scripts.
//!
//! It asks by `grpc.health.v1` on the gRPC port, which has TLS where the fleet has it, and needs no credentials. Everything has
//! to happen within its timeout, the connection too.

use std::time::Duration;

use clap::Args;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome},
    quantity,
};

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Whether this service takes calls, such as evenkeel.v1.AgentService [default: the coordinator as a whole]
    #[arg(long, value_name = "SERVICE", default_value = "", hide_default_value = true, conflicts_with = "live")]
    service: String,
    /// Only whether it answers: what a liveness probe asks
    #[arg(long)]
    live: bool,
    /// It has to answer within this time
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = quantity::duration)]
    timeout: Duration,
}

/// Asks.
///
/// # Errors
/// If it does not answer in time, or takes no calls.
pub async fn run(args: HealthcheckArgs, global: &Global) -> Outcome {
    let asked = tokio::time::timeout(args.timeout, ask(&args, global)).await;
    let within = humantime::format_duration(args.timeout);
    asked.unwrap_or_else(|_| {
        Err(CliError::new(Exit::TimedOut, format!("the coordinator did not answer within {within}")))
    })
}

async fn ask(args: &HealthcheckArgs, global: &Global) -> Outcome {
    let mut health = HealthClient::new(global.address()?.channel().await?);
    let request = HealthCheckRequest { service: args.service.clone() };
    let answer = health.check(request).await;
    if args.live {
        // Whatever it says, it lives.
        return match answer {
            Err(status) if status.code() == tonic::Code::Unavailable => {
                Err(CliError::status("ask the coordinator's health", &status))
            }
            _ => Ok(Exit::Ok),
        };
    }
    let services = "there are TaskService, AgentService, ClusterService, ResourceService and AdminService of evenkeel.v1; without \
                    --service it is the coordinator as a whole";
    let failed = |status| CliError::status("ask the coordinator's health", &status).hint_if_missing(services);
    let answer = answer.map_err(failed)?.into_inner();
    if answer.status() == ServingStatus::Serving {
        return Ok(Exit::Ok);
    }
    let who = if args.service.is_empty() { "the coordinator" } else { args.service.as_str() };
    Err(CliError::new(Exit::Error, format!("{who} takes no calls now")).hint("`evenkeel health coordinator` says why"))
}

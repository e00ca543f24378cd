//! `evenkeel metrics`: measurements over time, where they are going, and when they are bad.

use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args, Subcommand};
use evenkeel_proto::v1;

use crate::{
    args::Global,
    exit::{CliError, Exit, Outcome, answer},
    output::measure::{PointView, ThresholdView, TrendView},
    quantity,
};

/// What to see of measurements.
#[derive(Debug, Subcommand)]
pub enum MetricsCommand {
    /// Show measurements over a time
    Query(QueryArgs),
    /// Show where a measurement is going: level, slope, season, forecast
    Trend {
        /// Which measurement; those of the fleet are listed under `metrics query --help`
        metric: String,
        /// Of what: fleet, tenant:NAME, kind:NAME, agent:ID or pool:NAME
        #[arg(long, default_value = "fleet")]
        of: String,
        /// How far to look ahead
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = quantity::duration)]
        horizon: Duration,
    },
    /// Show the values from which measurements count as a warning, and as critical
    Thresholds,
    /// Change a threshold
    SetThreshold(SetArgs),
}

/// Arguments of `metrics query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Which measurements. Of the fleet there are: utilisation, cpu, memory, slots_total, agents, agents_down, queued,
    /// oldest_wait_ms, request_rate, completion_rate, error_rate, response_time_ms, run_time_ms, commit_ms, engine_busy
    #[arg(required = true)]
    metrics: Vec<String>,
    /// Of what: fleet, tenant:NAME, kind:NAME, agent:ID or pool:NAME
    #[arg(long, default_value = "fleet")]
    of: String,
    /// From when on: how long ago (2h), or a date and time [default: an hour before the end]
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    from: Option<SystemTime>,
    /// Until when, likewise [default: now]
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    to: Option<SystemTime>,
    /// Time that one point stands for, for example 10s [default: so that there are at most 500]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    step: Option<Duration>,
}

/// Arguments of `metrics set-threshold`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["warning", "critical", "for_"]))]
pub struct SetArgs {
    /// Which measurement; see `metrics query --help`
    metric: String,
    /// The value from which it is a warning, in the measurement's own unit [default: as it is]
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    warning: Option<f64>,
    /// The value from which it is critical [default: as it is]
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    critical: Option<f64>,
    /// How long it must last before it counts, for example 30s [default: as it is]
    #[arg(long = "for", value_name = "DURATION", value_parser = quantity::duration)]
    for_: Option<Duration>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Shows or changes it.
///
/// # Errors
/// If there is no such measurement, or the coordinator does not answer.
pub async fn run(command: MetricsCommand, global: &Global) -> Outcome {
    let mut resources = global.address()?.connect().await?.resources;
    let output = global.output();
    match command {
        MetricsCommand::Query(args) => {
            let request = v1::QueryMetricsRequest {
                metrics: args.metrics,
                subject: args.of,
                from_unix_ms: args.from.map_or(0, quantity::unix_ms),
                to_unix_ms: args.to.map_or(0, quantity::unix_ms),
                step_ms: args.step.map_or(0, |step| quantity::millis(step).max(1)),
            };
            let series = answer("read the measurements", resources.query_metrics(request).await)?.series;
            output.list(&PointView::all(series), "nothing was measured in that time")?;
        }
        MetricsCommand::Trend { metric, of, horizon } => {
            let request = v1::GetTrendRequest { metric, subject: of, horizon_ms: quantity::millis(horizon).max(1) };
            let trend = answer("read the trend", resources.get_trend(request).await)?;
            output.one(&TrendView::from(trend))?;
        }
        MetricsCommand::Thresholds => {
            let thresholds =
                answer("read the thresholds", resources.get_thresholds(v1::GetThresholdsRequest {}).await)?;
            output.list(&views(thresholds), "no thresholds")?;
        }
        MetricsCommand::SetThreshold(args) => {
            let thresholds =
                answer("read the thresholds", resources.get_thresholds(v1::GetThresholdsRequest {}).await)?;
            let reason = args.reason.clone();
            let request = v1::PutThresholdsRequest { thresholds: Some(changed(thresholds, args)?), reason };
            let thresholds = answer("change the threshold", resources.put_thresholds(request).await)?;
            output.list(&views(thresholds), "no thresholds")?;
        }
    }
    Ok(Exit::Ok)
}

fn views(thresholds: v1::Thresholds) -> Vec<ThresholdView> {
    thresholds.thresholds.into_iter().map(Into::into).collect()
}

/// The thresholds with one of them changed.
fn changed(mut thresholds: v1::Thresholds, args: SetArgs) -> Result<v1::Thresholds, CliError> {
    let known: Vec<_> = thresholds.thresholds.iter().map(|of| of.metric.clone()).collect();
    let of = thresholds.thresholds.iter_mut().find(|of| of.metric == args.metric).ok_or_else(|| {
        CliError::new(Exit::NotFound, format!("there is no measurement `{}`", args.metric))
            .hint(format!("there are: {}", known.join(", ")))
    })?;
    of.warning = args.warning.unwrap_or(of.warning);
    of.critical = args.critical.unwrap_or(of.critical);
    of.for_ms = args.for_.map_or(of.for_ms, |for_| quantity::millis(for_).max(1));
    Ok(thresholds)
}

//! `evenkeel metrics`: measurements over time, where they are going, and when they are bad.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
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
        /// Which measurement; `metrics thresholds` names them
        metric: String,
        /// Of what: fleet, tenant:NAME, kind:NAME, agent:ID or pool:NAME
        #[arg(long, default_value = "fleet")]
        of: String,
        /// How far to look ahead
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = quantity::duration)]
        horizon: Duration,
    },
    /// Show from when on measurements are worth a look, and bad
    Thresholds,
    /// Change a threshold
    SetThreshold(SetArgs),
}

/// Arguments of `metrics query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Which measurements; `metrics thresholds` names them
    #[arg(required = true)]
    metrics: Vec<String>,
    /// Of what: fleet, tenant:NAME, kind:NAME, agent:ID or pool:NAME
    #[arg(long, default_value = "fleet")]
    of: String,
    /// From when on: 2h ago, or a date and time [default: an hour before the end]
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    from: Option<SystemTime>,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME", value_parser = quantity::since)]
    to: Option<SystemTime>,
    /// One point for so long [default: so that there are at most 500]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration)]
    step: Option<Duration>,
}

/// Arguments of `metrics set-threshold`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Which measurement
    metric: String,
    /// Worth a look from here on
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    warning: Option<f64>,
    /// Bad from here on
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    critical: Option<f64>,
    /// It must last so long
    #[arg(long = "for", value_name = "DURATION", value_parser = quantity::duration)]
    for_: Option<Duration>,
    /// Why, for the history
    #[arg(long, default_value = "")]
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

//! What the fleet is like: health, measurements, trends, bottlenecks.

use evenkeel_proto::v1;
use evenkeel_shared::Error;

use super::{Resources, unimplemented};

pub(super) async fn get_fleet_health(_: &Resources, _: v1::GetFleetHealthRequest) -> Result<v1::FleetHealth, Error> {
    Err(unimplemented())
}

pub(super) async fn query_metrics(
    _: &Resources,
    _: v1::QueryMetricsRequest,
) -> Result<v1::QueryMetricsResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn get_trend(_: &Resources, _: v1::GetTrendRequest) -> Result<v1::Trend, Error> {
    Err(unimplemented())
}

pub(super) async fn list_bottlenecks(
    _: &Resources,
    _: v1::ListBottlenecksRequest,
) -> Result<v1::ListBottlenecksResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn get_thresholds(_: &Resources, _: v1::GetThresholdsRequest) -> Result<v1::Thresholds, Error> {
    Err(unimplemented())
}

pub(super) async fn put_thresholds(_: &Resources, _: v1::PutThresholdsRequest) -> Result<v1::Thresholds, Error> {
    Err(unimplemented())
}

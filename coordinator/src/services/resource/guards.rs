//! Limits that follow latency, upstream quotas, circuit breakers.

use evenkeel_proto::v1;
use evenkeel_shared::Error;

use super::{Resources, unimplemented};

pub(super) async fn get_dynamic_limits(
    _: &Resources,
    _: v1::GetDynamicLimitsRequest,
) -> Result<v1::DynamicLimits, Error> {
    Err(unimplemented())
}

pub(super) async fn put_dynamic_limits(
    _: &Resources,
    _: v1::PutDynamicLimitsRequest,
) -> Result<v1::DynamicLimits, Error> {
    Err(unimplemented())
}

pub(super) async fn list_quotas(_: &Resources, _: v1::ListQuotasRequest) -> Result<v1::ListQuotasResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn report_quota(_: &Resources, _: v1::ReportQuotaRequest) -> Result<v1::Quota, Error> {
    Err(unimplemented())
}

pub(super) async fn clear_quota(_: &Resources, _: v1::ClearQuotaRequest) -> Result<v1::ClearQuotaResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn list_breakers(
    _: &Resources,
    _: v1::ListBreakersRequest,
) -> Result<v1::ListBreakersResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn set_breaker(_: &Resources, _: v1::SetBreakerRequest) -> Result<v1::Breaker, Error> {
    Err(unimplemented())
}

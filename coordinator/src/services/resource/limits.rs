//! Limits, and who got how much.

use evenkeel_proto::v1;
use evenkeel_shared::Error;

use super::{Resources, unimplemented};

pub(super) async fn list_limits(_: &Resources, _: v1::ListLimitsRequest) -> Result<v1::ListLimitsResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn put_limit(_: &Resources, _: v1::PutLimitRequest) -> Result<v1::Limit, Error> {
    Err(unimplemented())
}

pub(super) async fn delete_limit(_: &Resources, _: v1::DeleteLimitRequest) -> Result<v1::DeleteLimitResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn get_allocation(_: &Resources, _: v1::GetAllocationRequest) -> Result<v1::Allocation, Error> {
    Err(unimplemented())
}

pub(super) async fn list_allocation_events(
    _: &Resources,
    _: v1::ListAllocationEventsRequest,
) -> Result<v1::ListAllocationEventsResponse, Error> {
    Err(unimplemented())
}

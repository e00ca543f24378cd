//! How large the fleet is and should be.

use evenkeel_proto::v1;
use evenkeel_shared::Error;

use super::{Resources, unimplemented};

pub(super) async fn get_scaling(_: &Resources, _: v1::GetScalingRequest) -> Result<v1::Scaling, Error> {
    Err(unimplemented())
}

pub(super) async fn get_scaling_policy(
    _: &Resources,
    _: v1::GetScalingPolicyRequest,
) -> Result<v1::ScalingPolicy, Error> {
    Err(unimplemented())
}

pub(super) async fn put_scaling_policy(
    _: &Resources,
    _: v1::PutScalingPolicyRequest,
) -> Result<v1::PutScalingPolicyResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn validate_scaling_policy(
    _: &Resources,
    _: v1::ValidateScalingPolicyRequest,
) -> Result<v1::ValidateScalingPolicyResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn list_scaling_templates(
    _: &Resources,
    _: v1::ListScalingTemplatesRequest,
) -> Result<v1::ListScalingTemplatesResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn list_scaling_policy_versions(
    _: &Resources,
    _: v1::ListScalingPolicyVersionsRequest,
) -> Result<v1::ListScalingPolicyVersionsResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn list_scaling_events(
    _: &Resources,
    _: v1::ListScalingEventsRequest,
) -> Result<v1::ListScalingEventsResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn set_scaling_override(
    _: &Resources,
    _: v1::SetScalingOverrideRequest,
) -> Result<v1::Scaling, Error> {
    Err(unimplemented())
}

pub(super) async fn clear_scaling_override(
    _: &Resources,
    _: v1::ClearScalingOverrideRequest,
) -> Result<v1::Scaling, Error> {
    Err(unimplemented())
}

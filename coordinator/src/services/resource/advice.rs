//! What to change.

use evenkeel_proto::v1;
use evenkeel_shared::Error;

use super::{Resources, unimplemented};

pub(super) async fn list_recommendations(
    _: &Resources,
    _: v1::ListRecommendationsRequest,
) -> Result<v1::ListRecommendationsResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn apply_recommendation(
    _: &Resources,
    _: v1::RecommendationRequest,
) -> Result<v1::Recommendation, Error> {
    Err(unimplemented())
}

pub(super) async fn undo_recommendation(
    _: &Resources,
    _: v1::RecommendationRequest,
) -> Result<v1::Recommendation, Error> {
    Err(unimplemented())
}

pub(super) async fn dismiss_recommendation(
    _: &Resources,
    _: v1::RecommendationRequest,
) -> Result<v1::Recommendation, Error> {
    Err(unimplemented())
}

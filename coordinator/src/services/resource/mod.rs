//! The resource service: who may use how much, how large the fleet should be, what it costs, and what to change.
//!
//! One file a part; each function there is one call. What is put goes through the engine or the manager and is stored before
//! it is answered; what is read comes from a look at either, or from the store.

mod advice;
mod costs;
mod guards;
mod insight;
mod limits;
mod scaling;
mod sizes;

pub use scaling::read_policy;

use std::sync::Arc;

use evenkeel_proto::v1::{self, resource_service_server::ResourceService};
use evenkeel_shared::{Error, StrategyConfig};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::refuse;
use crate::{actors::manager::ManagerHandle, gateway::Gateway, metrics::Metrics, snapshot::Snapshot};

/// The service.
#[derive(Clone)]
pub struct Resources {
    /// The way to the engine.
    pub gateway: Gateway,
    /// What is shown of the fleet.
    pub snapshot: Snapshot,
    /// The way to the resource manager.
    pub manager: ManagerHandle,
    /// The strategy in force. Its lock also puts changes of it in one order.
    pub strategy: Arc<Mutex<StrategyConfig>>,
    /// Counters.
    pub metrics: Metrics,
}

impl Resources {
    fn answer<T>(&self, answer: Result<T, Error>) -> Result<Response<T>, Status> {
        answer.map(Response::new).map_err(|error| refuse(&self.metrics, &error))
    }
}

#[tonic::async_trait]
impl ResourceService for Resources {
    async fn list_limits(
        &self,
        request: Request<v1::ListLimitsRequest>,
    ) -> Result<Response<v1::ListLimitsResponse>, Status> {
        self.answer(limits::list_limits(self, request.into_inner()).await)
    }

    async fn put_limit(&self, request: Request<v1::PutLimitRequest>) -> Result<Response<v1::Limit>, Status> {
        self.answer(limits::put_limit(self, request.into_inner()).await)
    }

    async fn delete_limit(
        &self,
        request: Request<v1::DeleteLimitRequest>,
    ) -> Result<Response<v1::DeleteLimitResponse>, Status> {
        self.answer(limits::delete_limit(self, request.into_inner()).await)
    }

    async fn get_dynamic_limits(
        &self,
        request: Request<v1::GetDynamicLimitsRequest>,
    ) -> Result<Response<v1::DynamicLimits>, Status> {
        self.answer(guards::get_dynamic_limits(self, request.into_inner()).await)
    }

    async fn put_dynamic_limits(
        &self,
        request: Request<v1::PutDynamicLimitsRequest>,
    ) -> Result<Response<v1::DynamicLimits>, Status> {
        self.answer(guards::put_dynamic_limits(self, request.into_inner()).await)
    }

    async fn list_quotas(
        &self,
        request: Request<v1::ListQuotasRequest>,
    ) -> Result<Response<v1::ListQuotasResponse>, Status> {
        self.answer(guards::list_quotas(self, request.into_inner()).await)
    }

    async fn report_quota(&self, request: Request<v1::ReportQuotaRequest>) -> Result<Response<v1::Quota>, Status> {
        self.answer(guards::report_quota(self, request.into_inner()).await)
    }

    async fn clear_quota(
        &self,
        request: Request<v1::ClearQuotaRequest>,
    ) -> Result<Response<v1::ClearQuotaResponse>, Status> {
        self.answer(guards::clear_quota(self, request.into_inner()).await)
    }

    async fn list_breakers(
        &self,
        request: Request<v1::ListBreakersRequest>,
    ) -> Result<Response<v1::ListBreakersResponse>, Status> {
        self.answer(guards::list_breakers(self, request.into_inner()).await)
    }

    async fn set_breaker(&self, request: Request<v1::SetBreakerRequest>) -> Result<Response<v1::Breaker>, Status> {
        self.answer(guards::set_breaker(self, request.into_inner()).await)
    }

    async fn list_request_sizes(
        &self,
        request: Request<v1::ListRequestSizesRequest>,
    ) -> Result<Response<v1::ListRequestSizesResponse>, Status> {
        self.answer(sizes::list_request_sizes(self, request.into_inner()).await)
    }

    async fn put_request_size(
        &self,
        request: Request<v1::PutRequestSizeRequest>,
    ) -> Result<Response<v1::RequestSize>, Status> {
        self.answer(sizes::put_request_size(self, request.into_inner()).await)
    }

    async fn delete_request_size(
        &self,
        request: Request<v1::DeleteRequestSizeRequest>,
    ) -> Result<Response<v1::DeleteRequestSizeResponse>, Status> {
        self.answer(sizes::delete_request_size(self, request.into_inner()).await)
    }

    async fn get_allocation(
        &self,
        request: Request<v1::GetAllocationRequest>,
    ) -> Result<Response<v1::Allocation>, Status> {
        self.answer(limits::get_allocation(self, request.into_inner()).await)
    }

    async fn list_budgets(
        &self,
        request: Request<v1::ListBudgetsRequest>,
    ) -> Result<Response<v1::ListBudgetsResponse>, Status> {
        self.answer(costs::list_budgets(self, request.into_inner()).await)
    }

    async fn put_budget(&self, request: Request<v1::PutBudgetRequest>) -> Result<Response<v1::Budget>, Status> {
        self.answer(costs::put_budget(self, request.into_inner()).await)
    }

    async fn delete_budget(
        &self,
        request: Request<v1::DeleteBudgetRequest>,
    ) -> Result<Response<v1::DeleteBudgetResponse>, Status> {
        self.answer(costs::delete_budget(self, request.into_inner()).await)
    }

    async fn get_prices(&self, request: Request<v1::GetPricesRequest>) -> Result<Response<v1::Prices>, Status> {
        self.answer(costs::get_prices(self, request.into_inner()).await)
    }

    async fn put_prices(&self, request: Request<v1::PutPricesRequest>) -> Result<Response<v1::Prices>, Status> {
        self.answer(costs::put_prices(self, request.into_inner()).await)
    }

    async fn get_costs(&self, request: Request<v1::GetCostsRequest>) -> Result<Response<v1::Costs>, Status> {
        self.answer(costs::get_costs(self, request.into_inner()).await)
    }

    async fn get_fleet_health(
        &self,
        request: Request<v1::GetFleetHealthRequest>,
    ) -> Result<Response<v1::FleetHealth>, Status> {
        self.answer(insight::get_fleet_health(self, request.into_inner()).await)
    }

    async fn query_metrics(
        &self,
        request: Request<v1::QueryMetricsRequest>,
    ) -> Result<Response<v1::QueryMetricsResponse>, Status> {
        self.answer(insight::query_metrics(self, request.into_inner()).await)
    }

    async fn get_trend(&self, request: Request<v1::GetTrendRequest>) -> Result<Response<v1::Trend>, Status> {
        self.answer(insight::get_trend(self, request.into_inner()).await)
    }

    async fn list_bottlenecks(
        &self,
        request: Request<v1::ListBottlenecksRequest>,
    ) -> Result<Response<v1::ListBottlenecksResponse>, Status> {
        self.answer(insight::list_bottlenecks(self, request.into_inner()).await)
    }

    async fn get_thresholds(
        &self,
        request: Request<v1::GetThresholdsRequest>,
    ) -> Result<Response<v1::Thresholds>, Status> {
        self.answer(insight::get_thresholds(self, request.into_inner()).await)
    }

    async fn put_thresholds(
        &self,
        request: Request<v1::PutThresholdsRequest>,
    ) -> Result<Response<v1::Thresholds>, Status> {
        self.answer(insight::put_thresholds(self, request.into_inner()).await)
    }

    async fn get_scaling(&self, request: Request<v1::GetScalingRequest>) -> Result<Response<v1::Scaling>, Status> {
        self.answer(scaling::get_scaling(self, request.into_inner()).await)
    }

    async fn get_scaling_policy(
        &self,
        request: Request<v1::GetScalingPolicyRequest>,
    ) -> Result<Response<v1::ScalingPolicy>, Status> {
        self.answer(scaling::get_scaling_policy(self, request.into_inner()).await)
    }

    async fn put_scaling_policy(
        &self,
        request: Request<v1::PutScalingPolicyRequest>,
    ) -> Result<Response<v1::PutScalingPolicyResponse>, Status> {
        self.answer(scaling::put_scaling_policy(self, request.into_inner()).await)
    }

    async fn validate_scaling_policy(
        &self,
        request: Request<v1::ValidateScalingPolicyRequest>,
    ) -> Result<Response<v1::ValidateScalingPolicyResponse>, Status> {
        self.answer(scaling::validate_scaling_policy(self, request.into_inner()).await)
    }

    async fn list_scaling_templates(
        &self,
        request: Request<v1::ListScalingTemplatesRequest>,
    ) -> Result<Response<v1::ListScalingTemplatesResponse>, Status> {
        self.answer(scaling::list_scaling_templates(self, request.into_inner()).await)
    }

    async fn list_scaling_policy_versions(
        &self,
        request: Request<v1::ListScalingPolicyVersionsRequest>,
    ) -> Result<Response<v1::ListScalingPolicyVersionsResponse>, Status> {
        self.answer(scaling::list_scaling_policy_versions(self, request.into_inner()).await)
    }

    async fn list_scaling_events(
        &self,
        request: Request<v1::ListScalingEventsRequest>,
    ) -> Result<Response<v1::ListScalingEventsResponse>, Status> {
        self.answer(scaling::list_scaling_events(self, request.into_inner()).await)
    }

    async fn set_scaling_override(
        &self,
        request: Request<v1::SetScalingOverrideRequest>,
    ) -> Result<Response<v1::Scaling>, Status> {
        self.answer(scaling::set_scaling_override(self, request.into_inner()).await)
    }

    async fn clear_scaling_override(
        &self,
        request: Request<v1::ClearScalingOverrideRequest>,
    ) -> Result<Response<v1::Scaling>, Status> {
        self.answer(scaling::clear_scaling_override(self, request.into_inner()).await)
    }

    async fn list_recommendations(
        &self,
        request: Request<v1::ListRecommendationsRequest>,
    ) -> Result<Response<v1::ListRecommendationsResponse>, Status> {
        self.answer(advice::list_recommendations(self, request.into_inner()).await)
    }

    async fn apply_recommendation(
        &self,
        request: Request<v1::RecommendationRequest>,
    ) -> Result<Response<v1::Recommendation>, Status> {
        self.answer(advice::apply_recommendation(self, request.into_inner()).await)
    }

    async fn undo_recommendation(
        &self,
        request: Request<v1::RecommendationRequest>,
    ) -> Result<Response<v1::Recommendation>, Status> {
        self.answer(advice::undo_recommendation(self, request.into_inner()).await)
    }

    async fn dismiss_recommendation(
        &self,
        request: Request<v1::RecommendationRequest>,
    ) -> Result<Response<v1::Recommendation>, Status> {
        self.answer(advice::dismiss_recommendation(self, request.into_inner()).await)
    }

    async fn list_allocation_events(
        &self,
        request: Request<v1::ListAllocationEventsRequest>,
    ) -> Result<Response<v1::ListAllocationEventsResponse>, Status> {
        self.answer(limits::list_allocation_events(self, request.into_inner()).await)
    }
}

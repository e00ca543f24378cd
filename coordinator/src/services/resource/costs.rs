//! Budgets, prices, costs.

use evenkeel_proto::v1;
use evenkeel_shared::Error;

use super::{Resources, unimplemented};

pub(super) async fn list_budgets(_: &Resources, _: v1::ListBudgetsRequest) -> Result<v1::ListBudgetsResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn put_budget(_: &Resources, _: v1::PutBudgetRequest) -> Result<v1::Budget, Error> {
    Err(unimplemented())
}

pub(super) async fn delete_budget(
    _: &Resources,
    _: v1::DeleteBudgetRequest,
) -> Result<v1::DeleteBudgetResponse, Error> {
    Err(unimplemented())
}

pub(super) async fn get_prices(_: &Resources, _: v1::GetPricesRequest) -> Result<v1::Prices, Error> {
    Err(unimplemented())
}

pub(super) async fn put_prices(_: &Resources, _: v1::PutPricesRequest) -> Result<v1::Prices, Error> {
    Err(unimplemented())
}

pub(super) async fn get_costs(_: &Resources, _: v1::GetCostsRequest) -> Result<v1::Costs, Error> {
    Err(unimplemented())
}

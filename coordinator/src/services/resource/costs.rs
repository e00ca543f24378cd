//! Budgets, prices, costs.
//!
//! Budgets and prices are the engine's; what was spent is in the store, but for the minute that is being written.

mod report;
mod wire;

use evenkeel_core::{
    cost::ledger::BudgetView,
    engine::{ControlCommand, Put},
};
use evenkeel_proto::v1;
use evenkeel_shared::Error;

pub(super) use self::report::get_costs;
use super::Resources;

pub(super) async fn list_budgets(
    resources: &Resources,
    request: v1::ListBudgetsRequest,
) -> Result<v1::ListBudgetsResponse, Error> {
    let v1::ListBudgetsRequest { tenant, kind } = request;
    // Those that cover such tasks: a budget that names no tenant covers all.
    let matches = |asked: &str, has: Option<&str>| asked.is_empty() || has.is_none_or(|has| has == asked);
    let views = budgets(resources).await?.into_iter().filter(|(view, _)| {
        let (of_tenant, of_kind) = (view.budget.tenant.as_ref(), view.budget.kind.as_ref());
        matches(&tenant, of_tenant.map(|name| name.as_str())) && matches(&kind, of_kind.map(|name| name.as_str()))
    });
    Ok(v1::ListBudgetsResponse { budgets: views.map(|(view, waiting)| wire::to_budget(view, waiting)).collect() })
}

/// All budgets, by name, with the tasks that wait for each.
async fn budgets(resources: &Resources) -> Result<Vec<(BudgetView, u64)>, Error> {
    resources.gateway.look_at(|engine, now| engine.budget_views(now)).await
}

pub(super) async fn put_budget(resources: &Resources, request: v1::PutBudgetRequest) -> Result<v1::Budget, Error> {
    let said = wire::budget(request.budget.unwrap_or_default()).map_err(|violation| violation.within("budget"))?;
    let show = |put: &Put| match put {
        Put::Budget(view, waiting) => Some(wire::to_budget(view.clone(), *waiting)),
        _ => None,
    };
    resources.gateway.put(ControlCommand::PutBudget(said), request.reason, show).await
}

pub(super) async fn delete_budget(
    resources: &Resources,
    request: v1::DeleteBudgetRequest,
) -> Result<v1::DeleteBudgetResponse, Error> {
    resources.gateway.control(ControlCommand::RemoveBudget(request.name), request.reason).await?;
    Ok(v1::DeleteBudgetResponse {})
}

pub(super) async fn get_prices(resources: &Resources, _: v1::GetPricesRequest) -> Result<v1::Prices, Error> {
    resources.gateway.look_at(|engine, _| wire::to_prices(engine.prices())).await
}

pub(super) async fn put_prices(resources: &Resources, request: v1::PutPricesRequest) -> Result<v1::Prices, Error> {
    let prices = wire::prices(request.prices.unwrap_or_default()).map_err(|violation| violation.within("prices"))?;
    let shown = wire::to_prices(&prices);
    resources.gateway.control(ControlCommand::SetPrices(prices), request.reason).await?;
    Ok(shown)
}

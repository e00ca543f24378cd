//! Limits that follow latency, upstream quotas, circuit breakers.
//!
//! All of it is the engine's, so it is read with a look at the engine and changed by a command to it.

use std::time::Duration;

use evenkeel_core::{
    admission::{
        BreakerId, BreakerOrder, DynamicAlgorithm, DynamicLimitSettings, breaker::BreakerState, guards::BreakerView,
    },
    engine::{ControlCommand, DynamicLimitView, Engine, QuotaView},
};
use evenkeel_proto::v1;
use evenkeel_shared::{
    AgentId, Error, Kind, QuotaKey, Violation,
    limits::DURATION_MAX,
    wire::{cut_note, quantities::to_unix_ms, spend::quota_report},
};

use super::Resources;

/// For how long a breaker is opened by hand where nothing is said.
const OPEN_DEFAULT: Duration = Duration::from_secs(60);

pub(super) async fn get_dynamic_limits(
    resources: &Resources,
    _: v1::GetDynamicLimitsRequest,
) -> Result<v1::DynamicLimits, Error> {
    resources.gateway.look_at(|engine, _| dynamic_limits(engine)).await
}

pub(super) async fn put_dynamic_limits(
    resources: &Resources,
    request: v1::PutDynamicLimitsRequest,
) -> Result<v1::DynamicLimits, Error> {
    let wire = request.settings.ok_or_else(|| Violation::new("settings", "is required"))?;
    let settings = read_dynamic(&wire).map_err(|violation| violation.within("settings"))?;
    resources.gateway.control(ControlCommand::SetDynamicLimits(settings), cut_note(request.reason)).await?;
    resources.gateway.look_at(|engine, _| dynamic_limits(engine)).await
}

pub(super) async fn list_quotas(
    resources: &Resources,
    _: v1::ListQuotasRequest,
) -> Result<v1::ListQuotasResponse, Error> {
    let quotas = resources.gateway.look_at(|engine, _| engine.quota_views()).await?;
    Ok(v1::ListQuotasResponse { quotas: quotas.into_iter().map(quota).collect() })
}

pub(super) async fn report_quota(resources: &Resources, request: v1::ReportQuotaRequest) -> Result<v1::Quota, Error> {
    let (key, retry_after) = quota_report(&request.key, request.retry_after_ms)?;
    let command = ControlCommand::ReportQuota(key.clone(), retry_after);
    resources.gateway.control(command, cut_note(request.reason)).await?;
    let quotas = resources.gateway.look_at(|engine, _| engine.quota_views()).await?;
    let reported = quotas.into_iter().find(|quota| quota.key == key);
    // Its time may be over by now.
    reported.map(quota).ok_or_else(|| Error::not_found("quota", key.as_str()))
}

pub(super) async fn clear_quota(
    resources: &Resources,
    request: v1::ClearQuotaRequest,
) -> Result<v1::ClearQuotaResponse, Error> {
    let key = QuotaKey::new(&request.key).map_err(|violation| Violation::new("key", violation.description))?;
    resources.gateway.control(ControlCommand::ClearQuota(key), String::new()).await?;
    Ok(v1::ClearQuotaResponse {})
}

pub(super) async fn list_breakers(
    resources: &Resources,
    request: v1::ListBreakersRequest,
) -> Result<v1::ListBreakersResponse, Error> {
    let scope = known_scope(request.scope)?;
    let views = resources.gateway.look_at(|engine, now| engine.breaker_views(now)).await?;
    let wanted = |view: &BreakerView| {
        (request.include_closed || view.state != BreakerState::Closed)
            && (scope == v1::BreakerScope::Unspecified || scope_of(&view.id) == scope)
    };
    Ok(v1::ListBreakersResponse { breakers: views.into_iter().filter(wanted).map(breaker).collect() })
}

pub(super) async fn set_breaker(resources: &Resources, request: v1::SetBreakerRequest) -> Result<v1::Breaker, Error> {
    let (id, order) = (read_breaker_id(&request)?, read_order(&request)?);
    let command = ControlCommand::SetBreaker(id.clone(), order);
    resources.gateway.control(command, cut_note(request.reason.clone())).await?;
    let views = resources.gateway.look_at(|engine, now| engine.breaker_views(now)).await?;
    // One that was closed and of which nothing else is known is not kept.
    let closed = v1::Breaker {
        scope: request.scope,
        name: request.name,
        state: v1::BreakerState::Closed.into(),
        ..v1::Breaker::default()
    };
    Ok(views.into_iter().find(|view| view.id == id).map_or(closed, breaker))
}

fn dynamic_limits(engine: &Engine) -> v1::DynamicLimits {
    let settings = engine.dynamic_limit_settings();
    let agent = |view: DynamicLimitView| v1::DynamicLimit {
        agent_id: view.agent.to_string(),
        slots: view.slots,
        limit: view.limit,
        latency_ratio: view.latency_ratio,
    };
    v1::DynamicLimits {
        settings: Some(v1::DynamicLimitSettings {
            enabled: settings.enabled,
            algorithm: settings.algorithm.name().to_owned(),
            slots_min: settings.slots_min,
            tolerance: settings.tolerance,
            headroom_priority: settings.headroom_priority.into(),
        }),
        agents: engine.dynamic_limit_views().into_iter().map(agent).collect(),
    }
}

/// Reads settings; what is 0 or empty is the default.
fn read_dynamic(wire: &v1::DynamicLimitSettings) -> Result<DynamicLimitSettings, Violation> {
    let default = DynamicLimitSettings::default();
    let unknown = |name: &str| {
        let known = DynamicAlgorithm::ALL.map(|known| format!("`{}`", known.name())).join(" or ");
        Violation::new("algorithm", format!("`{name}` is not known; use {known}"))
    };
    let algorithm = match wire.algorithm.as_str() {
        "" => default.algorithm,
        name => DynamicAlgorithm::named(name).ok_or_else(|| unknown(name))?,
    };
    let headroom = match wire.headroom_priority {
        0 => default.headroom_priority,
        level => u8::try_from(level).unwrap_or(u8::MAX),
    };
    let settings = DynamicLimitSettings {
        enabled: wire.enabled,
        algorithm,
        slots_min: if wire.slots_min == 0 { default.slots_min } else { wire.slots_min },
        tolerance: if wire.tolerance == 0.0 { default.tolerance } else { wire.tolerance },
        headroom_priority: headroom,
    };
    settings.validate()?;
    Ok(settings)
}

fn quota(view: QuotaView) -> v1::Quota {
    v1::Quota {
        key: view.key.to_string(),
        until_unix_ms: to_unix_ms(view.cooldown.until),
        reason: view.cooldown.reason,
        reported_by: view.cooldown.reported_by.map(|agent| agent.to_string()).unwrap_or_default(),
        waiting: view.waiting,
        agent_ids: view.agents.iter().map(ToString::to_string).collect(),
    }
}

const fn scope_of(id: &BreakerId) -> v1::BreakerScope {
    match id {
        BreakerId::Agent(_) => v1::BreakerScope::Agent,
        BreakerId::Kind(_) => v1::BreakerScope::Kind,
        BreakerId::Quota(_) => v1::BreakerScope::QuotaKey,
    }
}

fn breaker(view: BreakerView) -> v1::Breaker {
    let (state, until) = match view.state {
        BreakerState::Closed => (v1::BreakerState::Closed, None),
        BreakerState::Open { until } => (v1::BreakerState::Open, Some(until)),
        BreakerState::HalfOpen => (v1::BreakerState::HalfOpen, None),
    };
    let scope = scope_of(&view.id);
    let name = match view.id {
        BreakerId::Agent(agent) => agent.to_string(),
        BreakerId::Kind(kind) => kind.to_string(),
        BreakerId::Quota(key) => key.to_string(),
    };
    v1::Breaker {
        scope: scope.into(),
        name,
        state: state.into(),
        since_unix_ms: to_unix_ms(view.since),
        retry_unix_ms: until.map_or(0, to_unix_ms),
        failures: view.failures,
        attempts: view.attempts,
        times_opened: view.times_opened,
        reason: view.reason,
    }
}

fn known_scope(number: i32) -> Result<v1::BreakerScope, Violation> {
    v1::BreakerScope::try_from(number).map_err(|_| Violation::new("scope", format!("{number} is not known")))
}

fn read_breaker_id(request: &v1::SetBreakerRequest) -> Result<BreakerId, Violation> {
    let of_name = |violation: Violation| Violation::new("name", violation.description);
    match known_scope(request.scope)? {
        v1::BreakerScope::Agent => AgentId::new(&request.name).map(BreakerId::Agent).map_err(of_name),
        v1::BreakerScope::Kind => Kind::new(&request.name).map(BreakerId::Kind).map_err(of_name),
        v1::BreakerScope::QuotaKey => QuotaKey::new(&request.name).map(BreakerId::Quota).map_err(of_name),
        v1::BreakerScope::Unspecified => Err(Violation::new("scope", "is required: agent, kind or quota_key")),
    }
}

fn read_order(request: &v1::SetBreakerRequest) -> Result<BreakerOrder, Violation> {
    match v1::BreakerState::try_from(request.state) {
        Ok(v1::BreakerState::Closed) => Ok(BreakerOrder::Close),
        Ok(v1::BreakerState::Open) if request.open_ms == 0 => Ok(BreakerOrder::Open(OPEN_DEFAULT)),
        Ok(v1::BreakerState::Open) => {
            let time = Duration::from_millis(request.open_ms);
            if time > DURATION_MAX {
                return Err(Violation::new("open_ms", format!("{} ms is more than a year", request.open_ms)));
            }
            Ok(BreakerOrder::Open(time))
        }
        _ => Err(Violation::new("state", "use open or closed: half-open comes by itself")),
    }
}

#[cfg(test)]
#[path = "guards_tests.rs"]
mod tests;

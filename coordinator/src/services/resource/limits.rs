//! Limits, and who got how much.
//!
//! Limits and what is counted are the engine's; what they did is read from the store.

use evenkeel_core::{
    admission::{
        Limit, LimitScope,
        bucket::BURST_MAX,
        gates::LimitView,
        statistics::{Counts, Window},
    },
    engine::{AllocationBy, AllocationView, ControlCommand, Put},
};
use evenkeel_proto::v1;
use evenkeel_shared::{
    AgentId, Error, Kind, Tenant, Timestamp, Violation,
    wire::{
        cut_note,
        quantities::{timestamp, to_unix_ms, to_unix_ms_or_zero, to_us},
    },
};

use super::Resources;
use crate::store::{AllocationFilter, RecordPage, RecordPlace, TimeRange};

/// Events in one answer.
const EVENTS_MAX: u32 = 1_000;
/// The same where nothing is said.
const EVENTS_DEFAULT: u32 = 100;

pub(super) async fn list_limits(
    resources: &Resources,
    request: v1::ListLimitsRequest,
) -> Result<v1::ListLimitsResponse, Error> {
    let v1::ListLimitsRequest { tenant, kind } = request;
    let matches = |asked: &str, has: Option<&str>| asked.is_empty() || has == Some(asked);
    let views = limits(resources).await?.into_iter().filter(|(view, _)| {
        let LimitScope { tenant: of_tenant, kind: of_kind, .. } = &view.limit.scope;
        matches(&tenant, of_tenant.as_ref().map(Tenant::as_str)) && matches(&kind, of_kind.as_ref().map(Kind::as_str))
    });
    Ok(v1::ListLimitsResponse { limits: views.map(|(view, waiting)| to_limit(view, waiting)).collect() })
}

/// All limits, by name, with the tasks that wait under each.
async fn limits(resources: &Resources) -> Result<Vec<(LimitView, u64)>, Error> {
    resources.gateway.look_at(|engine, now| engine.limit_views(now)).await
}

pub(super) async fn put_limit(resources: &Resources, request: v1::PutLimitRequest) -> Result<v1::Limit, Error> {
    let said = request.limit.ok_or_else(|| Violation::new("limit", "is required"))?;
    let limit = read_limit(said).map_err(|violation| violation.within("limit"))?;
    limit.validate()?;
    let show = |put: &Put| match put {
        Put::Limit(view, waiting) => Some(to_limit(view.clone(), *waiting)),
        _ => None,
    };
    resources.gateway.put(ControlCommand::PutLimit(limit), cut_note(request.reason), show).await
}

pub(super) async fn delete_limit(
    resources: &Resources,
    request: v1::DeleteLimitRequest,
) -> Result<v1::DeleteLimitResponse, Error> {
    resources.gateway.control(ControlCommand::RemoveLimit(request.name), cut_note(request.reason)).await?;
    Ok(v1::DeleteLimitResponse {})
}

pub(super) async fn get_allocation(
    resources: &Resources,
    request: v1::GetAllocationRequest,
) -> Result<v1::Allocation, Error> {
    let by = match v1::AllocationBy::try_from(request.by) {
        Ok(v1::AllocationBy::Unspecified | v1::AllocationBy::Tenant) => AllocationBy::Tenant,
        Ok(v1::AllocationBy::Kind) => AllocationBy::Kind,
        Ok(v1::AllocationBy::Agent) => AllocationBy::Agent,
        Err(_) => return Err(Violation::new("by", format!("{} is not known", request.by)).into()),
    };
    let rows = resources.gateway.look_at(move |engine, now| engine.allocation(by, now)).await?;
    let rows = rows.into_iter().filter(|row| request.name.is_empty() || row.name == request.name);
    let fallback = resources.manager.state().is_fallback();
    Ok(v1::Allocation { rows: rows.map(to_row).collect(), fallback })
}

pub(super) async fn list_allocation_events(
    resources: &Resources,
    request: v1::ListAllocationEventsRequest,
) -> Result<v1::ListAllocationEventsResponse, Error> {
    let from = timestamp("from_unix_ms", request.from_unix_ms)?.unwrap_or(Timestamp::ZERO);
    let before = timestamp("to_unix_ms", request.to_unix_ms)?.unwrap_or(Timestamp::MAX);
    if from >= before {
        return Err(Violation::new("from_unix_ms", "must be before `to_unix_ms`").into());
    }
    let size = match request.page_size {
        0 => EVENTS_DEFAULT,
        size @ 1..=EVENTS_MAX => size,
        _ => return Err(Violation::new("page_size", format!("must be 0 to {EVENTS_MAX}")).into()),
    };
    let token = Some(request.page_token).filter(|token| !token.is_empty());
    let older_than = token.map(|token| token.parse::<RecordPlace>()).transpose()?;
    let page = RecordPage { older_than, size };
    let subject = Some(request.subject).filter(|subject| !subject.is_empty());
    let filter = AllocationFilter { range: TimeRange { from, before }, subject };
    let found = resources.gateway.reads.ask(move |store| store.allocation_events(&filter, page)).await?;
    let events = found.records.into_iter().map(|event| v1::AllocationEvent {
        id: event.id,
        at_unix_ms: to_unix_ms(event.at),
        what: event.what,
        subject: event.subject,
        message: event.message,
    });
    let next_page_token = found.next.map(|place| place.to_string()).unwrap_or_default();
    Ok(v1::ListAllocationEventsResponse { events: events.collect(), next_page_token })
}

fn read_limit(wire: v1::Limit) -> Result<Limit, Violation> {
    let v1::Limit { name, scope, concurrency_max, rate_per_s, burst, r#use: _ } = wire;
    let scope = scope.ok_or_else(|| Violation::new("scope", "is required"))?;
    let scope = read_scope(scope).map_err(|violation| violation.within("scope"))?;
    let burst = if burst == 0 { one_second_of(rate_per_s) } else { burst };
    Ok(Limit {
        name,
        scope,
        concurrency_max: Some(concurrency_max).filter(|max| *max > 0),
        rate_per_s: Some(rate_per_s).filter(|rate| *rate != 0.0),
        burst,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a range that fits")]
fn one_second_of(rate_per_s: f64) -> u32 {
    // What is not a number becomes 1, and is refused as a rate.
    rate_per_s.ceil().clamp(1.0, f64::from(BURST_MAX)) as u32
}

fn read_scope(wire: v1::LimitScope) -> Result<LimitScope, Violation> {
    let v1::LimitScope { tenant, kind, agent_id, agent_label, each_tenant, each_kind, each_agent } = wire;
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    let label = |text: String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Violation::new("agent_label", "must be KEY=VALUE")),
    };
    Ok(LimitScope {
        tenant: said(tenant).map(|name| Tenant::new(&name)).transpose()?,
        kind: said(kind).map(|name| Kind::new(&name)).transpose()?,
        agent: said(agent_id).map(|id| AgentId::new(&id)).transpose()?,
        agent_label: said(agent_label).map(label).transpose()?,
        each_tenant,
        each_kind,
        each_agent,
    })
}

fn to_limit(view: LimitView, waiting: u64) -> v1::Limit {
    let LimitView { limit, in_use, tokens, throttled, closed, opens, sites: _ } = view;
    let text = |name: Option<&str>| name.unwrap_or_default().to_owned();
    let scope = &limit.scope;
    v1::Limit {
        scope: Some(v1::LimitScope {
            tenant: text(scope.tenant.as_ref().map(Tenant::as_str)),
            kind: text(scope.kind.as_ref().map(Kind::as_str)),
            agent_id: text(scope.agent.as_ref().map(AgentId::as_str)),
            agent_label: scope.agent_label.as_ref().map(|(key, value)| format!("{key}={value}")).unwrap_or_default(),
            each_tenant: scope.each_tenant,
            each_kind: scope.each_kind,
            each_agent: scope.each_agent,
        }),
        concurrency_max: limit.concurrency_max.unwrap_or(0),
        rate_per_s: limit.rate_per_s.unwrap_or(0.0),
        burst: limit.burst,
        r#use: Some(v1::LimitUse {
            in_use,
            tokens,
            waiting,
            throttled,
            closed,
            opens_unix_ms: to_unix_ms_or_zero(opens),
        }),
        name: limit.name,
    }
}

fn to_row(view: AllocationView) -> v1::AllocationRow {
    let AllocationView { name, total, waiting, slots_in_use, windows } = view;
    let Counts { requested, granted, released, timed_out, refused, .. } = total;
    v1::AllocationRow {
        name,
        requested,
        granted,
        released,
        timed_out,
        refused,
        waiting,
        slots_in_use,
        windows: windows.into_iter().map(to_window).collect(),
    }
}

fn to_window(window: Window) -> v1::AllocationWindow {
    let Counts { requested, granted, released, timed_out, .. } = window.counts;
    v1::AllocationWindow {
        window_ms: u64::try_from(window.length.as_millis()).unwrap_or(u64::MAX),
        requested,
        granted,
        released,
        timed_out,
        wait_mean_us: to_us(window.wait_mean),
        run_mean_us: to_us(window.run_mean),
        slots_mean: window.slots_mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, scope: v1::LimitScope) -> v1::Limit {
        v1::Limit { name: name.into(), scope: Some(scope), concurrency_max: 5, ..v1::Limit::default() }
    }

    #[test]
    fn what_is_put_is_shown_as_it_was_said() {
        let scope = v1::LimitScope { agent_label: "zone=a=b".into(), each_agent: true, ..Default::default() };
        let said = v1::Limit { rate_per_s: 2.5, ..limit("l", scope.clone()) };
        let read = read_limit(said).unwrap();
        assert_eq!((read.burst, read.concurrency_max, read.rate_per_s), (3, Some(5), Some(2.5)));
        assert_eq!(read.scope.agent_label, Some(("zone".into(), "a=b".into())));
        let view = LimitView {
            limit: read,
            in_use: 1,
            tokens: 2.0,
            throttled: 3,
            closed: false,
            opens: None,
            sites: Vec::new(),
        };
        let shown = to_limit(view, 7);
        assert_eq!((shown.scope, shown.burst), (Some(scope), 3));
        assert_eq!(shown.r#use.map(|use_| (use_.in_use, use_.waiting, use_.opens_unix_ms)), Some((1, 7, 0)));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_the_name_of_the_field() {
        let fault = |limit: v1::Limit| read_limit(limit).unwrap_err().field;
        assert_eq!(fault(v1::Limit { scope: None, ..limit("l", Default::default()) }), "scope");
        let scope = |label: &str| v1::LimitScope { agent_label: label.into(), ..Default::default() };
        assert_eq!(fault(limit("l", scope("zone"))), "scope.agent_label");
        assert_eq!(fault(limit("l", v1::LimitScope { tenant: "a b".into(), ..Default::default() })), "scope.tenant");
        let endless = v1::Limit { rate_per_s: f64::NAN, ..limit("l", scope("zone=a")) };
        assert!(read_limit(endless).unwrap().validate().is_err());
    }
}

//! How large the fleet is and should be.
//!
//! The policy, the override and the present state are the manager's; versions and decisions are read from the store.

mod wire;

pub use wire::policy as read_policy;

use std::{collections::BTreeMap, time::Duration};

use evenkeel_core::{
    capacity::{Advice, Decision, Effect, Override, Policy, TEMPLATES, validate, validate::AGENTS_MAX},
    model::DeclarationKind,
};
use evenkeel_proto::v1;
use evenkeel_shared::{
    Code, Error, Timestamp, Violation,
    wire::{cut_note, quantities::timestamp},
};

use super::Resources;
use crate::store::{DeclarationQuery, RecordPage, RecordPlace, TimeRange};

/// An override lasts for a week at most: what is meant for longer is a policy.
const OVERRIDE_MS_MAX: u64 = 604_800_000;
/// Versions or decisions in one answer.
const LIMIT_MAX: u32 = 1_000;
/// The same where nothing is said.
const LIMIT_DEFAULT: u32 = 100;

pub(super) async fn get_scaling(resources: &Resources, _: v1::GetScalingRequest) -> Result<v1::Scaling, Error> {
    let view = resources.manager.ask(|manager, now, _| manager.scaling.view(now)).await?;
    Ok(wire::to_scaling(view))
}

pub(super) async fn get_scaling_policy(
    resources: &Resources,
    _: v1::GetScalingPolicyRequest,
) -> Result<v1::ScalingPolicy, Error> {
    let view = resources.manager.ask(|manager, now, _| manager.scaling.view(now)).await?;
    Ok(wire::to_policy(view.policy, view.policy_stored, Some(&view.effect)))
}

pub(super) async fn put_scaling_policy(
    resources: &Resources,
    request: v1::PutScalingPolicyRequest,
) -> Result<v1::PutScalingPolicyResponse, Error> {
    let policy = wire::policy(request.policy.unwrap_or_default()).map_err(|violation| violation.within("policy"))?;
    let advice = validate(&policy);
    check(&advice)?;
    let reason = cut_note(request.reason);
    let (policy, now) = resources
        .manager
        .ask(move |manager, now, out| (manager.scaling.put_policy(now, policy, reason, out), now))
        .await?;
    let policy = Some(wire::to_policy(policy, Some(now), None));
    Ok(v1::PutScalingPolicyResponse { policy, advice: advice.into_iter().map(wire::to_advice).collect() })
}

/// A policy with errors is refused with all of them.
fn check(advice: &[Advice]) -> Result<(), Error> {
    let errors = advice.iter().filter(|advice| advice.error);
    let violations: Vec<Violation> =
        errors.map(|it| Violation::new(format!("policy.{}", it.field), it.advice.clone())).collect();
    let Some(first) = violations.first() else { return Ok(()) };
    let message = match violations.len() {
        1 => first.to_string(),
        more => format!("{first}; and {} more", more - 1),
    };
    Err(Error { violations, ..Error::new(Code::InvalidArgument, message) })
}

pub(super) async fn validate_scaling_policy(
    _: &Resources,
    request: v1::ValidateScalingPolicyRequest,
) -> Result<v1::ValidateScalingPolicyResponse, Error> {
    let advice = match wire::policy(request.policy.unwrap_or_default()) {
        Ok(policy) => validate(&policy).into_iter().map(wire::to_advice).collect(),
        // What cannot be read is what is wrong with it: that is the answer here, and no failure.
        Err(Violation { field, description }) => vec![v1::PolicyAdvice { field, advice: description, error: true }],
    };
    Ok(v1::ValidateScalingPolicyResponse { valid: !advice.iter().any(|advice| advice.error), advice })
}

pub(super) async fn list_scaling_templates(
    _: &Resources,
    _: v1::ListScalingTemplatesRequest,
) -> Result<v1::ListScalingTemplatesResponse, Error> {
    Ok(v1::ListScalingTemplatesResponse { templates: TEMPLATES.iter().map(wire::to_template).collect() })
}

pub(super) async fn list_scaling_policy_versions(
    resources: &Resources,
    request: v1::ListScalingPolicyVersionsRequest,
) -> Result<v1::ListScalingPolicyVersionsResponse, Error> {
    let limit = limit("limit", request.limit)?;
    let query = DeclarationQuery {
        kind: DeclarationKind::ScalingPolicy,
        name: Some(String::new()),
        history: true,
        limit: limit as usize,
    };
    let page = RecordPage { older_than: None, size: LIMIT_MAX };
    let (declared, decisions) = resources
        .gateway
        .reads
        .ask(move |store| Ok((store.declarations(&query)?, store.scaling_events(TimeRange::ALL, page)?)))
        .await?;
    let mut effects = effects(decisions.records.iter().filter_map(|record| Decision::read(record).ok()));
    // Of the one in force the manager knows more; without it the store's is what there is.
    if let Ok((version, effect)) = resources
        .manager
        .ask(|manager, now, _| {
            let view = manager.scaling.view(now);
            (view.policy.version, view.effect)
        })
        .await
    {
        effects.insert(version, effect);
    }
    let versions = declared.into_iter().filter_map(|declaration| {
        let policy: Policy = serde_json::from_str(declaration.body.as_deref()?).ok()?;
        let policy = Policy { version: declaration.version, ..policy };
        let effect = effects.get(&declaration.version);
        let policy = Some(wire::to_policy(policy, Some(declaration.at), effect));
        Some(v1::ScalingPolicyVersion { policy, reason: declaration.reason })
    });
    Ok(v1::ListScalingPolicyVersionsResponse { versions: versions.collect() })
}

/// How each version had done by its last decision; decisions come newest first.
fn effects(decisions: impl Iterator<Item = Decision>) -> BTreeMap<u64, Effect> {
    let mut effects = BTreeMap::new();
    for decision in decisions {
        effects.entry(decision.policy_version).or_insert(decision.effect);
    }
    effects
}

pub(super) async fn list_scaling_events(
    resources: &Resources,
    request: v1::ListScalingEventsRequest,
) -> Result<v1::ListScalingEventsResponse, Error> {
    let from = timestamp("from_unix_ms", request.from_unix_ms)?.unwrap_or(Timestamp::ZERO);
    let before = timestamp("to_unix_ms", request.to_unix_ms)?.unwrap_or(Timestamp::MAX);
    if from >= before {
        return Err(Violation::new("from_unix_ms", "must be before `to_unix_ms`").into());
    }
    let size = limit("page_size", request.page_size)?;
    let older_than: Option<RecordPlace> =
        if request.page_token.is_empty() { None } else { Some(request.page_token.parse::<RecordPlace>()?) };
    let page = RecordPage { older_than, size };
    let range = TimeRange { from, before };
    let found = resources.gateway.reads.ask(move |store| store.scaling_events(range, page)).await?;
    let mut events = Vec::with_capacity(found.records.len());
    for record in &found.records {
        match Decision::read(record) {
            Ok(decision) => events.push(wire::to_event(decision)),
            Err(error) => tracing::warn!(id = record.id, %error, "a stored scaling decision cannot be read"),
        }
    }
    let next_page_token = found.next.map(|place| place.to_string()).unwrap_or_default();
    Ok(v1::ListScalingEventsResponse { events, next_page_token })
}

fn limit(field: &str, said: u32) -> Result<u32, Violation> {
    match said {
        0 => Ok(LIMIT_DEFAULT),
        1..=LIMIT_MAX => Ok(said),
        _ => Err(Violation::new(field, format!("must be 1 to {LIMIT_MAX}, or 0 for {LIMIT_DEFAULT}"))),
    }
}

pub(super) async fn set_scaling_override(
    resources: &Resources,
    request: v1::SetScalingOverrideRequest,
) -> Result<v1::Scaling, Error> {
    let v1::SetScalingOverrideRequest { agents, duration_ms, reason } = request;
    if agents > AGENTS_MAX {
        return Err(Violation::new("agents", format!("must be at most {AGENTS_MAX}")).into());
    }
    if !(1..=OVERRIDE_MS_MAX).contains(&duration_ms) {
        let words = format!("must be 1 to {OVERRIDE_MS_MAX} ms, a week; what is meant for longer is a policy");
        return Err(Violation::new("duration_ms", words).into());
    }
    if reason.trim().is_empty() {
        return Err(Violation::new("reason", "must say why: others will find a fleet that follows no load").into());
    }
    let reason = cut_note(reason);
    let view = resources
        .manager
        .ask(move |manager, now, out| {
            let until = now.plus(Duration::from_millis(duration_ms));
            let fixed = Override { agents, until, reason: reason.clone(), set: now };
            manager.scaling.put_override(now, Some(fixed), reason, out);
            manager.scaling.view(now)
        })
        .await?;
    Ok(wire::to_scaling(view))
}

pub(super) async fn clear_scaling_override(
    resources: &Resources,
    request: v1::ClearScalingOverrideRequest,
) -> Result<v1::Scaling, Error> {
    let reason = cut_note(request.reason);
    let view = resources
        .manager
        .ask(move |manager, now, out| {
            // Where none is in force there is nothing to take back, nor to record.
            if manager.scaling.view(now).override_.is_some() {
                manager.scaling.put_override(now, None, reason, out);
            }
            manager.scaling.view(now)
        })
        .await?;
    Ok(wire::to_scaling(view))
}

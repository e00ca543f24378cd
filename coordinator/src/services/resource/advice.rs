//! What to change.
//!
//! Applying a recommendation keeps what was in force before, then changes it. What the manager itself holds is changed with the
//! same commit that says so. What others hold is changed after it: a process that ends between the two leaves a recommendation that
//! says it was applied, whose undoing is refused or harmless; the other order would leave a change that nobody can undo.

use std::sync::Arc;

use evenkeel_core::{
    admission::Limit,
    advice::{
        Action, AdviceKind, AdviceState, Recommendation, Undo, because, drainable, limit_after, limit_undone,
        resumable, size_after, size_undone, strategy_undone,
    },
    engine::{AdminCommand, ControlCommand},
    model::{AgentView, DeclarationKind},
};
use evenkeel_proto::v1;
use evenkeel_shared::{AgentId, Code, Error, Kind, StrategyConfig, Violation, wire::cut_note};

use super::{super::page_size, Resources, sizes};
use crate::store::DeclarationQuery;

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// Characters of an id: the longest that there can be names a kind.
const ID_MAX: usize = 256;

pub(super) async fn list_recommendations(
    resources: &Resources,
    request: v1::ListRecommendationsRequest,
) -> Result<v1::ListRecommendationsResponse, Error> {
    let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)? as usize;
    let state = state(request.state)?;
    let kind = kind(request.kind)?;
    let token = request.page_token;
    let listed = resources.manager.ask(move |manager, _, _| {
        let wanted = |advice: &&Recommendation| {
            state.is_none_or(|state| advice.state == state) && kind.is_none_or(|kind| advice.kind == kind)
        };
        let all: Vec<&Recommendation> = manager.advisor.list().into_iter().filter(wanted).collect();
        let first = match all.iter().position(|advice| advice.id == token) {
            Some(last) => last + 1,
            None if token.is_empty() => 0,
            None => {
                let words = "names a recommendation that is no longer in this list: begin again without it";
                return Err(Error::from(Violation::new("page_token", words)));
            }
        };
        let page: Vec<Recommendation> = all[first..].iter().take(size).map(|advice| (*advice).clone()).collect();
        let more = first + page.len() < all.len();
        let next = page.last().filter(|_| more).map(|advice| advice.id.clone());
        Ok((page, next))
    });
    let (page, next) = listed.await??;
    Ok(v1::ListRecommendationsResponse {
        recommendations: page.into_iter().map(recommendation).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

pub(super) async fn apply_recommendation(
    resources: &Resources,
    request: v1::RecommendationRequest,
) -> Result<v1::Recommendation, Error> {
    let (id, reason) = checked(request)?;
    let asked = id.clone();
    let action = resources.manager.ask(move |manager, _, _| manager.advisor.action(&asked).cloned()).await??;
    let undo = match &action {
        Action::PolicyPut(_) | Action::PolicyBounds { .. } | Action::PolicyPredictive => {
            let applied = resources.manager.ask(move |manager, now, out| manager.apply_policy(now, &id, &reason, out));
            return applied.await?.map(recommendation);
        }
        Action::Strategy(_) => Undo::Strategy(resources.strategy.lock().await.clone()),
        Action::LimitConcurrency { name, .. } => {
            let limit = limit(resources, name).await?.ok_or_else(|| Error::not_found("limit", name))?;
            Undo::Limit(Box::new(limit))
        }
        Action::Drain(agents) => Undo::Resume(drainable(&id, agents, &fleet(resources).await?)?),
        Action::Size { kind, resource, .. } => {
            Undo::Size(sizes::size(resources, kind).await?.and_then(|size| size.get(*resource)))
        }
        // Refused above.
        Action::Tell(_) => return Err(Error::new(Code::Internal, "it cannot be applied")),
    };
    let (marked, before, why) = (id.clone(), undo.clone(), reason.clone());
    let applied =
        resources.manager.ask(move |manager, now, out| manager.advisor.applied(&marked, now, before, &why, out));
    let applied = applied.await??;
    let words = cut_note(because("applied", &id, &reason));
    let done = match (&action, undo) {
        (Action::Strategy(strategy), _) => set_strategy(resources, strategy.clone()).await,
        (_, Undo::Limit(before)) => match limit_after(&action, &before) {
            Some(limit) => resources.gateway.control(ControlCommand::PutLimit(limit), words).await,
            None => Ok(()),
        },
        (_, Undo::Resume(agents)) => admin(resources, &agents, AdminCommand::Drain(None), words).await,
        (Action::Size { kind, .. }, _) => apply_size(resources, &action, kind, words).await,
        _ => Ok(()),
    };
    if let Err(error) = done {
        let words = format!("could not be applied: {error}");
        resources.manager.ask(move |manager, now, out| manager.advisor.reopened(&id, now, &words, out)).await??;
        return Err(error);
    }
    Ok(recommendation(applied))
}

pub(super) async fn undo_recommendation(
    resources: &Resources,
    request: v1::RecommendationRequest,
) -> Result<v1::Recommendation, Error> {
    let (id, reason) = checked(request)?;
    let asked = id.clone();
    let applied = resources.manager.ask(move |manager, _, _| {
        let undo = manager.advisor.undo(&asked)?.clone();
        Ok::<_, Error>((manager.advisor.get(&asked)?.action.clone(), undo))
    });
    let (action, undo) = applied.await??;
    let words = cut_note(because("undid", &id, &reason));
    match undo {
        Undo::Policy(_) | Undo::NoPolicy => {
            let undone = resources.manager.ask(move |manager, now, out| manager.undo_policy(now, &id, &reason, out));
            return undone.await?.map(recommendation);
        }
        Undo::Strategy(before) => {
            let mut current = resources.strategy.lock().await;
            // What is undone twice is as it was: the first time may have been cut short.
            if *current != before {
                strategy_undone(&id, &action, &current)?;
                resources.gateway.set_strategy(before.clone()).await?;
                *current = before;
            }
        }
        Undo::Limit(before) => {
            let now = limit(resources, &before.name).await?;
            if now.as_ref() != Some(&*before) {
                limit_undone(&id, &action, &before, now.as_ref())?;
                resources.gateway.control(ControlCommand::PutLimit(*before), words).await?;
            }
        }
        Undo::Size(before) => {
            let Action::Size { kind, .. } = &action else {
                return Err(Error::new(Code::Internal, "what was applied is no request size"));
            };
            let now = sizes::size(resources, kind).await?;
            if let Some(size) = size_undone(&id, &action, before, now.as_ref())? {
                sizes::declare(resources, size, words).await?;
            }
        }
        Undo::Resume(agents) => {
            let agents = resumable(&agents, &fleet(resources).await?);
            admin(resources, &agents, AdminCommand::Resume, words).await?;
        }
    }
    // What is undone twice is as it was; so the order is the other way round here.
    let undone = resources.manager.ask(move |manager, now, out| manager.advisor.reopened(&id, now, &reason, out));
    undone.await?.map(recommendation)
}

pub(super) async fn dismiss_recommendation(
    resources: &Resources,
    request: v1::RecommendationRequest,
) -> Result<v1::Recommendation, Error> {
    let (id, reason) = checked(request)?;
    let done = resources.manager.ask(move |manager, now, out| manager.advisor.dismissed(&id, now, &reason, out));
    done.await?.map(recommendation)
}

/// The limit as it is declared.
async fn limit(resources: &Resources, name: &str) -> Result<Option<Limit>, Error> {
    let query =
        DeclarationQuery { kind: DeclarationKind::Limit, name: Some(name.to_owned()), history: false, limit: 1 };
    let found = resources.gateway.reads.ask(move |store| store.declarations(&query)).await?;
    let body = found.into_iter().next().and_then(|declaration| declaration.body);
    Ok(body.and_then(|body| serde_json::from_str(&body).ok()))
}

/// The agents with every change that was answered so far, which what is published may lag behind.
async fn fleet(resources: &Resources) -> Result<Vec<Arc<AgentView>>, Error> {
    resources.gateway.look_at(|engine, now| engine.fleet(now)).await
}

/// Puts what the action says of a resource into the size of the kind; what that says of the other stays.
async fn apply_size(resources: &Resources, action: &Action, kind: &Kind, words: String) -> Result<(), Error> {
    let now = sizes::size(resources, kind).await?;
    match size_after(action, now.as_ref()) {
        Some(size) => sizes::declare(resources, size, words).await,
        None => Ok(()),
    }
}

async fn set_strategy(resources: &Resources, strategy: StrategyConfig) -> Result<(), Error> {
    let mut current = resources.strategy.lock().await;
    resources.gateway.set_strategy(strategy.clone()).await?;
    *current = strategy;
    Ok(())
}

/// Tells each agent. One that has gone in the meantime needs to be told nothing.
async fn admin(resources: &Resources, agents: &[AgentId], command: AdminCommand, reason: String) -> Result<(), Error> {
    for agent in agents {
        match resources.gateway.admin(agent.clone(), command, reason.clone()).await {
            Err(error) if error.code != Code::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn checked(request: v1::RecommendationRequest) -> Result<(String, String), Error> {
    if request.id.is_empty() || request.id.len() > ID_MAX {
        return Err(Violation::new("id", format!("must have 1 to {ID_MAX} characters")).into());
    }
    Ok((request.id, cut_note(request.reason)))
}

fn state(wire: i32) -> Result<Option<AdviceState>, Error> {
    match v1::RecommendationState::try_from(wire) {
        Ok(v1::RecommendationState::Unspecified) => Ok(None),
        Ok(v1::RecommendationState::Open) => Ok(Some(AdviceState::Open)),
        Ok(v1::RecommendationState::Applied) => Ok(Some(AdviceState::Applied)),
        Ok(v1::RecommendationState::Dismissed) => Ok(Some(AdviceState::Dismissed)),
        Err(_) => Err(Violation::new("state", format!("{wire} is no state")).into()),
    }
}

fn kind(wire: i32) -> Result<Option<AdviceKind>, Error> {
    match v1::RecommendationKind::try_from(wire) {
        Ok(v1::RecommendationKind::Unspecified) => Ok(None),
        Ok(v1::RecommendationKind::RightSize) => Ok(Some(AdviceKind::RightSize)),
        Ok(v1::RecommendationKind::Schedule) => Ok(Some(AdviceKind::Schedule)),
        Ok(v1::RecommendationKind::Cost) => Ok(Some(AdviceKind::Cost)),
        Ok(v1::RecommendationKind::Performance) => Ok(Some(AdviceKind::Performance)),
        Err(_) => Err(Violation::new("kind", format!("{wire} is no kind of recommendation")).into()),
    }
}

fn recommendation(advice: Recommendation) -> v1::Recommendation {
    let kind = match advice.kind {
        AdviceKind::RightSize => v1::RecommendationKind::RightSize,
        AdviceKind::Schedule => v1::RecommendationKind::Schedule,
        AdviceKind::Cost => v1::RecommendationKind::Cost,
        AdviceKind::Performance => v1::RecommendationKind::Performance,
    };
    let state = match advice.state {
        AdviceState::Open => v1::RecommendationState::Open,
        AdviceState::Applied => v1::RecommendationState::Applied,
        AdviceState::Dismissed => v1::RecommendationState::Dismissed,
    };
    v1::Recommendation {
        kind: kind.into(),
        state: state.into(),
        action: advice.action.words(),
        applicable: advice.action.is_applicable(),
        id: advice.id,
        title: advice.title,
        evidence: advice.evidence,
        expected_effect: advice.expected_effect,
        confidence: advice.confidence,
        made_unix_ms: i64::try_from(advice.made_unix_ms).unwrap_or(i64::MAX),
        changed_unix_ms: i64::try_from(advice.changed_unix_ms).unwrap_or(i64::MAX),
    }
}

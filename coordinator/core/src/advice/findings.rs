//! What can be found in what is measured: agents that nobody needs, what held up, and rhythms.
//!
//! Nothing is found in less than [`MINUTES_MIN`] minutes of measurements. Thresholds are wide apart from those that the scaling policy
//! and bottlenecks go by, so that advice is about what these leave over.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{AgentId, Health, Timestamp};

use super::{Action, AdviceKind, Finding};
use crate::{
    capacity::{
        drain::{self, DrainCosts},
        policy::Policy,
        templates::TEMPLATES,
    },
    insight::{
        Insight,
        bottleneck::{Bottleneck, title},
        metric::{Metric, Subject},
        ring::{Point, thin},
        sample::LimitSample,
    },
    model::AgentView,
};

/// Minutes of measurements that a finding needs at least.
pub const MINUTES_MIN: usize = 30;
/// The time that findings look back.
const SPAN: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
/// A fleet whose busiest minutes but three are below this has room to spare.
const UTILISATION_LITTLE: f64 = 0.4;
/// What it should have been: the middle of the target of 70 to 80 %.
const UTILISATION_TARGET: f64 = 0.75;
/// Agents drained by one recommendation, at most.
const DRAINED_MAX: usize = 20;
/// What held up so often in an hour is worth a change,
const OFTEN: u32 = 3;
/// and so is what holds up for so long.
const LONG: Duration = Duration::from_secs(300);
/// A bound that is too tight gets so many times as much.
const WIDEN: f64 = 1.5;
/// A rhythm whose swing is less than this share of the level is none to plan for.
const SWING_MIN: f64 = 0.5;
/// Shorter rhythms are left to scaling as it happens.
const PERIOD_MIN: Duration = Duration::from_secs(1_800);
/// How far ahead rhythms are looked for: over a day back, and over three.
const RHYTHM_HORIZONS: [Duration; 2] = [Duration::from_secs(6 * 3_600), Duration::from_secs(18 * 3_600)];

/// What findings are made of.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What is measured.
    pub insight: &'a Insight,
    /// The scaling policy, if one is in force that decides.
    pub policy: Option<&'a Policy>,
    /// Something carries out what a policy decides: to put one is more than to be told.
    pub carried: bool,
    /// When.
    pub now: Timestamp,
}

/// All that is found in what is measured.
#[must_use]
pub fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(over_provisioned(seen));
    found.extend(idle_agents(seen));
    found.extend(seen.insight.bottlenecks(seen.now, true).iter().filter_map(|one| held_up(seen, one)));
    found.extend(rhythm(seen));
    found
}

/// Minutes of the last hour that are over.
fn minutes(seen: &Seen<'_>, subject: &Subject, metric: Metric) -> Vec<Point> {
    let (points, _) = seen.insight.book().points(subject, metric, seen.now.minus(SPAN), seen.now);
    thin(points.into_iter(), MINUTE)
}

/// The value that this share of them is not above; 0 of none.
pub(super) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied().unwrap_or(0.0)
}

fn over_provisioned(seen: &Seen<'_>) -> Option<Finding> {
    let used = minutes(seen, &Subject::Fleet, Metric::Utilisation);
    let queued = minutes(seen, &Subject::Fleet, Metric::Queued);
    let agents = seen.insight.book().last(&Subject::Fleet, Metric::Agents)?;
    if used.len() < MINUTES_MIN || queued.iter().any(|point| point.max > 0.0) {
        return None;
    }
    let peak = quantile(used.iter().map(|point| point.max).collect(), 0.95);
    let needed = (agents * peak / UTILISATION_TARGET).ceil().max(1.0);
    if peak > UTILISATION_LITTLE || needed >= agents {
        return None;
    }
    let (needed, agents) = (needed as u32, agents as u32);
    let spare = agents - needed;
    let action = match seen.policy {
        Some(policy) if policy.agents_min > needed => {
            Action::PolicyBounds { agents_min: Some(needed), agents_max: None }
        }
        // The policy sees it as well, and takes the time that it was given.
        Some(_) => return None,
        None if seen.carried => put_policy(1, agents, false),
        None => drain_spare(seen, needed)
            .unwrap_or_else(|| Action::Tell(format!("stop {spare} agents, or put a scaling policy in force"))),
    };
    let would = 100.0 * peak * f64::from(agents) / f64::from(needed);
    Some(Finding {
        id: "cost:over-provisioned".to_owned(),
        kind: AdviceKind::Cost,
        title: format!("{spare} of {agents} agents are not needed"),
        evidence: vec![
            format!(
                "95 % of the last {} minutes used at most {:.0} % of the slots at their peak",
                used.len(),
                100.0 * peak
            ),
            "no task had to wait in that time".to_owned(),
        ],
        expected_effect: format!("{spare} agents fewer to pay for; the peak would have used {would:.0} % of the slots"),
        confidence: sureness(used.len(), 60),
        action,
    })
}

/// A policy to begin with, with these bounds.
fn put_policy(agents_min: u32, agents_max: u32, predictive: bool) -> Action {
    let policy = TEMPLATES[0].policy();
    let predictive = predictive || policy.predictive;
    Action::PolicyPut(Box::new(Policy { agents_min, agents_max: agents_max.max(1), predictive, ..policy }))
}

/// Drains those that are cheapest to lose, until so many are left that can be given work. `None`: nobody may go.
fn drain_spare(seen: &Seen<'_>, needed: u32) -> Option<Action> {
    let sample = seen.insight.last()?;
    let usable = sample.agents.iter().filter(|agent| drain::is_usable(agent)).count();
    let spare = usable.saturating_sub(needed as usize).min(DRAINED_MAX);
    let costs = DrainCosts::of_strategy(sample.status.strategy == "consistent_hash");
    let price = |agent: &AgentView| sample.more.prices.agent(&agent.spec.labels).units();
    let chosen = drain::choose(seen.now, &sample.agents, spare, &costs, price, drain::is_usable);
    let agents: Vec<AgentId> = chosen.into_iter().map(|chosen| chosen.agent).collect();
    (!agents.is_empty()).then_some(Action::Drain(agents))
}

/// More with more data: 0.5 at the least that there must be, towards 0.9.
pub(super) fn sureness(count: usize, usual: usize) -> f64 {
    (0.5 + 0.4 * (count as f64 / usual as f64).min(1.0)).min(0.9)
}

fn idle_agents(seen: &Seen<'_>) -> Option<Finding> {
    if seen.policy.is_some() {
        return None;
    }
    let sample = seen.insight.last()?;
    let here = |agent: &&std::sync::Arc<AgentView>| agent.health != Health::Lost;
    let idle = |agent: &AgentView| {
        let points = minutes(seen, &Subject::Agent(agent.spec.id.clone()), Metric::Utilisation);
        seen.now.since(agent.connected_at) >= SPAN
            && agent.admin == evenkeel_shared::AdminState::Active
            && points.len() >= MINUTES_MIN
            && points.iter().all(|point| point.max == 0.0)
    };
    let (idle, busy): (Vec<_>, Vec<_>) = sample.agents.iter().filter(here).partition(|agent| idle(agent));
    let mut takers: BTreeMap<&str, u32> = BTreeMap::new();
    for agent in &busy {
        agent.spec.kinds.iter().for_each(|kind| *takers.entry(kind.as_str()).or_default() += 1);
    }
    // An agent that alone takes some kind is there for it, however seldom it comes.
    let spared = |agent: &AgentView| agent.spec.kinds.iter().all(|kind| takers.contains_key(kind.as_str()));
    let agents: Vec<AgentId> =
        idle.iter().filter(|agent| spared(agent)).take(DRAINED_MAX).map(|agent| agent.spec.id.clone()).collect();
    if agents.is_empty() {
        return None;
    }
    let names: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
    Some(Finding {
        id: "cost:idle-agents".to_owned(),
        kind: AdviceKind::Cost,
        title: format!("{} agents have had nothing to do for an hour", agents.len()),
        evidence: vec![
            format!("no slot in use in the last hour: {}", names.join(", ")),
            format!("all their kinds are taken by {} agents that work", busy.len()),
        ],
        expected_effect: format!("{} agents fewer to pay for; nothing that ran in this hour ran on them", agents.len()),
        confidence: 0.7,
        action: Action::Drain(agents),
    })
}

fn held_up(seen: &Seen<'_>, found: &Bottleneck) -> Option<Finding> {
    let lasted = if found.active { seen.now.since(found.since) } else { Duration::ZERO };
    if found.frequency < OFTEN && lasted < LONG {
        return None;
    }
    let agents = seen.insight.book().last(&Subject::Fleet, Metric::Agents).unwrap_or(0.0);
    let action = match (found.metric, &found.subject) {
        (Metric::Utilisation, Subject::Fleet) => match seen.policy {
            Some(policy) if agents >= f64::from(policy.agents_max) => {
                let agents_max = Some(widened(policy.agents_max));
                Action::PolicyBounds { agents_min: None, agents_max }
            }
            // It grows by itself.
            Some(_) => return None,
            None if seen.carried => put_policy(agents as u32, widened(agents as u32), false),
            None => Action::Tell(found.advice.clone()),
        },
        (Metric::Queued, Subject::Limit(name)) => match limit(seen, name) {
            Some(limit) if limit.concurrency_max > 0 => {
                Action::LimitConcurrency { name: name.clone(), concurrency_max: widened(limit.concurrency_max) }
            }
            _ => Action::Tell(found.advice.clone()),
        },
        _ => Action::Tell(found.advice.clone()),
    };
    let (metric, subject) = (found.metric, &found.subject);
    let mut evidence = vec![match found.frequency {
        1 => "began to hold up once in the last hour".to_owned(),
        times => format!("began to hold up {times} times in the last hour"),
    }];
    if found.active {
        let threshold = found.threshold;
        evidence.push(format!("it does now, for {} s: {:.3}, threshold {threshold}", lasted.as_secs(), found.value));
    }
    Some(Finding {
        id: format!("performance:{metric}:{subject}"),
        kind: AdviceKind::Performance,
        title: format!("{}, {}", title(metric, subject), if lasted >= LONG { "for long" } else { "again and again" }),
        evidence,
        expected_effect: "tasks that wait because of it would start sooner".to_owned(),
        confidence: (0.5 + 0.1 * f64::from(found.frequency) + lasted.as_secs_f64() / 6_000.0).min(0.9),
        action,
    })
}

fn widened(bound: u32) -> u32 {
    (f64::from(bound) * WIDEN).ceil() as u32
}

fn limit<'a>(seen: &Seen<'a>, name: &str) -> Option<&'a LimitSample> {
    seen.insight.last()?.more.limits.iter().find(|limit| limit.name == name)
}

fn rhythm(seen: &Seen<'_>) -> Option<Finding> {
    let trends = RHYTHM_HORIZONS.into_iter().rev().filter_map(|horizon| {
        let outlook = seen.insight.trend(&Subject::Fleet, Metric::RequestRate, horizon, seen.now).ok()?;
        Some(outlook.trend)
    });
    let (trend, season) = trends
        .filter_map(|trend| trend.season.clone().map(|season| (trend, season)))
        .find(|(trend, season)| season.period >= PERIOD_MIN && season.swing() >= SWING_MIN * trend.level.max(1e-9))?;
    let ahead = (1..=96_u32).map(|part| trend.forecast(season.period * part / 96));
    let peak = ahead.max_by(|a, b| a.value.total_cmp(&b.value))?;
    let minute_of_day = peak.at.unix_millis() / 60_000 % 1_440;
    let clock = format!("{:02}:{:02} UTC", minute_of_day / 60, minute_of_day % 60);
    let hours = season.period.as_secs_f64() / 3_600.0;
    let action = match seen.policy {
        Some(policy) if policy.predictive => return None,
        Some(_) => Action::PolicyPredictive,
        None if seen.carried => {
            let agents = seen.insight.book().last(&Subject::Fleet, Metric::Agents).unwrap_or(0.0) as u32;
            put_policy(1, widened(agents), true)
        }
        None => {
            Action::Tell(format!("start agents before {clock}, or put a scaling policy with `predictive` in force"))
        }
    };
    Some(Finding {
        id: "schedule:request-rate".to_owned(),
        kind: AdviceKind::Schedule,
        title: format!("work comes in a rhythm of {hours:.1} h"),
        evidence: vec![
            format!("a rhythm of {hours:.1} h explains {:.0} % of how requests vary", 100.0 * season.strength),
            format!(
                "from {:.1} below to above a level of {:.1} requests a second, over {} points",
                season.swing(),
                trend.level,
                trend.points
            ),
            format!("the next peak is expected at {clock}: {:.1} requests a second", peak.value),
        ],
        expected_effect: "agents are there when the peak comes, instead of after it".to_owned(),
        confidence: season.strength.min(0.9),
        action,
    })
}

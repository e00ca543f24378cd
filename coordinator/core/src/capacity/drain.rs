//! Which agents go when the fleet shrinks: those that are cheapest to drain.
//!
//! Whoever gets nothing new anyway goes first (unhealthy, then cordoned, then degraded agents), whatever it costs. Among
//! the others the price of letting an agent go is put into seconds of one agent's time, so that its parts can be added:
//!
//! - *remaining work*: what it runs and was given ahead, each at the mean run time of its kinds. A task that runs is taken
//!   to need a whole mean more: for run times that are spread widely that is closer than half of it.
//! - *affinity lost*: what is warm on it (sessions, caches, loaded models) and has to be made warm elsewhere. Nobody tells
//!   how much that is; but where tasks are routed by affinity keys, keys are spread by weight, and an agent warms up as time
//!   goes by: so it is its weight times how long it has been there, saturating after [`DrainCosts::warm_up_ms`]. With other
//!   strategies nothing is bound to an agent, and it is nothing.
//! - *price*: an agent that costs more per hour than the mean is cheaper to lose, by that share.
//! - *age*: among equals the youngest goes; it is the least settled, and the fleet keeps its stem.
//!
//! An agent that is the last usable one of a kind stays, and so does one with the label `scaling=keep`. Agents are always
//! drained: what runs comes to its end (or to the drain's deadline) before an agent is taken away.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc, time::Duration};

use evenkeel_shared::{AdminState, AgentId, Health, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::AgentView;

/// An agent with this label and [`KEEP_VALUE`] is never chosen.
const KEEP_LABEL: &str = "scaling";
/// See [`KEEP_LABEL`].
const KEEP_VALUE: &str = "keep";
/// Assumed for a task whose kind the agent has never completed.
const MEAN_UNKNOWN: Duration = Duration::from_secs(60);

/// What the parts of an agent's price are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrainCosts {
    /// An agent that is warm through and through is worth so many seconds of its time. 0: nothing is bound to agents.
    pub affinity_s: f64,
    /// It takes so long to become so.
    pub warm_up_ms: u64,
    /// An agent twice as expensive as the mean is worth so many seconds less.
    pub price_s: f64,
}

impl DrainCosts {
    /// For a strategy that routes by affinity keys, or another.
    #[must_use]
    pub const fn of_strategy(by_affinity: bool) -> Self {
        Self { affinity_s: if by_affinity { 60.0 } else { 0.0 }, warm_up_ms: 600_000, price_s: 30.0 }
    }
}

/// Why an agent was chosen before the healthy ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is drained already.
    Draining,
    /// It is unhealthy.
    Unhealthy,
    /// It is cordoned.
    Cordoned,
    /// It is degraded.
    Degraded,
    /// All is well with it.
    Well,
}

/// An agent that is to go, and what letting it go costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Which.
    pub agent: AgentId,
    /// How it stands.
    pub standing: Standing,
    /// Work that it still has, in seconds of a slot.
    pub remaining_s: f64,
    /// What is warm on it, in seconds.
    pub affinity_s: f64,
    /// How much cheaper its price makes it, in seconds.
    pub price_s: f64,
}

impl Chosen {
    /// What it costs to let it go.
    #[must_use]
    fn cost_s(&self) -> f64 {
        self.remaining_s + self.affinity_s - self.price_s
    }
}

/// Chooses `count` of those agents that `removable` allows, cheapest first; fewer if there are no more. `price` is per
/// hour. Agents without a session are not chosen: they are gone already. Where all usable agents go, no kind holds one back:
/// who lets the fleet shrink to nothing has said so.
#[must_use]
pub fn choose(
    now: Timestamp,
    agents: &[Arc<AgentView>],
    count: usize,
    costs: &DrainCosts,
    price: impl Fn(&AgentView) -> f64,
    removable: impl Fn(&AgentView) -> bool,
) -> Vec<Chosen> {
    let present = || agents.iter().filter(|agent| agent.health != Health::Lost);
    let prices: Vec<f64> = present().map(|agent| price(agent)).collect();
    let price_mean = prices.iter().sum::<f64>() / prices.len().max(1) as f64;
    let mut candidates: Vec<(Chosen, &AgentView)> = present()
        .zip(&prices)
        .filter(|(agent, _)| agent.spec.labels.get(KEEP_LABEL).map(String::as_str) != Some(KEEP_VALUE))
        .filter(|(agent, _)| removable(agent))
        .map(|(agent, &price)| (chosen(now, agent, price, price_mean, costs), agent.as_ref()))
        .collect();
    candidates.sort_by(cheaper);
    let mut left = usable_by_kind(agents);
    let all_go = count >= agents.iter().filter(|agent| is_usable(agent)).count();
    let mut goes = Vec::new();
    for (chosen, agent) in candidates {
        if goes.len() == count {
            break;
        }
        if all_go || !is_usable(agent) || spare(&left, agent) {
            if is_usable(agent) {
                agent.spec.kinds.iter().for_each(|kind| *left.entry(kind).or_default() -= 1);
            }
            goes.push(chosen);
        }
    }
    goes
}

/// Whether it is given work.
pub(crate) fn is_usable(agent: &AgentView) -> bool {
    agent.admin == AdminState::Active && matches!(agent.health, Health::Healthy | Health::Degraded)
}

/// Usable agents by kind.
fn usable_by_kind(agents: &[Arc<AgentView>]) -> BTreeMap<&Kind, usize> {
    let mut usable = BTreeMap::new();
    for agent in agents.iter().filter(|agent| is_usable(agent)) {
        agent.spec.kinds.iter().for_each(|kind| *usable.entry(kind).or_default() += 1);
    }
    usable
}

/// Whether each of its kinds has another agent.
fn spare(left: &BTreeMap<&Kind, usize>, agent: &AgentView) -> bool {
    agent.spec.kinds.iter().all(|kind| left.get(kind).is_some_and(|count| *count > 1))
}

fn chosen(now: Timestamp, agent: &AgentView, price: f64, price_mean: f64, costs: &DrainCosts) -> Chosen {
    let tasks = f64::from(agent.running_tasks.saturating_add(agent.prefetched_tasks));
    let age_s = now.since(agent.connected_at).as_secs_f64();
    let warm = 1.0 - (-age_s * 1_000.0 / costs.warm_up_ms.max(1) as f64).exp();
    Chosen {
        agent: agent.spec.id.clone(),
        standing: standing(agent),
        remaining_s: tasks * run_mean_s(agent),
        affinity_s: costs.affinity_s * f64::from(agent.spec.weight) / 100.0 * warm,
        price_s: if price_mean > 0.0 { costs.price_s * (price / price_mean - 1.0) } else { 0.0 },
    }
}

fn standing(agent: &AgentView) -> Standing {
    match (agent.admin, agent.health) {
        (AdminState::Draining, _) => Standing::Draining,
        (_, Health::Unhealthy | Health::Lost) => Standing::Unhealthy,
        (AdminState::Cordoned, _) => Standing::Cordoned,
        (_, Health::Degraded) => Standing::Degraded,
        (_, Health::Healthy) => Standing::Well,
    }
}

/// Mean run time on the agent, over the kinds that it has completed.
fn run_mean_s(agent: &AgentView) -> f64 {
    let (count, sum_s) = agent.kinds_seen.iter().fold((0.0, 0.0), |(count, sum_s), seen| {
        let completed = seen.completed as f64;
        (count + completed, sum_s + completed * seen.mean.as_secs_f64())
    });
    if count > 0.0 { sum_s / count } else { MEAN_UNKNOWN.as_secs_f64() }
}

fn cheaper(a: &(Chosen, &AgentView), b: &(Chosen, &AgentView)) -> Ordering {
    let ((a, a_view), (b, b_view)) = (a, b);
    let younger = || b_view.connected_at.cmp(&a_view.connected_at);
    (a.standing.cmp(&b.standing))
        .then(a.cost_s().total_cmp(&b.cost_s()))
        .then_with(younger)
        // By name at last, so that the same fleet gives the same choice; the last name first, as of numbered agents.
        .then_with(|| b.agent.cmp(&a.agent))
}

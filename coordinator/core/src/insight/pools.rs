//! Pools: agents that are looked at together, by a label or by the kinds that they take.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_shared::{Health, Kind};

use super::sample::GroupSample;
use crate::model::AgentView;

/// Pools looked at, at most: values of a label come from agents.
const POOLS_MAX: usize = 256;
/// The pool of agents that do not have the label.
const NO_LABEL: &str = "(none)";

/// By what agents are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolBy {
    /// By the value of this label.
    Label(String),
    /// By the kinds they take: an agent of several kinds is in several pools.
    Kind,
}

/// A pool at one moment. Agents without a session are not part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// The label's value, or the kind.
    pub name: String,
    /// Agents.
    pub agents: u32,
    /// Their slots.
    pub slots_total: u32,
    /// Slots in use.
    pub slots_used: u32,
    /// Mean share of processor in use, 0 to 1.
    pub cpu: f64,
    /// Mean share of memory in use, 0 to 1.
    pub memory: f64,
    /// Tasks that wait for it. Of a pool by label an estimate: tasks wait for a kind, and those of a kind are shared out by the
    /// slots of the agents that take it.
    pub queued: f64,
}

impl Pool {
    /// Share of slots in use, 0 to 1; 0 without slots.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        f64::from(self.slots_used) / f64::from(self.slots_total.max(1))
    }

    fn add(&mut self, agent: &AgentView) {
        self.agents += 1;
        self.slots_total += agent.spec.capacity.slots;
        self.slots_used += agent.reserved.slots;
        // Means, updated agent by agent.
        self.cpu += (agent.load.cpu_share - self.cpu) / f64::from(self.agents);
        self.memory += (agent.load.memory_share - self.memory) / f64::from(self.agents);
    }
}

/// The pools of a fleet, by name; at most [`POOLS_MAX`]. One walk over the fleet.
#[must_use]
pub fn pools(agents: &[Arc<AgentView>], kinds: &[GroupSample], by: &PoolBy) -> Vec<Pool> {
    let mut pools: BTreeMap<&str, Pool> = BTreeMap::new();
    let mut slots_of_kind: BTreeMap<&str, u64> = BTreeMap::new();
    let mut slots_in_pool: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    // Only kinds for which somebody waits have to be shared out.
    let waiting: BTreeMap<&str, u64> =
        kinds.iter().filter(|kind| kind.waiting > 0).map(|kind| (kind.name.as_str(), kind.waiting)).collect();
    for agent in agents.iter().filter(|agent| agent.health != Health::Lost) {
        match by {
            PoolBy::Kind => {
                for kind in &agent.spec.kinds {
                    if let Some(pool) = room(&mut pools, kind.as_str()) {
                        pool.add(agent);
                    }
                }
            }
            PoolBy::Label(key) => {
                let name = agent.spec.labels.get(key).map_or(NO_LABEL, |value| value.as_str());
                let Some(pool) = room(&mut pools, name) else { continue };
                pool.add(agent);
                let slots = u64::from(agent.spec.capacity.slots);
                for kind in agent.spec.kinds.iter().map(Kind::as_str).filter(|kind| waiting.contains_key(kind)) {
                    *slots_of_kind.entry(kind).or_default() += slots;
                    *slots_in_pool.entry((name, kind)).or_default() += slots;
                }
            }
        }
    }
    match by {
        PoolBy::Kind => {
            for (kind, waiting) in &waiting {
                if let Some(pool) = room(&mut pools, kind) {
                    pool.queued = *waiting as f64;
                }
            }
        }
        PoolBy::Label(_) => {
            for ((name, kind), slots) in slots_in_pool {
                let (Some(pool), Some(all)) = (pools.get_mut(name), slots_of_kind.get(kind)) else { continue };
                let waiting = waiting.get(kind).copied().unwrap_or(0);
                pool.queued += waiting as f64 * slots as f64 / (*all).max(1) as f64;
            }
        }
    }
    pools.into_iter().map(|(name, pool)| Pool { name: name.to_owned(), ..pool }).collect()
}

fn room<'p, 'n>(pools: &'p mut BTreeMap<&'n str, Pool>, name: &'n str) -> Option<&'p mut Pool> {
    if pools.len() >= POOLS_MAX && !pools.contains_key(name) {
        return None;
    }
    Some(pools.entry(name).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::fixture::{agent, group};

    #[test]
    fn agents_are_put_together_by_label_and_what_waits_is_shared_out_by_slots() {
        let fleet = [
            agent("a").label("pool", "cpu").kinds(&["echo"]).slots(6, 3).load(0.2, 0.1).view(),
            agent("b").label("pool", "cpu").kinds(&["echo"]).slots(2, 1).load(0.4, 0.3).view(),
            agent("c").label("pool", "gpu").kinds(&["echo", "train"]).slots(2, 2).load(1.0, 0.5).view(),
            agent("d").kinds(&["train"]).slots(1, 0).view(),
            agent("e").label("pool", "gpu").kinds(&["train"]).slots(9, 0).lost().view(),
        ];
        let kinds = [group("echo", 10), group("train", 3)];
        let found = pools(&fleet, &kinds, &PoolBy::Label("pool".to_owned()));
        let names: Vec<&str> = found.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(names, [NO_LABEL, "cpu", "gpu"]);
        let cpu = &found[1];
        assert_eq!((cpu.agents, cpu.slots_total, cpu.slots_used, cpu.utilisation()), (2, 8, 4, 0.5));
        assert!((cpu.cpu - 0.3).abs() < 1e-9 && (cpu.memory - 0.2).abs() < 1e-9);
        assert_eq!([found[0].queued, cpu.queued, found[2].queued], [1.0, 8.0, 4.0]);
    }

    #[test]
    fn a_kind_that_no_agent_takes_is_a_pool_without_agents() {
        let fleet = [agent("a").kinds(&["echo", "sum"]).slots(2, 1).view()];
        let found = pools(&fleet, &[group("echo", 4), group("rare", 7)], &PoolBy::Kind);
        let shown: Vec<(&str, u32, f64)> =
            found.iter().map(|pool| (pool.name.as_str(), pool.agents, pool.queued)).collect();
        assert_eq!(shown, [("echo", 1, 4.0), ("rare", 0, 7.0), ("sum", 1, 0.0)]);
    }
}

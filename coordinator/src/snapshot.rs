//! What is shown of the fleet and of the engine: published values that readers take without asking the engine.
//!
//! Agents are published one by one, because most of a fleet does not change between two publications. The numbers of the
//! whole are one value, swapped at once.

use std::{
    collections::{BinaryHeap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use evenkeel_core::model::{AgentView, EngineStatus};
use evenkeel_shared::AgentId;

/// What changed since the last publication.
#[derive(Clone, Debug, Default)]
pub struct SnapshotUpdate {
    /// Agents that changed; `None`: forgotten.
    pub agents: Vec<(AgentId, Option<AgentView>)>,
    /// The whole in numbers.
    pub status: EngineStatus,
}

/// The published values. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(Arc<State>);

#[derive(Debug, Default)]
struct State {
    agents: DashMap<AgentId, Arc<AgentView>>,
    status: ArcSwap<EngineStatus>,
}

impl Snapshot {
    /// Publishes.
    pub fn apply(&self, update: SnapshotUpdate) {
        for (id, view) in update.agents {
            match view {
                Some(view) => self.0.agents.insert(id, Arc::new(view)),
                None => self.0.agents.remove(&id).map(|(_, view)| view),
            };
        }
        self.0.status.store(Arc::new(update.status));
    }

    /// One agent.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<Arc<AgentView>> {
        self.0.agents.get(id).map(|view| Arc::clone(&view))
    }

    /// The first `limit` agents after `after`, by id, that `wanted` accepts. A scan of the fleet with a heap of `limit`:
    /// people ask this, not the data path.
    #[must_use]
    pub fn agents(&self, after: &str, limit: usize, wanted: impl Fn(&AgentView) -> bool) -> Vec<Arc<AgentView>> {
        let mut first: BinaryHeap<AgentId> = BinaryHeap::with_capacity(limit + 1);
        for agent in &self.0.agents {
            if agent.key().as_str() > after && wanted(agent.value()) {
                first.push(agent.key().clone());
                if first.len() > limit {
                    first.pop();
                }
            }
        }
        first.into_sorted_vec().iter().filter_map(|id| self.agent(id)).collect()
    }

    /// All agents, by id: for those who look at the whole now and then.
    #[must_use]
    pub fn all_agents(&self) -> Vec<Arc<AgentView>> {
        let mut agents: Vec<_> = self.0.agents.iter().map(|agent| Arc::clone(agent.value())).collect();
        agents.sort_unstable_by(|one, other| one.spec.id.cmp(&other.spec.id));
        agents
    }

    /// The whole in numbers.
    #[must_use]
    pub fn status(&self) -> Arc<EngineStatus> {
        self.0.status.load_full()
    }
}

impl SnapshotUpdate {
    /// Adds a later update to one that could not be published yet. It never holds more than the fleet.
    pub fn merge(&mut self, later: Self) {
        let newer: HashSet<&AgentId> = later.agents.iter().map(|(id, _)| id).collect();
        self.agents.retain(|(id, _)| !newer.contains(id));
        self.agents.extend(later.agents);
        self.status = later.status;
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::{AdminState, AgentLoad, AgentSpec, Health, Resources, SessionEpoch, Timestamp};

    use super::*;

    fn view(name: &str, slots: u32) -> (AgentId, Option<AgentView>) {
        let id = AgentId::new(name).unwrap();
        let spec = AgentSpec::of(id.clone(), Resources::slots(slots));
        let view = AgentView {
            spec: Arc::new(spec),
            admin: AdminState::Active,
            health: Health::Healthy,
            conditions: Vec::new(),
            session: SessionEpoch(1),
            connected_at: Timestamp::ZERO,
            last_heard_at: Timestamp::ZERO,
            reserved: Resources::default(),
            slots_usable: slots,
            running_tasks: 0,
            prefetched_tasks: 0,
            load: AgentLoad::default(),
            succeeded: 0,
            failed: 0,
            kinds_seen: Vec::new(),
        };
        (id, Some(view))
    }

    fn names(agents: &[Arc<AgentView>]) -> Vec<&str> {
        agents.iter().map(|agent| agent.spec.id.as_str()).collect()
    }

    #[test]
    fn agents_are_listed_by_id_in_pages() {
        let snapshot = Snapshot::default();
        let agents = ["d", "a", "c", "b"].map(|name| view(name, 1)).to_vec();
        snapshot.apply(SnapshotUpdate { agents, ..SnapshotUpdate::default() });
        assert_eq!(names(&snapshot.agents("", 3, |_| true)), ["a", "b", "c"]);
        assert_eq!(names(&snapshot.agents("c", 3, |_| true)), ["d"]);
        assert_eq!(names(&snapshot.agents("", 9, |agent| agent.spec.id.as_str() > "b")), ["c", "d"]);
    }

    #[test]
    fn a_merged_update_is_as_good_as_both() {
        let snapshot = Snapshot::default();
        let mut update = SnapshotUpdate { agents: vec![view("a", 1), view("b", 1)], ..SnapshotUpdate::default() };
        let gone = (AgentId::new("b").unwrap(), None);
        update.merge(SnapshotUpdate { agents: vec![view("a", 2), gone], ..SnapshotUpdate::default() });
        snapshot.apply(update);
        let all = snapshot.agents("", 9, |_| true);
        assert_eq!(names(&all), ["a"]);
        assert_eq!(all[0].spec.capacity.slots, 2);
    }
}

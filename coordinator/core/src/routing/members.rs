//! The members of a small set of agents, in one piece, with the hashes of their ids.
//!
//! A set of agents in a large fleet has each member's hash on another line of memory. Who looks at all members for each
//! task keeps this beside the set: a hundred hashes side by side are read in less time than two that are far apart.

use crate::ix::AgentIx;

/// See the module.
#[derive(Debug)]
pub(crate) struct Members {
    id_hashes: Vec<u64>,
    /// In the order of the hashes, which is none.
    agents: Vec<AgentIx>,
    len_max: usize,
}

impl Members {
    /// These members, to be kept up until there are more than `len_max`.
    pub(super) fn new(members: impl Iterator<Item = (u64, AgentIx)>, len_max: u32) -> Self {
        let (id_hashes, agents) = members.unzip();
        Self { id_hashes, agents, len_max: len_max as usize }
    }

    /// All members with the hashes of their ids, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, AgentIx)> + '_ {
        self.id_hashes.iter().copied().zip(self.agents.iter().copied())
    }

    /// Whether there are so many that it is not worth while to keep them up.
    pub(super) const fn too_many(&self) -> bool {
        self.agents.len() > self.len_max
    }

    /// An agent that is no member becomes one.
    pub(super) fn insert(&mut self, id_hash: u64, agent: AgentIx) {
        self.id_hashes.push(id_hash);
        self.agents.push(agent);
    }

    /// An agent is no member any more.
    pub(super) fn remove(&mut self, agent: AgentIx) {
        if let Some(at) = self.agents.iter().position(|&member| member == agent) {
            self.id_hashes.swap_remove(at);
            self.agents.swap_remove(at);
        }
    }
}

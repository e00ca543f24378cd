//! What the router is told, what it remembers of each agent, and what it answers.

use evenkeel_shared::{Priority, Resources};

use crate::ix::AgentIx;

/// The moving parts of an agent, as the engine knows them.
#[derive(Clone, Copy, Debug)]
pub struct AgentState<'a> {
    /// It may be given new tasks.
    pub schedulable: bool,
    /// It is strained: it comes after all the others.
    pub degraded: bool,
    /// What is free for use now.
    pub free: &'a Resources,
    /// Slots that may be taken ahead of their becoming free.
    pub prefetch_free_slots: u32,
    /// Slots that may be used; fewer than its capacity while it ramps up.
    pub slots_usable: u32,
    /// Slots that are reserved or taken ahead.
    pub slots_in_use: u32,
    /// Share of the processor that is free, 0 to 1, less sure the older the measurement.
    pub cpu_free: f32,
    /// Share of the memory that is free, likewise.
    pub memory_free: f32,
}

/// What a decision depends on beside the class of the task.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskFacts {
    /// How urgent it is.
    pub priority: Priority,
    /// Hash of its affinity key, if it has one.
    pub affinity: Option<u64>,
}

/// Which room a task is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It fits into what is free.
    Now,
    /// It may wait at the agent: its slots fit into what may be taken ahead, the rest into the capacity.
    Ahead,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pick {
    /// The agent.
    pub agent: AgentIx,
    /// The strategy's score of it; higher is better, comparable within one strategy only.
    pub score: f64,
    /// Agents with room for what the task sets aside, whatever their kinds and labels, this one included.
    pub agents_with_room: u32,
    /// Preferred rules given up.
    pub preferences_given_up: u8,
}

/// What the router remembers of an agent for its decisions. One cache line, because an update or a pick touches a random
/// agent, and in a large fleet each line costs a trip to memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(crate) struct Facts {
    /// Hash of its id.
    pub id_hash: u64,
    pub free_cpu_millis: u64,
    pub free_memory_bytes: u64,
    pub free_slots: u32,
    pub prefetch_free_slots: u32,
    pub slots_usable: u32,
    pub slots_in_use: u32,
    pub cpu_free: f32,
    pub memory_free: f32,
    pub weight: u16,
    pub tier: u8,
    /// There is such an agent.
    pub present: bool,
    pub schedulable: bool,
    pub degraded: bool,
    /// It has named resources free, which are kept elsewhere.
    pub has_custom: bool,
}

impl Facts {
    /// These facts with new moving parts.
    pub(super) fn with(&self, state: &AgentState<'_>) -> Self {
        Self {
            free_cpu_millis: state.free.cpu_millis,
            free_memory_bytes: state.free.memory_bytes,
            free_slots: state.free.slots,
            prefetch_free_slots: state.prefetch_free_slots,
            slots_usable: state.slots_usable,
            slots_in_use: state.slots_in_use,
            cpu_free: share(state.cpu_free),
            memory_free: share(state.memory_free),
            schedulable: state.schedulable,
            degraded: state.degraded,
            has_custom: !state.free.custom.is_empty(),
            ..*self
        }
    }

    /// Share of its usable slots that is in use; above 1 where tasks are taken ahead. Full if none is usable.
    pub(crate) fn load(&self) -> f64 {
        if self.slots_usable == 0 { 1.0 } else { f64::from(self.slots_in_use) / f64::from(self.slots_usable) }
    }
}

/// A share, 0 to 1; what is not a number counts as nothing.
fn share(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) }
}

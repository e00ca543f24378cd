//! Why an agent may not take a task.

use evenkeel_shared::{Kind, LabelRule, units::ResourceName};

/// Why an agent may not take a task, in the order in which it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The agent does not run such tasks.
    #[error("does not take tasks of kind `{kind}`")]
    KindNotTaken {
        /// The task's kind.
        kind: Kind,
    },
    /// A required rule does not hold for the agent's labels.
    #[error("its labels do not satisfy `{rule}`")]
    LabelRule {
        /// The first such rule.
        rule: LabelRule,
    },
    /// It could not take the task even when idle.
    #[error("has {has} {resource} in all, the task asks for {asked}")]
    CapacityTooSmall {
        /// What falls short.
        resource: ResourceName,
        /// What the task asks for.
        asked: u64,
        /// What the agent has in all.
        has: u64,
    },
    /// Cordoned, draining, unhealthy, held back by its circuit breaker, or gone.
    #[error("is not given new tasks now")]
    NotSchedulable,
    /// All its slots are taken, or too many of them.
    #[error("has {free} free slots, the task asks for {asked}")]
    NoFreeSlot {
        /// What the task asks for.
        asked: u32,
        /// Usable slots that are free.
        free: u32,
    },
    /// Slots are free, but something else is taken.
    #[error("has {free} {resource} free, the task asks for {asked}")]
    ResourceInUse {
        /// What falls short.
        resource: ResourceName,
        /// What the task asks for.
        asked: u64,
        /// What is free.
        free: u64,
    },
    /// What is left of its tier is kept for urgent tasks.
    #[error("the free slots of tier {tier} are held back for tasks of priority {urgent_priority} and above")]
    HeldBackForUrgent {
        /// The agent's tier.
        tier: u8,
        /// From this priority on a task may have them.
        urgent_priority: u8,
    },
    /// It holds as many tasks ahead as it may.
    #[error("may take {free} more slots ahead, the task asks for {asked}")]
    NoPrefetchRoom {
        /// What the task asks for.
        asked: u32,
        /// Slots that may still be taken ahead.
        free: u32,
    },
}

impl Refusal {
    /// Its name, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KindNotTaken { .. } => "kind_not_taken",
            Self::LabelRule { .. } => "label_rule",
            Self::CapacityTooSmall { .. } => "capacity_too_small",
            Self::NotSchedulable => "not_schedulable",
            Self::NoFreeSlot { .. } => "no_free_slot",
            Self::ResourceInUse { .. } => "resource_in_use",
            Self::HeldBackForUrgent { .. } => "held_back_for_urgent",
            Self::NoPrefetchRoom { .. } => "no_prefetch_room",
        }
    }
}

//! The best tier with room; the top slots of each tier are held back for urgent tasks.
//!
//! Agents have a tier, 0 is used first; within a tier the least loaded agent is taken. A share of each tier's slots is
//! held back, rounded down, so that a small tier holds back nothing: a task that is not urgent goes to the next tier, or
//! waits, once only those are left. Slots taken ahead count as taken, because they will be.

use evenkeel_shared::limits::TIER_MAX;

use super::{Facts, Field, Refusal, Strategy, TaskFacts};
use crate::ix::AgentIx;

const TIERS: usize = TIER_MAX as usize + 1;
const LEVELS_PER_TIER: u16 = 64;

/// The slots of a tier's schedulable agents.
#[derive(Clone, Copy, Debug, Default)]
struct Tier {
    slots: u64,
    in_use: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tiers {
    held_back_percent: u8,
    urgent_priority: u8,
    tiers: [Tier; TIERS],
    /// Less is held back from somebody than before.
    relented: bool,
}

/// An agent's tier; one beyond the last is the last.
fn tier_of(facts: &Facts) -> u8 {
    facts.tier.min(TIER_MAX)
}

impl Tiers {
    pub(super) fn new(held_back_percent: u8, urgent_priority: u8) -> Self {
        Self { held_back_percent, urgent_priority, tiers: [Tier::default(); TIERS], relented: false }
    }

    /// Slots of a tier that may be in use before the rest is held back.
    fn bound(&self, Tier { slots, .. }: Tier) -> u64 {
        slots - slots * u64::from(self.held_back_percent) / 100
    }

    /// Slots of an agent's tier that are open to all. Without bound where nothing is held back: agents may have taken more
    /// ahead than the tier has slots.
    fn open_slots(&self, facts: &Facts) -> u64 {
        let tier = self.tiers[usize::from(tier_of(facts))];
        let bound = self.bound(tier);
        if bound == tier.slots { u64::MAX } else { bound.saturating_sub(tier.in_use) }
    }

    /// Whether a tier has slots left for this task that are not held back from it.
    fn open(&self, tier: u8, task: &TaskFacts, need_slots: u32) -> bool {
        let tier = self.tiers[usize::from(tier)];
        let bound = self.bound(tier);
        bound == tier.slots
            || task.priority.level() >= self.urgent_priority
            || tier.in_use + u64::from(need_slots) <= bound
    }

    fn find(&self, field: &Field<'_>, task: &TaskFacts) -> Option<AgentIx> {
        let open = (0..=TIER_MAX)
            .filter(|&tier| self.tiers[usize::from(tier)].slots > 0 && self.open(tier, task, field.need_slots));
        open.map(|tier| u16::from(tier) * LEVELS_PER_TIER)
            .find_map(|first| field.best(first..first + LEVELS_PER_TIER, field.cursor))
    }
}

impl Strategy for Tiers {
    fn level(&self, facts: &Facts) -> u16 {
        let in_tier = (facts.load() * f64::from(LEVELS_PER_TIER - 1)) as u16;
        u16::from(tier_of(facts)) * LEVELS_PER_TIER + in_tier.min(LEVELS_PER_TIER - 1)
    }

    /// The tiers behind its own, plus the share of its slots that is free.
    fn score(&self, facts: &Facts, _id_hash: &u64, _task: &TaskFacts) -> f64 {
        f64::from(TIER_MAX - tier_of(facts)) + (1.0 - facts.load()).max(0.0)
    }

    fn pick(&mut self, field: &Field<'_>, task: &TaskFacts) -> Option<AgentIx> {
        self.find(field, task)
    }

    fn finds(&self, field: &Field<'_>, task: &TaskFacts) -> bool {
        self.find(field, task).is_some()
    }

    fn refuses(&self, facts: &Facts, task: &TaskFacts, need_slots: u32) -> Option<Refusal> {
        let tier = tier_of(facts);
        let refused = !self.open(tier, task, need_slots);
        refused.then_some(Refusal::HeldBackForUrgent { tier, urgent_priority: self.urgent_priority })
    }

    fn changed(&mut self, before: &Facts, after: &Facts) {
        let open = [self.open_slots(before), self.open_slots(after)];
        if before.schedulable() {
            let tier = &mut self.tiers[usize::from(tier_of(before))];
            tier.slots -= u64::from(before.slots_usable);
            tier.in_use -= u64::from(before.slots_in_use);
        }
        if after.schedulable() {
            let tier = &mut self.tiers[usize::from(tier_of(after))];
            tier.slots += u64::from(after.slots_usable);
            tier.in_use += u64::from(after.slots_in_use);
        }
        self.relented |= self.open_slots(before) > open[0] || self.open_slots(after) > open[1];
    }

    fn take_relented(&mut self) -> bool {
        std::mem::take(&mut self.relented)
    }
}

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
    /// Slots free for urgent tasks, where fewer are for the others: see [`Room::Urgent`]. 0: it makes no such difference.
    pub urgent_free_slots: u32,
    /// Slots that may be used; fewer than its capacity while it ramps up.
    pub slots_usable: u32,
    /// Slots that are reserved or taken ahead.
    pub slots_in_use: u32,
    /// Share of the processor that is free, 0 to 1, less sure the older the measurement.
    pub cpu_free: f32,
    /// Share of the memory that is free, likewise.
    pub memory_free: f32,
    /// By how many octaves its attempts take longer than those of an ordinary agent; below 0 where they take less.
    pub slower_octaves: f64,
}

/// What a decision depends on beside the class of the task.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskFacts {
    /// How urgent it is.
    pub priority: Priority,
    /// Hash of its affinity key, if it has one.
    pub affinity: Option<u64>,
}

/// The lowest priority that is let pass, by its number, where all above one that is are too. Most bounds let all or none.
pub(super) fn least_level(mut passes: impl FnMut(Priority) -> bool) -> Option<u8> {
    let mut level_passes = |level: u8| Priority::new(level).is_some_and(&mut passes);
    let most_urgent = Priority::MAX.level();
    if level_passes(0) {
        return Some(0);
    }
    if !level_passes(most_urgent) {
        return None;
    }
    let (mut refused, mut passes) = (0, most_urgent);
    while passes - refused > 1 {
        let middle = refused.midpoint(passes);
        if level_passes(middle) {
            passes = middle;
        } else {
            refused = middle;
        }
    }
    Some(passes)
}

/// Which room a task is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It fits into what is free.
    Now,
    /// It may wait at the agent: its slots fit into what may be taken ahead, the rest into the capacity.
    Ahead,
    /// It fits into what is free if the slots that were taken from an agent that has become slow count too. Whether a task may
    /// have those is for the caller to know.
    Urgent,
}

impl Room {
    /// What a task that is given this room has: its place, or a wait for it.
    #[must_use]
    pub const fn place(self) -> Self {
        match self {
            Self::Now | Self::Urgent => Self::Now,
            Self::Ahead => Self::Ahead,
        }
    }
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

/// What the router remembers of an agent for its decisions. Half a cache line, because an update or a pick touches a random
/// agent: at this size those of a large fleet stay in the last cache, beyond which each would be a trip to memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
pub(crate) struct Facts {
    pub free_memory_bytes: u64,
    /// Up to four million processors.
    pub free_cpu_millis: u32,
    /// By how much it takes longer than an ordinary agent, in steps of which [`SLOWER_STEPS`] are a factor of two.
    pub slower: i16,
    /// Slots here are counted up to 65,535, far above [`SLOTS_MAX`](evenkeel_shared::limits::SLOTS_MAX).
    pub free_slots: u16,
    pub prefetch_free_slots: u16,
    pub urgent_free_slots: u16,
    pub slots_usable: u16,
    pub slots_in_use: u16,
    pub(super) cpu_free: Share,
    pub(super) memory_free: Share,
    pub weight: u16,
    pub tier: u8,
    pub flags: Flags,
}

const _: () = assert!(size_of::<Facts>() == 32, "two agents to a cache line");

/// Steps of an agent's pace to an octave: as fine as the finest step of a load, see `least_loaded`.
pub(crate) const SLOWER_STEPS: u16 = 192;

/// Yes or no, each a bit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// There is such an agent.
    pub(super) const PRESENT: Self = Self(1);
    pub(super) const SCHEDULABLE: Self = Self(2);
    pub(super) const DEGRADED: Self = Self(4);
    /// It has named resources free, which are kept elsewhere.
    pub(super) const HAS_CUSTOM: Self = Self(8);

    pub(super) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// These and another one, if it holds.
    pub(super) const fn and(self, flag: Self, holds: bool) -> Self {
        Self(self.0 | if holds { flag.0 } else { 0 })
    }
}

/// A share, 0 to 1, in 65,535 parts: finer than any measurement of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share(u16);

impl Share {
    /// What is not a number counts as nothing.
    fn new(x: f32) -> Self {
        // The mantissa of 1 + x is the share in binary; cheaper than a conversion, and each update makes two.
        Self(((1.0 + x.max(0.0)).min(2.0 - f32::EPSILON).to_bits() >> (f32::MANTISSA_DIGITS - 1 - u16::BITS)) as u16)
    }

    fn get(self) -> f64 {
        f64::from(self.0) / f64::from(u16::MAX)
    }
}

impl Facts {
    /// These facts with new moving parts.
    pub(super) fn with(&self, state: &AgentState<'_>) -> Self {
        Self {
            free_memory_bytes: state.free.memory_bytes,
            free_cpu_millis: u32::try_from(state.free.cpu_millis).unwrap_or(u32::MAX),
            slower: (state.slower_octaves * f64::from(SLOWER_STEPS)) as i16,
            free_slots: slots(state.free.slots),
            prefetch_free_slots: slots(state.prefetch_free_slots),
            urgent_free_slots: slots(state.urgent_free_slots),
            slots_usable: slots(state.slots_usable),
            slots_in_use: slots(state.slots_in_use),
            cpu_free: Share::new(state.cpu_free),
            memory_free: Share::new(state.memory_free),
            flags: Flags::PRESENT
                .and(Flags::SCHEDULABLE, state.schedulable)
                .and(Flags::DEGRADED, state.degraded)
                .and(Flags::HAS_CUSTOM, !state.free.custom.is_empty()),
            ..*self
        }
    }

    /// There is such an agent.
    pub(crate) const fn present(&self) -> bool {
        self.flags.has(Flags::PRESENT)
    }

    pub(crate) const fn schedulable(&self) -> bool {
        self.flags.has(Flags::SCHEDULABLE)
    }

    pub(crate) const fn degraded(&self) -> bool {
        self.flags.has(Flags::DEGRADED)
    }

    /// It has named resources free, which are kept elsewhere.
    pub(crate) const fn has_custom(&self) -> bool {
        self.flags.has(Flags::HAS_CUSTOM)
    }

    /// Share of the processor that is free.
    pub(crate) fn cpu_free(&self) -> f64 {
        self.cpu_free.get()
    }

    /// Share of the memory that is free.
    pub(crate) fn memory_free(&self) -> f64 {
        self.memory_free.get()
    }

    /// Share of its usable slots that is in use; above 1 where tasks are taken ahead. Full if none is usable.
    pub(crate) fn load(&self) -> f64 {
        if self.slots_usable == 0 { 1.0 } else { f64::from(self.slots_in_use) / f64::from(self.slots_usable) }
    }
}

fn slots(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_to_a_fine_grain_and_what_is_none_is_brought_into_range() {
        let kept = |x: f32| Share::new(x).get();
        assert_eq!([0.0, -3.0, f32::NAN, f32::NEG_INFINITY].map(kept), [0.0; 4]);
        assert_eq!([1.0, 7.0, f32::INFINITY].map(kept), [1.0; 3]);
        for x in [0.000_1, 0.25, 0.3, 0.5, 0.999] {
            assert!((kept(x) - f64::from(x)).abs() < 1.0 / 30_000.0, "{x} became {}", kept(x));
        }
    }

    #[test]
    fn the_least_level_is_the_first_that_passes() {
        for first in 0..10 {
            assert_eq!(least_level(|priority| priority.level() >= first), Some(first));
        }
        assert_eq!(least_level(|_| false), None);
    }
}

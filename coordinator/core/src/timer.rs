//! A hierarchical timing wheel (Varghese and Lauck, 1987, scheme 7): any number of timers, each set and cancelled in
//! constant time.
//!
//! The tick is 1 ms. Ten levels of 64 slots cover every [`Timestamp`]: the level of a timer is the highest digit, base 64,
//! in which its tick differs from the wheel's; when the wheel reaches a slot of a higher level, the slot's timers move to
//! lower ones, so a timer moves nine times at most. A bitmap of the slots in use lets the wheel jump over empty time
//! instead of walking it. Slots are lists linked by index; a cancelled timer is unlinked and its value handed back at once.
//!
//! Rejected: a heap (cancelling leaves a tombstone until its time, and nearly all timers of tasks are cancelled) and a tree
//! ordered by time (a logarithm and an allocation for what is a constant here).

use evenkeel_shared::Timestamp;

/// Bits of a tick that choose the slot at one level.
const SLOT_BITS: u32 = 6;
/// Slots of one level: as many as the bitmap has bits.
const SLOTS: usize = 1 << SLOT_BITS;
/// Levels that cover the 54.1 bits of [`TICK_MAX`].
const LEVELS: usize = 10;
/// The tick of the last [`Timestamp`]; what would round up beyond it fires there.
const TICK_MAX: u64 = Timestamp::MAX.unix_millis();
/// The end of a list.
const NIL: usize = usize::MAX;

/// A timer that was set. It names nothing once the timer has fired or was cancelled, even if its place is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerKey {
    index: usize,
    generation: u64,
}

#[derive(Debug)]
struct Node<T> {
    /// Counts the timers that used this place before.
    generation: u64,
    tick: u64,
    level: usize,
    previous: usize,
    /// The next of the slot, or of the free places.
    next: usize,
    /// `None`: the place is free.
    value: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    first: usize,
    last: usize,
}

#[derive(Clone, Debug)]
struct Level {
    /// One bit a slot that is not empty.
    in_use: u64,
    slots: [Slot; SLOTS],
}

/// Timers, each with a value that is handed back when it fires.
#[derive(Debug)]
pub struct TimerWheel<T> {
    /// No timer is set for an earlier tick.
    tick: u64,
    levels: Vec<Level>,
    nodes: Vec<Node<T>>,
    /// The first free place.
    free: usize,
    len: usize,
}

impl<T> TimerWheel<T> {
    /// A wheel without timers.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let level = Level { in_use: 0, slots: [Slot { first: NIL, last: NIL }; SLOTS] };
        Self { tick: now.unix_millis(), levels: vec![level; LEVELS], nodes: Vec::new(), free: NIL, len: 0 }
    }

    /// Sets a timer: it fires with the first [`pop_due`](Self::pop_due) at or after `at`, rounded up to the millisecond. A
    /// time in the past fires with the next one.
    pub fn insert(&mut self, at: Timestamp, value: T) -> TimerKey {
        let tick = at.unix_micros().div_ceil(1_000).clamp(self.tick, TICK_MAX);
        let index = self.place(tick, value);
        self.link(index);
        self.len += 1;
        TimerKey { index, generation: self.nodes[index].generation }
    }

    /// Cancels a timer and gives its value; `None` if it has fired or was cancelled.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let node = self.nodes.get(key.index)?;
        if node.generation != key.generation || node.value.is_none() {
            return None;
        }
        self.unlink(key.index);
        self.release(key.index)
    }

    /// The value of the next timer that is due, if one is. They come in the order of their ticks; of one tick, in the order
    /// in which they were set.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        let target = now.unix_millis();
        while let Some((level, slot, start)) = self.next_slot().filter(|&(_, _, start)| start <= target) {
            self.tick = start;
            let first = self.levels[level].slots[slot].first;
            if level == 0 {
                self.unlink(first);
                return self.release(first);
            }
            self.cascade(level, slot);
        }
        // No slot in use begins by then, so none is skipped.
        self.tick = self.tick.max(target);
        None
    }

    /// When to call [`pop_due`](Self::pop_due) next: the time of the next timer if that is near, else a time before it at
    /// which the wheel sorts more finely. It is never too late, and after a call at that time it is later, or a timer fired.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_slot().map(|(_, _, start)| Timestamp::from_unix_millis(start))
    }

    /// How many timers are set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first slot in use with its level and its first tick. A lower level is always earlier: its timers agree with the
    /// wheel's tick in all higher digits.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        self.levels.iter().enumerate().find(|(_, level)| level.in_use != 0).map(|(level, Level { in_use, .. })| {
            // Slots behind the wheel's own are empty, so the lowest bit is the next slot.
            let slot = in_use.trailing_zeros();
            let shift = SLOT_BITS * level as u32;
            let block = self.tick >> shift >> SLOT_BITS << SLOT_BITS;
            (level, slot as usize, (block | u64::from(slot)) << shift)
        })
    }

    /// Moves the timers of a slot that the wheel has reached to lower levels, in their order.
    fn cascade(&mut self, level: usize, slot: usize) {
        let mut index = self.levels[level].slots[slot].first;
        self.levels[level].slots[slot] = Slot { first: NIL, last: NIL };
        self.levels[level].in_use &= !(1 << slot);
        while index != NIL {
            let next = self.nodes[index].next;
            self.link(index);
            index = next;
        }
    }

    /// Appends a timer to its slot.
    fn link(&mut self, index: usize) {
        let tick = self.nodes[index].tick;
        let level = level_of(self.tick, tick);
        let slot = slot_of(level, tick);
        let Level { in_use, slots } = &mut self.levels[level];
        let last = std::mem::replace(&mut slots[slot].last, index);
        *in_use |= 1 << slot;
        match self.nodes.get_mut(last) {
            Some(last) => last.next = index,
            None => slots[slot].first = index,
        }
        let node = &mut self.nodes[index];
        (node.level, node.previous, node.next) = (level, last, NIL);
    }

    /// Takes a timer out of its slot.
    fn unlink(&mut self, index: usize) {
        let Node { tick, level, previous, next, .. } = self.nodes[index];
        let slot = slot_of(level, tick);
        let Level { in_use, slots } = &mut self.levels[level];
        match self.nodes.get_mut(previous) {
            Some(previous) => previous.next = next,
            None => slots[slot].first = next,
        }
        match self.nodes.get_mut(next) {
            Some(next) => next.previous = previous,
            None => slots[slot].last = previous,
        }
        if slots[slot].first == NIL {
            *in_use &= !(1 << slot);
        }
    }

    /// Finds a place for a timer.
    fn place(&mut self, tick: u64, value: T) -> usize {
        if let Some(node) = self.nodes.get_mut(self.free) {
            let index = std::mem::replace(&mut self.free, node.next);
            (node.tick, node.value) = (tick, Some(value));
            return index;
        }
        self.nodes.push(Node { generation: 0, tick, level: 0, previous: NIL, next: NIL, value: Some(value) });
        self.nodes.len() - 1
    }

    /// Frees the place of a timer that is in no slot, and gives its value.
    fn release(&mut self, index: usize) -> Option<T> {
        let node = &mut self.nodes[index];
        node.generation += 1;
        node.next = std::mem::replace(&mut self.free, index);
        self.len -= 1;
        node.value.take()
    }
}

/// The highest digit in which two ticks differ.
const fn level_of(wheel: u64, timer: u64) -> usize {
    ((wheel ^ timer) | 1).ilog2() as usize / SLOT_BITS as usize
}

/// The digit of a tick at a level.
const fn slot_of(level: usize, tick: u64) -> usize {
    (tick >> (SLOT_BITS as usize * level)) as usize % SLOTS
}

#[cfg(test)]
mod tests;

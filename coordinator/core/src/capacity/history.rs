//! What was proposed and changed lately: what windows, steps and cooldowns are reckoned from.

use std::collections::VecDeque;

use evenkeel_shared::Timestamp;

/// Proposals kept for a window: one for each second of an hour, the longest window. Only those that may still become the
/// most or the least are kept, which is far fewer.
pub const PROPOSALS_MAX: usize = 3_600;
/// Changes kept for steps and cooldowns. When there are more, the oldest two become one, as of the later: the fleet changes
/// slower than it might, never faster.
pub const CHANGES_MAX: usize = 256;

/// Which extreme of a window is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    /// The least proposal: the mildest growth.
    Least,
    /// The greatest: the mildest shrinking.
    Greatest,
}

/// The least or greatest of the proposals of the last while, as a monotonic queue: a proposal that a later one beats can
/// never be asked for again, so it is dropped, and each costs O(1) over its life.
#[derive(Clone, Debug)]
pub struct Window {
    extreme: Extreme,
    proposals: VecDeque<(Timestamp, u32)>,
}

impl Window {
    /// With nothing in it.
    #[must_use]
    pub const fn new(extreme: Extreme) -> Self {
        Self { extreme, proposals: VecDeque::new() }
    }

    /// Takes a proposal in and answers the extreme of those of the last `length_ms`, this one included.
    pub fn propose(&mut self, now: Timestamp, agents: u32, length_ms: u64) -> u32 {
        let beaten = |old: u32| match self.extreme {
            Extreme::Least => old >= agents,
            Extreme::Greatest => old <= agents,
        };
        while self.proposals.back().is_some_and(|&(_, old)| beaten(old)) {
            self.proposals.pop_back();
        }
        if self.proposals.len() == PROPOSALS_MAX {
            self.proposals.pop_front();
        }
        self.proposals.push_back((now, agents));
        let length = std::time::Duration::from_millis(length_ms);
        while self.proposals.len() > 1 && self.proposals.front().is_some_and(|&(at, _)| now.since(at) >= length) {
            self.proposals.pop_front();
        }
        self.proposals.front().map_or(agents, |&(_, extreme)| extreme)
    }
}

/// A change of the fleet's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    at: Timestamp,
    up: u32,
    down: u32,
}

/// Changes of the last while.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    changes: VecDeque<Change>,
    last_up: Option<Timestamp>,
    last_down: Option<Timestamp>,
}

impl Changes {
    /// None yet.
    pub const EMPTY: Self = Self { changes: VecDeque::new(), last_up: None, last_down: None };

    /// Notes that the fleet was told to go from one size to another.
    pub fn add(&mut self, now: Timestamp, before: u32, after: u32) {
        if before == after {
            return;
        }
        let change = Change { at: now, up: after.saturating_sub(before), down: before.saturating_sub(after) };
        if change.up > 0 {
            self.last_up = Some(now);
        } else {
            self.last_down = Some(now);
        }
        if self.changes.len() == CHANGES_MAX {
            let oldest = self.changes.pop_front();
            if let (Some(oldest), Some(next)) = (oldest, self.changes.front_mut()) {
                next.up = next.up.saturating_add(oldest.up);
                next.down = next.down.saturating_add(oldest.down);
            }
        }
        self.changes.push_back(change);
    }

    /// Forgets what is older than every period in use.
    pub fn forget(&mut self, now: Timestamp, longest_ms: u64) {
        let longest = std::time::Duration::from_millis(longest_ms);
        while self.changes.front().is_some_and(|change| now.since(change.at) > longest) {
            self.changes.pop_front();
        }
    }

    /// Agents that came and went in the last `period_ms`.
    #[must_use]
    pub fn within(&self, now: Timestamp, period_ms: u64) -> (u32, u32) {
        let period = std::time::Duration::from_millis(period_ms);
        let recent = self.changes.iter().rev().take_while(|change| now.since(change.at) < period);
        recent.fold((0, 0), |(up, down), change| (up.saturating_add(change.up), down.saturating_add(change.down)))
    }

    /// When the fleet grew last.
    #[must_use]
    pub const fn last_up(&self) -> Option<Timestamp> {
        self.last_up
    }

    /// When it changed last.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        self.last_up.max(self.last_down)
    }
}

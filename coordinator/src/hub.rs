//! Live events for those who watch: a ring of the most recent ones, and a bounded queue for each watcher.
//!
//! A watcher joins at a position that the ring still covers, and gets the ring's later events and then the live ones in one
//! queue, without gap or repeat: joining and publishing are two turns of one lock. Positions before the ring are replayed
//! from the store first ([`crate::watch`]). The lock is held for pointer copies only.
//!
//! A watcher that does not keep up is cut off and told where to resume, because a buffer without end would only move the
//! problem into memory, and dropped events would go unnoticed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use evenkeel_core::insight::sample::CacheSample;
use evenkeel_shared::EventPosition;
use tokio::sync::mpsc;

/// Something with a place in the history.
pub trait Positioned {
    /// Its place.
    fn position(&self) -> EventPosition;
}

/// Recent events of one sort and those who watch them. Clones share it.
#[derive(Debug)]
pub struct Hub<E> {
    state: Arc<Mutex<State<E>>>,
}

impl<E> Clone for Hub<E> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

/// Bounds of a hub.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Events kept for those who join late.
    pub ring: usize,
    /// Events queued for one watcher.
    pub queue: usize,
    /// Watchers at a time.
    pub watchers: usize,
}

#[derive(Debug)]
struct State<E> {
    limits: HubLimits,
    ring: VecDeque<Arc<E>>,
    /// The ring holds every event after this position.
    covered_after: EventPosition,
    watchers: Vec<mpsc::Sender<Arc<E>>>,
    /// Watchers whose position the ring covered, and those it did not.
    hits: u64,
    misses: u64,
    /// Events that left the ring for newer ones.
    evicted: u64,
}

/// Why a watcher cannot join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The ring begins after this position; replay from the store up to it first.
    Behind {
        /// Replay up to here.
        up_to: EventPosition,
    },
    /// There are as many watchers as there may be.
    Full,
}

/// A watcher's events.
#[derive(Debug)]
pub struct Joined<E> {
    /// Events of the ring, oldest first.
    pub ring: Vec<Arc<E>>,
    /// What comes after. It ends when the watcher was cut off.
    pub live: mpsc::Receiver<Arc<E>>,
}

impl<E: Positioned> Hub<E> {
    /// A hub whose first event comes after `start`.
    #[must_use]
    pub fn new(start: EventPosition, limits: HubLimits) -> Self {
        let state = State {
            limits,
            ring: VecDeque::new(),
            covered_after: start,
            watchers: Vec::new(),
            hits: 0,
            misses: 0,
            evicted: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Other bounds for watchers that join from now on; the ring is as long as it was.
    pub fn set_watcher_limits(&self, queue: usize, watchers: usize) {
        let mut state = self.lock();
        (state.limits.queue, state.limits.watchers) = (queue, watchers);
    }

    /// Tells everybody of these events, in order. Returns how many were cut off because their queue was full.
    pub fn publish(&self, events: impl IntoIterator<Item = E>) -> usize {
        // All that takes time is done outside the lock: making the events, and letting go of old ones.
        let events: Vec<Arc<E>> = events.into_iter().map(Arc::new).collect();
        let mut gone = Vec::with_capacity(events.len());
        let mut state = self.lock();
        let mut cut_off = 0;
        for event in &events {
            state.watchers.retain(|watcher| match watcher.try_send(Arc::clone(event)) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    cut_off += 1;
                    false
                }
            });
        }
        for event in events {
            if state.ring.len() >= state.limits.ring
                && let Some(oldest) = state.ring.pop_front()
            {
                state.covered_after = oldest.position();
                state.evicted += 1;
                gone.push(oldest);
            }
            state.ring.push_back(event);
        }
        drop(state);
        cut_off
    }

    /// Joins after a position; `None`: now.
    ///
    /// # Errors
    /// If the ring does not reach back so far, or there are too many watchers.
    pub fn join(&self, after: Option<EventPosition>) -> Result<Joined<E>, JoinError> {
        let mut state = self.lock();
        let ring = match after {
            None => Vec::new(),
            Some(after) if after < state.covered_after => {
                state.misses += 1;
                return Err(JoinError::Behind { up_to: state.covered_after });
            }
            Some(after) => {
                state.hits += 1;
                let first = state.ring.partition_point(|event| event.position() <= after);
                state.ring.range(first..).cloned().collect()
            }
        };
        state.watchers.retain(|watcher| !watcher.is_closed());
        if state.watchers.len() >= state.limits.watchers {
            return Err(JoinError::Full);
        }
        let (sender, live) = mpsc::channel(state.limits.queue);
        state.watchers.push(sender);
        Ok(Joined { ring, live })
    }

    /// The ring, as a cache of the store's newest events: a hit is a watcher that needs no replay from there.
    #[must_use]
    pub fn cache(&self, name: &'static str) -> CacheSample {
        let state = self.lock();
        CacheSample {
            name,
            entries: state.ring.len() as u64,
            capacity: state.limits.ring as u64,
            hits: state.hits,
            misses: state.misses,
            evictions: state.evicted,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Positioned for u64 {
        fn position(&self) -> EventPosition {
            EventPosition(*self)
        }
    }

    fn hub(ring: usize, queue: usize) -> Hub<u64> {
        Hub::new(EventPosition(100), HubLimits { ring, queue, watchers: 4 })
    }

    fn all(mut joined: Joined<u64>) -> Vec<u64> {
        let mut seen: Vec<u64> = joined.ring.iter().map(|event| **event).collect();
        while let Ok(event) = joined.live.try_recv() {
            seen.push(*event);
        }
        seen
    }

    #[test]
    fn who_joins_late_gets_the_ring_and_then_what_comes() {
        let hub = hub(10, 10);
        (101..=103).for_each(|n| assert_eq!(hub.publish([n]), 0));
        let joined = hub.join(Some(EventPosition(101))).unwrap();
        hub.publish([104]);
        assert_eq!(all(joined), [102, 103, 104]);
    }

    #[test]
    fn a_position_before_the_ring_is_sent_to_the_store_first() {
        let hub = hub(2, 10);
        assert_eq!(hub.join(Some(EventPosition(7))).unwrap_err(), JoinError::Behind { up_to: EventPosition(100) });
        (101..=105).for_each(|n| assert_eq!(hub.publish([n]), 0));
        let behind = hub.join(Some(EventPosition(102))).unwrap_err();
        assert_eq!(behind, JoinError::Behind { up_to: EventPosition(103) });
        assert_eq!(all(hub.join(Some(EventPosition(103))).unwrap()), [104, 105]);
    }

    #[test]
    fn a_slow_watcher_is_cut_off_and_the_others_go_on() {
        let hub = hub(10, 2);
        let slow = hub.join(None).unwrap();
        assert_eq!((101..=103).map(|n| hub.publish([n])).sum::<usize>(), 1);
        let mut quick = hub.join(None).unwrap();
        hub.publish([104]);
        assert_eq!(*quick.live.try_recv().unwrap(), 104);
        assert_eq!(all(slow), [101, 102]);
    }

    #[test]
    fn watchers_are_bounded_and_those_who_left_make_room() {
        let hub = hub(1, 1);
        let all: Vec<_> = (0..4).map(|_| hub.join(None).unwrap()).collect();
        assert_eq!(hub.join(None).unwrap_err(), JoinError::Full);
        drop(all);
        assert!(hub.join(None).is_ok());
    }

    proptest! {
        /// Wherever a watcher joins, it sees every later event once and in order.
        #[test]
        fn there_is_neither_gap_nor_repeat(before in 0_u64..50, after in 0_u64..50, ring in 1_usize..60, from in 0_u64..60) {
            let hub = hub(ring, 100);
            (1..=before).for_each(|n| { hub.publish([100 + n]); });
            let from = EventPosition(100 + from.min(before));
            match hub.join(Some(from)) {
                Ok(joined) => {
                    (1..=after).for_each(|n| { hub.publish([100 + before + n]); });
                    let expected: Vec<u64> = (from.0 + 1..=100 + before + after).collect();
                    prop_assert_eq!(all(joined), expected);
                }
                Err(error) => {
                    let up_to = EventPosition(100 + before - ring as u64);
                    prop_assert_eq!(error, JoinError::Behind { up_to });
                    prop_assert!(from < up_to);
                }
            }
        }
    }
}

//! Heartbeats on their way to the engine. They wait until it is awake anyway.
//!
//! A fleet of ten thousand says ten thousand times a second that all is well. Each a message of its own, each would wake the
//! engine's thread, which costs more than to handle it. So they wait here, with the time at which they came, and the engine
//! takes them before anything else that it handles, each at its own time: that of a lease is exact, however late it is
//! looked at. The engine is awake four times a second while there are agents; when many wait, it is woken before, so that
//! they are no long piece of work.
//!
//! One waits for a session at most: a second one goes the way of all other messages, which holds the session back. Their
//! order among the messages of one session is kept, because the engine takes what waits here first. Rejected: a timer that
//! wakes the engine for them, which is as many wake-ups as it has ticks; and to drop all but the last, which hides how often
//! an agent beats.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use evenkeel_core::engine::Event;
use evenkeel_shared::Timestamp;

use crate::clock::Clock;

/// So many make the engine wake: some tenths of a millisecond of its time.
const WAKE_AT: usize = 128;

/// Heartbeats that wait. Clones share them.
#[derive(Clone, Debug)]
pub struct Heartbeats(Arc<State>);

#[derive(Debug)]
struct State {
    clock: Clock,
    waiting: Mutex<Vec<Held>>,
}

/// A heartbeat, and when it came.
#[derive(Debug)]
struct Held {
    at: Timestamp,
    event: Event,
    place: Place,
}

/// A session's place among those that wait.
#[derive(Clone, Debug, Default)]
pub struct Place(Arc<AtomicBool>);

/// What became of a heartbeat.
#[derive(Debug, PartialEq)]
pub enum Hold {
    /// It waits.
    Waits,
    /// It waits, and so many do that the engine should be woken.
    Wake,
    /// Its session has one that waits already.
    Taken(Event),
}

impl Heartbeats {
    /// None.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(State { clock, waiting: Mutex::default() }))
    }

    /// Lets a heartbeat wait in its session's place.
    pub fn hold(&self, place: &Place, event: Event) -> Hold {
        if place.0.swap(true, Ordering::Relaxed) {
            return Hold::Taken(event);
        }
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that they are in the order of their times.
        waiting.push(Held { at: self.0.clock.now(), event, place: place.clone() });
        if waiting.len().is_multiple_of(WAKE_AT) { Hold::Wake } else { Hold::Waits }
    }

    /// Takes all that wait, in the order in which they came.
    pub fn take(&self, mut each: impl FnMut(Timestamp, Event)) {
        let taken = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_empty() {
                return;
            }
            mem::replace(&mut *waiting, Vec::with_capacity(WAKE_AT))
        };
        for Held { at, event, place } in taken {
            place.0.store(false, Ordering::Relaxed);
            each(at, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::SessionEpoch;

    use super::*;

    fn beat(session: u64) -> Event {
        Event::Heartbeat { session: SessionEpoch(session), load: Box::default() }
    }

    fn taken(heartbeats: &Heartbeats) -> Vec<(Timestamp, Event)> {
        let mut all = Vec::new();
        heartbeats.take(|at, event| all.push((at, event)));
        all
    }

    #[test]
    fn each_session_has_one_that_waits_and_they_go_in_their_order() {
        let heartbeats = Heartbeats::new(Clock::start());
        let (first, second) = (Place::default(), Place::default());
        assert_eq!(heartbeats.hold(&first, beat(1)), Hold::Waits);
        assert_eq!(heartbeats.hold(&second, beat(2)), Hold::Waits);
        assert_eq!(heartbeats.hold(&first, beat(1)), Hold::Taken(beat(1)));
        let all = taken(&heartbeats);
        assert_eq!(all.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(), [beat(1), beat(2)]);
        assert!(all[0].0 <= all[1].0);
        assert_eq!(heartbeats.hold(&first, beat(1)), Hold::Waits, "its place is free again");
        assert_eq!(taken(&heartbeats).len(), 1);
        assert!(taken(&heartbeats).is_empty());
    }

    #[test]
    fn many_wake_the_engine() {
        let heartbeats = Heartbeats::new(Clock::start());
        let woken = (0..2 * WAKE_AT as u64).filter(|n| heartbeats.hold(&Place::default(), beat(*n)) == Hold::Wake);
        assert_eq!(woken.count(), 2);
    }
}

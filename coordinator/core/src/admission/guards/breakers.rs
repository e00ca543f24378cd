//! Breakers of one sort, by what they watch.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_shared::{AssignmentId, Timestamp};

use super::BREAKERS_MAX;
use crate::admission::breaker::{Attempt, Breaker, BreakerSettings, BreakerState};

/// Breakers of one sort, by what they watch: those of which something is known.
#[derive(Clone, Debug)]
pub(super) struct Breakers<K> {
    pub(super) known: BTreeMap<K, Breaker>,
    /// Those that are not closed.
    pub(super) turned: BTreeSet<K>,
}

impl<K: Ord + Clone> Default for Breakers<K> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), turned: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Breakers<K> {
    pub(super) fn shut_until(&self, key: &K, settings: &BreakerSettings) -> Option<(Timestamp, bool)> {
        // Nearly always nothing has turned, so that no name is compared.
        if self.turned.is_empty() || !self.turned.contains(key) {
            return None;
        }
        let breaker = self.known.get(key)?;
        Some((breaker.shut_until(settings)?, breaker.state() == BreakerState::HalfOpen))
    }

    pub(super) fn follow(&mut self, key: &K) {
        match self.known.get(key).map(Breaker::state) {
            None | Some(BreakerState::Closed) => self.turned.remove(key),
            Some(_) => self.turned.insert(key.clone()),
        };
    }

    /// The breaker of this, made if there is room.
    pub(super) fn entry(&mut self, now: Timestamp, key: &K, settings: &BreakerSettings) -> Option<&mut Breaker> {
        if !self.known.contains_key(key) {
            if self.known.len() >= BREAKERS_MAX {
                self.known.retain(|_, breaker| !breaker.is_idle(now, settings));
            }
            if self.known.len() >= BREAKERS_MAX {
                return None;
            }
        }
        Some(self.known.entry(key.clone()).or_insert_with(|| Breaker::new(now)))
    }

    /// An attempt ended. Answers the breaker if it turned.
    pub(super) fn ended(
        &mut self,
        now: Timestamp,
        key: &K,
        settings: &BreakerSettings,
        attempt: Attempt,
        fleet: (usize, AssignmentId),
        draw: f64,
    ) -> Option<&Breaker> {
        if attempt.ok && (self.known.is_empty() || !self.known.contains_key(key)) {
            return None;
        }
        if !settings.enabled && !self.turned.contains(key) {
            return None;
        }
        let breaker = self.entry(now, key, settings)?;
        let turned = breaker.ended(now, settings, attempt, fleet, draw);
        // One that has just turned has that to tell, even if it has nothing to remember: it was opened by hand.
        if attempt.ok && !turned && breaker.is_idle(now, settings) {
            self.known.remove(key);
        }
        self.follow(key);
        self.known.get(key).filter(|_| turned)
    }

    pub(super) fn due(&mut self, now: Timestamp, settings: &BreakerSettings, next: AssignmentId) -> Vec<(K, Breaker)> {
        let mut changed = Vec::new();
        for key in &self.turned {
            if let Some(breaker) = self.known.get_mut(key).filter(|breaker| breaker.shut_until(settings).is_some())
                && breaker.due(now, settings, next)
            {
                changed.push((key.clone(), breaker.clone()));
            }
        }
        changed
    }

    pub(super) fn next_due(&self, settings: &BreakerSettings) -> Option<Timestamp> {
        self.turned.iter().filter_map(|key| self.known.get(key)?.shut_until(settings)).min()
    }
}

//! After a change: whether the coordinator is as well as before.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::LiveConfig;
use crate::config::{Layer, Origin, Source};

/// Between two looks. Parts are measured once a second as a rule, so this finds what they find.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A change is rolled back at this start within its probation, not counting the one in which it was made: an operator restarts
/// once, for settings that need it, and perhaps once more.
const STARTS_MAX: u64 = 3;

impl LiveConfig {
    /// Parts that are unhealthy, each with why.
    pub(super) fn ills(&self) -> Vec<(String, String)> {
        self.0.ills.get().map(|ills| ills()).unwrap_or_default()
    }

    /// Goes on with a change that was on probation when the process ended, for what is left of its time.
    pub(super) fn resume_probation(&self) {
        let in_force = self.shown();
        let Some(until) = in_force.probation_until else { return };
        let live = self.clone();
        tokio::spawn(async move {
            let stored = match live.stored().await {
                Ok(stored) => stored,
                Err(error) => {
                    tracing::error!(%error, "a change of the configuration cannot be watched over any more");
                    return;
                }
            };
            let version = in_force.version;
            let change = stored.iter().find(|(number, ..)| *number == version).map(|(_, _, stored)| stored);
            let before = stored.iter().filter(|(number, ..)| *number < version).max_by_key(|(number, ..)| *number);
            let (Some(change), Some((number, _, before)), Ok(gateway)) = (change, before, live.gateway()) else {
                return;
            };
            let origin = Origin::named(Source::Rollback, format!("version {number}"));
            let before = before.layer(&in_force.layer, &origin);
            let starts = live.0.start.saturating_sub(change.start);
            if starts >= STARTS_MAX {
                let why = format!("the coordinator has started {starts} times within its probation");
                // With another start it is tried again.
                if let Err(error) = live.roll_back_unwell(version, (*number, &before), &why).await {
                    tracing::error!(%error, version, "the configuration could not be rolled back");
                }
                return;
            }
            tracing::info!(version, starts, "the configuration is on probation still");
            let left = until.since(gateway.clock.now());
            live.watch_over(version, (*number, before), change.unwell_before.clone(), left);
        });
    }

    /// Rolls `version` back if, before its time is up, a part is unhealthy that is not `known` to have been before. Nothing is
    /// rolled back while the process stops: that ends many things.
    pub(super) fn watch_over(&self, version: u64, before: (u64, Layer), known: Vec<String>, time: Duration) {
        let live = self.clone();
        tokio::spawn(async move {
            let until = Instant::now() + time;
            let mut looks = interval(LOOK_INTERVAL);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while Instant::now() < until {
                looks.tick().await;
                let Ok(gateway) = live.gateway() else { return };
                if gateway.lifecycle.check_ready().is_err() || live.shown().version != version {
                    return;
                }
                let ills = live.ills();
                let Some((part, reason)) = new_ill(&known, &ills) else { continue };
                let why = format!("{part} became unhealthy within its probation: {reason}");
                match live.roll_back_unwell(version, (before.0, &before.1), &why).await {
                    Ok(()) => return,
                    // It is tried again: a disk that is full now may have room soon.
                    Err(error) => tracing::error!(%error, version, "the configuration could not be rolled back yet"),
                }
            }
            live.show(|shown| {
                if shown.version == version {
                    shown.probation_until = None;
                }
            });
        });
    }
}

/// The first part that is unhealthy now and was not before.
fn new_ill<'a>(known: &[String], now: &'a [(String, String)]) -> Option<&'a (String, String)> {
    now.iter().find(|(part, _)| !known.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_well_before_counts() {
        let ill =
            |parts: &[&str]| -> Vec<_> { parts.iter().map(|part| ((*part).to_owned(), "why".to_owned())).collect() };
        let found = |before: &[&str], now: &[&str]| {
            let known: Vec<String> = before.iter().map(|part| (*part).to_owned()).collect();
            new_ill(&known, &ill(now)).map(|(part, _)| part.clone())
        };
        assert_eq!(found(&[], &[]), None);
        assert_eq!(found(&["disk"], &["disk"]), None, "it had been unhealthy before the change");
        assert_eq!(found(&["disk"], &["disk", "engine"]).as_deref(), Some("engine"));
        assert_eq!(found(&["engine"], &[]), None);
    }
}

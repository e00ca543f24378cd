//! After a change: whether the coordinator is as well as before.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::LiveConfig;
use crate::config::Layer;

/// Between two looks. Parts are measured once a second as a rule, so this finds what they find.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

impl LiveConfig {
    /// Parts that are unhealthy, each with why.
    pub(super) fn ills(&self) -> Vec<(String, String)> {
        self.0.ills.get().map(|ills| ills()).unwrap_or_default()
    }

    /// Rolls `version` back if, before its time is up, a part is unhealthy that was not before. Nothing is rolled back while
    /// the process stops: that ends many things.
    pub(super) fn watch_over(&self, version: u64, before: Layer, known: Vec<(String, String)>, time: Duration) {
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
                match live.roll_back_unwell(version, &before, &why).await {
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
fn new_ill<'a>(before: &[(String, String)], now: &'a [(String, String)]) -> Option<&'a (String, String)> {
    now.iter().find(|(part, _)| before.iter().all(|(known, _)| known != part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_well_before_counts() {
        let ill =
            |parts: &[&str]| -> Vec<_> { parts.iter().map(|part| ((*part).to_owned(), "why".to_owned())).collect() };
        let found = |before: &[&str], now: &[&str]| new_ill(&ill(before), &ill(now)).map(|(part, _)| part.clone());
        assert_eq!(found(&[], &[]), None);
        assert_eq!(found(&["disk"], &["disk"]), None, "it had been unhealthy before the change");
        assert_eq!(found(&["disk"], &["disk", "engine"]).as_deref(), Some("engine"));
        assert_eq!(found(&["engine"], &[]), None);
    }
}

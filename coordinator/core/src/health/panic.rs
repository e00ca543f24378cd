//! Panic mode: when much of the fleet is gone, the cure must not be worse than the disease.
//!
//! Two guards against the coordinator's own reaction:
//!
//! - [`PanicGuard`]: more than half the fleet vanishes within seconds. Most likely the network or the coordinator is at
//!   fault, not the agents; and if they are really gone, placing all their tasks on the survivors at once topples those
//!   too. So placing lost tasks again is let through at a rate that the survivors can bear, which also gives the agents
//!   time to come back and have their running attempts adopted instead.
//! - [`ignore_load_health`]: so many agents are unhealthy by their load that the few healthy ones would drown. Then load
//!   says nothing about a single agent any more, and is ignored (Envoy's panic threshold).
//!
//! A fleet that vanishes behind a broken network closes no streams, and its leases run out over an interval. So when the
//! first one does, those who are silent nearly as long count as missing, or half of the work would have moved by then.
//!
//! To stop placing lost tasks altogether was rejected: if the agents are gone for good, their tasks have to move on
//! without anybody's help.

use std::{collections::VecDeque, time::Duration};

use evenkeel_shared::{Timestamp, Violation};
use serde::{Deserialize, Serialize};

use super::settings::{check_count, check_ms, check_within};

/// The window is counted in so many slices: memory is bounded however many agents vanish at once.
const SLICES: u32 = 10;
/// Permits saved up while none was asked for: a tenth of a second's worth.
const BURST: Duration = Duration::from_millis(100);

/// When panic mode begins and ends, and what it lets through.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PanicSettings {
    /// Agents have to vanish within this long of each other.
    pub window_ms: u64,
    /// It ends when no agent has vanished for this long: whoever is gone is gone.
    pub quiet_ms: u64,
    /// More than this share of the fleet has to vanish. 0.1 to 1.
    pub lost_share: f64,
    /// A smaller fleet never panics: half of three agents may well be one bad machine. 2 to 1 000 000.
    pub fleet_min: u32,
    /// Lost tasks placed again a second, at least. 1 to 1 000 000.
    pub permits_per_s_min: u32,
    /// Lost tasks placed again a second for each agent that is left, if that is more. 0 to 1000.
    pub permits_per_s_per_agent: f64,
}

impl Default for PanicSettings {
    fn default() -> Self {
        Self {
            window_ms: 10_000,
            quiet_ms: 30_000,
            lost_share: 0.5,
            fleet_min: 4,
            permits_per_s_min: 50,
            permits_per_s_per_agent: 1.0,
        }
    }
}

impl PanicSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        check_ms("window_ms", self.window_ms)?;
        check_ms("quiet_ms", self.quiet_ms)?;
        check_within("lost_share", self.lost_share, 0.1..=1.0)?;
        check_within("fleet_min", f64::from(self.fleet_min), 2.0..=1e6)?;
        check_count("permits_per_s_min", self.permits_per_s_min, 1_000_000)?;
        check_within("permits_per_s_per_agent", self.permits_per_s_per_agent, 0.0..=1_000.0)
    }

    fn too_many(&self, missing: u32, fleet: u32) -> bool {
        fleet >= self.fleet_min && f64::from(missing) > f64::from(fleet) * self.lost_share
    }
}

/// What happened to the fleet in one slice of the window.
#[derive(Clone, Copy, Debug)]
struct Slice {
    began: Timestamp,
    /// Agents that vanished in it and are not back.
    lost: u32,
    /// The largest fleet seen in it.
    fleet: u32,
}

/// The panic that is on, or was until enough agents were back.
#[derive(Clone, Copy, Debug)]
struct Panic {
    /// Agents before it began.
    fleet: u32,
    missing: u32,
    last_lost: Timestamp,
    /// Enough agents are back. What waits still goes at its rate, as the others are likely to be on their way.
    over: bool,
}

impl Panic {
    const fn new(fleet: u32, missing: u32, now: Timestamp) -> Self {
        Self { fleet, missing, last_lost: now, over: false }
    }
}

/// Slows failover down while much of the fleet is gone.
#[derive(Clone, Debug)]
pub struct PanicGuard {
    settings: PanicSettings,
    slices: VecDeque<Slice>,
    panic: Option<Panic>,
    /// When all permits given so far are paid for (a token bucket in one number: GCRA, ITU-T I.371).
    paid_until: Timestamp,
}

impl PanicGuard {
    /// A guard over a fleet that is well.
    #[must_use]
    pub const fn new(settings: PanicSettings) -> Self {
        Self { settings, slices: VecDeque::new(), panic: None, paid_until: Timestamp::ZERO }
    }

    /// Other settings. A panic that is on goes on by them.
    pub const fn configure(&mut self, settings: PanicSettings) {
        self.settings = settings;
    }

    /// An agent vanished from a fleet of `fleet_size` connected agents, itself included. Agents that drained and left in
    /// order do not count.
    pub fn lost(&mut self, now: Timestamp, fleet_size: usize) {
        let fleet_size = u32::try_from(fleet_size).unwrap_or(u32::MAX);
        let active = self.active(now);
        if let Some(panic) = self.panic.as_mut().filter(|_| active) {
            panic.missing = panic.missing.saturating_add(1).min(panic.fleet);
            panic.last_lost = now;
            return;
        }
        let slice = self.slice(now);
        slice.lost = slice.lost.saturating_add(1);
        slice.fleet = slice.fleet.max(fleet_size);
        let (missing, fleet) = self.missing();
        if self.settings.too_many(missing, fleet) {
            self.panic = Some(Panic::new(fleet, missing, now));
            self.slices.clear();
        }
    }

    /// A lease is about to run out, and so many agents, its own included, have been silent for all but the last heartbeat that
    /// they may miss. Leases of a fleet that falls silent at once run out one after the other, an interval long: if each
    /// was waited for, half of the fleet's work would have moved on before panic began.
    pub fn silent(&mut self, now: Timestamp, silent: usize, fleet_size: usize) {
        if self.active(now) {
            return;
        }
        let [silent, fleet_size] = [silent, fleet_size].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        self.drop_old_slices(now);
        let (missing, fleet) = self.missing();
        let fleet = fleet.max(fleet_size);
        if self.settings.too_many(missing.saturating_add(silent), fleet) {
            // Those that are silent are counted one by one, as their leases run out.
            self.panic = Some(Panic::new(fleet, missing, now));
            self.slices.clear();
        }
    }

    /// An agent is back. It makes up for the loss in the window that is the oldest, if there is one: who vanished earlier, or
    /// in a panic that is over, says nothing of those who vanish now.
    pub fn returned(&mut self, now: Timestamp) {
        if let Some(panic) = &mut self.panic {
            panic.missing = panic.missing.saturating_sub(1);
            if !panic.over {
                panic.over = !self.settings.too_many(panic.missing, panic.fleet);
                return;
            }
        }
        self.drop_old_slices(now);
        if let Some(slice) = self.slices.iter_mut().find(|slice| slice.lost > 0) {
            slice.lost -= 1;
        }
    }

    /// Whether failover is being slowed down.
    #[must_use]
    pub fn active(&self, now: Timestamp) -> bool {
        self.recent(now).is_some_and(|panic| !panic.over)
    }

    /// The last panic, unless it has been quiet for long.
    fn recent(&self, now: Timestamp) -> Option<Panic> {
        let quiet = Duration::from_millis(self.settings.quiet_ms);
        self.panic.filter(|panic| now.since(panic.last_lost) < quiet)
    }

    /// May one task that was lost in a panic be placed again now? Takes the permit if so.
    ///
    /// # Errors
    /// When to ask again.
    pub fn permit(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let Some(panic) = self.recent(now) else { return Ok(()) };
        let paid_until = self.paid_until.max(now);
        if paid_until.since(now) > BURST {
            return Err(paid_until.minus(BURST));
        }
        self.paid_until = paid_until.plus(self.permit_interval(panic));
        Ok(())
    }

    /// Between two permits.
    fn permit_interval(&self, panic: Panic) -> Duration {
        let left = f64::from(panic.fleet.saturating_sub(panic.missing));
        let rate = (left * self.settings.permits_per_s_per_agent).max(f64::from(self.settings.permits_per_s_min));
        Duration::from_secs_f64(1.0 / rate.max(1.0))
    }

    fn drop_old_slices(&mut self, now: Timestamp) {
        let window = Duration::from_millis(self.settings.window_ms);
        while self.slices.front().is_some_and(|slice| now.since(slice.began) >= window) {
            self.slices.pop_front();
        }
    }

    /// The slice that `now` falls into; those that left the window are dropped.
    fn slice(&mut self, now: Timestamp) -> &mut Slice {
        self.drop_old_slices(now);
        let window = Duration::from_millis(self.settings.window_ms);
        let current = self.slices.back().is_some_and(|slice| now.since(slice.began) < window / SLICES);
        let at = if current { self.slices.len() - 1 } else { self.slices.len() };
        if !current {
            self.slices.push_back(Slice { began: now, lost: 0, fleet: 0 });
        }
        &mut self.slices[at]
    }

    /// Agents that vanished within the window and did not return, and how large the fleet was.
    fn missing(&self) -> (u32, u32) {
        let lost = self.slices.iter().map(|slice| slice.lost).fold(0, u32::saturating_add);
        let fleet = self.slices.iter().map(|slice| slice.fleet).max().unwrap_or(0);
        (lost, fleet)
    }
}

/// Whether agents that are unhealthy by their load should be used all the same: fewer than half of the `total`
/// connected agents are not unhealthy.
#[must_use]
pub const fn ignore_load_health(not_unhealthy: usize, total: usize) -> bool {
    not_unhealthy.saturating_mul(2) < total
}

#[cfg(test)]
#[path = "panic_tests.rs"]
mod tests;

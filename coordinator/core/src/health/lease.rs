//! Leases: who has fallen silent.
//!
//! The intuition: every message of an agent renews its lease, and an agent whose lease has run out is given up. With an
//! interval `i` between heartbeats and `n` that may be missed, the lease lasts `n` of the longest intervals that the
//! agent's jitter allows. A fixed timeout rather than a learnt one (phi accrual) was chosen because the coordinator sets
//! the interval itself: there is nothing to learn, operators can do the sum, and most deaths are seen much earlier,
//! when the stream closes.
//!
//! The failure modes:
//! - *The agent is alive, but the path is slow.* Its lease runs out and its tasks are placed again. Fencing makes the
//!   late results harmless; the agent registers again. Only a change of the delay does that, by more than the lease less one
//!   interval. Stretching the lease by what heartbeats were late before was tried on models of such paths: with no more
//!   stretch than keeps a dead agent found within the missed heartbeats and a second, it saves most of the needless losses
//!   where delays spread evenly, and next to none where packets are lost now and then, since nothing foretells those. A longer
//!   interval between heartbeats saves nearly all of either.
//! - *The agent hangs with its stream open.* This is what the lease is for.
//! - *The coordinator itself did not listen*: it was suspended, starved or busy. Every lease seems to have run out at
//!   once, while the heartbeats lie unread in the sockets. [`LagGuard`] notices this from its own ticks and gives the
//!   lost time back before anyone is declared dead. What it gives is bounded: a coordinator that lags for good must
//!   still find its dead.

use std::time::Duration;

use evenkeel_shared::{Timestamp, Violation};
use serde::{Deserialize, Serialize};

use super::settings::{check_count, check_ms};

/// An agent spreads its heartbeats by so many per cent of the interval either way, so that a fleet that started together
/// does not speak in unison.
const HEARTBEAT_JITTER_PERCENT: u32 = 20;
/// Most heartbeats that may be missed: beyond it a dead agent holds its tasks for too long.
const MISSED_MAX_LIMIT: u32 = 100;

/// How silence is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseSettings {
    /// Between two heartbeats of an agent, before its jitter.
    pub heartbeat_interval_ms: u64,
    /// After so many missed heartbeats in a row the agent is given up. 1 to 100.
    pub missed_max: u32,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { heartbeat_interval_ms: 1_000, missed_max: 3 }
    }
}

impl LeaseSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        check_ms("heartbeat_interval_ms", self.heartbeat_interval_ms)?;
        check_count("missed_max", self.missed_max, MISSED_MAX_LIMIT)
    }

    /// Between two heartbeats of an agent, before its jitter.
    #[must_use]
    pub const fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }

    /// The silence of an agent that has missed all but the last of the heartbeats that it may miss. At least one interval: a
    /// lease of one heartbeat gives no earlier sign.
    #[must_use]
    pub fn silence_of_all_but_one(&self) -> Duration {
        let longest_interval = self.session_timeout() / self.missed_max.max(1);
        longest_interval * self.missed_max.saturating_sub(1).max(1)
    }

    /// How long an agent may be silent: as many of its longest intervals as it may miss heartbeats.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        self.heartbeat_interval() * self.missed_max * (100 + HEARTBEAT_JITTER_PERCENT) / 100
    }
}

/// One agent's right to be taken for alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    expires: Timestamp,
    timeout: Duration,
}

impl Lease {
    /// A lease that begins now.
    #[must_use]
    pub fn new(settings: &LeaseSettings, now: Timestamp) -> Self {
        let timeout = settings.session_timeout();
        Self { expires: now.plus(timeout), timeout }
    }

    /// Something was heard of the agent: the lease begins anew. Never shortens it.
    pub fn heard(&mut self, now: Timestamp) {
        self.expires = self.expires.max(now.plus(self.timeout));
    }

    /// When the agent is given up, if nothing more is heard and the coordinator does not lag.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires
    }

    /// When the agent is given up, with what the coordinator's own lag has added. It can move while it is waited for, so
    /// a timer that fires asks again.
    #[must_use]
    pub fn expires_with(&self, lag: &LagGuard) -> Timestamp {
        self.expires.max(lag.hold_until())
    }
}

/// Notices that the coordinator itself lagged, and keeps leases from running out meanwhile.
///
/// It holds one point in time before which no lease runs out, rather than stretching each lease, so a lag costs the same
/// at any size of the fleet.
#[derive(Clone, Copy, Debug)]
pub struct LagGuard {
    tick_interval: Duration,
    stretch_max: Duration,
    ticked: Option<Timestamp>,
    /// When the present spell of lag was noticed.
    spell_began: Option<Timestamp>,
    hold_until: Timestamp,
}

impl LagGuard {
    /// A guard for a coordinator that ticks at least every `tick_interval`. One spell of lag holds leases for at most one
    /// session timeout.
    #[must_use]
    pub fn new(settings: &LeaseSettings, tick_interval: Duration) -> Self {
        Self {
            tick_interval,
            stretch_max: settings.session_timeout(),
            ticked: None,
            spell_began: None,
            hold_until: Timestamp::ZERO,
        }
    }

    /// Other settings, for the spells from now on.
    pub fn configure(&mut self, settings: &LeaseSettings) {
        self.stretch_max = settings.session_timeout();
    }

    /// The coordinator is awake. Answers by how much it lagged, zero if it did not: a gap of up to two intervals is
    /// ordinary scheduling. Call it before leases are judged.
    pub fn observe_tick(&mut self, now: Timestamp) -> Duration {
        let Some(before) = self.ticked.replace(now) else { return Duration::ZERO };
        let gap = now.since(before);
        if gap <= self.tick_interval * 2 {
            if now >= self.hold_until {
                self.spell_began = None;
            }
            return Duration::ZERO;
        }
        let lag = gap - self.tick_interval;
        let began = *self.spell_began.get_or_insert(now);
        let bound = began.plus(self.stretch_max);
        self.hold_until = self.hold_until.max(now.plus(lag).min(bound));
        lag
    }

    /// No lease runs out before this.
    #[must_use]
    const fn hold_until(&self) -> Timestamp {
        self.hold_until
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const TICK: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Timestamp {
        START.plus(Duration::from_millis(ms))
    }

    fn guard() -> LagGuard {
        LagGuard::new(&LeaseSettings::default(), TICK)
    }

    #[test]
    fn a_lease_lasts_three_of_the_longest_intervals_from_the_last_word() {
        let mut lease = Lease::new(&LeaseSettings::default(), at(0));
        assert_eq!(lease.expires_at(), at(3_600));
        lease.heard(at(1_200));
        assert_eq!(lease.expires_at(), at(4_800));
        lease.heard(at(500));
        assert_eq!(lease.expires_at(), at(4_800), "an older word shortens nothing");
    }

    #[test]
    fn a_punctual_coordinator_holds_nothing() {
        let mut guard = guard();
        for ms in [0, 100, 210, 400] {
            assert_eq!(guard.observe_tick(at(ms)), Duration::ZERO);
        }
        let lease = Lease::new(&LeaseSettings::default(), at(0));
        assert_eq!(lease.expires_with(&guard), lease.expires_at());
    }

    #[test]
    fn the_time_that_the_coordinator_lost_is_given_back() {
        let mut guard = guard();
        let lease = Lease::new(&LeaseSettings::default(), at(0));
        guard.observe_tick(at(3_500));
        assert_eq!(guard.observe_tick(at(5_600)), Duration::from_millis(2_000));
        assert_eq!(lease.expires_with(&guard), at(7_600), "its heartbeats may lie unread until then");
    }

    #[test]
    fn a_long_sleep_is_forgiven_for_one_session_timeout() {
        let mut guard = guard();
        guard.observe_tick(at(0));
        guard.observe_tick(at(3_600_000));
        assert_eq!(guard.hold_until(), at(3_603_600));
    }

    #[test]
    fn a_second_spell_is_forgiven_anew() {
        let mut guard = guard();
        guard.observe_tick(at(0));
        guard.observe_tick(at(10_000));
        (10_100..=20_000).step_by(100).for_each(|ms| assert_eq!(guard.observe_tick(at(ms)), Duration::ZERO));
        guard.observe_tick(at(21_100));
        assert_eq!(guard.hold_until(), at(22_100));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let defaults = LeaseSettings::default();
        assert_eq!(defaults.validate(), Ok(()));
        assert!(LeaseSettings { heartbeat_interval_ms: 0, ..defaults }.validate().is_err());
        assert!(LeaseSettings { missed_max: 0, ..defaults }.validate().is_err());
    }

    proptest! {
        #[test]
        fn an_agent_that_keeps_to_its_jitter_is_never_given_up(draws in proptest::collection::vec(0.8..=1.2_f64, 1..100)) {
            let settings = LeaseSettings::default();
            let (mut lease, mut now) = (Lease::new(&settings, START), START);
            for draw in draws {
                now = now.plus(settings.heartbeat_interval().mul_f64(draw));
                prop_assert!(now < lease.expires_at());
                lease.heard(now);
            }
        }

        #[test]
        fn a_coordinator_that_always_lags_still_finds_its_dead(gaps in proptest::collection::vec(300_u64..5_000, 10..60)) {
            let (mut guard, mut ms) = (guard(), 0);
            guard.observe_tick(at(0));
            let first = gaps[0];
            for gap in gaps {
                ms += gap;
                guard.observe_tick(at(ms));
            }
            prop_assert!(guard.hold_until() <= at(first).plus(LeaseSettings::default().session_timeout()));
        }
    }
}

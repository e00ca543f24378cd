//! Slow start: an agent that came back gets its share back in steps.
//!
//! An agent that was lost returns with cold caches and no tasks, looks like the best choice of the fleet, and would get
//! everything that waits at once. So its usable slots grow from a tenth to all within a few seconds (as in Envoy's slow
//! start). It grows in steps rather than continuously so that the engine learns from one timer when to look again, and a
//! fleet that returns costs a bounded number of updates. An agent that joins for the first time does not ramp: nothing
//! is known against it, and a fresh cluster should be at full speed at once.

use std::time::Duration;

use evenkeel_shared::{Timestamp, Violation};
use serde::{Deserialize, Serialize};

use super::settings::{check_count, check_ms, check_within};

/// Most steps of a ramp: more would be updates that nobody notices.
const STEPS_MAX: u32 = 100;

/// How an agent ramps up.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RampSettings {
    /// From its return to all its slots.
    pub duration_ms: u64,
    /// Share of its slots that it may use at once. 0 to 1; at least one slot in any case.
    pub initial_share: f64,
    /// Number of equal steps. 1 to 100.
    pub steps: u32,
}

impl Default for RampSettings {
    fn default() -> Self {
        Self { duration_ms: 10_000, initial_share: 0.1, steps: 10 }
    }
}

impl RampSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn validate(&self) -> Result<(), Violation> {
        check_ms("duration_ms", self.duration_ms)?;
        check_within("initial_share", self.initial_share, 0.0..=1.0)?;
        check_count("steps", self.steps, STEPS_MAX)
    }

    /// Slots of `slots` that may be used after `step` of the steps.
    fn slots_at(&self, step: u32, slots: u32) -> u32 {
        if step >= self.steps {
            return slots;
        }
        let share = self.initial_share + (1.0 - self.initial_share) * f64::from(step) / f64::from(self.steps);
        // In range: the share is 0 to 1 and `slots` a u32.
        let usable = (f64::from(slots) * share).round() as u32;
        usable.clamp(1.min(slots), slots)
    }
}

/// How far one agent has ramped up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    settings: RampSettings,
    /// `None`: it did not have to.
    began: Option<Timestamp>,
}

impl Ramp {
    /// No ramp: the agent joined for the first time.
    #[must_use]
    pub const fn full(settings: RampSettings) -> Self {
        Self { settings, began: None }
    }

    /// A ramp that begins now: the agent came back, or was let in again.
    #[must_use]
    pub const fn begin(settings: RampSettings, now: Timestamp) -> Self {
        Self { settings, began: Some(now) }
    }

    /// How many of its `slots` the agent may use now: at least one if it has any.
    #[must_use]
    pub fn slots_usable(&self, now: Timestamp, slots: u32) -> u32 {
        match self.began {
            Some(began) => self.settings.slots_at(self.step(began, now), slots),
            None => slots,
        }
    }

    /// When [`slots_usable`](Self::slots_usable) will next be more than it is now. `None` once all can be used.
    #[must_use]
    pub fn next_step(&self, now: Timestamp, slots: u32) -> Option<Timestamp> {
        let began = self.began?;
        let step = self.step(began, now);
        let usable = self.settings.slots_at(step, slots);
        let next = (step + 1..=self.settings.steps).find(|&later| self.settings.slots_at(later, slots) > usable)?;
        Some(began.plus(self.after(next)))
    }

    /// Steps done by now.
    fn step(&self, began: Timestamp, now: Timestamp) -> u32 {
        let elapsed = now.since(began);
        (1..=self.settings.steps).rev().find(|&step| self.after(step) <= elapsed).unwrap_or(0)
    }

    /// How long after the beginning a step is due.
    fn after(&self, step: u32) -> Duration {
        Duration::from_millis(self.settings.duration_ms) * step / self.settings.steps.max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEGAN: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn after_ms(ms: u64) -> Timestamp {
        BEGAN.plus(Duration::from_millis(ms))
    }

    fn ramp() -> Ramp {
        Ramp::begin(RampSettings::default(), BEGAN)
    }

    #[test]
    fn slots_return_in_steps() {
        let usable = [0, 999, 1_000, 5_000, 9_999, 10_000].map(|ms| ramp().slots_usable(after_ms(ms), 100));
        assert_eq!(usable, [10, 10, 19, 55, 91, 100]);
    }

    #[test]
    fn a_small_agent_has_one_slot_and_only_steps_that_add_one() {
        assert_eq!(ramp().slots_usable(BEGAN, 2), 1);
        assert_eq!(ramp().next_step(BEGAN, 2), Some(after_ms(8_000)));
        assert_eq!(ramp().next_step(BEGAN, 1), None);
    }

    #[test]
    fn a_first_join_does_not_ramp() {
        let ramp = Ramp::full(RampSettings::default());
        assert_eq!(ramp.slots_usable(BEGAN, 8), 8);
        assert_eq!(ramp.next_step(BEGAN, 8), None);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let defaults = RampSettings::default();
        assert_eq!(defaults.validate(), Ok(()));
        assert!(RampSettings { steps: 0, ..defaults }.validate().is_err());
        assert!(RampSettings { initial_share: f64::NAN, ..defaults }.validate().is_err());
        assert!(serde_json::from_str::<RampSettings>(r#"{"speed":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn following_the_steps_reaches_all_slots_and_never_shrinks(slots in 0_u32..5_000, initial_share in 0.0..=1.0_f64) {
            let ramp = Ramp::begin(RampSettings { initial_share, ..RampSettings::default() }, BEGAN);
            let (mut now, mut usable) = (BEGAN, ramp.slots_usable(BEGAN, slots));
            while let Some(next) = ramp.next_step(now, slots) {
                prop_assert!(next > now);
                prop_assert_eq!(ramp.slots_usable(next.minus(Duration::from_micros(1)), slots), usable, "no change goes unannounced");
                now = next;
                prop_assert!(ramp.slots_usable(now, slots) > usable);
                usable = ramp.slots_usable(now, slots);
            }
            prop_assert_eq!(usable, slots);
        }
    }
}

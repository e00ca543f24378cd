//! Something that may happen a thousand times a second, and is worth a line now and then.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Says when the next line is due.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// It has happened. If a line is due: how often it has happened without one.
    pub fn is_due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, others) = *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            *state = (last, others + 1);
            return None;
        }
        *state = (Some(now), 0);
        Some(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_is_said_and_the_others_are_counted() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.is_due(start), Some(0));
        assert_eq!(seldom.is_due(start), None);
        assert_eq!(seldom.is_due(start + Duration::from_millis(999)), None);
        assert_eq!(seldom.is_due(start + INTERVAL), Some(2));
        assert_eq!(seldom.is_due(start + 3 * INTERVAL), Some(0));
    }
}

//! The coordinator's clock: monotonic, anchored to the wall clock once, at start.
//!
//! It never runs backwards, and a wall clock that is stepped expires no lease and no deadline. The price is that it
//! drifts from a wall clock that is corrected later, by as much as the correction; a restart anchors it anew.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use evenkeel_shared::Timestamp;

/// A clock. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    anchored_at: Timestamp,
}

impl Clock {
    /// Anchors a clock to the wall clock of now. A wall clock before 1970 counts as 1970.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor: Instant::now(), anchored_at: Timestamp::ZERO.plus(since_epoch) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.anchored_at.plus(self.anchor.elapsed())
    }

    /// When this clock was started.
    #[must_use]
    pub const fn started_at(&self) -> Timestamp {
        self.anchored_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_wall_clock_and_never_runs_backwards() {
        let clock = Clock::start();
        let times: Vec<_> = (0..1_000).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
        assert!(times[0] >= clock.started_at());
        assert!(clock.started_at() > Timestamp::from_unix_millis(1_700_000_000_000));
    }
}

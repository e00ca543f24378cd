//! Which phase of the start is under way, and how long each takes.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use evenkeel_shared::{Code, Error};

use crate::lifecycle::STARTING_RETRY_AFTER;

/// When the program began, where it has said so.
static BEGAN: OnceLock<Instant> = OnceLock::new();

/// The program begins; to be said first thing in `main`, so that what comes before the coordinator is in its account.
pub fn program_begins() {
    let _ = BEGAN.set(Instant::now());
}

/// The phase of the start that is under way, for whoever asks meanwhile. Clones share it.
#[derive(Clone, Debug)]
pub struct Phase(Arc<ArcSwap<&'static str>>);

impl Phase {
    /// The start is at this phase.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(name)))
    }

    /// The start has come to this phase.
    pub fn is_at(&self, name: &'static str) {
        self.0.store(Arc::new(name));
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        **self.0.load()
    }

    /// What everything but a probe is refused with: UNAVAILABLE, with a time to try again.
    #[must_use]
    pub fn refusal(&self) -> Error {
        Error { retry_after: Some(STARTING_RETRY_AFTER), ..Error::new(Code::Unavailable, self.to_string()) }
    }
}

impl fmt::Display for Phase {
    /// `the coordinator is starting: recover`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the coordinator is starting: {}", self.name())
    }
}

/// Phases of a start, in the order in which they began. Times of one name are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartPhases {
    phases: Vec<(&'static str, Duration)>,
    at: Instant,
}

impl StartPhases {
    /// A coordinator's start begins: all that the program did before is the phase `config`. In a program that does not say
    /// when it began that is nothing.
    #[must_use]
    pub fn begin() -> Self {
        // Only the first coordinator of a process starts with the process.
        static FIRST: OnceLock<()> = OnceLock::new();
        let now = Instant::now();
        let began = BEGAN.get().filter(|_| FIRST.set(()).is_ok()).copied().unwrap_or(now);
        Self { phases: vec![("config", now.duration_since(began))], at: now }
    }

    /// What was done since the last one belongs to this phase.
    pub fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.add(name, now.duration_since(self.at));
        self.at = now;
    }

    fn add(&mut self, name: &'static str, took: Duration) {
        match self.phases.iter_mut().find(|(known, _)| *known == name) {
            Some((_, time)) => *time += took,
            None => self.phases.push((name, took)),
        }
    }

    /// Each with its time.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        self.phases.iter().copied()
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.phases.iter().map(|(_, took)| *took).sum()
    }
}

impl fmt::Display for StartPhases {
    /// `ready in 143 ms: config 3, store 90, recover 41, listen 9`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ready in {} ms", self.total().as_millis())?;
        for (i, (name, took)) in self.iter().enumerate() {
            write!(f, "{} {name} {}", if i == 0 { ":" } else { "," }, took.as_millis())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_one_phase_are_added_and_shown_in_their_order() {
        let mut phases = StartPhases::begin();
        phases.phases[0].1 = Duration::from_millis(3);
        for (name, ms) in [("listen", 4), ("store", 90), ("recover", 41), ("listen", 5)] {
            phases.add(name, Duration::from_millis(ms));
        }
        assert_eq!(phases.to_string(), "ready in 143 ms: config 3, listen 9, store 90, recover 41");
        phases.end("actors");
        assert_eq!(phases.iter().last().map(|(name, _)| name), Some("actors"));
    }
}

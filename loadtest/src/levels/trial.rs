//! A change under test: when it is made, whether it is undone, and whether that helped.
//!
//! Pure: it is told of windows, of the levels' events, and of what came of its actions. A change is not made while a level
//! that could roll it back is violated, since nothing could be told of it then. Whether a rollback succeeded is judged by
//! the levels, not by the answer of the API: a strategy that is back in force beside a queue that never empties is no
//! recovery.

use std::collections::BTreeSet;

use super::{Change, Happening, LevelEvent};
use crate::record::ChangeOutcome;

/// Windows in a row in which all levels that roll back have to hold before they count as recovered: a single good second
/// may be one in which little ended.
pub const RECOVERED_WINDOWS: u32 = 3;

/// What is to be done about the change, or told of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make it.
    Make,
    /// Undo it.
    Undo,
    /// Nothing: it was undone, and that helped.
    Recovered {
        /// How long after it was undone the levels held again, in seconds.
        after_s: f64,
    },
    /// Nothing: it could not be made, undone or judged, or undoing it did not help.
    GiveUp {
        /// What went wrong.
        why: String,
    },
}

/// A change under test in a run that goes on.
#[derive(Clone, Debug)]
pub struct Trial {
    at_s: f64,
    recovery_max_s: f64,
    state: State,
    /// Places of the levels that roll back and are violated now, and their names.
    violated: BTreeSet<(usize, String)>,
    outcome: ChangeOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// For its time.
    Waiting,
    /// Until it is known to be in force.
    Making,
    InForce,
    /// Until what was before is known to be in force again.
    Undoing,
    /// Until the levels hold again; since when they do, and in how many windows.
    Recovering {
        undone_at_s: f64,
        holding: Option<(f64, u32)>,
    },
    Over,
}

impl Trial {
    /// A change under test in a run whose tasks arrive for `duration_s`; `text` says what is changed.
    #[must_use]
    pub fn new(change: &Change, duration_s: f64, text: String) -> Self {
        Self {
            at_s: change.at_share * duration_s,
            recovery_max_s: change.recovery_max_s,
            state: State::Waiting,
            violated: BTreeSet::new(),
            outcome: ChangeOutcome {
                change: text,
                made_at_s: None,
                violation: None,
                undone_at_s: None,
                recovered_after_s: None,
                rollback_succeeded: None,
                error: None,
            },
        }
    }

    /// Takes in a window that ended at `now_s`, and what happened to the levels in it.
    pub fn step(&mut self, now_s: f64, events: &[LevelEvent]) -> Option<Action> {
        self.follow(events);
        match self.state {
            State::Waiting if now_s >= self.at_s => Some(self.make()),
            State::Making | State::InForce => self.roll_back_if_called_for(events),
            State::Recovering { undone_at_s, holding } => self.recover(now_s, undone_at_s, holding),
            State::Waiting | State::Undoing | State::Over => None,
        }
    }

    /// Whether the change was made, which became known at `now_s`.
    pub fn made(&mut self, now_s: f64, result: Result<(), String>) -> Option<Action> {
        match (self.state, result) {
            (State::Making, Ok(())) => {
                self.outcome.made_at_s = Some(now_s);
                self.state = State::InForce;
                // The violation came while it was being made.
                self.outcome.violation.is_some().then(|| self.undo())
            }
            (State::Making, Err(error)) => {
                self.outcome.violation = None;
                Some(self.give_up(format!("it could not be made: {error}")))
            }
            _ => None,
        }
    }

    /// Whether the change was undone, which became known at `now_s`.
    pub fn undone(&mut self, now_s: f64, result: Result<(), String>) -> Option<Action> {
        match (self.state, result) {
            (State::Undoing, Ok(())) => {
                self.outcome.undone_at_s = Some(now_s);
                self.state = State::Recovering { undone_at_s: now_s, holding: None };
                None
            }
            (State::Undoing, Err(error)) => {
                self.outcome.rollback_succeeded = Some(false);
                Some(self.give_up(format!("it could not be undone: {error}")))
            }
            _ => None,
        }
    }

    /// What is changed, in one line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.outcome.change
    }

    /// What became of the change, at the end of the run.
    #[must_use]
    pub fn finish(mut self) -> ChangeOutcome {
        let open = match self.state {
            State::Waiting => Some("the run ended before it was due"),
            State::Making => Some("the run ended before it was known to be in force"),
            State::Undoing => Some("the run ended before it was known to be undone"),
            State::Recovering { .. } => Some("the run ended before the service levels were seen to hold again"),
            State::InForce | State::Over => None,
        };
        if let Some(why) = open {
            if self.outcome.violation.is_some() {
                self.outcome.rollback_succeeded = Some(false);
            }
            self.outcome.error = Some(why.to_owned());
        }
        self.outcome
    }

    /// Keeps which of the levels that roll back are violated.
    fn follow(&mut self, events: &[LevelEvent]) {
        for event in events.iter().filter(|event| event.of_rollback) {
            let level = (event.index, event.level.clone());
            match event.what {
                Happening::Violated | Happening::Counted => self.violated.insert(level),
                Happening::Recovered { .. } => self.violated.remove(&level),
            };
        }
    }

    fn make(&mut self) -> Action {
        if self.violated.is_empty() {
            self.state = State::Making;
            return Action::Make;
        }
        let names = self.names();
        self.give_up(format!("{names} did not hold when it was due, so it could not have been judged"))
    }

    fn roll_back_if_called_for(&mut self, events: &[LevelEvent]) -> Option<Action> {
        let caller = events.iter().find(|event| event.rolls_back)?;
        self.outcome.violation.get_or_insert_with(|| caller.text.clone());
        (self.state == State::InForce).then(|| self.undo())
    }

    fn undo(&mut self) -> Action {
        self.state = State::Undoing;
        Action::Undo
    }

    fn recover(&mut self, now_s: f64, undone_at_s: f64, holding: Option<(f64, u32)>) -> Option<Action> {
        let holding = if self.violated.is_empty() {
            let (since_s, windows) = holding.unwrap_or((now_s, 0));
            Some((since_s, windows + 1))
        } else {
            None
        };
        self.state = State::Recovering { undone_at_s, holding };
        if let Some((since_s, windows)) = holding
            && windows >= RECOVERED_WINDOWS
        {
            let after_s = (since_s - undone_at_s).max(0.0);
            self.outcome.recovered_after_s = Some(after_s);
            self.outcome.rollback_succeeded = Some(true);
            self.state = State::Over;
            return Some(Action::Recovered { after_s });
        }
        if holding.is_none() && now_s - undone_at_s > self.recovery_max_s {
            self.outcome.rollback_succeeded = Some(false);
            let (names, max_s) = (self.names(), self.recovery_max_s);
            return Some(self.give_up(format!("{names} did not hold again within {max_s} s of the rollback")));
        }
        None
    }

    fn give_up(&mut self, error: String) -> Action {
        self.outcome.error = Some(error.clone());
        self.state = State::Over;
        Action::GiveUp { why: error }
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.violated.iter().map(|(_, name)| name.as_str()).collect();
        if names.is_empty() { "the service levels".to_owned() } else { names.join(", ") }
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;

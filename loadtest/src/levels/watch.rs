//! Watches service levels while a run goes on.
//!
//! A level is judged once in each window. A window breaks it, heals it, or says nothing: nothing ended, or the measure is
//! not known. What says nothing changes nothing, with one exception: while tasks are out and none of them ends, the time
//! since the last one ended is a lower bound of a latency that no histogram shows yet, and breaks a level once it is above
//! its limit. Otherwise a coordinator that hangs would look healthy for as long as it hangs.
//!
//! A violation counts once it has lasted for the grace without a window that heals it. Only then it is told, stops the
//! run, or undoes the change under test: alerts about a single second teach people to ignore alerts.

use super::{
    Change, LevelError, LevelOutcome, ServiceLevel, Severity,
    check::check,
    measure::{Past, Whole, of_window},
};
use crate::record::{Histograms, Totals, Window};

/// Violations kept of each level; later ones are joined to the last. A level that flaps for hours is one finding.
const VIOLATIONS_MAX: usize = 200;
/// Share of a second by which windows may come out shorter than they should; a grace is not prolonged by it.
const WINDOW_TOLERANCE_S: f64 = 0.1;

/// What happened to a service level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It is violated; the violation does not count yet.
    Violated,
    /// The violation counts: it has outlasted the grace. Comes alone where there is no grace.
    Counted,
    /// It holds again.
    Recovered {
        /// Whether the violation had counted.
        counted: bool,
    },
}

/// Something that happened to a service level in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelEvent {
    /// Which of the levels, by its place.
    pub index: usize,
    /// Its name.
    pub level: String,
    /// How bad a violation is.
    pub severity: Severity,
    /// What happened.
    pub what: Happening,
    /// The end of the window, in seconds since the start of the run.
    pub at_s: f64,
    /// The measure in the window.
    pub value: f64,
    /// When the violation began.
    pub since_s: f64,
    /// It calls for the end of the run.
    pub stops_run: bool,
    /// It calls for the change under test to be undone.
    pub rolls_back: bool,
    /// The level is one that rolls back, whatever happened to it.
    pub of_rollback: bool,
    /// In one line.
    pub text: String,
}

/// The service levels of a run that goes on.
#[derive(Clone, Debug)]
pub struct Watch {
    levels: Vec<Level>,
    past: Past,
    /// When no more tasks arrive.
    closed_at_s: f64,
}

#[derive(Clone, Debug)]
struct Level {
    level: ServiceLevel,
    whole: Whole,
    worst: Option<f64>,
    violation: Option<Violation>,
    /// Those that counted, and are over.
    violations: Vec<(f64, f64)>,
}

/// A violation that lasts.
#[derive(Clone, Copy, Debug)]
struct Violation {
    since_s: f64,
    /// The end of the last window that broke the level.
    until_s: f64,
    counted: bool,
}

impl Watch {
    /// Watches these levels in a run whose tasks arrive for `duration_s`.
    ///
    /// # Errors
    /// A level, or the change, makes no sense.
    pub fn new(levels: &[ServiceLevel], duration_s: f64, change: Option<&Change>) -> Result<Self, LevelError> {
        check(levels, duration_s, change, None)?;
        let level = |level: &ServiceLevel| Level {
            level: level.clone(),
            whole: Whole::default(),
            worst: None,
            violation: None,
            violations: Vec::new(),
        };
        Ok(Self { levels: levels.iter().map(level).collect(), past: Past::default(), closed_at_s: duration_s })
    }

    /// Watches nothing.
    pub(super) fn none() -> Self {
        Self { levels: Vec::new(), past: Past::default(), closed_at_s: 0.0 }
    }

    /// No more tasks arrive from now on, earlier than planned.
    pub fn close(&mut self, at_s: f64) {
        self.closed_at_s = self.closed_at_s.min(at_s);
    }

    /// Judges a window; they come in order and without gaps.
    pub fn observe(&mut self, window: &Window, seen: &Histograms) -> Vec<LevelEvent> {
        self.past.add(window);
        // Its middle decides on which side of a moment a window is: their ends never fall on whole seconds.
        let middle_s = window.at_s - window.length_s / 2.0;
        let drain = middle_s > self.closed_at_s;
        let mut events = Vec::new();
        for (index, level) in self.levels.iter_mut().enumerate() {
            if middle_s < level.level.from_s {
                continue;
            }
            level.whole.add(&level.level, window, seen, drain);
            if let Some(value) = of_window(&level.level, window, seen, &self.past, drain)
                && let Some((what, since_s)) = level.judge(value, window)
            {
                events.push(level.event(index, what, window.at_s, value, since_s));
            }
        }
        events
    }

    /// Names of the levels that are violated now, with those whose grace still runs.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        let violated = self.levels.iter().filter(|level| level.violation.is_some());
        violated.map(|level| level.level.name.as_str())
    }

    /// How the levels came out.
    #[must_use]
    pub fn finish(self, totals: &Totals) -> Vec<LevelOutcome> {
        let endless = totals.lost + totals.unverified;
        self.levels.into_iter().map(|level| level.outcome(endless)).collect()
    }
}

impl Level {
    /// What a value of a window makes of the level, and since when it is violated.
    fn judge(&mut self, value: f64, window: &Window) -> Option<(Happening, f64)> {
        let outside_by = self.level.outside_by(value);
        if self.worst.is_none_or(|worst| outside_by > self.level.outside_by(worst)) {
            self.worst = Some(value);
        }
        if outside_by <= 0.0 {
            let healed = self.violation.take()?;
            self.keep(healed);
            return Some((Happening::Recovered { counted: healed.counted }, healed.since_s));
        }
        let grace_s = self.level.grace_s;
        let first = self.violation.is_none();
        let since_s = window.at_s - window.length_s;
        let violation = self.violation.get_or_insert(Violation { since_s, until_s: since_s, counted: false });
        violation.until_s = window.at_s;
        let lasted_s = violation.until_s - violation.since_s;
        if !violation.counted && lasted_s + WINDOW_TOLERANCE_S >= grace_s {
            violation.counted = true;
            return Some((Happening::Counted, violation.since_s));
        }
        first.then_some((Happening::Violated, violation.since_s))
    }

    /// Keeps a violation that is over, if it counted.
    fn keep(&mut self, violation: Violation) {
        if !violation.counted {
            return;
        }
        let full = self.violations.len() >= VIOLATIONS_MAX;
        match self.violations.last_mut() {
            Some(last) if full => last.1 = violation.until_s,
            _ => self.violations.push((violation.since_s, violation.until_s)),
        }
    }

    fn event(&self, index: usize, what: Happening, at_s: f64, value: f64, since_s: f64) -> LevelEvent {
        let level = &self.level;
        let (name, measure, shown, limits) = (&level.name, &level.measure, level.measure.show(value), level.limits());
        let text = match what {
            Happening::Violated => {
                format!("{name}: {measure} is {shown}, {limits}; counts from {} s on", level.grace_s)
            }
            Happening::Counted => format!("{name}: {measure} is {shown}, {limits}, violated since {since_s:.1} s"),
            Happening::Recovered { .. } => format!("{name}: {measure} is {shown} again, {limits}"),
        };
        let calls = what == Happening::Counted;
        LevelEvent {
            index,
            level: name.clone(),
            severity: level.severity,
            what,
            at_s,
            value,
            since_s,
            stops_run: calls && level.stops_run,
            rolls_back: calls && level.rolls_back,
            of_rollback: level.rolls_back,
            text,
        }
    }

    fn outcome(mut self, endless: u64) -> LevelOutcome {
        if let Some(open) = self.violation.take() {
            self.keep(open);
        }
        self.whole.add_endless(&self.level, endless);
        let value = self.whole.value(&self.level);
        let within = value.is_none_or(|value| self.level.outside_by(value) <= 0.0);
        let kept = within && self.violations.is_empty();
        LevelOutcome { level: self.level, value, worst: self.worst, violations: self.violations, kept }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

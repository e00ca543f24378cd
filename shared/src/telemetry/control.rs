//! Changes of the log while the program runs: what it lets through, for a while or for good, and how it looks.
//!
//! A process has one log, so there is one control. It keeps two filters: that of the settings, and one that somebody has
//! put over it, which may end by itself. A filter that somebody forgot at `trace` is a full disk a week later.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tracing_subscriber::{EnvFilter, Registry, reload};

use super::{LogFormat, Repeats, TelemetryError, parse};

static CONTROL: OnceLock<LogControl> = OnceLock::new();

type SetFormat = Box<dyn Fn(LogFormat) -> Result<(), TelemetryError> + Send + Sync>;

/// The log of this process; `None` before [`init`](super::init).
#[must_use]
pub fn control() -> Option<&'static LogControl> {
    CONTROL.get()
}

pub(super) fn install(
    filter: reload::Handle<EnvFilter, Registry>,
    set_format: SetFormat,
    base: &str,
    repeats: Repeats,
) {
    let state = State { base: base.to_owned(), over: None, number: 0 };
    // A second one would mean a second global subscriber, which has been refused.
    let _ = CONTROL.set(LogControl::new(filter, set_format, repeats, state));
}

/// What the log lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterInForce {
    /// The directives in force.
    pub filter: String,
    /// Until then; `None`: until it is changed.
    pub until: Option<SystemTime>,
    /// What is in force after that: that of the settings.
    pub base: String,
}

/// Changes the log.
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    set_format: SetFormat,
    repeats: Repeats,
    follows_filter: AtomicBool,
    follows_format: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    base: String,
    over: Option<(String, Option<SystemTime>)>,
    /// Of the last change.
    number: u64,
}

impl State {
    fn in_force(&self) -> FilterInForce {
        let (filter, until) = self.over.clone().unwrap_or_else(|| (self.base.clone(), None));
        FilterInForce { filter, until, base: self.base.clone() }
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").field("in_force", &self.in_force()).finish_non_exhaustive()
    }
}

impl LogControl {
    fn new(filter: reload::Handle<EnvFilter, Registry>, set_format: SetFormat, repeats: Repeats, state: State) -> Self {
        let (follows_filter, follows_format) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { filter, set_format, repeats, follows_filter, follows_format, state: Mutex::new(state) }
    }

    /// What is let through.
    #[must_use]
    pub fn in_force(&self) -> FilterInForce {
        self.state().in_force()
    }

    /// Lets this through instead of what the settings say; whoever wants it to end at `until` calls [`LogControl::expire`] then,
    /// with the number that this gives.
    ///
    /// # Errors
    /// If it is no filter; nothing has changed then.
    pub fn put(&self, filter: &str, until: Option<SystemTime>) -> Result<u64, TelemetryError> {
        let mut state = self.state();
        self.filter.reload(parse(filter)?)?;
        state.over = Some((filter.to_owned(), until));
        state.number += 1;
        Ok(state.number)
    }

    /// Back to what the settings say.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn reset(&self) -> Result<(), TelemetryError> {
        let mut state = self.state();
        self.filter.reload(parse(&state.base)?)?;
        state.over = None;
        state.number += 1;
        Ok(())
    }

    /// The time of the change with this number is up, unless there was another one since. Whether it ended now.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn expire(&self, number: u64) -> Result<bool, TelemetryError> {
        if self.state().number != number {
            return Ok(false);
        }
        self.reset()?;
        Ok(true)
    }

    /// The settings say this from here on. What was put over it stays.
    ///
    /// # Errors
    /// If it is no filter; nothing has changed then.
    fn set_base(&self, filter: &str) -> Result<(), TelemetryError> {
        let mut state = self.state();
        let parsed = parse(filter)?;
        if state.over.is_none() {
            self.filter.reload(parsed)?;
        }
        filter.clone_into(&mut state.base);
        Ok(())
    }

    /// How lines look from here on.
    ///
    /// # Errors
    /// If the log is gone.
    pub fn set_format(&self, format: LogFormat) -> Result<(), TelemetryError> {
        (self.set_format)(format)
    }

    /// Whether what the settings say of filter and format counts: not where flags have said something else.
    pub fn follow_settings(&self, filter: bool, format: bool) {
        self.follows_filter.store(filter, Ordering::Release);
        self.follows_format.store(format, Ordering::Release);
    }

    /// The settings say this.
    ///
    /// # Errors
    /// If the filter is none; nothing has changed then.
    pub fn settings_say(&self, filter: &str, format: LogFormat, lines_per_second: usize) -> Result<(), TelemetryError> {
        if self.follows_filter.load(Ordering::Acquire) {
            self.set_base(filter)?;
        }
        if self.follows_format.load(Ordering::Acquire) {
            self.set_format(format)?;
        }
        self.repeats.set_lines_per_second(lines_per_second);
        Ok(())
    }

    /// What keeps lines from repeating.
    #[must_use]
    pub const fn repeats(&self) -> &Repeats {
        &self.repeats
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> LogControl {
        let (layer, filter) = reload::Layer::new(parse("info").unwrap());
        // The handle works for as long as its layer.
        std::mem::forget(layer);
        let state = State { base: "info".to_owned(), over: None, number: 0 };
        LogControl::new(filter, Box::new(|_| Ok(())), Repeats::default(), state)
    }

    fn in_force(log: &LogControl) -> String {
        log.filter.with_current(ToString::to_string).unwrap()
    }

    #[test]
    fn a_filter_ends_when_its_time_is_up_unless_another_has_come() {
        let log = log();
        let first = log.put("debug", Some(SystemTime::now())).unwrap();
        assert_eq!(in_force(&log), "debug");
        let second = log.put("trace", None).unwrap();
        assert!(!log.expire(first).unwrap());
        assert_eq!(log.in_force(), FilterInForce { filter: "trace".into(), until: None, base: "info".into() });
        assert!(log.expire(second).unwrap());
        assert_eq!((in_force(&log).as_str(), log.in_force().filter.as_str()), ("info", "info"));
    }

    #[test]
    fn what_the_settings_say_waits_below_what_was_put_over_it() {
        let log = log();
        log.set_base("warn").unwrap();
        assert_eq!(in_force(&log), "warn");
        log.put("debug", None).unwrap();
        log.set_base("error").unwrap();
        assert_eq!(in_force(&log), "debug");
        log.reset().unwrap();
        assert_eq!(in_force(&log), "error");
    }

    #[test]
    fn flags_go_before_settings() {
        let log = log();
        log.settings_say("warn", LogFormat::Text, 7).unwrap();
        assert_eq!(in_force(&log), "info");
        log.follow_settings(true, false);
        log.settings_say("warn", LogFormat::Text, 7).unwrap();
        assert_eq!(in_force(&log), "warn");
    }

    #[test]
    fn what_is_no_filter_changes_nothing() {
        let log = log();
        assert!(log.put("evenkeel=loud", None).is_err() && log.set_base("evenkeel=loud").is_err());
        assert_eq!(log.in_force(), FilterInForce { filter: "info".into(), until: None, base: "info".into() });
    }
}

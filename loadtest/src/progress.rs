//! What a run tells of itself while it goes on.

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::record::{Phase, Window};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The agents connect.
    Connecting {
        /// Agents with a session.
        connected: u32,
        /// Agents of the plan.
        wanted: u32,
    },
    /// Tasks are submitted and come to their end.
    Running {
        /// Tasks that are over.
        over: u32,
        /// Tasks accepted.
        accepted: u32,
        /// Tasks of the plan.
        wanted: u32,
    },
    /// All is over; the fleet leaves.
    Done,
}

/// Is told where the run is, some ten times a second.
pub trait Progress: Send + Sync {
    /// The run has come so far.
    fn at(&self, stage: Stage);

    /// A second of a scenario is over.
    fn pulse(&self, _pulse: &Pulse<'_>) {}

    /// Something is to be told in a line of its own.
    fn say(&self, line: &str) {
        eprintln!("{line}");
    }
}

/// How a scenario goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulse<'a> {
    /// The second.
    pub window: &'a Window,
    /// How long tasks arrive.
    pub duration_s: f64,
    /// Service levels that are violated now.
    pub violated: Vec<String>,
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn at(&self, _stage: Stage) {}
}

/// A bar on stderr, where that is a terminal.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that shows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style(TASKS)))
    }
}

/// Lines of the display, of a run with a number of tasks and of a scenario.
const TASKS: &str = "{msg:24} {wide_bar} {pos}/{len} {per_sec} {eta}";
const SCENARIO: &str = "{wide_bar} {pos}/{len} s\n{msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bar {
    fn at(&self, stage: Stage) {
        let (message, position, length) = match stage {
            Stage::Connecting { connected, wanted } => ("agents connect".to_owned(), connected, wanted),
            Stage::Running { over, accepted, wanted } => (format!("{} in flight", accepted - over), over, wanted),
            Stage::Done => return self.0.finish_and_clear(),
        };
        self.0.set_length(length.into());
        self.0.set_position(position.into());
        self.0.set_message(message);
    }

    fn pulse(&self, pulse: &Pulse<'_>) {
        self.0.set_style(style(SCENARIO));
        self.0.set_length(pulse.duration_s.ceil() as u64);
        self.0.set_position(pulse.window.at_s as u64);
        self.0.set_message(lines(pulse));
    }

    fn say(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }
}

/// What a scenario's display shows below its bar.
fn lines(pulse: &Pulse<'_>) -> String {
    let Window { length_s, offered, completed, queue_depth, running, agents, .. } = *pulse.window;
    let per_s = |count: u64| count as f64 / length_s;
    let mut text = format!(
        "offered {:>7.0}/s   completed {:>7.0}/s   queue {queue_depth:>7}   running {running:>6}   agents {agents:>6}\n",
        per_s(offered),
        per_s(completed),
    );
    match pulse.window.latency_ms.get(&Phase::EndToEnd) {
        Some(latency) => {
            let _ = write!(text, "p50 {:.1} ms   p99 {:.1} ms   max {:.1} ms", latency.p50, latency.p99, latency.max);
        }
        None => text.push_str("no task ended in this second"),
    }
    if !pulse.window.available {
        text.push_str("   no answer from the coordinator");
    }
    if !pulse.violated.is_empty() {
        let _ = write!(text, "\nviolated: {}", pulse.violated.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_shows_its_rates_and_what_is_violated() {
        let window =
            Window { length_s: 2.0, offered: 100, completed: 90, agents: 7, available: true, ..Window::default() };
        let pulse = Pulse { window: &window, duration_s: 10.0, violated: vec!["p99".into()] };
        let text = lines(&pulse);
        for part in ["offered      50/s", "completed      45/s", "agents      7", "no task ended", "violated: p99"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("no answer"));
    }
}

//! What a run tells of itself while it goes on.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} {per_sec} {eta}");
        Self(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }
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
}

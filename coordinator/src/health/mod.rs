//! How the coordinator itself is, part by part: what orchestrators probe, operators ask for, and a change of settings is judged by.
//!
//! ```text
//! probes ─► sampler ─► judge ─► board ─► /readyz, GetHealth, grpc.health.v1, metrics, events
//! ```
//!
//! [`judge`] is pure: numbers and thresholds in, a finding out; [`history`] says what becomes of findings over time. [`sampler`] is
//! the one place that measures. Parts that know more of themselves than numbers (certificates, settings, the exporter of
//! traces) hand the [`Board`] a [`Probe`]. The [`watchdog`] has a thread of its own, since what it looks for may keep every other
//! one from running.
//!
//! Rejected: a probe that asks the engine something and waits for the answer. It queues behind the work, so a busy coordinator
//! would look like a dead one, and be restarted when it is needed most.

mod board;
mod disk;
pub mod history;
pub mod judge;
pub mod sampler;
pub mod serving;
pub mod watchdog;

pub use board::{Assessment, Board, ComponentState, Probe};

/// A part of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store writer and its disk.
    Store,
    /// The engine's loop.
    Engine,
    /// Agents' sessions.
    Sessions,
    /// Room where the data is.
    Disk,
    /// Where traces go.
    Exporter,
    /// The resource manager.
    Manager,
    /// Certificates of the ports.
    Certificates,
    /// The settings in force.
    Config,
}

impl Component {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Store,
        Self::Engine,
        Self::Sessions,
        Self::Disk,
        Self::Exporter,
        Self::Manager,
        Self::Certificates,
        Self::Config,
    ];

    /// Its name, as shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Engine => "engine",
            Self::Sessions => "sessions",
            Self::Disk => "disk",
            Self::Exporter => "exporter",
            Self::Manager => "manager",
            Self::Certificates => "certificates",
            Self::Config => "config",
        }
    }

    /// The verb that goes with its name.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Sessions | Self::Certificates => "are",
            Self::Store | Self::Engine | Self::Disk | Self::Exporter | Self::Manager | Self::Config => "is",
        }
    }

    /// Whether the coordinator takes no work while it is unhealthy. The others cost something else: traces, advice, warning.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::Store | Self::Engine)
    }
}

/// How a part is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// As it should be.
    #[default]
    Healthy,
    /// It works, with less than it should have.
    Degraded,
    /// It does not do its work.
    Unhealthy,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Unhealthy];

    /// Its name, as shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What was found of a part, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// How it is.
    pub level: Level,
    /// Why it is not healthy, and what to do.
    pub reasons: Vec<String>,
    /// Numbers behind it; their names end with their units.
    pub measurements: Vec<(&'static str, f64)>,
    /// The level is a fact that ends at a moment, such as a full disk, and no number that may swing around its threshold: it
    /// is believed at once when it gets better.
    pub exact: bool,
}

impl Finding {
    /// Nothing is wrong.
    #[must_use]
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Something is.
    #[must_use]
    pub fn of(level: Level, reason: impl Into<String>) -> Self {
        Self { level, reasons: vec![reason.into()], ..Self::default() }
    }

    /// With a number.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.measurements.push((name, value));
        self
    }

    /// As a fact.
    #[must_use]
    pub const fn exactly(mut self) -> Self {
        self.exact = true;
        self
    }
}

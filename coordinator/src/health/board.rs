//! What is known of the parts at the moment, for everybody who wants to know.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use arc_swap::ArcSwap;
use evenkeel_shared::Timestamp;

use super::{Component, Finding, Level};
use crate::{config::HealthConfig, start::StartPhases};

/// What a part knows of itself; asked once in [`HealthConfig::sample_interval_ms`], so it has to be quick and must not wait.
pub type Probe = Arc<dyn Fn() -> Finding + Send + Sync>;

/// A part, and how it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentState {
    /// Which.
    pub component: Component,
    /// How it is.
    pub level: Level,
    /// Since when.
    pub since: Timestamp,
    /// Why it is not healthy, and what to do.
    pub reasons: Vec<String>,
    /// Numbers behind it, by name.
    pub measurements: Vec<(&'static str, f64)>,
}

/// All parts at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assessment {
    /// In the order of [`Component::ALL`]; empty before the first look.
    pub components: Vec<ComponentState>,
}

impl Assessment {
    /// How a part is; healthy before the first look.
    #[must_use]
    pub fn level(&self, component: Component) -> Level {
        self.components.iter().find(|state| state.component == component).map_or(Level::Healthy, |state| state.level)
    }

    /// The worst of the parts that the coordinator cannot do without.
    #[must_use]
    pub fn worst_needed(&self) -> Level {
        let needed = self.components.iter().filter(|state| state.component.is_needed());
        needed.map(|state| state.level).max().unwrap_or_default()
    }

    /// The worst of all parts.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.components.iter().map(|state| state.level).max().unwrap_or_default()
    }

    /// The first part that keeps the coordinator from being ready, with its reason.
    #[must_use]
    pub fn hindrance(&self) -> Option<String> {
        let state =
            self.components.iter().find(|state| state.component.is_needed() && state.level == Level::Unhealthy)?;
        Some(format!("{} is unhealthy: {}", state.component.name(), state.reasons.join("; ")))
    }
}

/// Shows how the parts are. Clones share it.
#[derive(Clone)]
pub struct Board(Arc<State>);

struct State {
    settings: ArcSwap<HealthConfig>,
    now: ArcSwap<Assessment>,
    probes: Mutex<BTreeMap<Component, Probe>>,
    phases: OnceLock<StartPhases>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Board {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(settings: HealthConfig) -> Self {
        Self(Arc::new(State {
            settings: ArcSwap::from_pointee(settings),
            now: ArcSwap::default(),
            probes: Mutex::default(),
            phases: OnceLock::new(),
        }))
    }

    /// A part tells how it is from here on, in place of what was asked before. Of the parts that the [sampler](super::sampler)
    /// measures itself the probe's finding counts where it is worse.
    pub fn probe(&self, component: Component, probe: Probe) {
        self.0.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(component, probe);
    }

    /// What a part says of itself; healthy if it says nothing.
    #[must_use]
    pub fn ask(&self, component: Component) -> Finding {
        let probe = self.0.probes.lock().unwrap_or_else(PoisonError::into_inner).get(&component).cloned();
        probe.map_or_else(Finding::healthy, |probe| probe())
    }

    /// Thresholds from the next look on.
    pub fn set_settings(&self, settings: HealthConfig) {
        self.0.settings.store(Arc::new(settings));
    }

    /// The thresholds in force.
    #[must_use]
    pub fn settings(&self) -> Arc<HealthConfig> {
        self.0.settings.load_full()
    }

    /// How the parts are.
    #[must_use]
    pub fn now(&self) -> Arc<Assessment> {
        self.0.now.load_full()
    }

    pub(super) fn show(&self, assessment: Assessment) {
        self.0.now.store(Arc::new(assessment));
    }

    /// The start is over; this is what it took.
    pub fn started(&self, phases: StartPhases) {
        // There is one start.
        let _ = self.0.phases.set(phases);
    }

    /// What the start took; `None` while it lasts.
    #[must_use]
    pub fn start_phases(&self) -> Option<&StartPhases> {
        self.0.phases.get()
    }
}

//! The configuration of a running coordinator: what is in force, how it changes, and how it goes back.
//!
//! A change is made as a whole or not at all. It is read and checked completely; those who know more than the types are asked
//! ([`LiveConfig::check_with`]); then the engine takes its part and stores the version in one commit; and once that is durable
//! the rest is swapped in, which cannot fail. What is wrong at any step before leaves the old one in force.
//!
//! Settings that need a restart are part of the version, and named, but what is in force keeps their old values until then.
//!
//! After a change the coordinator is on probation: if a part of it that was healthy becomes unhealthy within
//! `reload.probation_ms`, the version before is put back. The file that was rolled back is not taken again until it changes,
//! by its hash, not even by a restart: who is woken by a coordinator that rolled back should not find it broken again because
//! the machine was rebooted. Settings that need a restart are taken from it at a start nevertheless: they had no part in what
//! broke, and where the data lies has to be known before what is kept there can be asked.
//!
//! Probation goes by the time of day, so that a restart neither ends nor prolongs it: the coordinator watches on for what is left of
//! it, and a change with which it has started again and again within that time is rolled back as well, since a coordinator that
//! dies of it cannot be seen to be unwell.
//!
//! What a file or a signal changes is in the audit log like what is changed by a call: before it is done, and with what came of it.

mod change;
mod history;
mod probation;
mod watch;
mod words;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use arc_swap::ArcSwap;
use evenkeel_core::model::{Declaration, DeclarationKind};
use evenkeel_shared::Timestamp;
use tokio::sync::watch as cell;

use self::history::Stored;
pub use self::{
    change::{Cause, Outcome, Who},
    history::Version,
};
use super::{CoordinatorConfig, Layer, Loaded, Origin, Problem, Source, Sources, holds_secret, table};
use crate::{gateway::Gateway, security::audit::Audit};

/// Says what is wrong with a configuration that is otherwise sound, such as a certificate that cannot be read.
pub type Check = Box<dyn Fn(&CoordinatorConfig) -> Result<(), Problem> + Send + Sync>;
/// Takes a configuration over that is in force from now on; must be quick, and cannot refuse.
pub type Taker = Box<dyn Fn(&CoordinatorConfig) + Send + Sync>;
/// Which parts of the coordinator are unhealthy, each with why.
pub type Ills = Box<dyn Fn() -> Vec<(String, String)> + Send + Sync>;

/// The configuration of a running coordinator. Clones share it.
#[derive(Clone)]
pub struct LiveConfig(Arc<State>);

struct State {
    sources: Sources,
    /// What is in force, for those who read it.
    running: cell::Sender<Arc<CoordinatorConfig>>,
    /// The same with all that is shown of it.
    shown: ArcSwap<InForce>,
    /// Changes are made one at a time.
    turn: tokio::sync::Mutex<Turn>,
    checks: Mutex<Vec<Check>>,
    takers: Mutex<Vec<Taker>>,
    ills: OnceLock<Ills>,
    gateway: OnceLock<Gateway>,
    audit: OnceLock<Audit>,
    /// Which start of the store this is.
    start: u64,
}

/// What a change begins from.
struct Turn {
    /// The version as it was asked for.
    wanted: Layer,
    /// A version that came with the start and is stored with the next change.
    unstored: Option<Stored>,
    /// The file as it was last looked at, whether or not it was taken.
    seen_hash: String,
}

/// What is in force, and since when.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its version.
    pub version: u64,
    /// Since when.
    pub since: Timestamp,
    /// Its settings.
    pub layer: Layer,
    /// Why it is not what the file says; empty: it is.
    pub differs_because: String,
    /// It is rolled back if health breaks before.
    pub probation_until: Option<Timestamp>,
    /// A version of the start that is not stored yet.
    unstored: Option<Stored>,
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveConfig").field("version", &self.shown().version).finish_non_exhaustive()
    }
}

impl LiveConfig {
    /// What is in force at a start, the `start`th of this store: what was loaded, unless its file was rolled back before and
    /// has not changed since.
    ///
    /// # Errors
    /// If what was loaded and what was kept do not go together; what was loaded is then in force.
    #[must_use]
    pub fn new(loaded: Loaded, declarations: &[Declaration], start: u64, now: Timestamp) -> Self {
        let kept = declarations.iter().find(|declared| declared.kind == DeclarationKind::Config);
        let made = kept.map(|declared| declared.at);
        let kept = kept.and_then(|declared| Some((declared.version, Stored::read(declared.body.as_deref()?)?)));
        let (mut config, mut layer) = (loaded.config, loaded.layer);
        let mut differs_because = String::new();
        if let Some((version, stored)) = &kept
            && !loaded.file_hash.is_empty()
            && stored.refused_hash == loaded.file_hash
        {
            let origin = Origin::named(Source::Rollback, format!("version {version}"));
            let before = layer.with(&stored.layer(&layer, &origin), |setting| setting.live);
            match before.config() {
                Ok(kept) => {
                    differs_because = format!("{}; it is taken again when it changes", stored.reason);
                    tracing::warn!(version, "the configuration file is not taken: {differs_because}");
                    (config, layer) = (kept, before);
                }
                Err(problems) => {
                    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    tracing::error!(version, "the version before cannot be kept: {}", problems.join("; "));
                }
            }
        }
        let (version, unstored) = match &kept {
            Some((version, stored)) if stored.is_of(&layer) => (*version, None),
            kept => {
                let version = kept.as_ref().map_or(0, |(version, _)| *version) + 1;
                let before = kept.as_ref().map(|(_, stored)| stored.layer(&layer, &Origin::default()));
                let changes = before.map(|before| before.changes(&layer)).unwrap_or_default();
                (version, Some(Stored::new(Cause::Start, &Who::itself(), "", &layer, &changes)))
            }
        };
        let same = kept.as_ref().filter(|_| unstored.is_none()).zip(made);
        let probation_until = same.and_then(|((_, stored), at)| stored.probation_until(at, &config));
        let shown = InForce {
            version,
            since: now,
            layer: layer.clone(),
            differs_because,
            probation_until: probation_until.filter(|until| *until > now),
            unstored: unstored.clone(),
        };
        Self(Arc::new(State {
            sources: loaded.sources,
            running: cell::Sender::new(Arc::new(config)),
            shown: ArcSwap::from_pointee(shown),
            turn: tokio::sync::Mutex::new(Turn { wanted: layer, unstored, seen_hash: loaded.file_hash }),
            checks: Mutex::default(),
            takers: Mutex::default(),
            ills: OnceLock::new(),
            gateway: OnceLock::new(),
            audit: OnceLock::new(),
            start,
        }))
    }

    /// What is in force.
    #[must_use]
    pub fn now(&self) -> Arc<CoordinatorConfig> {
        self.0.running.borrow().clone()
    }

    /// Told of each change, once it is in force.
    #[must_use]
    pub fn subscribe(&self) -> cell::Receiver<Arc<CoordinatorConfig>> {
        self.0.running.subscribe()
    }

    /// What is in force, with where each value comes from.
    #[must_use]
    pub fn shown(&self) -> Arc<InForce> {
        self.0.shown.load_full()
    }

    /// Where it is read from.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Asked before every change; one that says no leaves the old configuration in force.
    pub fn check_with(&self, check: Check) {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).push(check);
    }

    /// Told of every change as it comes into force, before who asked for it is answered.
    pub fn tell(&self, taker: Taker) {
        self.0.takers.lock().unwrap_or_else(PoisonError::into_inner).push(taker);
    }

    /// Where changes are written down that nobody has called for.
    pub fn write_down_in(&self, audit: Audit) {
        // There is one start.
        let _ = self.0.audit.set(audit);
    }

    /// Changes can be made from here on. `ills` says which parts are unhealthy.
    pub fn begin(&self, gateway: Gateway, ills: Ills) {
        // There is one start.
        let _ = self.0.gateway.set(gateway);
        let _ = self.0.ills.set(ills);
        self.resume_probation();
    }

    /// Names of settings that were changed and need a restart.
    #[must_use]
    pub fn awaits_restart(running: &Layer, wanted: &Layer) -> Vec<&'static str> {
        let changed = running.changes(wanted).into_iter();
        changed.filter(|change| !change.setting.live).map(|change| change.setting.path).collect()
    }

    fn show(&self, change: impl Fn(&mut InForce)) {
        self.0.shown.rcu(|shown| {
            let mut shown = InForce::clone(shown);
            change(&mut shown);
            shown
        });
    }
}

/// The settings of a layer that differ from the default, without secrets: what is kept of a version.
fn kept_of(layer: &Layer) -> serde_json::Map<String, serde_json::Value> {
    let default = Layer::of(&CoordinatorConfig::default(), "");
    table::settings()
        .filter(|setting| !holds_secret(setting, layer.value(setting.path)))
        .filter(|setting| layer.value(setting.path) != default.value(setting.path))
        .map(|setting| (setting.path.to_owned(), layer.value(setting.path).clone()))
        .collect()
}

#[cfg(test)]
mod tests;

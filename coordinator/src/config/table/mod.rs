//! The table of settings: each with its form, its unit and range, what it is for, and when a change of it counts.
//!
//! One table, because everything that speaks of settings must say the same: the checks of a file and of the environment, the
//! suggestion for a name that was mistyped, `config default`, `config schema`, `docs/configuration.md`, which changes need a
//! restart, and what is shown to nobody. Tests hold it against the types: each leaf of the default configuration has a line
//! here, and each line is a leaf.
//!
//! A derive macro on the types was rejected: ranges would be written in attributes, where no compiler checks them.

mod engine;
mod process;
mod resources;
mod security;
mod watching;

use std::{collections::HashMap, sync::LazyLock};

use super::setting::Setting;

/// Sections in the order in which they are documented.
const PARTS: [&[Setting]; 12] = [
    process::TOP,
    process::LIMITS,
    process::STORE,
    engine::ENGINE,
    engine::GUARDS,
    resources::RESOURCES,
    security::TLS,
    security::AUTH,
    security::AUDIT,
    watching::TELEMETRY,
    watching::LOG_AND_HEALTH,
    process::RELOAD,
];

/// All settings.
pub fn settings() -> impl Iterator<Item = &'static Setting> + Clone {
    PARTS.into_iter().flatten()
}

/// The setting of this path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Setting> {
    static BY_PATH: LazyLock<HashMap<&str, &Setting>> =
        LazyLock::new(|| settings().map(|setting| (setting.path, setting)).collect());
    BY_PATH.get(path).copied()
}

/// Whether settings stand below this path.
#[must_use]
pub fn is_section(path: &str) -> bool {
    settings().any(|setting| setting.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// What a section is about, where a line helps.
#[must_use]
pub fn section_about(path: &str) -> &'static str {
    match path {
        "" => "Where it listens, and where its data is.",
        "limits" => "Bounds of connections, queues and what is kept in memory.",
        "store" => "How long what is kept, and the memory of the database.",
        "engine" => "Placing tasks. Durations are in milliseconds.",
        "engine.health" => "When an agent counts as degraded or unhealthy.",
        "engine.health.cpu" => "By the share of its processor in use.",
        "engine.health.memory" => "By the share of its memory in use.",
        "engine.health.failure_rate" => "By the share of attempts that failed.",
        "engine.lease" => "When an agent counts as gone.",
        "engine.outliers" => "When an agent that fails much rests for a while.",
        "engine.breakers" => "When kinds and upstream quotas that fail much are left alone for a while.",
        "engine.ramp" => "How fast an agent that came back takes on work.",
        "engine.panic" => "When failover is slowed down.",
        "engine.staleness" => "How fast a measurement of an agent loses its worth.",
        "resources" => "The resource manager.",
        "scaling" => "The size of the fleet.",
        "tls" => "Encryption of the ports.",
        "auth" => "Who may do what.",
        "audit" => "The log of who changed what.",
        "telemetry" => "Traces.",
        "log" => "The log.",
        "health" => "When the coordinator itself counts as degraded or unhealthy.",
        "reload" => "Changes of these settings while it runs.",
        _ => "",
    }
}

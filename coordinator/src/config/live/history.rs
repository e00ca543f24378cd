//! Versions, as they are kept in the store.

use std::time::Duration;

use evenkeel_core::model::{Declaration, DeclarationKind};
use evenkeel_shared::{Code, Error, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Cause, LiveConfig, Who, kept_of};
use crate::{
    config::{Change, CoordinatorConfig, Layer, Origin, Source, holds_secret, table},
    store::{DeclarationQuery, ROWS_MAX},
};

/// What is kept of a version. Secrets are not: a rollback leaves them as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stored {
    pub cause: Cause,
    pub by: String,
    pub reason: String,
    /// What differs from the version before, as it is shown.
    pub changes: Vec<StoredChange>,
    /// What differs from the defaults.
    pub settings: Map<String, Value>,
    /// The file that is not taken until it changes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub refused_hash: String,
    /// The version that this one rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<u64>,
    /// The version whose settings this one has put back in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
    /// The start of the store in which it came into force.
    pub start: u64,
    /// Parts that were unhealthy by then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwell_before: Vec<String>,
}

/// A version as it is kept: its number, since when, and what.
pub(super) type Kept = (u64, Timestamp, Stored);

/// A setting that has changed, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredChange {
    /// Which.
    pub path: String,
    /// Before, in TOML.
    pub before: String,
    /// After.
    pub after: String,
    /// In force after a restart only.
    pub needs_restart: bool,
}

impl From<&Change> for StoredChange {
    fn from(change: &Change) -> Self {
        Self {
            path: change.setting.path.to_owned(),
            before: change.shown_before(),
            after: change.shown_after(),
            needs_restart: !change.setting.live,
        }
    }
}

impl Stored {
    pub fn new(cause: Cause, who: &Who, reason: &str, layer: &Layer, changes: &[Change]) -> Self {
        Self {
            cause,
            by: who.0.clone(),
            reason: reason.to_owned(),
            changes: changes.iter().map(Into::into).collect(),
            settings: kept_of(layer),
            ..Self::default()
        }
    }

    pub fn read(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    pub fn written(&self) -> Result<String, Error> {
        serde_json::to_string(self)
            .map_err(|error| Error::new(Code::Internal, format!("a version cannot be kept: {error}")))
    }

    /// Whether these are the settings of this version.
    pub fn is_of(&self, layer: &Layer) -> bool {
        self.settings == kept_of(layer)
    }

    /// Until when it is on probation, if it came into force at this time; `None`: it never was.
    pub fn probation_until(&self, at: Timestamp, config: &CoordinatorConfig) -> Option<Timestamp> {
        let lasts_ms = config.reload.probation_ms;
        (self.cause.has_probation() && lasts_ms > 0).then(|| at.plus(Duration::from_millis(lasts_ms)))
    }

    /// Its settings, with the secrets of another layer. Settings that this build does not know are left out.
    pub fn layer(&self, secrets: &Layer, origin: &Origin) -> Layer {
        let mut layer = Layer::of(&CoordinatorConfig::default(), "");
        for setting in table::settings() {
            if let Some(value) = self.settings.get(setting.path) {
                layer.put(setting, value.clone(), origin.clone());
            }
        }
        layer.with(secrets, |setting| holds_secret(setting, secrets.value(setting.path)))
    }
}

/// A version, as it is shown.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When it came into force.
    pub at: Timestamp,
    /// Through what.
    pub cause: Cause,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What differs from the one before.
    pub changes: Vec<StoredChange>,
    /// Why it was rolled back; empty: it was not.
    pub rolled_back_because: String,
}

impl LiveConfig {
    /// All versions that are kept, newest first.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn versions(&self) -> Result<Vec<Version>, Error> {
        let shown = self.shown();
        let unstored = shown.unstored.clone().map(|stored| (shown.version, shown.since, stored));
        let all: Vec<_> = unstored.into_iter().chain(self.stored().await?).collect();
        let because = |version: u64| {
            let by = all.iter().find(|(_, _, stored)| stored.rolled_back == Some(version));
            by.map(|(_, _, stored)| stored.reason.clone()).unwrap_or_default()
        };
        let version = |(version, at, stored): &Kept| Version {
            version: *version,
            at: *at,
            cause: stored.cause,
            by: stored.by.clone(),
            reason: stored.reason.clone(),
            changes: stored.changes.clone(),
            rolled_back_because: because(*version),
        };
        Ok(all.iter().map(version).collect())
    }

    pub(super) async fn stored(&self) -> Result<Vec<Kept>, Error> {
        let query = DeclarationQuery {
            kind: DeclarationKind::Config,
            name: Some(String::new()),
            history: true,
            limit: ROWS_MAX,
        };
        let declared = self.gateway()?.reads.ask(move |store| store.declarations(&query)).await?;
        let read =
            |declared: Declaration| Some((declared.version, declared.at, Stored::read(declared.body.as_deref()?)?));
        Ok(declared.into_iter().filter_map(read).collect())
    }

    /// The settings of an earlier version; 0: of the one before the one in force, as [`before`] has it.
    pub(super) async fn earlier(&self, version: u64, wanted: &Layer) -> Result<(u64, Layer), Error> {
        let shown = self.shown();
        if version == shown.version {
            return Err(Error::new(Code::FailedPrecondition, format!("version {version} is in force")));
        }
        let stored = self.stored().await?;
        let number = if version == 0 { before(&stored, shown.version, wanted)? } else { version };
        match stored.into_iter().find(|(kept, ..)| *kept == number) {
            Some((number, _, stored)) => {
                let origin = Origin::named(Source::Rollback, format!("version {number}"));
                Ok((number, stored.layer(wanted, &origin)))
            }
            None => Err(Error::not_found("version of the configuration", version.to_string())),
        }
    }
}

/// The version that a rollback goes to which names none: the newest one before what is in force, with other settings.
///
/// Where what is in force was itself put back, that is the version before the one that was put back: a second rollback goes
/// further back, and never to what the first one took out of force.
///
/// # Errors
/// FAILED_PRECONDITION if there is none.
pub(super) fn before(stored: &[Kept], in_force: u64, wanted: &Layer) -> Result<u64, Error> {
    let mut from = in_force;
    let of = |number: u64| stored.iter().find(|(kept, ..)| *kept == number).map(|(_, _, stored)| stored);
    while let Some(earlier) = of(from).and_then(|stored| stored.restored.or(stored.rolled_back))
        && earlier < from
    {
        from = earlier;
    }
    let found = stored.iter().filter(|(number, _, stored)| *number < from && !stored.is_of(wanted));
    found.map(|(number, ..)| *number).max().ok_or_else(|| {
        let what = match from == in_force {
            true => "there is no earlier version with other settings".to_owned(),
            false => format!("there is nothing before version {from}, which was put back in force; name a later one"),
        };
        Error::new(Code::FailedPrecondition, what)
    })
}

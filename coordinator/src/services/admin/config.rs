//! The settings in force, their versions, and changes of them.

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error, Timestamp, Violation};

use super::Admin;
use crate::{
    config::{
        Change, Layer, Origin, Problem,
        live::{Cause, InForce, LiveConfig, Outcome, Version, Who},
        setting::Setting,
        shown, table,
    },
    security::{Caller, audit::CameOf},
    services::page_size,
};

/// Versions in one answer, unless the caller says how many.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// Most bytes of a reason.
const REASON_BYTES_MAX: usize = 1_024;

pub async fn get_config(admin: &Admin, _: v1::GetConfigRequest) -> Result<v1::Config, Error> {
    let file = admin.config.sources().file.as_ref();
    Ok(config(&admin.config.shown(), file.map(|file| file.display().to_string()).unwrap_or_default()))
}

pub async fn check_config(admin: &Admin, request: v1::CheckConfigRequest) -> Result<v1::ConfigChange, Error> {
    Ok(change(admin.config.check(Some(request.text).filter(|text| !text.is_empty())).await))
}

pub async fn reload_config(
    admin: &Admin,
    caller: &Caller,
    request: v1::ReloadConfigRequest,
) -> Result<(v1::ConfigChange, CameOf), Error> {
    let reason = reason(request.reason)?;
    Ok(asked_for(admin.config.reload(Cause::Request, &who(caller), &reason).await?))
}

pub async fn list_config_versions(
    admin: &Admin,
    request: v1::ListConfigVersionsRequest,
) -> Result<v1::ListConfigVersionsResponse, Error> {
    let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)? as usize;
    let below = match request.page_token.as_str() {
        "" => u64::MAX,
        token => token.parse().map_err(|_| Violation::new("page_token", "is none that was given out here"))?,
    };
    let in_force = admin.config.shown().version;
    let mut versions = admin.config.versions().await?.into_iter().filter(|version| version.version < below);
    let page: Vec<v1::ConfigVersion> =
        versions.by_ref().take(size).map(|version| config_version(version, in_force)).collect();
    let more = versions.next().is_some();
    let next_page_token = page.last().filter(|_| more).map(|version| version.version.to_string()).unwrap_or_default();
    Ok(v1::ListConfigVersionsResponse { versions: page, next_page_token })
}

pub async fn rollback_config(
    admin: &Admin,
    caller: &Caller,
    request: v1::RollbackConfigRequest,
) -> Result<(v1::ConfigChange, CameOf), Error> {
    let reason = reason(request.reason)?;
    Ok(asked_for(admin.config.roll_back(request.version, &who(caller), &reason).await?))
}

fn who(caller: &Caller) -> Who {
    Who(caller.name.clone())
}

fn reason(reason: String) -> Result<String, Violation> {
    match reason.len() {
        bytes if bytes > REASON_BYTES_MAX => {
            Err(Violation::new("reason", format!("has {bytes} bytes; at most {REASON_BYTES_MAX} are allowed")))
        }
        _ => Ok(reason),
    }
}

fn unix_ms(at: Timestamp) -> i64 {
    i64::try_from(at.unix_millis()).unwrap_or(i64::MAX)
}

/// What is in force, as it is shown.
fn config(in_force: &InForce, file: String) -> v1::Config {
    v1::Config {
        version: in_force.version,
        since_unix_ms: unix_ms(in_force.since),
        file,
        differs_from_file: !in_force.differs_because.is_empty(),
        differs_because: in_force.differs_because.clone(),
        settings: table::settings().map(|known| setting(known, &in_force.layer)).collect(),
        probation_until_unix_ms: in_force.probation_until.map(unix_ms).unwrap_or_default(),
    }
}

/// A setting as it is shown, without what is secret.
#[must_use]
pub fn setting(setting: &Setting, layer: &Layer) -> v1::Setting {
    let origin = layer.origin(setting.path).cloned().unwrap_or_default();
    v1::Setting {
        path: setting.path.to_owned(),
        value: shown(setting, layer.value(setting.path)),
        source: origin.source.name().to_owned(),
        origin: Origin::place(&origin),
        unit: setting.unit.to_owned(),
        needs_restart: !setting.live,
        description: setting.about.to_owned(),
    }
}

/// The answer to who asked for a change, and what came of it: a change that is not made is an answer too.
fn asked_for(outcome: Outcome) -> (v1::ConfigChange, CameOf) {
    let came_of = match (outcome.problems.as_slice(), outcome.version) {
        ([], 0) => CameOf::done("nothing was different"),
        ([], version) => CameOf::done(&format!("version {version}")),
        ([first], _) => CameOf::refused(Code::InvalidArgument, &format!("nothing was changed: {first}")),
        ([first, more @ ..], _) => {
            let why = format!("nothing was changed: {first}; and {} more", more.len());
            CameOf::refused(Code::InvalidArgument, &why)
        }
    };
    (change(outcome), came_of)
}

fn change(outcome: Outcome) -> v1::ConfigChange {
    v1::ConfigChange {
        version: outcome.version,
        changes: outcome.changes.iter().map(setting_change).collect(),
        problems: outcome.problems.into_iter().map(problem).collect(),
        probation_until_unix_ms: outcome.probation_until.map(unix_ms).unwrap_or_default(),
    }
}

fn setting_change(change: &Change) -> v1::SettingChange {
    v1::SettingChange {
        path: change.setting.path.to_owned(),
        before: change.shown_before(),
        after: change.shown_after(),
        needs_restart: !change.setting.live,
    }
}

fn problem(problem: Problem) -> v1::ConfigProblem {
    let line = problem.line();
    // What is not in the file has no line, so its place is said in words.
    let place = problem.origin.as_ref().filter(|_| line == 0).map(Origin::place).unwrap_or_default();
    let message = if place.is_empty() { problem.message } else { format!("{} ({place})", problem.message) };
    v1::ConfigProblem { path: problem.path, message, hint: problem.hint, line }
}

fn config_version(version: Version, in_force: u64) -> v1::ConfigVersion {
    let changes = version.changes.into_iter().map(|change| v1::SettingChange {
        path: change.path,
        before: change.before,
        after: change.after,
        needs_restart: change.needs_restart,
    });
    v1::ConfigVersion {
        version: version.version,
        at_unix_ms: unix_ms(version.at),
        cause: version.cause.name().to_owned(),
        by: version.by,
        reason: version.reason,
        changes: changes.collect(),
        rolled_back_because: version.rolled_back_because,
        in_force: version.version == in_force,
    }
}

/// The settings in force can be asked for as the coordinator's health too.
#[must_use]
pub fn finding(config: &LiveConfig) -> crate::health::Finding {
    match config.shown().differs_because.as_str() {
        "" => crate::health::Finding::healthy(),
        because => crate::health::Finding::of(crate::health::Level::Degraded, because),
    }
}

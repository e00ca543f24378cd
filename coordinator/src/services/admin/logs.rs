//! What is logged, and changes of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_proto::v1;
use evenkeel_shared::{
    Code, Error, Violation,
    telemetry::{LogControl, TelemetryError, control},
    wire::quantities::duration,
};

use super::Admin;
use crate::config::FILTER_BYTES_MAX;

/// Longest time for which a filter can be put in force; for longer there are the settings.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

pub async fn get_log_filter(_: &Admin, _: v1::GetLogFilterRequest) -> Result<v1::LogFilter, Error> {
    // Where the log is somebody else's there is nothing to show, and nothing wrong with asking.
    Ok(control().map(shown).unwrap_or_default())
}

pub async fn set_log_filter(admin: &Admin, request: v1::SetLogFilterRequest) -> Result<v1::LogFilter, Error> {
    let v1::SetLogFilterRequest { filter, duration_ms } = request;
    let log = log()?;
    if filter.trim().is_empty() {
        log.reset().map_err(|error| refused(&error))?;
        tracing::info!("the log's filter is that of the settings again");
        return Ok(shown(log));
    }
    if filter.len() > FILTER_BYTES_MAX {
        let what = format!("has {} bytes; at most {FILTER_BYTES_MAX} are allowed", filter.len());
        return Err(Violation::new("filter", what).into());
    }
    let lasts = duration("duration_ms", duration_ms)?;
    if lasts.is_some_and(|lasts| lasts > DURATION_MAX) {
        let what = "is more than a week; for good there is the setting log.filter";
        return Err(Violation::new("duration_ms", what).into());
    }
    let until = lasts.map(|lasts| SystemTime::now() + lasts);
    let number = log.put(&filter, until).map_err(|error| refused(&error))?;
    tracing::info!(filter, ?lasts, "the log's filter was changed by request");
    if let Some(lasts) = lasts {
        let audit = admin.gate.audit().clone();
        tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            if let Ok(true) = log.expire(number) {
                tracing::info!("the log's filter is that of the settings again: its time was up");
                let request = serde_json::json!({ "filter": filter }).to_string();
                if let Err(error) = audit.record("log/expired", &request, "OK").await {
                    tracing::warn!(%error, "the end of a filter of the log is not in the audit log");
                }
            }
        });
    }
    Ok(shown(log))
}

/// The log of this process. A coordinator within another program may have none that can be changed.
fn log() -> Result<&'static LogControl, Error> {
    control().ok_or_else(|| Error::new(Code::FailedPrecondition, "the log of this program is not this coordinator's"))
}

fn refused(error: &TelemetryError) -> Error {
    Violation::new("filter", error.to_string()).into()
}

fn shown(log: &LogControl) -> v1::LogFilter {
    let in_force = log.in_force();
    let unix_ms = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    v1::LogFilter {
        filter: in_force.filter,
        until_unix_ms: in_force.until.map_or(0, unix_ms),
        base_filter: in_force.base,
    }
}

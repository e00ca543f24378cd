//! From numbers to findings: pure, so that each rule is a line of a test.

use std::time::Duration;

use super::{Finding, Level};
use crate::config::HealthConfig;

/// Numbers of the store writer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StoreSample {
    /// A transaction found no room, and waits for some.
    pub full: bool,
    /// For so long the transaction under way has been.
    pub commit_under_way: Duration,
}

/// Numbers of the engine's loop.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineSample {
    /// The longest that the loop was late since the last sample.
    pub lag: Duration,
    /// For so long it has not turned at all, by the watchdog's count.
    pub silent: Duration,
    /// It rests because the store writer has all it may have.
    pub waits_for_store: bool,
}

/// Numbers of agents' sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SessionsSample {
    /// Open sessions.
    pub open: usize,
    /// Open connections to the gRPC port.
    pub connections: usize,
    /// As many as there may be.
    pub connections_max: usize,
    /// Failover is slowed down, because much of the fleet went at once.
    pub panic_mode: bool,
}

/// Numbers of the file system that the data is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSample {
    /// It said so.
    Room {
        /// Bytes that this process may still write.
        free_bytes: u64,
        /// All bytes.
        total_bytes: u64,
    },
    /// It has not answered for so long: a network file system whose server is gone does that.
    Silent(Duration),
    /// It said that it cannot tell.
    Failed,
}

/// What the manager is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagerSample {
    /// It looks at the fleet.
    Running,
    /// There is none.
    Off,
    /// It panicked and rests.
    Failed,
}

/// The store.
#[must_use]
pub fn store(settings: &HealthConfig, sample: StoreSample) -> Finding {
    let took_ms = sample.commit_under_way.as_millis();
    let finding = if sample.full {
        let what = "the disk of the database is full: nothing new is accepted or assigned; free some space, it goes on by itself";
        Finding::of(Level::Unhealthy, what).exactly()
    } else {
        let what = format!("a transaction has been under way for {took_ms} ms; look at the disk's latency");
        by(sample.commit_under_way, settings.commit_degraded_ms, settings.commit_unhealthy_ms, what)
    };
    finding.with("commit_under_way_ms", took_ms as f64)
}

/// The engine's loop.
#[must_use]
pub fn engine(settings: &HealthConfig, sample: EngineSample) -> Finding {
    let late = sample.lag.max(sample.silent);
    let finding = if sample.waits_for_store {
        Finding::of(Level::Degraded, "the engine waits for the store, which has all that it may have at a time")
    } else {
        let ms = late.as_millis();
        let what = format!("the engine's loop was late by {ms} ms; the machine is overloaded, or the loop is stuck");
        by(late, settings.loop_lag_degraded_ms, settings.loop_lag_unhealthy_ms, what)
    };
    finding.with("loop_lag_ms", late.as_secs_f64() * 1e3)
}

/// Agents' sessions.
#[must_use]
pub fn sessions(settings: &HealthConfig, sample: SessionsSample) -> Finding {
    let used =
        if sample.connections_max == 0 { 0.0 } else { sample.connections as f64 / sample.connections_max as f64 };
    let mut finding = Finding::healthy();
    if sample.panic_mode {
        finding.level = Level::Degraded;
        finding
            .reasons
            .push("much of the fleet was lost at once; failover is slowed down until it is clear why".to_owned());
    }
    if used >= 1.0 {
        finding.level = Level::Unhealthy;
        let most = sample.connections_max;
        finding
            .reasons
            .push(format!("all {most} connections are taken, new ones are closed; see limits.connections_max"));
    } else if used >= settings.connections_degraded {
        finding.level = Level::Degraded;
        finding.reasons.push(format!(
            "{} of {} connections are taken; see limits.connections_max",
            sample.connections, sample.connections_max
        ));
    }
    finding.with("sessions", sample.open as f64).with("connections", sample.connections as f64)
}

/// Room for the data.
#[must_use]
pub fn disk(settings: &HealthConfig, sample: DiskSample) -> Finding {
    let (free_bytes, total_bytes) = match sample {
        DiskSample::Room { free_bytes, total_bytes } => (free_bytes, total_bytes),
        DiskSample::Silent(silent) => {
            let what = format!("the file system of the data directory has not answered for {} ms", silent.as_millis());
            return Finding::of(Level::Unhealthy, what).with("silent_ms", silent.as_secs_f64() * 1e3);
        }
        DiskSample::Failed => {
            return Finding::of(Level::Degraded, "the room in the data directory cannot be told; is it still there?");
        }
    };
    let level = match free_bytes {
        free if free < settings.disk_free_unhealthy_bytes => Level::Unhealthy,
        free if free < settings.disk_free_degraded_bytes => Level::Degraded,
        _ => Level::Healthy,
    };
    let mut finding = Finding { level, ..Finding::default() };
    if level > Level::Healthy {
        let mib = free_bytes >> 20;
        finding
            .reasons
            .push(format!("{mib} MiB are free where the data is; free some space or keep tasks for less long"));
    }
    finding.with("free_bytes", free_bytes as f64).with("total_bytes", total_bytes as f64)
}

/// The resource manager.
#[must_use]
pub fn manager(sample: ManagerSample) -> Finding {
    match sample {
        ManagerSample::Running => Finding::healthy(),
        // That is what was wanted.
        ManagerSample::Off => Finding::healthy().with("off", 1.0),
        ManagerSample::Failed => {
            let what = "the resource manager failed and begins again by itself; what it had set stays; see the log";
            Finding::of(Level::Degraded, what).exactly()
        }
    }
}

/// A time against its two thresholds.
fn by(time: Duration, degraded_ms: u64, unhealthy_ms: u64, what: String) -> Finding {
    let ms = time.as_millis();
    match () {
        () if ms >= u128::from(unhealthy_ms) => Finding::of(Level::Unhealthy, what),
        () if ms >= u128::from(degraded_ms) => Finding::of(Level::Degraded, what),
        () => Finding::healthy(),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

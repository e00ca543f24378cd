//! Times, durations, resources and measured numbers.
//!
//! On the wire 0 means "not set" and the unit is the millisecond, so a duration is rounded up when written: a timeout of
//! 0.2 ms must not turn into none.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_proto::v1;

use super::few;
use crate::{
    error::Violation,
    ids::check_name,
    limits::{CUSTOM_RESOURCES_MAX, DURATION_MAX, SLOTS_MAX},
    time::Timestamp,
    units::Resources,
};

/// A duration in milliseconds; 0 is none.
///
/// # Errors
/// If it is longer than [`DURATION_MAX`].
pub fn duration(field: &str, ms: u64) -> Result<Option<Duration>, Violation> {
    let duration = Duration::from_millis(ms);
    if duration > DURATION_MAX {
        let max = DURATION_MAX.as_millis();
        return Err(Violation::new(field, format!("{ms} ms is longer than a year; at most {max} ms are allowed")));
    }
    Ok((ms > 0).then_some(duration))
}

/// Whole milliseconds, rounded up; saturates.
#[must_use]
pub fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Whole milliseconds, rounded up, 0 for none. `Some` of nothing becomes 1 ms, since 0 would mean none.
#[must_use]
pub fn to_ms_or_zero(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |d| to_ms(d).max(1))
}

/// Whole microseconds; saturates.
#[must_use]
pub fn to_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A point in time in milliseconds since the Unix epoch; 0 is none.
///
/// # Errors
/// If it is before the epoch.
pub fn timestamp(field: &str, unix_ms: i64) -> Result<Option<Timestamp>, Violation> {
    let ms = u64::try_from(unix_ms)
        .map_err(|_| Violation::new(field, format!("{unix_ms} ms is before 1970; use 0 for none")))?;
    // Later than the last time there is, is the last: in whole milliseconds, so that it reads back as what is written.
    let ms = ms.min(Timestamp::MAX.unix_millis());
    Ok((ms > 0).then(|| Timestamp::from_unix_millis(ms)))
}

/// Milliseconds since the Unix epoch, rounded down; saturates.
#[must_use]
pub fn to_unix_ms(at: Timestamp) -> i64 {
    i64::try_from(at.unix_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the Unix epoch, 0 for none.
#[must_use]
pub fn to_unix_ms_or_zero(at: Option<Timestamp>) -> i64 {
    at.map_or(0, to_unix_ms)
}

/// A measured number: finite and not negative.
pub(super) fn measured(field: &str, number: f64) -> Result<f64, Violation> {
    if !number.is_finite() || number < 0.0 {
        return Err(Violation::new(field, format!("{number} is not a measurement; use a number from 0 up")));
    }
    Ok(number)
}

/// What a task needs; 0 slots are 1. `None` is one slot and nothing else.
///
/// # Errors
/// More than [`SLOTS_MAX`] slots, too many named resources, or an illegal name.
pub fn need(wire: Option<v1::Resources>) -> Result<Resources, Violation> {
    let mut wire = wire.unwrap_or_default();
    wire.slots = wire.slots.max(1);
    resources(wire)
}

/// What an agent has: at least one slot.
///
/// # Errors
/// As for [`need`], or if there is no slot.
pub fn capacity(wire: Option<v1::Resources>) -> Result<Resources, Violation> {
    let wire = wire.unwrap_or_default();
    if wire.slots == 0 {
        return Err(Violation::new("slots", format!("must be 1 to {SLOTS_MAX}")));
    }
    resources(wire)
}

/// Resources as the coordinator reports them: any number of slots from 0 to [`SLOTS_MAX`].
///
/// # Errors
/// As for [`need`].
pub fn resources(wire: v1::Resources) -> Result<Resources, Violation> {
    if wire.slots > SLOTS_MAX {
        return Err(Violation::new("slots", format!("{} is above {SLOTS_MAX}", wire.slots)));
    }
    few("custom", wire.custom.len(), CUSTOM_RESOURCES_MAX)?;
    for name in wire.custom.keys() {
        check_name("custom", name)?;
    }
    // None of a resource is the same as no word of it; one form of it keeps equal needs equal.
    let custom: BTreeMap<_, _> = wire.custom.into_iter().filter(|&(_, amount)| amount > 0).collect();
    Ok(Resources { slots: wire.slots, cpu_millis: wire.cpu_millis, memory_bytes: wire.memory_bytes, custom })
}

/// Writes resources.
#[must_use]
pub fn to_resources(resources: &Resources) -> v1::Resources {
    v1::Resources {
        slots: resources.slots,
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        custom: resources.custom.iter().map(|(name, &amount)| (name.clone(), amount)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_in_time_reads_back_as_it_was_written() {
        for unix_ms in [1, 1_700_000_000_000, 18_446_744_073_709_550, 18_446_744_073_709_552, i64::MAX] {
            let read = timestamp("at", unix_ms).unwrap();
            assert_eq!(timestamp("at", to_unix_ms_or_zero(read)), Ok(read), "{unix_ms}");
        }
        assert_eq!(timestamp("at", 0), Ok(None));
        assert!(timestamp("at", -1).is_err());
    }
}

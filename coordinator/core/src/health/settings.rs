//! The checks that settings have in common.

use std::{ops::RangeInclusive, time::Duration};

use evenkeel_shared::{Violation, limits::DURATION_MAX};

/// A duration in milliseconds: at least 1, at most [`DURATION_MAX`].
pub(crate) fn check_ms(field: &str, value_ms: u64) -> Result<(), Violation> {
    if value_ms == 0 {
        return Err(Violation::new(field, "must be at least 1 millisecond"));
    }
    if Duration::from_millis(value_ms) > DURATION_MAX {
        return Err(Violation::new(field, format!("{value_ms} is more than a year in milliseconds")));
    }
    Ok(())
}

/// A number within its range, both ends included.
pub(crate) fn check_within(field: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), Violation> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(Violation::new(field, format!("{value} is not from {} to {}", range.start(), range.end())))
    }
}

/// A count from 1 to `max`.
pub(crate) fn check_count(field: &str, value: u32, max: u32) -> Result<(), Violation> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(Violation::new(field, format!("{value} is not from 1 to {max}")))
    }
}

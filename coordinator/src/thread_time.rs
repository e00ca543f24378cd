//! Processor time of a thread, as the system counts it.

use std::{fs, time::Duration};

/// For so long the calling thread has been on a processor. `None` where the system does not say: that is Linux' own file, whose
/// first number is nanoseconds. Some microseconds: for now and then.
///
/// Clocks around the work were rejected: they would count the time in which the thread had to wait for a processor as well, and cost
/// two readings for each batch.
#[must_use]
pub fn on_processor() -> Option<Duration> {
    let words = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    words.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_counts() {
        let Some(before) = on_processor() else { return };
        let mut sum = 0_u64;
        while on_processor().is_some_and(|now| now < before + Duration::from_millis(20)) {
            sum = (0..100_000).fold(sum, |sum, n: u64| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert_ne!(sum, 1);
    }
}

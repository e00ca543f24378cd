//! What the coordinator's own caches are good for.

use super::sample::CacheSample;

/// Below so many look-ups nothing is said.
const LOOK_UPS_MIN: u64 = 100;
/// A cache that finds less than this is too small, or of no use.
const HITS_POOR: f64 = 0.5;
/// A cache that is never filled more than this is larger than it must be.
const FILLED_LITTLE: f64 = 0.05;

/// Share of look-ups that found something; 0 if there were none.
#[must_use]
pub fn hit_ratio(cache: &CacheSample) -> f64 {
    cache.hits as f64 / (cache.hits + cache.misses).max(1) as f64
}

/// What to do about it, in words; empty: nothing.
#[must_use]
pub fn advice(cache: &CacheSample) -> String {
    let look_ups = cache.hits + cache.misses;
    let filled = cache.entries as f64 / cache.capacity.max(1) as f64;
    let ratio = 100.0 * hit_ratio(cache);
    if look_ups < LOOK_UPS_MIN {
        return String::new();
    }
    if ratio < 100.0 * HITS_POOR && cache.evictions > 0 {
        return format!(
            "{ratio:.0} % of {look_ups} look-ups found something, and {} entries were given up for want of room: a larger one \
             would find more",
            cache.evictions
        );
    }
    if ratio < 100.0 * HITS_POOR {
        return format!(
            "{ratio:.0} % of {look_ups} look-ups found something, though nothing was given up: it helps little"
        );
    }
    if filled < FILLED_LITTLE && cache.evictions == 0 {
        return format!("{} of {} places are taken: a smaller one would do", cache.entries, cache.capacity);
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(entries: u64, hits: u64, misses: u64, evictions: u64) -> String {
        advice(&CacheSample { name: "c", entries, capacity: 1_000, hits, misses, evictions })
    }

    #[test]
    fn advice_follows_from_hits_evictions_and_room() {
        assert_eq!(said(0, 10, 80, 80), "", "too few look-ups to judge");
        assert!(said(1_000, 100, 900, 900).ends_with("a larger one would find more"));
        assert!(said(900, 100, 900, 0).ends_with("it helps little"));
        assert!(said(10, 1_000, 0, 0).ends_with("a smaller one would do"));
        assert_eq!(said(900, 1_000, 10, 10), "");
    }
}

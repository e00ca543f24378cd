//! Hashing of the numbers that the coordinator makes: ids of tasks, sessions and requests.
//!
//! A task is looked up a dozen times in its life, and the standard hash, which is made for text, takes longer than the
//! look-up itself. Two multiplications spread numbers as well; after one alone, numbers that follow each other can all come
//! to lie in a few places, with a key that happens to suit them. It is keyed anew in each process, because clients may ask
//! for ids that they have made up: without the key they could make up many that fall into one place.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Odd, with its bits well mixed: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers with one key.
#[derive(Clone, Copy, Debug)]
pub struct NumberState {
    keys: [u64; 2],
}

impl Default for NumberState {
    fn default() -> Self {
        let random = RandomState::new();
        Self { keys: [random.hash_one(0), random.hash_one(1)] }
    }
}

impl BuildHasher for NumberState {
    type Hasher = NumberHasher;

    fn build_hasher(&self) -> NumberHasher {
        NumberHasher { hash: 0, keys: self.keys }
    }
}

/// A hash that is being computed.
#[derive(Clone, Copy, Debug)]
pub struct NumberHasher {
    hash: u64,
    keys: [u64; 2],
}

impl NumberHasher {
    fn mix(&mut self, low: u64, high: u64) {
        self.hash = folded(low ^ self.hash ^ self.keys[0], high ^ self.keys[1]);
    }
}

/// Both halves of the product.
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        folded(self.hash, FACTOR)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word), 8);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last), rest.len() as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number, 8);
    }

    fn write_u128(&mut self, number: u128) {
        self.mix(number as u64, (number >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use evenkeel_shared::{SessionEpoch, TaskId, Timestamp};

    use super::*;

    /// Of as many hashes as there are places, so many places are taken at least if they are spread evenly: 1 - 1/e of them,
    /// less some noise.
    fn check_spread(what: &str, hashes: impl Iterator<Item = u64>) {
        let hashes: Vec<u64> = hashes.collect();
        // A table takes its place from the lower bits, the shard and the tag from the upper ones.
        for shift in [0, 20, 48] {
            let taken: HashSet<u64> = hashes.iter().map(|hash| (hash >> shift) % 4_096).collect();
            assert!(taken.len() > 2_450, "{what}, from bit {shift}: {} of 4096 places", taken.len());
        }
    }

    #[test]
    fn numbers_that_are_made_one_after_the_other_are_spread() {
        let state = NumberState::default();
        let base = 7_u64 << 40;
        check_spread("sessions", (0..4_096).map(|i| state.hash_one(SessionEpoch(base + i))));
        let at = Timestamp::from_unix_millis(1_700_000_000_000);
        check_spread("tasks", (0..4_096).map(|i| state.hash_one(TaskId::new(at, i << 5))));
        check_spread("made-up tasks", (0..4_096).map(|i| state.hash_one(TaskId::from_u128(i << 64))));
    }

    #[test]
    fn each_process_has_its_own_key() {
        assert_ne!(NumberState::default().hash_one(1_u64), NumberState::default().hash_one(1_u64));
    }
}

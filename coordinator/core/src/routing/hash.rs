//! Fixed hashes of ids and keys.
//!
//! The same in every process and version, so that a restarted coordinator sends a session to the agent that it had
//! before. The standard library's hasher is keyed anew in each process, and so is of no use here.

/// What a task's affinity key counts as; an empty key is none.
#[must_use]
pub fn affinity(key: &str) -> Option<u64> {
    (!key.is_empty()).then(|| hash_text(key))
}

/// FNV-1a over the bytes, finished by [`mix`], because FNV alone leaves its upper bits poor.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
#[must_use]
pub(super) fn hash_text(text: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    mix(text.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

/// One step of SplitMix64: a bijection in which every bit of the result depends on every bit of `x`.
/// (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014.)
#[must_use]
pub(super) const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change_from_one_version_to_the_next() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(hash_text(""), mix(0xcbf2_9ce4_8422_2325));
        assert_ne!(hash_text("agent-1"), hash_text("agent-2"));
    }
}

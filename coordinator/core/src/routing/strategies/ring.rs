//! Points of agents on a ring of hashes, in their order.
//!
//! A walk begins at a random place and reads from a few to a thousand points. Hashes are even, so that they tell the place
//! almost exactly: the upper bits name a bucket, which holds the points that share them, sorted, and the rest says how far
//! in the place is. A bucket is read straight on, which memory is good at. One sorted vector was rejected because each
//! agent that joins would move half of it, a B-tree for its many small nodes, each a trip to memory in a large fleet.
//!
//! Points depend on the agent's id alone, never on the order of arrival.

use crate::{
    ix::AgentIx,
    routing::{AGENTS_MAX, hash::mix},
};

/// Points of an agent: when it goes, its keys spread over about as many others. More would take more memory, in a large
/// fleet more than the caches have.
const POINTS: usize = 4;
/// A point is the product of the id's hash and one of these odd numbers, modulo 2^64: even wherever the hashes are, and
/// quicker to make than by mixing.
const FACTORS: [u64; POINTS] = {
    let (mut factors, mut nth) = ([0; POINTS], 0);
    while nth < POINTS {
        factors[nth] = mix(nth as u64) | 1;
        nth += 1;
    }
    factors
};

/// Points on either side of a place's expected one that are counted: two standard deviations in a full bucket.
const NEAR: usize = 16;
/// Points to a bucket, on average, at which there come to be twice as many buckets, and half as many.
const PER_BUCKET: std::ops::Range<usize> = 64..256;
const BITS_MIN: u32 = 1;
const AGENT_BITS: u32 = AGENTS_MAX.ilog2();

/// The points of the agent whose id has this hash.
fn points(id_hash: u64) -> impl Iterator<Item = u64> {
    FACTORS.into_iter().map(move |factor| id_hash.wrapping_mul(factor))
}

/// How far behind this place on the ring the next point is of the agent whose id has this hash.
pub(super) fn distance(place: u64, id_hash: u64) -> u64 {
    points(id_hash).map(|point| point.wrapping_sub(place)).min().unwrap_or(u64::MAX)
}

/// An agent, and above it the bits of the hash that follow those of the bucket: all that a walk needs to begin and to go on,
/// in a quarter of the memory of both side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point(u32);

impl Point {
    /// Whose point it is.
    pub(super) const fn agent(self) -> AgentIx {
        AgentIx(self.0 % AGENTS_MAX as u32)
    }

    const fn fraction(self) -> u32 {
        self.0 >> AGENT_BITS
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    /// As many upper bits of a hash name its bucket.
    bits: u32,
    buckets: Vec<Vec<Point>>,
    /// The points' hashes, in the same order. Apart from them because a walk needs no more than, seldom, one of them.
    hashes: Vec<Vec<u64>>,
    len: usize,
}

impl Default for Ring {
    fn default() -> Self {
        let (buckets, hashes) = (vec![Vec::new(); 1 << BITS_MIN], vec![Vec::new(); 1 << BITS_MIN]);
        Self { bits: BITS_MIN, buckets, hashes, len: 0 }
    }
}

impl Ring {
    /// How many points there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Takes in the agent whose id has this hash.
    pub(super) fn insert(&mut self, id_hash: u64, agent: AgentIx) {
        for point in points(id_hash) {
            self.insert_point(point, agent);
        }
    }

    /// Forgets the agent, whose id has this hash.
    pub(super) fn remove(&mut self, id_hash: u64, agent: AgentIx) {
        for point in points(id_hash) {
            self.remove_point(point, agent);
        }
    }

    fn insert_point(&mut self, hash: u64, agent: AgentIx) {
        let bucket = self.bucket(hash);
        let Err(at) = self.find(hash, agent) else { return };
        let point = Point(self.fraction(hash) << AGENT_BITS | agent.0);
        self.buckets[bucket].insert(at, point);
        self.hashes[bucket].insert(at, hash);
        self.len += 1;
        if self.len > self.buckets.len() * PER_BUCKET.end {
            self.spread(self.bits + 1);
        }
    }

    fn remove_point(&mut self, hash: u64, agent: AgentIx) {
        let bucket = self.bucket(hash);
        let Ok(at) = self.find(hash, agent) else { return };
        self.buckets[bucket].remove(at);
        self.hashes[bucket].remove(at);
        self.len -= 1;
        if self.len < self.buckets.len() * PER_BUCKET.start && self.bits > BITS_MIN {
            self.spread(self.bits - 1);
        }
    }

    /// Where in its bucket a point is, or else would be. Agents with the same hash are in the order of their indices.
    fn find(&self, hash: u64, agent: AgentIx) -> Result<usize, usize> {
        let bucket = self.bucket(hash);
        let (points, hashes) = (&self.buckets[bucket], &self.hashes[bucket]);
        let mut at = self.place(bucket, hash);
        while hashes.get(at) == Some(&hash) && points[at].agent() < agent {
            at += 1;
        }
        if hashes.get(at) == Some(&hash) && points[at].agent() == agent { Ok(at) } else { Err(at) }
    }

    /// All points, from the first one at or after the hash once round, in runs that are read one after the other.
    pub(super) fn runs(&self, hash: u64) -> impl Iterator<Item = &[Point]> {
        let bucket = self.bucket(hash);
        let (before, after) = (&self.buckets[..bucket], &self.buckets[bucket + 1..]);
        let (behind, ahead) = self.buckets[bucket].split_at(self.place(bucket, hash));
        let rest = after.iter().chain(before).map(Vec::as_slice);
        std::iter::once(ahead).chain(rest).chain(std::iter::once(behind))
    }

    /// The first point of the hash's bucket at or after the hash. It is counted near where it is to be expected, which a
    /// processor does several at a time and without guesses, and searched for only if it is not there.
    fn place(&self, bucket: usize, hash: u64) -> usize {
        let (points, fraction) = (&self.buckets[bucket], self.fraction(hash));
        let share = u128::from(hash << self.bits) * points.len() as u128;
        let expected = (share >> u64::BITS) as usize;
        let start = expected.saturating_sub(NEAR);
        let near = &points[start..points.len().min(expected + NEAR)];
        let first = fraction << AGENT_BITS;
        let before = near.iter().map(|point| u32::from(point.0 < first)).sum::<u32>() as usize;
        let surely = (before > 0 || start == 0) && (before < near.len() || start + before == points.len());
        let mut at = if surely { start + before } else { points.partition_point(|point| point.0 < first) };
        while points.get(at).is_some_and(|point| point.fraction() == fraction && self.hashes[bucket][at] < hash) {
            at += 1;
        }
        at
    }

    const fn bucket(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.bits)) as usize
    }

    const fn fraction(&self, hash: u64) -> u32 {
        (hash << self.bits >> (u32::BITS + AGENT_BITS)) as u32
    }

    /// Goes over to another number of buckets.
    fn spread(&mut self, bits: u32) {
        self.bits = bits;
        let buckets = std::mem::replace(&mut self.buckets, vec![Vec::new(); 1 << bits]);
        let hashes = std::mem::replace(&mut self.hashes, vec![Vec::new(); 1 << bits]);
        for (point, hash) in buckets.into_iter().flatten().zip(hashes.into_iter().flatten()) {
            let (bucket, fraction) = (self.bucket(hash), self.fraction(hash));
            self.buckets[bucket].push(Point(fraction << AGENT_BITS | point.agent().0));
            self.hashes[bucket].push(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Walks from a few places, beside those of a set of the same points.
    fn check(ring: &Ring, points: &BTreeSet<(u64, AgentIx)>) {
        assert_eq!(ring.len(), points.len());
        let near = points.iter().nth(7).map_or(0, |&(hash, _)| hash);
        for start in [0, 1 << 40, 1 << 59, 1 << 60, near, near + 1, u64::MAX / 3, u64::MAX] {
            let place = (start, AgentIx(0));
            let expected = points.range(place..).chain(points.range(..place)).map(|&(_, agent)| agent);
            let walked = ring.runs(start).flatten().map(|point| point.agent());
            assert!(walked.eq(expected), "from {start:#x} of {} points", points.len());
        }
    }

    #[test]
    fn a_walk_goes_once_round_in_order_however_the_ring_grows_and_shrinks() {
        let mut draws = fastrand::Rng::with_seed(1);
        let (mut ring, mut points) = (Ring::default(), BTreeSet::new());
        check(&ring, &points);
        for agent in (0..3_000).map(AgentIx) {
            // Some hashes are those of several agents, and some differ in their last bits alone.
            let hash = match agent.0 % 10 {
                0 => 1 << 60,
                1 => (1 << 60) + draws.u64(0..9),
                _ => draws.u64(..),
            };
            points.insert((hash, agent));
            ring.insert_point(hash, agent);
        }
        check(&ring, &points);
        for (hash, agent) in points.clone().into_iter().filter(|(_, agent)| agent.0 % 30 > 1) {
            points.remove(&(hash, agent));
            ring.remove_point(hash, agent);
        }
        check(&ring, &points);
    }
}

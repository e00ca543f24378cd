//! Points on a ring of hashes, in their order.
//!
//! A walk begins at a random place and reads from a few to a thousand points. Hashes are even, so that they tell the place
//! almost exactly: the upper bits name a bucket, which holds the points that share them, sorted, and the rest says how far
//! in the place is. A bucket is read straight on, which memory is good at. A B-tree and smaller buckets were rejected for
//! their many small nodes, each a trip to memory in a large fleet; one sorted vector because each agent that joins would
//! move half of it.

use crate::{ix::AgentIx, routing::AGENTS_MAX};

/// Lower bits of a hash that a point has no room for.
const CUT_BITS: u32 = AGENTS_MAX.ilog2();

/// From one place on the ring to the next.
pub(super) const STEP: u64 = 1 << CUT_BITS;

/// The upper bits of a hash, and below them an agent: half the memory of both side by side, of which a walk in a large
/// fleet waits for every line. Two agents of a fleet of 100,000 share a point with a chance of 1 in 200; then the one of
/// the lower index comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point(u64);

impl Point {
    fn new(hash: u64, agent: AgentIx) -> Self {
        Self(cut(hash) | u64::from(agent.0))
    }

    /// Whose point it is.
    pub(super) const fn agent(self) -> AgentIx {
        AgentIx((self.0 % AGENTS_MAX as u64) as u32)
    }
}

/// What the ring tells apart of a hash.
pub(super) const fn cut(hash: u64) -> u64 {
    hash >> CUT_BITS << CUT_BITS
}

/// Points to a bucket, on average, at which there come to be twice as many buckets, and half as many.
const PER_BUCKET: std::ops::Range<usize> = 64..256;
const BITS_MIN: u32 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    /// As many upper bits of a hash name its bucket.
    bits: u32,
    buckets: Vec<Vec<Point>>,
    len: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self { bits: BITS_MIN, buckets: vec![Vec::new(); 1 << BITS_MIN], len: 0 }
    }
}

impl Ring {
    /// How many points there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, hash: u64, agent: AgentIx) {
        let bucket = self.bucket(hash);
        let (points, point) = (&mut self.buckets[bucket], Point::new(hash, agent));
        if let Err(at) = points.binary_search(&point) {
            points.insert(at, point);
            self.len += 1;
        }
        if self.len > self.buckets.len() * PER_BUCKET.end {
            self.spread(self.bits + 1);
        }
    }

    pub(super) fn remove(&mut self, hash: u64, agent: AgentIx) {
        let bucket = self.bucket(hash);
        let points = &mut self.buckets[bucket];
        if let Ok(at) = points.binary_search(&Point::new(hash, agent)) {
            points.remove(at);
            self.len -= 1;
        }
        if self.len < self.buckets.len() * PER_BUCKET.start && self.bits > BITS_MIN {
            self.spread(self.bits - 1);
        }
    }

    /// All points, from the first one at or after the hash once round, in runs that are read one after the other.
    pub(super) fn runs(&self, hash: u64) -> impl Iterator<Item = &[Point]> {
        let bucket = self.bucket(hash);
        let (before, after) = (&self.buckets[..bucket], &self.buckets[bucket + 1..]);
        let own = &self.buckets[bucket];
        let (behind, ahead) = own.split_at(self.place(own, hash));
        let rest = after.iter().chain(before).map(Vec::as_slice);
        std::iter::once(ahead).chain(rest).chain(std::iter::once(behind))
    }

    /// The first point of the hash's bucket at or after the hash, counted on or back from where it is to be expected.
    fn place(&self, points: &[Point], hash: u64) -> usize {
        let place = Point(cut(hash));
        let share = u128::from(hash << self.bits) * points.len() as u128;
        let expected = (share >> u64::BITS) as usize;
        let (before, after) = points.split_at(expected);
        let on = after.iter().take_while(|&&point| point < place).count();
        let back = before.iter().rev().take_while(|&&point| point >= place).count();
        expected + on - back
    }

    const fn bucket(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.bits)) as usize
    }

    /// Goes over to another number of buckets.
    fn spread(&mut self, bits: u32) {
        self.bits = bits;
        let points = std::mem::replace(&mut self.buckets, vec![Vec::new(); 1 << bits]);
        for point in points.into_iter().flatten() {
            let bucket = self.bucket(point.0);
            self.buckets[bucket].push(point);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Walks from a few places, beside those of a set of the same points.
    fn check(ring: &Ring, points: &BTreeSet<Point>) {
        assert_eq!(ring.len(), points.len());
        for start in [0, 1 << 40, 1 << 59, 1 << 60, u64::MAX / 3, u64::MAX] {
            let place = Point::new(start, AgentIx(0));
            let expected = points.range(place..).chain(points.range(..place));
            assert!(ring.runs(start).flatten().eq(expected), "from {start:#x} of {} points", points.len());
        }
    }

    #[test]
    fn a_walk_goes_once_round_in_order_however_the_ring_grows_and_shrinks() {
        let mut draws = fastrand::Rng::with_seed(1);
        let (mut ring, mut points) = (Ring::default(), BTreeSet::new());
        check(&ring, &points);
        for agent in (0..3_000).map(AgentIx) {
            // Some hashes are those of several agents.
            let hash = if agent.0 % 10 == 0 { 1 << 60 } else { draws.u64(..) };
            points.insert(Point::new(hash, agent));
            ring.insert(hash, agent);
        }
        check(&ring, &points);
        for point in points.clone().into_iter().filter(|point| point.agent().0 % 30 > 0) {
            points.remove(&point);
            ring.remove(cut(point.0), point.agent());
        }
        check(&ring, &points);
    }
}

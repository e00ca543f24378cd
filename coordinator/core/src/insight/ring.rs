//! A ring of points: as many of the newest as fit, each the mean, least and most of a step of time.
//!
//! Points are at multiples of the step since the epoch, so that the rings of all subjects line up and a query may mix them. A
//! step in which nothing was measured has no point; the time of each is kept, because holes are few but real (a coordinator that
//! stood still). `f32` is enough: seven digits of a measurement, at half the memory.

use std::{collections::VecDeque, time::Duration};

use evenkeel_shared::Timestamp;

/// Mean, least and most of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When the stretch began.
    pub at: Timestamp,
    /// Mean of what was measured in it.
    pub mean: f64,
    /// Least.
    pub min: f64,
    /// Most.
    pub max: f64,
}

/// A point as it is kept: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kept {
    /// In steps since the epoch.
    step: u32,
    mean: f32,
    min: f32,
    max: f32,
}

/// A stretch that is not over.
#[derive(Clone, Copy, Debug)]
struct Open {
    step: u32,
    count: u32,
    sum: f64,
    min: f64,
    max: f64,
}

/// The ring. See the module.
#[derive(Clone, Debug)]
pub struct Ring {
    step_ms: u32,
    len_max: u32,
    open: Option<Open>,
    points: VecDeque<Kept>,
}

impl Ring {
    /// A ring of so many points of a step each, at least a second.
    #[must_use]
    pub fn new(step: Duration, len_max: usize) -> Self {
        let step_ms = u32::try_from(step.as_millis()).unwrap_or(u32::MAX).max(1_000);
        Self { step_ms, len_max: len_max as u32, open: None, points: VecDeque::new() }
    }

    /// How long a point is.
    #[must_use]
    pub const fn step(&self) -> Duration {
        Duration::from_millis(self.step_ms as u64)
    }

    /// Takes a measurement in. Returns the point that is over because of it. What is not a number is not taken in, nor is what
    /// comes from before the open stretch.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Option<Point> {
        let step = (at.unix_millis() / u64::from(self.step_ms)) as u32;
        if !value.is_finite() {
            return None;
        }
        match &mut self.open {
            Some(open) if open.step == step => {
                open.count += 1;
                open.sum += value;
                open.min = open.min.min(value);
                open.max = open.max.max(value);
                None
            }
            Some(open) if open.step > step => None,
            _ => {
                let over = self.open.replace(Open { step, count: 1, sum: value, min: value, max: value });
                over.map(|open| self.keep(&open))
            }
        }
    }

    fn keep(&mut self, open: &Open) -> Point {
        let kept = open.kept();
        if self.points.len() >= self.len_max as usize {
            self.points.pop_front();
        }
        self.points.push_back(kept);
        self.shown(kept)
    }

    /// Puts points back that are older than all there are, oldest first, as far as there is room; others are left out.
    pub fn restore(&mut self, older: impl DoubleEndedIterator<Item = Point>) {
        let first = self.points.front().map(|kept| kept.step).or(self.open.map(|open| open.step));
        let mut first = first.map_or(u64::MAX, u64::from);
        for point in older.rev() {
            let step = point.at.unix_millis() / u64::from(self.step_ms);
            if self.points.len() >= self.len_max as usize {
                return;
            }
            if step < first {
                first = step;
                let (mean, min, max) = (point.mean as f32, point.min as f32, point.max as f32);
                self.points.push_front(Kept { step: step as u32, mean, min, max });
            }
        }
    }

    /// The points from `from` on and before `to`, oldest first; the stretch that is not over is the last of them.
    pub fn points(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Point> {
        let first = from.unix_millis().div_ceil(u64::from(self.step_ms));
        let start = self.points.partition_point(|kept| u64::from(kept.step) < first);
        let open = self.open.map(|open| open.kept());
        let all = self.points.range(start..).copied().chain(open);
        all.map(|kept| self.shown(kept)).filter(move |point| point.at >= from).take_while(move |point| point.at < to)
    }

    /// When the oldest point begins.
    #[must_use]
    pub fn begins(&self) -> Option<Timestamp> {
        let first = self.points.front().copied().or_else(|| self.open.map(|open| open.kept()));
        first.map(|kept| self.shown(kept).at)
    }

    /// The newest value: the mean of the open stretch.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.open.map(|open| open.sum / f64::from(open.count))
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.points.capacity() * size_of::<Kept>()
    }

    fn shown(&self, kept: Kept) -> Point {
        Point {
            at: Timestamp::from_unix_millis(u64::from(kept.step) * u64::from(self.step_ms)),
            mean: f64::from(kept.mean),
            min: f64::from(kept.min),
            max: f64::from(kept.max),
        }
    }
}

impl Open {
    fn kept(&self) -> Kept {
        let mean = self.sum / f64::from(self.count);
        Kept { step: self.step, mean: mean as f32, min: self.min as f32, max: self.max as f32 }
    }
}

/// Points thinned out to a longer step: means of means (stretches are of one length), least and most of all.
#[must_use]
pub fn thin(points: impl Iterator<Item = Point>, step: Duration) -> Vec<Point> {
    let step_ms = (step.as_millis() as u64).max(1);
    let mut thinned: Vec<(Point, f64)> = Vec::new();
    for point in points {
        let at = Timestamp::from_unix_millis(point.at.unix_millis() / step_ms * step_ms);
        match thinned.last_mut() {
            Some((last, count)) if last.at == at => {
                *count += 1.0;
                last.mean += (point.mean - last.mean) / *count;
                last.min = last.min.min(point.min);
                last.max = last.max.max(point.max);
            }
            _ => thinned.push((Point { at, ..point }, 1.0)),
        }
    }
    thinned.into_iter().map(|(point, _)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000_000_000 + seconds * 1_000)
    }

    const ALWAYS: Timestamp = Timestamp::from_unix_millis(u64::MAX / 1_000);

    #[test]
    fn a_point_is_the_mean_least_and_most_of_its_step() {
        let mut ring = Ring::new(Duration::from_secs(10), 5);
        for (second, value) in [(0, 1.0), (3, 5.0), (9, 3.0)] {
            assert_eq!(ring.push(at(second), value), None);
        }
        let over = ring.push(at(10), 7.0).unwrap();
        assert_eq!(over, Point { at: at(0), mean: 3.0, min: 1.0, max: 5.0 });
        let all: Vec<f64> = ring.points(Timestamp::ZERO, ALWAYS).map(|point| point.mean).collect();
        assert_eq!(all, [3.0, 7.0]);
    }

    #[test]
    fn the_newest_points_are_kept_and_no_more() {
        let mut ring = Ring::new(Duration::from_secs(1), 3);
        (0..100).for_each(|second| {
            ring.push(at(second), second as f64);
        });
        let kept: Vec<f64> = ring.points(Timestamp::ZERO, ALWAYS).map(|point| point.mean).collect();
        assert_eq!(kept, [96.0, 97.0, 98.0, 99.0]);
        assert!(ring.memory_bytes() < 300);
        let some: Vec<f64> = ring.points(at(97), at(99)).map(|point| point.mean).collect();
        assert_eq!(some, [97.0, 98.0]);
    }

    #[test]
    fn what_is_no_number_or_comes_late_is_left_out() {
        let mut ring = Ring::new(Duration::from_secs(1), 3);
        ring.push(at(5), f64::NAN);
        assert_eq!(ring.last(), None);
        ring.push(at(5), 1.0);
        ring.push(at(3), 9.0);
        assert_eq!(ring.points(Timestamp::ZERO, ALWAYS).map(|point| point.mean).collect::<Vec<_>>(), [1.0]);
    }

    #[test]
    fn what_is_put_back_comes_before_what_is_there() {
        let mut ring = Ring::new(Duration::from_secs(1), 4);
        (10..12).for_each(|second| {
            ring.push(at(second), 1.0);
        });
        let older = [8, 9, 10, 11].map(|second| Point { at: at(second), mean: 7.0, min: 7.0, max: 7.0 });
        ring.restore(older.into_iter());
        let means: Vec<f64> = ring.points(Timestamp::ZERO, ALWAYS).map(|point| point.mean).collect();
        assert_eq!(means, [7.0, 7.0, 1.0, 1.0]);
        ring.restore((0..8).map(|second| Point { at: at(second), mean: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(ring.points.len(), 4, "no more than there is room for");
    }

    #[test]
    fn thinning_keeps_sums_and_extremes() {
        let points = (0..20).map(|n| Point { at: at(n), mean: n as f64, min: -1.0 - n as f64, max: n as f64 });
        let thinned = thin(points, Duration::from_secs(10));
        assert_eq!(thinned.len(), 2);
        assert_eq!((thinned[0].mean, thinned[0].min, thinned[0].max), (4.5, -10.0, 9.0));
        assert_eq!(thinned[1].mean, 14.5);
    }
}

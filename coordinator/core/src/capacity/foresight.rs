//! Demand to come, from demand that was: for policies that look ahead.
//!
//! Demand is kept as a mean for each minute of two hours, and once a minute a trend is read from it ([`Trend`]: robust slope,
//! season if there is one). It is asked how many slots will be asked for when an agent that is started now begins to work.
//! It shows the rise of a morning; a spike without a past it cannot foresee, and a step it follows once it has been there for
//! a while. So a forecast is taken for no more than [`GROWTH_MAX`] times the demand there is: being wrong has a price.

use std::{collections::VecDeque, time::Duration};

use evenkeel_shared::Timestamp;

use super::demand::Foreseen;
use crate::insight::{ring::Point, trend::Trend};

/// Points are means over so much.
const STEP: Duration = Duration::from_secs(60);
/// Points kept: two hours, twice the longest season of work within a day.
const POINTS_MAX: usize = 120;
/// No trend is read from less: a quarter of an hour.
const POINTS_MIN: usize = 15;
/// A forecast is at most so many times present demand.
const GROWTH_MAX: f64 = 2.0;

/// Keeps demand and looks ahead.
#[derive(Clone, Debug, Default)]
pub struct Foresight {
    points: VecDeque<Point>,
    /// The minute that is not over: its sum and count.
    minute: Option<(Point, f64, f64)>,
    trend: Option<Trend>,
    /// The trend is of fewer points than there are.
    stale: bool,
}

impl Foresight {
    /// Takes in what is asked for now, in slots.
    pub fn observe(&mut self, now: Timestamp, slots: f64) {
        if self.minute.is_some_and(|(point, ..)| now.since(point.at) >= STEP) {
            self.close();
        }
        let blank = Point { at: now, mean: slots, min: slots, max: slots };
        let (point, sum, count) = self.minute.get_or_insert((blank, 0.0, 0.0));
        *sum += slots;
        *count += 1.0;
        point.mean = *sum / *count;
        (point.min, point.max) = (point.min.min(slots), point.max.max(slots));
    }

    fn close(&mut self) {
        let Some((point, ..)) = self.minute.take() else { return };
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.stale = true;
    }

    /// What will be asked for after so long. `None`: too little has been seen.
    #[must_use]
    pub fn look(&mut self, now: Timestamp, slots: f64, ahead: Duration) -> Option<Foreseen> {
        if self.stale && self.points.len() >= POINTS_MIN {
            self.trend = Trend::of(self.points.make_contiguous(), STEP, false);
            self.stale = false;
        }
        let trend = self.trend.as_ref()?;
        // Counted from the trend's last point, whose middle lies half a step after its beginning.
        let forecast = trend.forecast(now.since(trend.at) + ahead);
        Some(Foreseen { slots: forecast.value.min(slots * GROWTH_MAX), ahead })
    }
}

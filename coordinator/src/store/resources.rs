//! What is kept of resources, and what can be asked of it.
//!
//! Times are those at which what is asked for began: something that began before the range and lasted into it is not in it.

use std::{fmt, str::FromStr, time::Duration};

use evenkeel_core::model::DeclarationKind;
use evenkeel_shared::{CostUnit, Timestamp, Violation};

/// How long samples stay as they were measured, by default: so long one looks at what happened just now.
pub const FINE_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// How long costs stay as they were recorded, at most: by the minute, a day's costs of a hundred tenants would be 140,000
/// rows, which take 50 ms to add up; by the quarter of an hour they are 10,000.
pub const COSTS_FINE_MAX: Duration = Duration::from_secs(3_600);
/// What samples and costs are thinned out to: 96 a day, so that a quarter of a year of a series is 400 KiB and the shape of
/// a day is still seen.
pub const COARSE: Duration = Duration::from_secs(15 * 60);
/// How long history is kept, by default: a quarter of a year.
pub const HISTORY_DEFAULT: Duration = Duration::from_secs(92 * 24 * 3_600);
/// The least of that. What a budget has spent in a month must outlast the month.
pub const HISTORY_MIN: Duration = Duration::from_secs(32 * 24 * 3_600);
/// Samples in one answer: a day of the finest, in 10 s, and more than any picture has room for.
pub const SAMPLES_MAX: usize = 10_000;
/// Entries, declarations or records in one answer.
pub const ROWS_MAX: usize = 10_000;
/// Windows of a budget that a restart is told of, the last ones: an attempt settles in the window in which it began, so
/// this is how many hours ago that may be with a budget by the hour. One that settles in an earlier window is not counted.
pub const WINDOWS_RECOVERED_MAX: usize = 48;

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Tasks that are over, events of the fleet, and what limits, breakers, quotas and budgets did.
    pub tasks: Duration,
    /// Samples as they were measured, and costs up to [`COSTS_FINE_MAX`].
    pub fine: Duration,
    /// Samples and costs at all, decisions about the size of the fleet, and declarations that are no longer in force.
    pub history: Duration,
}

impl Retention {
    /// Only tasks are removed after so long, everything else after the defaults.
    #[must_use]
    pub const fn of_tasks(tasks: Duration) -> Self {
        Self { tasks, fine: FINE_DEFAULT, history: HISTORY_DEFAULT }
    }

    /// What goes at this time.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Expiry {
        let before = |kept| now.minus(kept);
        Expiry {
            tasks: before(self.tasks),
            fine: before(self.fine),
            fine_costs: before(self.fine.min(COSTS_FINE_MAX)),
            history: before(self.history),
        }
    }
}

/// What goes: all that is older. See [`Retention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Tasks and events.
    pub tasks: Timestamp,
    /// What was measured is thinned out.
    pub fine: Timestamp,
    /// Costs are thinned out.
    pub fine_costs: Timestamp,
    /// History.
    pub history: Timestamp,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Tasks.
    pub tasks: usize,
    /// There may be more that is past its time.
    pub more: bool,
}

/// A stretch of time, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// From this time on,
    pub from: Timestamp,
    /// up to and without this one.
    pub before: Timestamp,
}

impl TimeRange {
    /// All time.
    pub const ALL: Self = Self { from: Timestamp::ZERO, before: Timestamp::MAX };
}

/// Which measurement to read.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageQuery {
    /// Of what.
    pub subject: String,
    /// Which measurement.
    pub metric: String,
    /// Of which time.
    pub range: TimeRange,
    /// Samples that begin in the same multiple of this are joined to one, means by their lengths. Zero: none are.
    pub step: Duration,
    /// At most so many, the oldest ones first, and never more than [`SAMPLES_MAX`].
    pub limit: usize,
}

/// Whose costs to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// All whose name begins so, for example with `tenant:`.
    Beginning(String),
    /// This one.
    One(String),
}

/// Which costs to read.
#[derive(Clone, Debug, PartialEq)]
pub struct CostQuery {
    /// Whose.
    pub subjects: Subjects,
    /// In which unit; `None`: in all of them, each for itself.
    pub unit: Option<CostUnit>,
    /// Of which time.
    pub range: TimeRange,
    /// Costs of a subject in a unit are joined to one for each multiple of this, by time. `None`: to one for the whole
    /// range, the largest first.
    pub step: Option<Duration>,
    /// At most so many, and never more than [`ROWS_MAX`].
    pub limit: usize,
}

/// Which declarations to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarationQuery {
    /// Of this kind.
    pub kind: DeclarationKind,
    /// Of this name; `None`: of all.
    pub name: Option<String>,
    /// All versions, the newest first. Otherwise those in force, by name.
    pub history: bool,
    /// At most so many, and never more than [`ROWS_MAX`].
    pub limit: usize,
}

/// Which recommendations to read: of the last version of each, that was not taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecommendationFilter {
    /// The body's field `state` is this.
    pub state: Option<String>,
    /// The body's field `kind` is this.
    pub kind: Option<String>,
}

/// Which records of what limits, breakers, quotas, budgets and failovers did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationFilter {
    /// Of which time.
    pub range: TimeRange,
    /// About this alone. Failovers are about `agent:ID`.
    pub subject: Option<String>,
}

/// A record of what limits, breakers, quotas, budgets and failovers did, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAllocation {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// A word for what it is.
    pub what: String,
    /// About what.
    pub subject: String,
    /// In words.
    pub message: String,
}

/// Where a record is in its list, as text for whoever turns the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPlace {
    /// Its time.
    pub at: Timestamp,
    /// Its number.
    pub id: u64,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.at.unix_micros(), self.id)
    }
}

impl FromStr for RecordPlace {
    type Err = Violation;

    fn from_str(text: &str) -> Result<Self, Violation> {
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let read = || {
            let (at, id) = text.split_once('-')?;
            Some(Self { at: Timestamp::from_unix_micros(number(at)?), id: number(id)? })
        };
        read().ok_or_else(|| Violation::new("page_token", "is none of this service; begin again without one"))
    }
}

/// Which part of a list of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPage {
    /// Records that are older than this one; `None` begins with the newest.
    pub older_than: Option<RecordPlace>,
    /// At most so many, and never more than [`ROWS_MAX`].
    pub size: u32,
}

/// A part of a list of records.
#[derive(Clone, Debug, PartialEq)]
pub struct Records<T> {
    /// Newest first.
    pub records: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<RecordPlace>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written() {
        let place = RecordPlace { at: Timestamp::from_unix_millis(1_700_000_000_000), id: (3 << 40) + 7 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "-", "1", "x-1", "1-", "1-2-3", "11111111111111111-1"] {
            assert_eq!(text.parse::<RecordPlace>().unwrap_err().field, "page_token", "{text}");
        }
    }
}

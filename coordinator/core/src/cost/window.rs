//! The windows of budgets: the hour, the day and the calendar month of UTC.
//!
//! Days are turned into civil dates and back by Howard Hinnant's algorithms ("chrono-Compatible Low-Level Date Algorithms",
//! `civil_from_days` and `days_from_civil`), whose year begins in March so that the leap day is its last. A date library was
//! rejected: months are all that is needed of one. UTC has no summer time, so every window has the same length wherever its
//! reader lives; leap seconds do not exist in Unix time.

use evenkeel_shared::Timestamp;

use super::BudgetWindow;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// It begins with this moment.
    pub start: Timestamp,
    /// And ends before this one. `None`: it has no end.
    pub end: Option<Timestamp>,
}

/// The window in which this moment lies.
#[must_use]
pub fn window(window: BudgetWindow, now: Timestamp) -> Span {
    let of_length = |length: u64| {
        let start = now.unix_micros() / length * length;
        Span {
            start: Timestamp::from_unix_micros(start),
            end: Some(Timestamp::from_unix_micros(start.saturating_add(length))),
        }
    };
    match window {
        BudgetWindow::Hour => of_length(HOUR),
        BudgetWindow::Day => of_length(DAY),
        BudgetWindow::Month => month(now),
        BudgetWindow::Total => Span { start: Timestamp::ZERO, end: None },
    }
}

fn month(now: Timestamp) -> Span {
    let (year, month) = year_and_month(now.unix_micros() / DAY);
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let begins = |year, month| Timestamp::from_unix_micros(first_day(year, month) * DAY);
    Span { start: begins(year, month), end: Some(begins(next_year, next_month)) }
}

/// `civil_from_days` without the day of the month, for days since 1970.
fn year_and_month(days: u64) -> (u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month)
}

/// `days_from_civil` of the first of a month, from 1970 on.
fn first_day(year: u64, month: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000)
    }

    fn check(kind: BudgetWindow, now: u64, start: u64, end: u64) {
        assert_eq!(window(kind, at(now)), Span { start: at(start), end: Some(at(end)) }, "{kind:?} of {now}");
    }

    #[test]
    fn windows_are_those_of_the_calendar() {
        // 2026-11-21 15:53:20, as `date -u -d @...` has it.
        let now = 1_795_276_400;
        check(BudgetWindow::Hour, now, 1_795_276_800 - 3_600, 1_795_276_800);
        check(BudgetWindow::Day, now, 1_795_219_200, 1_795_305_600);
        check(BudgetWindow::Month, now, 1_793_491_200, 1_796_083_200);
        assert_eq!(window(BudgetWindow::Total, at(now)), Span { start: Timestamp::ZERO, end: None });
    }

    #[test]
    fn months_end_where_they_should() {
        // February of a leap year, of a common one, of a century that is one, and the turn of a year.
        check(BudgetWindow::Month, 1_709_164_800, 1_706_745_600, 1_709_251_200);
        check(BudgetWindow::Month, 1_677_542_400, 1_675_209_600, 1_677_628_800);
        check(BudgetWindow::Month, 951_782_400, 949_363_200, 951_868_800);
        check(BudgetWindow::Month, 1_704_067_199, 1_701_388_800, 1_704_067_200);
        check(BudgetWindow::Month, 0, 0, 31 * 86_400);
    }

    #[test]
    fn months_follow_each_other_without_a_gap_for_three_centuries() {
        let (mut start, mut months) = (Timestamp::ZERO, 0);
        while months < 300 * 12 {
            let span = month(start);
            assert_eq!(span.start, start);
            let end = span.end.unwrap();
            assert_eq!(month(Timestamp::from_unix_micros(end.unix_micros() - 1)), span);
            let days = (end.unix_micros() - start.unix_micros()) / DAY;
            assert!((28..=31).contains(&days), "{days} days");
            start = end;
            months += 1;
        }
        // 2270-01-01.
        assert_eq!(start, at(9_467_107_200));
    }
}

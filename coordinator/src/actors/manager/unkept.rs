//! What waits for the store, and what of it is let go when it becomes too much: while the disk is full for hours, or the
//! engine refuses.
//!
//! What goes first is what is missed least. Measurements are gaps in a curve. What a later record replaces is a gap in a
//! history: an operator's script that sets the fleet's size once a second leaves one version of it, the last, which is in force.
//! Then the oldest decisions and advice go, which are history too; the last decision is that which a restart goes on
//! from. What is left has one record for each thing that can be declared, so it is bounded by itself.
//!
//! Rejected: to refuse what is declared while too much waits. What is declared is in force at once, and on a full disk an
//! operator needs that more than its history.

use std::collections::{BTreeSet, VecDeque};

use evenkeel_core::model::{DeclarationKind, Record};
use evenkeel_shared::Timestamp;

/// Records that wait: hours of a small fleet's measurements, or minutes of a large one's; some megabytes.
pub(super) const UNKEPT_MAX: usize = 8_192;

/// What a record is of: a later one of the same takes its place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'a> {
    Declaration(DeclarationKind, &'a str),
    Window(&'a str, Timestamp),
    Decision(u64),
}

impl<'a> Subject<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        match record {
            Record::Declared(declared) => Some(Self::Declaration(declared.kind, &declared.name)),
            Record::Spent(spent) => Some(Self::Window(&spent.budget, spent.window_start)),
            Record::Scaling(decision) => Some(Self::Decision(decision.id)),
            Record::Usage(_) | Record::Cost(_) | Record::Allocation(_) => None,
        }
    }
}

/// Lets records go until `max` are left, or only what is never let go: the last declaration of each kind and name, apart from
/// advice, and what budgets have spent. Answers with how many went.
pub(super) fn let_go(records: &mut VecDeque<Record>, max: usize) -> usize {
    let before = records.len();
    drop_oldest(records, max, |record| matches!(record, Record::Usage(_) | Record::Cost(_)));
    if records.len() > max {
        let mut replaced = replaced(records).into_iter();
        drop_oldest(records, max, |_| replaced.next().unwrap_or(false));
    }
    drop_oldest(records, max, |record| match record {
        Record::Scaling(_) | Record::Allocation(_) => true,
        Record::Declared(declared) => declared.kind == DeclarationKind::Recommendation,
        _ => false,
    });
    before - records.len()
}

/// Drops the oldest of those, as many as there are too many of all. Asks once for each record, in their order.
fn drop_oldest(records: &mut VecDeque<Record>, max: usize, mut goes: impl FnMut(&Record) -> bool) {
    let mut over = records.len().saturating_sub(max);
    if over > 0 {
        records.retain(|record| {
            let goes = goes(record) && over > 0;
            over -= usize::from(goes);
            !goes
        });
    }
}

/// Of each record, whether a later one takes its place.
fn replaced(records: &VecDeque<Record>) -> Vec<bool> {
    let mut later = BTreeSet::new();
    let mut replaced: Vec<bool> =
        records.iter().rev().map(|record| Subject::of(record).is_some_and(|subject| !later.insert(subject))).collect();
    replaced.reverse();
    replaced
}

#[cfg(test)]
#[path = "unkept_tests.rs"]
mod tests;

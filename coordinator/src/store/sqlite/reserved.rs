//! What a live attempt holds of budgets, as it is written with its assignment: names and millionths in JSON, with a sum, for a
//! digit that a disk returns wrong would let a cap be passed. Nothing is written for an attempt that no budget covers.
//!
//! A table of its own was rejected: it would have to be cleared with the end of every attempt, also of those that hold nothing. Here
//! it stays beside the attempt, until that is past its time.

use std::sync::Arc;

use evenkeel_core::model::BudgetShare;
use evenkeel_shared::{AssignmentId, Micros};
use serde::{Deserialize, Serialize};

use super::{super::StoreError, codes, sums::Sum};

/// What a migration wrote of attempts that ran by then: nobody knows what they held.
const UNKNOWN: &str = "unknown";

#[derive(Serialize, Deserialize)]
struct Written {
    of: Vec<(String, Micros)>,
    sum: i64,
}

impl Written {
    fn sum(assignment: AssignmentId, of: &[(String, Micros)]) -> i64 {
        let begun = Sum::new().part(&codes::int(assignment.0).to_le_bytes());
        let add = |sum: Sum, (budget, amount): &(String, Micros)| {
            sum.part(budget.as_bytes()).part(&codes::int(amount.0).to_le_bytes())
        };
        of.iter().fold(begun, add).stored()
    }
}

/// What the attempt of this number holds, as it is written. `None`: nothing.
pub fn encode(assignment: AssignmentId, shares: &[BudgetShare]) -> Result<Option<String>, StoreError> {
    if shares.is_empty() {
        return Ok(None);
    }
    let of: Vec<_> = shares.iter().map(|share| (share.budget.to_string(), share.amount)).collect();
    let written = Written { sum: Written::sum(assignment, &of), of };
    let json = serde_json::to_string(&written)
        .map_err(|error| StoreError::Mismatch { what: format!("what {shares:?} reserve ({error})") })?;
    Ok(Some(json))
}

/// Reads what [`encode`] wrote; what it did not write is empty. `None`: nobody knows.
pub fn decode(assignment: AssignmentId, json: &str) -> Result<Option<Vec<BudgetShare>>, StoreError> {
    match json {
        "" => return Ok(Some(Vec::new())),
        UNKNOWN => return Ok(None),
        _ => {}
    }
    let written: Option<Written> = serde_json::from_str(json).ok();
    let sound = written.filter(|written| Written::sum(assignment, &written.of) == written.sum);
    let of = sound.ok_or_else(|| StoreError::unreadable("what a live attempt has reserved", json))?.of;
    let share = |(budget, amount): (String, Micros)| BudgetShare { budget: Arc::from(budget), amount };
    Ok(Some(of.into_iter().map(share).collect()))
}

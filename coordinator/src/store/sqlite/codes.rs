//! How values are stored.
//!
//! States, ends and kinds are small numbers of their own, so that neither the order nor the names in the code are part
//! of the file format. A number, once given, is never given again.

use std::{fmt, time::Duration};

use evenkeel_core::model::{ClusterEventKind, TaskEventKind};
use evenkeel_shared::{AttemptEnd, EventPosition, Failure, FailureClass, TaskId, TaskState, Timestamp};
use rusqlite::{Row, RowIndex};

use super::super::StoreError;

/// The first of the states that are over: the partial indexes of the schema rely on it.
pub const SUCCEEDED: i64 = 4;

const STATES: [(TaskState, i64); 9] = [
    (TaskState::Queued, 0),
    (TaskState::Assigned, 1),
    (TaskState::RetryWait, 2),
    (TaskState::Running, 3),
    (TaskState::Succeeded, SUCCEEDED),
    (TaskState::Failed, 5),
    (TaskState::Cancelled, 6),
    (TaskState::Expired, 7),
    (TaskState::Quarantined, 8),
];

const CLASSES: [(FailureClass, i64); 7] = [
    (FailureClass::Retryable, 0),
    (FailureClass::NonRetryable, 1),
    (FailureClass::Timeout, 2),
    (FailureClass::Rejected, 3),
    (FailureClass::AgentLost, 4),
    (FailureClass::BudgetExceeded, 5),
    (FailureClass::QuotaExhausted, 6),
];

const ENDS: [(AttemptEnd, i64); 8] = [
    (AttemptEnd::Succeeded, 0),
    (AttemptEnd::Failed, 1),
    (AttemptEnd::TimedOut, 2),
    (AttemptEnd::Cancelled, 3),
    (AttemptEnd::AgentLost, 4),
    (AttemptEnd::Rejected, 5),
    (AttemptEnd::HandedBack, 6),
    (AttemptEnd::Expired, 7),
];

const TASK_EVENTS: [(TaskEventKind, i64); 8] = [
    (TaskEventKind::Accepted, 0),
    (TaskEventKind::Assigned, 1),
    (TaskEventKind::Started, 2),
    (TaskEventKind::Progress, 3),
    (TaskEventKind::AttemptEnded, 4),
    (TaskEventKind::Requeued, 5),
    (TaskEventKind::Finished, 6),
    (TaskEventKind::Adopted, 7),
];

const CLUSTER_EVENTS: [(ClusterEventKind, i64); 22] = [
    (ClusterEventKind::AgentJoined, 0),
    (ClusterEventKind::AgentLost, 1),
    (ClusterEventKind::AgentReturned, 2),
    (ClusterEventKind::AgentHealth, 3),
    (ClusterEventKind::AgentAdmin, 4),
    (ClusterEventKind::AgentEjected, 5),
    (ClusterEventKind::Failover, 6),
    (ClusterEventKind::Quarantine, 7),
    (ClusterEventKind::Strategy, 8),
    (ClusterEventKind::PanicMode, 9),
    (ClusterEventKind::Coordinator, 10),
    (ClusterEventKind::Limit, 12),
    (ClusterEventKind::Breaker, 13),
    (ClusterEventKind::Quota, 14),
    (ClusterEventKind::Budget, 15),
    (ClusterEventKind::Scaling, 16),
    (ClusterEventKind::Bottleneck, 17),
    (ClusterEventKind::Config, 18),
    (ClusterEventKind::Security, 19),
    (ClusterEventKind::Component, 20),
    (ClusterEventKind::Size, 21),
    (ClusterEventKind::AgentLeft, 11),
];

/// Something that is stored as a small number.
pub trait Coded: Copy + PartialEq + 'static {
    /// What it is, for messages.
    const WHAT: &'static str;
    /// All values, each with its number.
    const TABLE: &'static [(Self, i64)];

    /// Its number.
    fn code(self) -> i64 {
        // The test below shows that every value is in its table.
        Self::TABLE.iter().find(|(value, _)| *value == self).map_or(-1, |(_, code)| *code)
    }

    /// The value of this number.
    fn of_code(code: i64) -> Result<Self, StoreError> {
        let entry = Self::TABLE.iter().find(|(_, known)| *known == code);
        entry.map(|(value, _)| *value).ok_or_else(|| StoreError::unreadable(Self::WHAT, code))
    }
}

macro_rules! coded {
    ($($type:ty, $what:literal, $table:ident;)+) => {
        $(impl Coded for $type {
            const WHAT: &'static str = $what;
            const TABLE: &'static [(Self, i64)] = &$table;
        })+
    };
}

coded! {
    TaskState, "the state of a task", STATES;
    FailureClass, "the class of a failure", CLASSES;
    AttemptEnd, "the end of an attempt", ENDS;
    TaskEventKind, "the kind of a task's event", TASK_EVENTS;
    ClusterEventKind, "the kind of an event of the fleet", CLUSTER_EVENTS;
}

/// A number from the engine. They all stay below 2^63, see [`super::INCARNATION_MAX`]; beyond it they saturate.
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that [`int`] wrote.
pub fn uint(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::unreadable("a number that is never negative", number))
}

/// A count that fits 32 bits.
pub fn count(number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_| StoreError::unreadable("a count", number))
}

/// A point in time, as stored.
pub fn micros(at: Timestamp) -> i64 {
    int(at.unix_micros())
}

/// A point in time that [`micros`] wrote.
pub fn timestamp(micros: i64) -> Result<Timestamp, StoreError> {
    uint(micros).map(Timestamp::from_unix_micros)
}

/// A duration, as stored.
pub fn duration_us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A task id, as stored.
pub fn id(task: TaskId) -> [u8; 16] {
    task.as_u128().to_be_bytes()
}

/// A position, as stored.
pub fn position(at: EventPosition) -> i64 {
    int(at.0)
}

/// A column that holds 16 bytes.
pub fn bits(row: &Row<'_>, column: impl RowIndex) -> Result<u128, StoreError> {
    Ok(u128::from_be_bytes(row.get(column)?))
}

/// A column that holds a task id.
pub fn task_id(row: &Row<'_>, column: impl RowIndex) -> Result<TaskId, StoreError> {
    bits(row, column).map(TaskId::from_u128)
}

/// A column that holds a task id or nothing.
pub fn optional_task_id(row: &Row<'_>, column: impl RowIndex) -> Result<Option<TaskId>, StoreError> {
    let bytes: Option<[u8; 16]> = row.get(column)?;
    Ok(bytes.map(|bytes| TaskId::from_u128(u128::from_be_bytes(bytes))))
}

/// A column that holds a name or nothing.
pub fn optional_name<T>(row: &Row<'_>, column: &str) -> Result<Option<T>, StoreError>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    optional_name_at(row, column, column)
}

/// The same by place, for what is read in large numbers: each look-up by name compares it with those of the columns before.
pub fn optional_name_at<T>(row: &Row<'_>, column: impl RowIndex, what: &str) -> Result<Option<T>, StoreError>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    let text = row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    text.map(|text| text.parse().map_err(|wrong: T::Err| StoreError::Corrupt(format!("{what}: {wrong}")))).transpose()
}

/// The three columns of a failure.
pub fn failure(row: &Row<'_>) -> Result<Option<Failure>, StoreError> {
    let Some(class) = row.get::<_, Option<i64>>("failure_class")? else { return Ok(None) };
    let message: Option<String> = row.get("failure")?;
    let class = FailureClass::of_code(class)?;
    Ok(Some(Failure { class, message: message.unwrap_or_default(), exit_code: row.get("exit_code")? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Coded + fmt::Debug>(all: &[T]) {
        for &value in all {
            assert_eq!(T::of_code(value.code()).unwrap(), value, "a number of its own");
        }
        assert!(matches!(T::of_code(99), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn every_value_has_a_number_of_its_own() {
        check(&TaskState::ALL);
        check(&AttemptEnd::ALL);
        check(&TaskEventKind::ALL);
        check(&ClusterEventKind::ALL);
        check(&CLASSES.map(|(class, _)| class));
    }

    #[test]
    fn the_states_that_are_over_are_those_from_success_on() {
        for state in TaskState::ALL {
            assert_eq!(state.is_terminal(), state.code() >= SUCCEEDED, "{state}");
        }
    }
}

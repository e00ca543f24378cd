//! Enumerations, one table each.
//!
//! A number that this build does not know comes from a newer peer. It reads as `None`, and the caller decides: a task
//! that asks for something unknown is refused, a report with an unknown word in it is not.

use evenkeel_proto::v1;

use crate::{
    agent::{AdminState, Health},
    labels::LabelOperator,
    task::{AttemptEnd, Delivery, FailureClass, TaskState},
};

macro_rules! table {
    ($type:ident, $read:ident, $write:ident, unspecified = $unspecified:expr, [$($variant:ident),+ $(,)?]) => {
        #[doc = concat!("Reads a [`", stringify!($type), "`]; 0 reads as `", stringify!($unspecified), "`, an unknown number as `None`.")]
        #[must_use]
        pub fn $read(number: i32) -> Option<$type> {
            match v1::$type::try_from(number) {
                $(Ok(v1::$type::$variant) => Some($type::$variant),)+
                Ok(v1::$type::Unspecified) => $unspecified,
                Err(_) => None,
            }
        }

        #[doc = concat!("Writes a [`", stringify!($type), "`].")]
        #[must_use]
        pub const fn $write(value: $type) -> v1::$type {
            match value {
                $($type::$variant => v1::$type::$variant,)+
            }
        }
    };
}

table!(
    TaskState,
    task_state,
    to_task_state,
    unspecified = None,
    [Queued, Assigned, Running, RetryWait, Succeeded, Failed, Cancelled, Expired, Quarantined]
);
table!(
    FailureClass,
    failure_class,
    to_failure_class,
    unspecified = Some(FailureClass::Retryable),
    [Retryable, NonRetryable, Timeout, Rejected, AgentLost, BudgetExceeded, QuotaExhausted]
);
table!(
    AttemptEnd,
    attempt_end,
    to_attempt_end,
    unspecified = None,
    [Succeeded, Failed, TimedOut, Cancelled, AgentLost, Rejected, HandedBack, Expired]
);
table!(Delivery, delivery, to_delivery, unspecified = Some(Delivery::Durable), [Durable, Ephemeral]);
table!(AdminState, admin_state, to_admin_state, unspecified = None, [Active, Cordoned, Draining]);
table!(Health, health, to_health, unspecified = None, [Healthy, Degraded, Unhealthy, Lost]);
table!(
    LabelOperator,
    label_operator,
    to_label_operator,
    unspecified = Some(LabelOperator::Equals),
    [Equals, NotEquals, In, NotIn, Exists, Absent, Greater, GreaterOrEqual, Less, LessOrEqual]
);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn check<T: PartialEq + Debug>(unspecified: Option<T>, read: fn(i32) -> Option<T>, write: fn(T) -> i32) {
        assert_eq!(read(0), unspecified);
        assert_eq!(read(-1), None);
        let known: Vec<i32> = (1..100).filter(|&n| read(n).is_some()).collect();
        assert!(known.len() > 1);
        for number in known {
            assert_eq!(read(number).map(write), Some(number));
        }
    }

    #[test]
    fn every_number_reads_back_as_itself_and_unknown_ones_as_none() {
        check(None, task_state, |v| to_task_state(v).into());
        check(Some(FailureClass::Retryable), failure_class, |v| to_failure_class(v).into());
        check(None, attempt_end, |v| to_attempt_end(v).into());
        check(Some(Delivery::Durable), delivery, |v| to_delivery(v).into());
        check(None, admin_state, |v| to_admin_state(v).into());
        check(None, health, |v| to_health(v).into());
        check(Some(LabelOperator::Equals), label_operator, |v| to_label_operator(v).into());
    }
}

//! Contexts for the tests of executors.

use bytes::Bytes;
use evenkeel_shared::{
    AssignmentId, AttemptNumber, AttemptRef, Kind, Priority, Resources, TaskId, Tenant, wire::agent::Assignment,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::task::TaskContext;

/// The context of a first attempt with this payload, and the token that cancels it.
pub(crate) fn task(payload: impl Into<Bytes>) -> (TaskContext, CancellationToken) {
    attempt(1, payload)
}

/// The same for a later attempt.
pub(crate) fn attempt(number: u32, payload: impl Into<Bytes>) -> (TaskContext, CancellationToken) {
    let token = CancellationToken::new();
    (TaskContext::new(assignment(number, payload), token.clone(), mpsc::channel(1).0), token)
}

/// An assignment of this attempt.
pub(crate) fn assignment(number: u32, payload: impl Into<Bytes>) -> Assignment {
    Assignment {
        attempt: AttemptRef {
            task: TaskId::from_u128(7),
            attempt: AttemptNumber(number),
            assignment: AssignmentId(70),
        },
        kind: Kind::new("test").unwrap(),
        payload: payload.into(),
        tenant: Tenant::default(),
        priority: Priority::default(),
        resources: Resources::slots(1),
        timeout: std::time::Duration::from_secs(60),
        deadline: None,
        affinity_key: String::new(),
        idempotency_key: String::new(),
        budget: None,
        quota_keys: Vec::new(),
        trace: None,
    }
}

//! Trying a call again while that can help.

use std::{future::Future, time::Duration};

use evenkeel_shared::{backoff::Backoff, wire::status::from_status};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::{CALL_MAX, CollectError};

/// Tries of one call. With the waits between them it outlasts the restart of a coordinator.
const TRIES_MAX: u32 = 12;
/// Longest wait before the second try.
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// Longest wait, also where the coordinator asks for a longer one.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How often and how fast a call is tried again.
#[derive(Clone)]
pub(super) struct Patience {
    backoff: Backoff,
}

impl Default for Patience {
    fn default() -> Self {
        Self { backoff: Backoff::new(WAIT_FIRST, WAIT_MAX, 2.0) }
    }
}

impl Patience {
    /// As patient as another, and in a hurry.
    #[cfg(test)]
    pub(super) fn hasty() -> Self {
        Self { backoff: Backoff::new(Duration::ZERO, Duration::ZERO, 1.0) }
    }

    /// Calls until there is an answer, or a failure that stays.
    pub(super) async fn call<T, F>(&self, call: &'static str, mut once: impl FnMut() -> F) -> Result<T, CollectError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut tries = 0;
        loop {
            let late = |_| Err(Status::deadline_exceeded(format!("no answer within {} s", CALL_MAX.as_secs())));
            let status = match timeout(CALL_MAX, once()).await.unwrap_or_else(late) {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            tries += 1;
            if tries >= TRIES_MAX || !helps(status.code()) {
                return Err(CollectError::Call { call, tries, status: Box::new(status) });
            }
            let asked = from_status(&status).retry_after.unwrap_or_default().min(WAIT_MAX);
            sleep(self.backoff.delay(tries - 1, fastrand::f64()).max(asked)).await;
        }
    }
}

/// Whether another try may end otherwise.
const fn helps(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A call that fails with these codes, one a try, and then answers.
    async fn call_that_fails(codes: &[Code]) -> (Result<u32, CollectError>, u32) {
        let tries = Cell::new(0);
        let patience = Patience::hasty();
        let answer = patience.call("List", || {
            let try_now = tries.replace(tries.get() + 1);
            let status = codes.get(try_now as usize).map(|code| Status::new(*code, "not now"));
            async move { status.map_or(Ok(try_now), Err) }
        });
        (answer.await, tries.get())
    }

    #[tokio::test]
    async fn a_busy_coordinator_is_asked_again() {
        let (answer, tries) = call_that_fails(&[Code::Unavailable, Code::ResourceExhausted]).await;
        assert_eq!((answer.unwrap(), tries), (2, 3));
    }

    #[tokio::test]
    async fn a_coordinator_that_stays_away_is_given_up() {
        let (answer, tries) = call_that_fails(&[Code::Unavailable; 100]).await;
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("List failed (12 tries)") && error.contains("not now"), "{error}");
        assert_eq!(tries, TRIES_MAX);
    }

    #[tokio::test]
    async fn a_refusal_that_stays_is_not_tried_again() {
        let (answer, tries) = call_that_fails(&[Code::InvalidArgument]).await;
        assert!(answer.is_err());
        assert_eq!(tries, 1);
    }
}

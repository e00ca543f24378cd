//! Work that is none: for first steps, tests and load tests.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::task::{ExecutionError, Executor, TaskContext};

/// Time of a task whose payload names none.
const DEFAULT_MS: u64 = 100;

/// Returns the payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

#[async_trait]
impl Executor for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        Ok(task.payload)
    }
}

/// Waits for as many milliseconds as the payload says in digits, 100 if it is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sleep;

#[async_trait]
impl Executor for Sleep {
    fn name(&self) -> &'static str {
        "sleep"
    }

    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        let time = milliseconds(&task)?;
        let cancelled = task.cancelled();
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(Bytes::new()),
            () = cancelled.cancelled() => Err(stopped()),
        }
    }
}

/// Keeps one core busy for as many milliseconds as the payload says in digits, 100 if it is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Burn;

#[async_trait]
impl Executor for Burn {
    fn name(&self) -> &'static str {
        "burn"
    }

    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        let time = milliseconds(&task)?;
        let cancelled = task.cancelled();
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            while begun.elapsed() < time {
                if cancelled.is_cancelled() {
                    return Err(stopped());
                }
                // Some microseconds of work between looks at the clock.
                black_box((0..10_000_u64).fold(1_u64, |hash, n| hash.wrapping_mul(31).wrapping_add(black_box(n))));
            }
            Ok(Bytes::new())
        })
        .await?
    }
}

/// Fails as the payload says: `retryable` (also when empty), `non_retryable`, or `times:N` for the first N attempts, after
/// which it succeeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fail;

#[async_trait]
impl Executor for Fail {
    fn name(&self) -> &'static str {
        "fail"
    }

    async fn execute(&self, task: TaskContext) -> Result<Bytes, ExecutionError> {
        let attempt = task.attempt.attempt.0;
        match task.payload_text()? {
            "" | "retryable" => Err(ExecutionError::retryable("failed as asked, retryable")),
            "non_retryable" => Err(ExecutionError::non_retryable("failed as asked, non-retryable")),
            other => match other.strip_prefix("times:").map(str::parse::<u32>) {
                Some(Ok(times)) if attempt <= times => {
                    Err(ExecutionError::retryable(format!("failed as asked, attempt {attempt} of {times} that fail")))
                }
                Some(Ok(_)) => Ok(Bytes::from(format!("succeeded at attempt {attempt}"))),
                _ => {
                    Err(ExecutionError::non_retryable("the payload is none of `retryable`, `non_retryable`, `times:N`"))
                }
            },
        }
    }
}

fn milliseconds(task: &TaskContext) -> Result<Duration, ExecutionError> {
    let ms = match task.payload_text()? {
        "" => Ok(DEFAULT_MS),
        digits => digits.parse(),
    };
    ms.map(Duration::from_millis).map_err(|error| {
        ExecutionError::non_retryable(format!("the payload is not a number of milliseconds in digits: {error}"))
    })
}

fn stopped() -> ExecutionError {
    ExecutionError::retryable("stopped before its time")
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::FailureClass;

    use super::*;
    use crate::executors::testing::{attempt, task};

    async fn check_fails(executor: impl Executor, payload: &'static [u8], class: FailureClass) {
        let failed = executor.execute(task(payload).0).await.unwrap_err();
        assert_eq!(failed.failure().class, class, "{failed}");
    }

    #[tokio::test]
    async fn echo_returns_the_payload() {
        assert_eq!(Echo.execute(task("hello").0).await, Ok(Bytes::from("hello")));
    }

    #[tokio::test]
    async fn sleep_and_burn_take_their_time_and_no_other_payload() {
        for executor in [&Sleep as &dyn Executor, &Burn] {
            let begun = Instant::now();
            assert_eq!(executor.execute(task(" 20\n").0).await, Ok(Bytes::new()));
            assert!(begun.elapsed() >= Duration::from_millis(20));
        }
        check_fails(Sleep, b"soon", FailureClass::NonRetryable).await;
        check_fails(Burn, b"\xff", FailureClass::NonRetryable).await;
    }

    #[tokio::test]
    async fn sleep_and_burn_stop_when_cancelled() {
        for executor in [&Sleep as &dyn Executor, &Burn] {
            let (task, token) = task("3600000");
            token.cancel();
            assert_eq!(executor.execute(task).await, Err(stopped()));
        }
    }

    #[tokio::test]
    async fn fail_fails_as_asked() {
        check_fails(Fail, b"", FailureClass::Retryable).await;
        check_fails(Fail, b"non_retryable", FailureClass::NonRetryable).await;
        check_fails(Fail, b"sometimes", FailureClass::NonRetryable).await;
        check_fails(Fail, b"times:1", FailureClass::Retryable).await;
        assert!(Fail.execute(attempt(2, "times:1").0).await.is_ok());
    }
}

//! What simulated tasks do, written into their payloads.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use evenkeel_shared::{AttemptNumber, AttemptRef, Failure, FailureClass, Outcome};

/// What becomes of an attempt that is left to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It succeeds.
    Succeeds,
    /// It succeeds, but only after so many attempts failed.
    FailsFirst(u8),
    /// It fails in a way that would come again.
    FailsForGood,
    /// It does not end by itself.
    Overruns,
    /// It takes its process with it.
    Kills,
}

/// A simulated piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub run: Duration,
    pub then: Then,
    /// Makes its content its own.
    pub nonce: u64,
}

impl Work {
    pub fn to_payload(self) -> Bytes {
        let (code, count) = match self.then {
            Then::Succeeds => (0, 0),
            Then::FailsFirst(count) => (1, count),
            Then::FailsForGood => (2, 0),
            Then::Overruns => (3, 0),
            Then::Kills => (4, 0),
        };
        let mut bytes = BytesMut::new();
        bytes.put_u8(code);
        bytes.put_u8(count);
        bytes.put_u64(u64::try_from(self.run.as_micros()).unwrap_or(u64::MAX));
        bytes.put_u64(self.nonce);
        bytes.freeze()
    }

    /// The work of a payload; `None` if it was damaged on its way.
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        let (&[code, count], rest) = payload.split_first_chunk::<2>()?;
        let (run, rest) = rest.split_first_chunk::<8>()?;
        let nonce = <[u8; 8]>::try_from(rest).ok()?;
        let then = match code {
            0 => Then::Succeeds,
            1 => Then::FailsFirst(count),
            2 => Then::FailsForGood,
            3 => Then::Overruns,
            4 => Then::Kills,
            _ => return None,
        };
        let run = Duration::from_micros(u64::from_be_bytes(*run));
        Some(Self { run, then, nonce: u64::from_be_bytes(nonce) })
    }

    /// What an attempt that ran to its end comes to.
    pub fn outcome(self, attempt: AttemptRef) -> Outcome {
        match self.then {
            Then::FailsFirst(count) if attempt.attempt <= AttemptNumber(count.into()) => {
                Outcome::Failed(Failure::new(FailureClass::Retryable, "not yet"))
            }
            Then::FailsForGood => Outcome::Failed(Failure::new(FailureClass::NonRetryable, "never")),
            _ => Outcome::Succeeded(self.output(attempt)),
        }
    }

    /// Its output names the attempt, so that it shows whose result was taken.
    pub fn output(self, attempt: AttemptRef) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u64(self.nonce);
        bytes.put_u64(attempt.assignment.0);
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_survives_its_payload() {
        for then in [Then::Succeeds, Then::FailsFirst(3), Then::FailsForGood, Then::Overruns, Then::Kills] {
            let work = Work { run: Duration::from_millis(1_234), then, nonce: 99 };
            assert_eq!(Work::of_payload(&work.to_payload()), Some(work));
        }
        assert_eq!(Work::of_payload(b"short"), None);
    }
}

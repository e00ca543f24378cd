//! What the coordinator says, and what the agent makes of it.

use std::time::Duration;

use evenkeel_proto::v1::{self, ResultStatus, coordinator_message::Message};
use evenkeel_shared::{
    AttemptRef, Outcome, Violation,
    limits::{HELD_ATTEMPTS_MAX, OUTPUT_BYTES_MAX},
    wire::{
        agent::assignment,
        task::{attempt_ref, required_attempt_ref},
    },
};
use thiserror::Error;
use tracing::{debug, info};

use super::{Machine, Session};
use crate::scheduler::{Admission, Fate, Stopped, rejected};

/// Shortest heartbeat interval: a coordinator that asks for more heartbeats than this is misconfigured.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The coordinator says what the protocol does not allow.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the coordinator broke the protocol: {0}")]
pub struct ProtocolError(pub String);

impl From<Violation> for ProtocolError {
    fn from(violation: Violation) -> Self {
        Self(violation.to_string())
    }
}

impl Machine {
    /// A session began, with this welcome and what came in one frame with it. The first heartbeat is due at once: until
    /// then the coordinator knows nothing of the load.
    ///
    /// # Errors
    /// What the protocol does not allow; the session is of no use then.
    pub fn welcomed(
        &mut self,
        now: Duration,
        welcome: v1::Welcome,
        rest: Vec<v1::CoordinatorMessage>,
    ) -> Result<(), ProtocolError> {
        let agreed = usize::try_from(welcome.output_max_bytes).unwrap_or(OUTPUT_BYTES_MAX);
        self.output_bytes_max = if agreed == 0 { OUTPUT_BYTES_MAX } else { agreed.min(OUTPUT_BYTES_MAX) };
        let (adopted, superseded) = (welcome.adopted.len(), welcome.superseded.len());
        for attempt in welcome.superseded {
            self.forget(attempt_ref(attempt)?);
        }
        info!(
            agent = %self.spec.id, coordinator = welcome.coordinator_id, epoch = welcome.session_epoch,
            adopted, superseded, "registered"
        );
        let heartbeat_interval = Duration::from_millis(welcome.heartbeat_interval_ms).max(HEARTBEAT_INTERVAL_MIN);
        self.session = Some(Session { since: now, heartbeat_at: now, heartbeat_interval });
        self.outbox.restart(self.scheduler.running_kept());
        self.repeat_leaving();
        self.heard(rest)
    }

    /// The coordinator said something.
    ///
    /// # Errors
    /// What the protocol does not allow; the session is of no use then.
    pub fn heard(&mut self, messages: Vec<v1::CoordinatorMessage>) -> Result<(), ProtocolError> {
        for message in messages.into_iter().filter_map(|message| message.message) {
            match message {
                Message::Welcome(_) => return Err(ProtocolError("it welcomed the agent twice".into())),
                Message::Assignment(work) => self.assigned(work)?,
                Message::Cancel(cancel) => self.cancelled(required_attempt_ref(cancel.attempt)?, &cancel.reason),
                Message::ResultAck(ack) => match ack.status() {
                    ResultStatus::Recorded | ResultStatus::Stale => {
                        self.outbox.forget(required_attempt_ref(ack.attempt)?);
                    }
                    ResultStatus::Unspecified => {
                        return Err(ProtocolError(format!("result status {} is unknown", ack.status)));
                    }
                },
                Message::Drain(_) if self.is_leaving() => self.take_nothing_new(),
                Message::Drain(drain) => {
                    info!(agent = %self.spec.id, reason = drain.reason, "the coordinator drains this agent");
                    self.hand_back_waiting("the agent is being drained");
                }
            }
        }
        Ok(())
    }

    fn assigned(&mut self, work: v1::Assignment) -> Result<(), ProtocolError> {
        let attempt = required_attempt_ref(work.attempt.clone())?;
        if self.outbox.has_unacked(attempt) {
            debug!(task = %attempt.task, "assigned again, though its result is on the way");
            return Ok(());
        }
        if self.scheduler.held_count() + self.outbox.unacked_count() >= HELD_ATTEMPTS_MAX {
            let what = format!("it assigns without end: {HELD_ATTEMPTS_MAX} attempts are here already");
            return Err(ProtocolError(what));
        }
        let admission = match assignment(work) {
            Err(violation) => Admission::Refused(rejected(format!("the assignment is not understood: {violation}"))),
            Ok(work) if !self.spec.kinds.contains(&work.kind) => {
                Admission::Refused(rejected(format!("the agent does not take the kind `{}`", work.kind)))
            }
            Ok(work) => self.scheduler.admit(work),
        };
        match admission {
            Admission::Admitted => {}
            Admission::Known => debug!(task = %attempt.task, "assigned twice"),
            Admission::Refused(answer) => self.outbox.result(attempt, &answer, Duration::ZERO, None),
        }
        Ok(())
    }

    fn cancelled(&mut self, attempt: AttemptRef, reason: &str) {
        debug!(task = %attempt.task, reason, "cancelled");
        match self.scheduler.stop(attempt, Fate::Cancelled) {
            Stopped::Waiting => self.outbox.result(attempt, &Outcome::Cancelled, Duration::ZERO, None),
            Stopped::Running => self.stops.push(attempt),
            // Its result is on the way, and the coordinator will know what to make of it.
            Stopped::Unknown => {}
        }
    }

    /// Stops this attempt wherever it is, and never speaks of it again.
    fn forget(&mut self, attempt: AttemptRef) {
        if self.scheduler.stop(attempt, Fate::Forget) == Stopped::Running {
            self.stops.push(attempt);
        }
        self.outbox.forget(attempt);
    }
}

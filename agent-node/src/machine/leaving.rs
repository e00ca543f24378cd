//! How an agent goes: it says so, finishes what runs, and waits until it has been heard.
//!
//! The coordinator answers the word that an agent goes, and sends nothing new after that. What it sent before may still be
//! under way; until the answer it is taken and run where there is room, because to hand an attempt back ends it, and it
//! may be the only one that its task has.

use std::time::Duration;

use evenkeel_shared::AttemptRef;
use tracing::{info, warn};

use super::{Machine, STOP_TIMEOUT};
use crate::scheduler::Fate;

/// Longest wait for acknowledgements when all is done and the agent wants to go.
const LAST_ACKS_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the coordinator's answer to the word that the agent goes. An older one gives none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The reason given to the coordinator when the agent is told to go.
const SHUTDOWN_REASON: &str = "the agent is shutting down";

/// Where the agent is on its way out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leaving {
    /// It stays.
    No,
    /// It has said so, and takes what is under way to it until the coordinator has answered, or until the first time. The
    /// second one is for [`Self::Finishing`].
    Announced(Duration, Duration),
    /// Attempts may finish until then.
    Finishing(Duration),
    /// They were told to stop, and are waited for until then.
    Stopping(Duration),
    /// All is done; acknowledgements are waited for until then.
    LastAcks(Duration),
    /// It need not wait any longer.
    Gone,
}

impl Leaving {
    /// When the next step is due.
    pub const fn due(self) -> Option<Duration> {
        match self {
            Self::Announced(at, _) | Self::Finishing(at) | Self::Stopping(at) | Self::LastAcks(at) => Some(at),
            Self::No | Self::Gone => None,
        }
    }
}

impl Machine {
    /// Whether the agent has been told to go.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// Whether the agent has nothing left to do or to wait for.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.leaving == Leaving::Gone
    }

    /// Begins to leave: says so first, so that what is handed back does not come back.
    pub fn leave(&mut self, now: Duration) {
        info!(agent = %self.spec.id, running = self.scheduler.running_count(), "draining");
        let (answer_by, finish_by) = (now + ANSWER_TIMEOUT.min(self.drain_timeout), now + self.drain_timeout);
        self.leaving = Leaving::Announced(answer_by, finish_by);
        self.outbox.draining(SHUTDOWN_REASON.to_owned());
        self.hand_back_waiting(SHUTDOWN_REASON);
    }

    /// Nothing is under way to the agent any more: what still comes is handed back. What has come may start yet.
    pub(super) fn take_nothing_new(&mut self) {
        if let Leaving::Announced(_, finish_by) = self.leaving {
            self.leaving = Leaving::Finishing(finish_by);
            self.scheduler.close(SHUTDOWN_REASON.to_owned());
        }
    }

    /// Says again on a new session that the agent goes.
    pub(super) fn repeat_leaving(&mut self) {
        if self.is_leaving() {
            self.outbox.draining(SHUTDOWN_REASON.to_owned());
        }
    }

    /// A step took as long as it may: on to the next.
    pub(super) fn leave_on(&mut self, now: Duration) {
        match self.leaving {
            Leaving::Announced(..) => self.take_nothing_new(),
            Leaving::Finishing(_) => {
                let running: Vec<AttemptRef> = self.scheduler.running_kept().collect();
                warn!(agent = %self.spec.id, running = running.len(), "the drain timeout passed; stopping attempts");
                for attempt in running {
                    self.scheduler.stop(attempt, Fate::AgentLeft);
                    self.stops.push(attempt);
                }
                self.leaving = Leaving::Stopping(now + STOP_TIMEOUT);
            }
            Leaving::Stopping(_) => self.leaving = Leaving::LastAcks(now + LAST_ACKS_TIMEOUT),
            Leaving::LastAcks(_) => {
                let unacked = self.outbox.unacked_count();
                warn!(agent = %self.spec.id, unacked, "leaving with results that nobody has acknowledged");
                self.leaving = Leaving::Gone;
            }
            Leaving::No | Leaving::Gone => {}
        }
    }

    /// Goes on with leaving once nothing runs any longer, and once everything is acknowledged. To be asked after what
    /// can start has been started, and what there was to say has been written.
    pub fn see_about_leaving(&mut self, now: Duration) {
        if self.session.is_none() && self.scheduler.held_count() == 0 {
            self.take_nothing_new();
        }
        if matches!(self.leaving, Leaving::Finishing(_)) {
            // All that fits has been started.
            self.hand_back_waiting(SHUTDOWN_REASON);
        }
        if matches!(self.leaving, Leaving::Finishing(_) | Leaving::Stopping(_)) && self.scheduler.running_count() == 0 {
            self.leaving = Leaving::LastAcks(now + LAST_ACKS_TIMEOUT);
        }
        let said = self.outbox.unacked_count() == 0 && (self.outbox.is_empty() || self.session.is_none());
        if matches!(self.leaving, Leaving::LastAcks(_)) && said {
            self.leaving = Leaving::Gone;
        }
    }
}

//! A history that many write to at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Acknowledgement, Execution, History, Sighting, Submission};

/// A history in the making. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SharedHistory(Arc<Mutex<History>>);

impl SharedHistory {
    /// A client's try to submit, once its outcome is known, or known to stay unknown.
    pub fn submit(&self, submission: Submission) {
        self.lock().submissions.push(submission);
    }

    /// A client was shown a task.
    pub fn sighting(&self, sighting: Sighting) {
        self.lock().sightings.push(sighting);
    }

    /// An agent ran an attempt.
    pub fn execution(&self, execution: Execution) {
        self.lock().executions.push(execution);
    }

    /// An agent was answered to a result.
    pub fn ack(&self, acknowledgement: Acknowledgement) {
        self.lock().acknowledgements.push(acknowledgement);
    }

    /// What has been written so far; nothing is left behind.
    #[must_use]
    pub fn take(&self) -> History {
        std::mem::take(&mut self.lock())
    }

    /// Writers only push, so one that panicked left the history whole.
    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

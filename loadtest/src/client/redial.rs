//! When a client opens its next stream, after some that broke.

use std::time::{Duration, Instant};

use evenkeel_shared::{backoff::Backoff, wire};
use tonic::Status;

use super::passes;
use crate::error::LoadtestError;

/// First and longest pause between streams.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

/// When the next stream may be opened.
#[derive(Debug)]
pub(crate) struct Redial {
    at: Instant,
    /// Streams that broke since one was answered.
    broken: u32,
}

impl Redial {
    /// At once.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { at: now, broken: 0 }
    }

    /// Whether a stream may be opened.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// A stream was answered.
    pub(crate) const fn answered(&mut self) {
        self.broken = 0;
    }

    /// A stream broke. The draw is from 0 to 1.
    ///
    /// # Errors
    /// If another one would fare no better.
    pub(crate) fn broke(&mut self, status: &Status, draw: f64) -> Result<(), LoadtestError> {
        let error = wire::status::from_status(status);
        if !passes(error.code) {
            return Err(LoadtestError::Call { call: "SubmitStream", status: Box::new(status.clone()) });
        }
        let delay = Backoff::new(BACKOFF_BASE, BACKOFF_CAP, 2.0).delay(self.broken, draw);
        self.at = Instant::now() + delay.max(error.retry_after.unwrap_or_default());
        self.broken = self.broken.saturating_add(1);
        Ok(())
    }
}

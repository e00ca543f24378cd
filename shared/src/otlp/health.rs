//! How the export of spans is doing.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What became of spans since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector.
    pub exported: u64,
    /// Let go because the queue was full, or because there was no time left at the end.
    pub dropped: u64,
    /// Sent, and not taken: the collector refused them, or did not answer.
    pub failed: u64,
    /// Waiting.
    pub queued: u64,
}

/// How the export is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterHealth {
    /// Where spans are sent.
    pub endpoint: String,
    /// What went wrong with the last batch, and how long batches have failed. `None`: it went well, or none was sent yet.
    pub failing: Option<(String, Duration)>,
    /// What became of spans.
    pub counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub exported: AtomicU64,
    pub dropped: AtomicU64,
    pub failed: AtomicU64,
    pub queued: AtomicU64,
    failing: Mutex<Option<(String, Instant)>>,
}

impl State {
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            exported: read(&self.exported),
            dropped: read(&self.dropped),
            failed: read(&self.failed),
            queued: read(&self.queued),
        }
    }

    /// Remembers how the last batch went. Whether that is news.
    pub fn went(&self, error: Option<String>, now: Instant) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failing.as_ref().map_or(now, |(_, since)| *since);
        let is_news = failing.is_some() != error.is_some();
        *failing = error.map(|error| (error, since));
        is_news
    }

    pub fn failing(&self, now: Instant) -> Option<(String, Duration)> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.as_ref().map(|(error, since)| (error.clone(), now.saturating_duration_since(*since)))
    }
}

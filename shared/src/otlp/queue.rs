//! Where spans wait to be sent.
//!
//! Whoever leaves spans is in the middle of something that others wait for, so this costs a lock that nobody holds for long
//! and, as a rule, wakes nobody: the thread that sends is woken by the first span after a pause, which starts its clock, and
//! by the one that makes a batch full. A channel, which wakes its reader whenever it had been empty, was what this took the
//! place of: with a span every millisecond that was a wake-up each, and they cost more than making the spans.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::sync::Notify;

use super::{health::State, span::Span};

/// Spans in one message: some 200 KiB, as collectors expect them.
pub(super) const BATCH_SPANS_MAX: usize = 512;

/// Spans that wait, and what became of the others.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    spans_max: usize,
    news: Notify,
    pub state: State,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Span>,
    closed: bool,
}

impl Queue {
    /// With room for so many.
    pub fn new(spans_max: usize) -> Self {
        Self { waiting: Mutex::default(), spans_max: spans_max.max(1), news: Notify::new(), state: State::default() }
    }

    /// Takes these in, as far as there is room; others are dropped and counted.
    pub fn put(&self, spans: impl IntoIterator<Item = Span>) {
        let mut waiting = self.lock();
        let (before, mut dropped) = (waiting.spans.len(), 0);
        for span in spans {
            if waiting.closed || waiting.spans.len() == self.spans_max {
                dropped += 1;
            } else {
                waiting.spans.push_back(span);
            }
        }
        let after = waiting.spans.len();
        self.state.queued.fetch_add((after - before) as u64, Ordering::Relaxed);
        drop(waiting);
        if dropped > 0 {
            self.state.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        let begins = before == 0 && after > 0;
        let is_full = before < BATCH_SPANS_MAX && after >= BATCH_SPANS_MAX;
        if begins || is_full {
            self.news.notify_one();
        }
    }

    /// Moves the first ones over, until they are a batch.
    pub fn take(&self, batch: &mut Vec<Span>) {
        let mut waiting = self.lock();
        let room = BATCH_SPANS_MAX.saturating_sub(batch.len());
        let count = waiting.spans.len().min(room);
        batch.extend(waiting.spans.drain(..count));
    }

    /// Waits until at least so many wait. For one thread at a time.
    pub async fn has(&self, count: usize) {
        while self.lock().spans.len() < count {
            self.news.notified().await;
        }
    }

    /// Takes no more.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever takes out of the queue; when it is gone, however it went, the queue is closed and what waits is dropped.
pub(super) struct Taker(pub Arc<Queue>);

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.close();
        let left = mem::take(&mut self.0.lock().spans).len() as u64;
        self.0.state.queued.fetch_sub(left, Ordering::Relaxed);
        self.0.state.dropped.fetch_add(left, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::otlp::{
        Counts,
        span::{new_trace, wall_clock},
    };

    fn spans(count: usize) -> impl Iterator<Item = Span> {
        let now = wall_clock();
        std::iter::repeat_with(move || Span::new(new_trace(), "a", now, now)).take(count)
    }

    /// Whether somebody was woken since the last look.
    fn woke(queue: &Queue) -> bool {
        pin!(queue.news.notified()).enable()
    }

    fn taken(queue: &Queue) -> usize {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        batch.len()
    }

    #[test]
    fn the_first_span_wakes_and_the_one_that_fills_a_batch_and_none_between_or_after() {
        let queue = Queue::new(10_000);
        queue.put(spans(1));
        assert!(woke(&queue), "its clock starts");
        let woken = (1..BATCH_SPANS_MAX - 1).filter(|_| {
            queue.put(spans(1));
            woke(&queue)
        });
        assert_eq!(woken.count(), 0);
        queue.put(spans(1));
        assert!(woke(&queue), "a batch is full");
        queue.put(spans(BATCH_SPANS_MAX));
        assert!(!woke(&queue), "there is more than a batch, as was said");
        assert_eq!((taken(&queue), taken(&queue), taken(&queue)), (BATCH_SPANS_MAX, BATCH_SPANS_MAX, 0));
        queue.put(spans(BATCH_SPANS_MAX));
        assert!(woke(&queue), "many at once are news like one");
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_so_is_all_that_waits_when_nobody_takes_it_any_more() {
        let queue = Arc::new(Queue::new(3));
        let taker = Taker(Arc::clone(&queue));
        queue.put(spans(5));
        assert_eq!(queue.state.counts(), Counts { queued: 3, dropped: 2, ..Counts::default() });
        drop(taker);
        queue.put(spans(1));
        assert_eq!(queue.state.counts(), Counts { dropped: 6, ..Counts::default() });
    }

    #[tokio::test]
    async fn who_waits_for_a_batch_is_told_of_it() {
        let queue = Arc::new(Queue::new(10_000));
        let waits = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.has(BATCH_SPANS_MAX).await }
        });
        for _ in 0..BATCH_SPANS_MAX {
            assert!(!waits.is_finished());
            queue.put(spans(1));
            tokio::task::yield_now().await;
        }
        waits.await.unwrap();
    }
}

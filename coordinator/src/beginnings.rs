//! Connections that begin: accepted, and nothing called yet. Only so many do at a time.
//!
//! A fleet that dials at once, after a partition or a restart, is a thousand handshakes. Accepted as they come, they stand
//! in the runtime's queue before the next request of a client, which then waits for all of them; taken a few at a time, the
//! others wait in the kernel's backlog, where they are in nobody's way, and the fleet is back just as soon. A peer that says
//! nothing keeps its place for a moment only: silence must not keep others out. Rejected: a rate of connections, which is
//! too low on one machine and too high on the next.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Connections that begin at a time: a handshake is some hundred microseconds of work, so a request of a client waits for
/// a few milliseconds of them at the most.
pub const BEGINNINGS_MAX: usize = 32;
/// How long a connection counts as beginning: longer than a handshake takes nearby. Peers that say nothing, or are far
/// away, so slow others down to 3,200 connections a second, and no further.
pub const BEGINNING_MAX: Duration = Duration::from_millis(10);

/// The connections of a port that begin.
#[derive(Debug, Default)]
pub struct Beginnings {
    /// The oldest one first; those that are over leave it when room is asked for.
    under_way: Mutex<VecDeque<Arc<Beginning>>>,
    ended: Arc<Notify>,
}

/// A connection that begins.
#[derive(Debug)]
pub struct Beginning {
    since: Instant,
    over: AtomicBool,
    ended: Arc<Notify>,
}

impl Beginnings {
    /// Waits until there is room for one more.
    pub async fn room(&self) {
        loop {
            let ended = self.ended.notified();
            let Some(until) = self.full_until(Instant::now()) else { return };
            // Whether one has ended or the oldest one has had its time, there is room now.
            let _ = timeout_at(until, ended).await;
        }
    }

    /// Another one begins.
    pub fn begin(&self) -> Arc<Beginning> {
        let beginning =
            Beginning { since: Instant::now(), over: AtomicBool::new(false), ended: Arc::clone(&self.ended) };
        let beginning = Arc::new(beginning);
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(&beginning));
        beginning
    }

    /// Until when there is no room at the latest; `None`: there is.
    fn full_until(&self, now: Instant) -> Option<Instant> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|one| !one.over.load(Ordering::Relaxed) && now < one.since + BEGINNING_MAX);
        let oldest = under_way.front().filter(|_| under_way.len() >= BEGINNINGS_MAX)?;
        Some(oldest.since + BEGINNING_MAX)
    }
}

impl Beginning {
    /// It has begun, or is gone.
    pub fn end(&self) {
        if !self.over.load(Ordering::Relaxed) && !self.over.swap(true, Ordering::Relaxed) {
            self.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    fn full() -> (Beginnings, Vec<Arc<Beginning>>) {
        let beginnings = Beginnings::default();
        let all = (0..BEGINNINGS_MAX).map(|_| beginnings.begin()).collect();
        (beginnings, all)
    }

    #[test]
    fn so_many_begin_at_a_time_and_no_more() {
        let (beginnings, all) = full();
        let now = all[0].since;
        assert!(beginnings.full_until(now).is_some());
        all[3].end();
        assert_eq!(beginnings.full_until(now), None);
        let _one_more = beginnings.begin();
        assert!(beginnings.full_until(now).is_some());
    }

    #[test]
    fn those_who_say_nothing_keep_others_out_for_a_moment_only() {
        let (beginnings, all) = full();
        let (first, last) = (all[0].since, all[BEGINNINGS_MAX - 1].since);
        assert_eq!(beginnings.full_until(last), Some(first + BEGINNING_MAX));
        assert_eq!(beginnings.full_until(last + BEGINNING_MAX), None);
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_one_has_begun() {
        let (beginnings, mut all) = full();
        // Begun in the future, so that no time that passes here makes room.
        let later = |one: &Arc<Beginning>| {
            Arc::new(Beginning {
                since: one.since + Duration::from_secs(3_600),
                over: AtomicBool::new(false),
                ended: Arc::clone(&one.ended),
            })
        };
        all = all.iter().map(later).collect();
        *beginnings.under_way.lock().unwrap() = all.iter().cloned().collect();
        let mut room = pin!(beginnings.room());
        assert!(poll!(&mut room).is_pending());
        all[5].end();
        assert!(poll!(&mut room).is_ready());
    }
}

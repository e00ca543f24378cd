//! Connections that begin: accepted, and nothing called yet. Only so many do at a time.
//!
//! A fleet that dials at once, after a partition or a restart, is a thousand handshakes. Accepted as they come, they stand
//! in the runtime's queue before the next request of a client, which then waits for all of them; taken a few at a time, the
//! others wait in the kernel's backlog, where they are in nobody's way, and the fleet is back just as soon.
//!
//! A peer that has sent its greeting is at work, and counts for as long as that takes on a busy machine. One that has not
//! counts for a moment only: silence must not keep others out. Rejected: one time for both, which is either so short that
//! a busy machine takes the next ones on before it is done with the first, or so long that a few hundred silent peers
//! stand before all others; and a rate of connections, which is too low on one machine and too high on the next.

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
pub const BEGINNINGS_MAX: usize = 16;
/// How long a peer counts that has not sent its greeting. Silent peers so slow others down to 3,200 connections a second,
/// and no further.
const SILENT_MAX: Duration = Duration::from_millis(5);
/// How long one counts that has: several times what a handshake takes on a machine that has nothing left. Peers that greet
/// and then call nothing slow others down to 320 connections a second; they count against the bound of open ones as well.
const BEGINNING_MAX: Duration = Duration::from_millis(50);

/// The connections of a port that begin.
#[derive(Debug, Default)]
pub struct Beginnings {
    /// The oldest one first; those that are over leave it when room is asked for. No more than are accepted within
    /// [`BEGINNING_MAX`].
    under_way: Mutex<VecDeque<Arc<Beginning>>>,
    ended: Arc<Notify>,
}

/// A connection that begins.
#[derive(Debug)]
pub struct Beginning {
    since: Instant,
    greeted: AtomicBool,
    over: AtomicBool,
    ended: Arc<Notify>,
}

impl Beginnings {
    /// Waits until there is room for one more.
    pub async fn room(&self) {
        loop {
            let ended = self.ended.notified();
            let Some(until) = self.full_until(Instant::now()) else { return };
            // Whether one has ended or one has had its time, there may be room now.
            let _ = timeout_at(until, ended).await;
        }
    }

    /// Another one begins.
    pub fn begin(&self) -> Arc<Beginning> {
        let beginning = Beginning {
            since: Instant::now(),
            greeted: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ended: Arc::clone(&self.ended),
        };
        let beginning = Arc::new(beginning);
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(&beginning));
        beginning
    }

    /// Until when there is no room at the latest; `None`: there is.
    fn full_until(&self, now: Instant) -> Option<Instant> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // A silent one may greet yet, and counts again from then on.
        under_way.retain(|one| !one.over.load(Ordering::Relaxed) && now < one.since + BEGINNING_MAX);
        let counted = || under_way.iter().map(|one| one.counts_until()).filter(|until| now < *until);
        if counted().count() < BEGINNINGS_MAX { None } else { counted().min() }
    }
}

impl Beginning {
    /// Its peer has sent its greeting.
    pub fn greeted(&self) {
        self.greeted.store(true, Ordering::Relaxed);
    }

    /// It has begun, or is gone.
    pub fn end(&self) {
        if !self.over.load(Ordering::Relaxed) && !self.over.swap(true, Ordering::Relaxed) {
            self.ended.notify_one();
        }
    }

    fn counts_until(&self) -> Instant {
        self.since + if self.greeted.load(Ordering::Relaxed) { BEGINNING_MAX } else { SILENT_MAX }
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
        assert_eq!(beginnings.full_until(last), Some(first + SILENT_MAX));
        assert_eq!(beginnings.full_until(last + SILENT_MAX), None);
    }

    #[test]
    fn those_who_have_greeted_count_for_as_long_as_it_takes() {
        let (beginnings, all) = full();
        let (first, last) = (all[0].since, all[BEGINNINGS_MAX - 1].since);
        let late = last + SILENT_MAX;
        assert_eq!(beginnings.full_until(late), None);
        // What was silent for long and greets after all is work that is about to be done.
        for one in &all {
            one.greeted();
        }
        assert_eq!(beginnings.full_until(late), Some(first + BEGINNING_MAX));
        all[7].end();
        assert_eq!(beginnings.full_until(late), None);
        assert_eq!(beginnings.full_until(last + BEGINNING_MAX), None);
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_one_has_begun() {
        let (beginnings, mut all) = full();
        // Begun in the future, so that no time that passes here makes room.
        let later = |one: &Arc<Beginning>| {
            Arc::new(Beginning {
                since: one.since + Duration::from_secs(3_600),
                greeted: AtomicBool::new(false),
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

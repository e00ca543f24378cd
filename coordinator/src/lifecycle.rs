//! Where the process is in its life: starting, ready, stopping, closing; and whether its store has room.
//!
//! Stopping comes before closing: new work is refused first, what was accepted is flushed, and only then the streams end.
//!
//! A full disk is no phase of life. Nothing that changes anything is taken then, and everything else goes on.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_shared::{Code, Error};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;
/// How long a request that was taken before the disk was full waits for room: a log that is rotated should go unnoticed,
/// a client should not hang.
pub const STUCK_MAX: Duration = Duration::from_secs(5);
/// When a client that was refused for a full disk may try again: somebody has to free space first.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);
/// When a client of a coordinator that stops may try again: a restart of it, or the switch to another one, takes about so long.
const RESTART_RETRY_AFTER: Duration = Duration::from_secs(1);

/// When a client of a coordinator that starts may try again: most starts are over by then.
pub const STARTING_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The state of the process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    closing: CancellationToken,
    /// It will stop soon; until then it works as before.
    leaving: AtomicBool,
    /// Something that readiness depends on has changed.
    changed: Notify,
    loop_turns: AtomicU64,
    loop_lag_us: AtomicU64,
    loop_silent_us: AtomicU64,
    waits_for_store: AtomicBool,
    /// Since when a transaction is under way.
    commit_since: Mutex<Option<Instant>>,
    /// Since when the store has no room.
    full_since: watch::Sender<Option<Instant>>,
}

impl Lifecycle {
    /// Recovered, and taking work.
    pub fn set_ready(&self) {
        // A stop that came first stays: only `STARTING` becomes `READY`.
        let _ = self.0.phase.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// It will stop soon: whoever asks is told that it is not ready, and what comes all the same is taken.
    pub fn announce_stop(&self) {
        self.0.leaving.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Takes no new work from here on.
    pub fn stop(&self) {
        self.0.phase.store(STOPPING, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Whether it will stop soon, or has begun to.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Acquire) || self.is_stopping()
    }

    /// Whether it has begun to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.phase.load(Ordering::Acquire) == STOPPING
    }

    /// Whether its start is over.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.0.phase.load(Ordering::Acquire) != STARTING
    }

    /// Done once something has changed that readiness depends on; may be done without.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Ends every stream and every wait.
    pub fn close(&self) {
        self.stop();
        self.0.closing.cancel();
    }

    /// Whether it takes work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.check_writable().is_ok()
    }

    /// Done once streams and waits have to end.
    pub async fn closed(&self) {
        self.0.closing.cancelled().await;
    }

    /// Refuses with UNAVAILABLE what comes too early or too late.
    ///
    /// # Errors
    /// What to answer.
    pub fn check_ready(&self) -> Result<(), Error> {
        match self.0.phase.load(Ordering::Acquire) {
            READY => Ok(()),
            STARTING => Err(Error::new(Code::Unavailable, "the coordinator is starting; try again")),
            _ => Err(Self::restarting()),
        }
    }

    /// Refuses what would change something, if that cannot be made durable now.
    ///
    /// # Errors
    /// What to answer.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.check_ready()?;
        if self.store_is_full() { Err(Self::store_full()) } else { Ok(()) }
    }

    /// What a stream or wait ends with when the process stops.
    #[must_use]
    pub fn restarting() -> Error {
        let what = "the coordinator is stopping; try again once it has restarted";
        Error { retry_after: Some(RESTART_RETRY_AFTER), ..Error::new(Code::Unavailable, what) }
    }

    /// What is refused on a full disk. gRPC names this very case for RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn store_full() -> Error {
        let what = "the disk of the coordinator's database is full; nothing was accepted or changed. Free some space on it, \
                    then try again: it goes on by itself";
        Error::exhausted(what, FULL_RETRY_AFTER)
    }

    /// What is answered to a request that was taken just before the disk was full. It must not be called refused, because
    /// it is done once there is room, unless the process ends first.
    #[must_use]
    pub fn outcome_unknown() -> Error {
        let what = "the disk of the coordinator's database became full before this was on it: it may be done later, or not \
                    at all. Ask again with the same idempotency key once there is room";
        Error { retry_after: Some(FULL_RETRY_AFTER), ..Error::new(Code::Unavailable, what) }
    }

    /// The store has no room, or has room again.
    pub fn set_store_full(&self, full: bool) {
        self.0.full_since.send_replace(full.then(Instant::now));
        self.0.changed.notify_waiters();
    }

    /// Whether the store has no room.
    #[must_use]
    pub fn store_is_full(&self) -> bool {
        self.0.full_since.borrow().is_some()
    }

    /// Done once the store has had no room for [`STUCK_MAX`] while this was awaited.
    pub async fn stuck(&self) {
        let mut full_since = self.0.full_since.subscribe();
        loop {
            let since = *full_since.borrow_and_update();
            let changed = full_since.changed();
            let Some(since) = since else {
                // The sender lives as long as `self`, so this is a change.
                let _ = changed.await;
                continue;
            };
            tokio::select! {
                _ = changed => {}
                () = sleep_until(since + STUCK_MAX) => return,
            }
        }
    }

    /// The engine's loop is alive.
    pub fn saw_loop(&self) {
        self.0.loop_turns.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the engine's loop has turned.
    #[must_use]
    pub fn loop_turns(&self) -> u64 {
        self.0.loop_turns.load(Ordering::Relaxed)
    }

    /// The engine's loop came to something so long after it was due.
    pub fn loop_was_late(&self, by: Duration) {
        self.0.loop_lag_us.fetch_max(micros(by), Ordering::Relaxed);
    }

    /// The longest that the loop was late since this was asked last.
    #[must_use]
    pub fn take_loop_lag(&self) -> Duration {
        Duration::from_micros(self.0.loop_lag_us.swap(0, Ordering::Relaxed))
    }

    /// The loop has not turned for so long, as the [watchdog](crate::health::watchdog) counts.
    pub fn set_loop_silent(&self, silent: Duration) {
        self.0.loop_silent_us.store(micros(silent), Ordering::Relaxed);
    }

    /// For so long the loop has not turned, not counting times in which the whole process stood still or the loop had to rest.
    #[must_use]
    pub fn loop_silent(&self) -> Duration {
        Duration::from_micros(self.0.loop_silent_us.load(Ordering::Relaxed))
    }

    /// The engine rests until the store writer takes more, or goes on.
    pub fn set_waits_for_store(&self, waits: bool) {
        self.0.waits_for_store.store(waits, Ordering::Release);
    }

    /// Whether the engine rests until the store writer takes more.
    #[must_use]
    pub fn waits_for_store(&self) -> bool {
        self.0.waits_for_store.load(Ordering::Acquire)
    }

    /// A transaction is under way until this is dropped.
    #[must_use]
    pub fn commit_begins(&self) -> CommitUnderWay<'_> {
        *self.0.commit_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        CommitUnderWay(self)
    }

    /// For so long a transaction has been under way; `None`: none is.
    #[must_use]
    pub fn commit_under_way(&self) -> Option<Duration> {
        self.0.commit_since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }
}

/// A transaction is under way.
#[derive(Debug)]
pub struct CommitUnderWay<'a>(&'a Lifecycle);

impl Drop for CommitUnderWay<'_> {
    fn drop(&mut self) {
        *self.0.0.commit_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn it_takes_work_only_between_ready_and_stop() {
        let life = Lifecycle::default();
        assert_eq!(life.check_ready().unwrap_err().code, Code::Unavailable);
        life.set_ready();
        assert!(life.check_ready().is_ok());
        life.announce_stop();
        assert!(life.is_leaving() && life.check_ready().is_ok(), "what comes all the same is taken");
        life.stop();
        life.set_ready();
        assert!(!life.is_ready(), "a stop is final");
        assert_eq!(life.check_ready().unwrap_err().retry_after, Some(RESTART_RETRY_AFTER));
    }

    #[test]
    fn the_longest_lag_since_the_last_look_is_told_once() {
        let life = Lifecycle::default();
        life.loop_was_late(Duration::from_millis(7));
        life.loop_was_late(Duration::from_millis(3));
        assert_eq!((life.take_loop_lag(), life.take_loop_lag()), (Duration::from_millis(7), Duration::ZERO));
    }

    #[test]
    fn on_a_full_disk_changes_are_refused_with_a_hint_and_nothing_else_is() {
        let life = Lifecycle::default();
        life.set_ready();
        life.set_store_full(true);
        assert!(life.check_ready().is_ok());
        let refused = life.check_writable().unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::ResourceExhausted, Some(FULL_RETRY_AFTER)));
        assert!(refused.message.contains("is full"), "{refused}");
        life.set_store_full(false);
        assert!(life.is_ready());
    }

    #[tokio::test]
    async fn who_waits_on_a_full_disk_is_told_so_after_a_while_and_not_if_it_has_room_again() {
        let life = Lifecycle::default();
        let full_for = |time| life.0.full_since.send_replace(Some(Instant::now() - time));
        let mut stuck = Box::pin(life.stuck());
        assert!((&mut stuck).now_or_never().is_none(), "there is room");
        full_for(STUCK_MAX / 2);
        assert!((&mut stuck).now_or_never().is_none(), "it may pass");
        life.set_store_full(false);
        assert!((&mut stuck).now_or_never().is_none(), "it has passed");
        full_for(STUCK_MAX / 2);
        assert!((&mut stuck).now_or_never().is_none(), "it is counted anew");
        full_for(STUCK_MAX);
        stuck.await;
    }
}

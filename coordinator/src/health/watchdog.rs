//! Ends the process when the engine's loop is stuck: it holds every task, and only a restart brings it back.
//!
//! A loop that hangs is a defect, so nothing that it could do by itself is relied on: the watchdog has a thread of its own,
//! takes no lock, and waits for nothing but time. It does not compare clocks either. A process that was stopped and goes on, or a
//! machine that was asleep, would look stuck for as long as that took; so the watchdog counts its *own* ticks in which the
//! loop has not turned, and those stand still with the process.
//!
//! While the disk is full, or the engine waits for the store writer, nothing is ended: the loop rests because it must, and the
//! next process would have to wait for the same disk.

use std::{
    sync::{Arc, Weak, mpsc},
    thread,
    time::Duration,
};

use crate::{health::Board, lifecycle::Lifecycle};

/// The exit code of a process whose engine was stuck.
pub const EXIT_STUCK: i32 = 72;
/// Ticks in the time after which the process ends: how exactly that time is kept.
const TICKS: u32 = 20;
/// At most so long between two ticks: `/healthz` is told by these.
const TICK_MAX: Duration = Duration::from_millis(250);
/// At least so long.
const TICK_MIN: Duration = Duration::from_millis(20);

/// What the watchdog has counted. Pure: time is what it is told.
#[derive(Debug, Default)]
struct Count {
    seen: u64,
    silent: Duration,
}

/// What follows from a tick.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// For so long the loop has not turned.
    Silent(Duration),
    /// For too long, and it does not rest for a reason.
    Stuck(Duration),
}

impl Count {
    /// A tick: the loop has turned so often in all, and may rest. `after` is zero where nothing is ended.
    fn tick(&mut self, tick: Duration, turns: u64, rests: bool, after: Duration) -> Verdict {
        if turns != self.seen || rests {
            *self = Self { seen: turns, silent: Duration::ZERO };
        } else {
            self.silent += tick;
        }
        if after > Duration::ZERO && self.silent >= after {
            Verdict::Stuck(self.silent)
        } else {
            Verdict::Silent(self.silent)
        }
    }
}

/// What ends the process; another in tests.
pub type OnStuck = Box<dyn Fn(Duration) + Send>;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watchdog {
    /// The thread ends when this does.
    _watched: Arc<()>,
}

impl Watchdog {
    /// Starts to watch.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(lifecycle: Lifecycle, board: Board, on_stuck: OnStuck) -> std::io::Result<Self> {
        let watched = Arc::new(());
        let alive = Arc::downgrade(&watched);
        let watch = move || watch(&alive, &lifecycle, &board, &on_stuck);
        thread::Builder::new().name("evenkeel-watchdog".to_owned()).spawn(watch)?;
        Ok(Self { _watched: watched })
    }
}

fn watch(alive: &Weak<()>, lifecycle: &Lifecycle, board: &Board, on_stuck: &OnStuck) {
    let mut count = Count::default();
    loop {
        let after = Duration::from_millis(board.settings().watchdog_ms);
        let tick = if after.is_zero() { TICK_MAX } else { (after / TICKS).clamp(TICK_MIN, TICK_MAX) };
        thread::sleep(tick);
        if alive.strong_count() == 0 || lifecycle.is_stopping() {
            return;
        }
        match count.tick(tick, lifecycle.loop_turns(), rests(lifecycle), after) {
            Verdict::Silent(silent) => lifecycle.set_loop_silent(silent),
            Verdict::Stuck(silent) => {
                lifecycle.set_loop_silent(silent);
                on_stuck(silent);
                count = Count::default();
            }
        }
    }
}

/// Whether the loop stands still because it must.
fn rests(lifecycle: &Lifecycle) -> bool {
    lifecycle.store_is_full() || lifecycle.waits_for_store()
}

/// So long the last words may take: whoever reads the log may be stuck as well.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Says what is known and ends the process.
#[must_use]
pub fn end_process(what_is_known: impl Fn() -> String + Send + Sync + 'static) -> OnStuck {
    let what_is_known = Arc::new(what_is_known);
    Box::new(move |silent| {
        let what_is_known = Arc::clone(&what_is_known);
        let (said, wait) = mpsc::channel();
        thread::spawn(move || {
            let known = what_is_known();
            tracing::error!(?silent, code = EXIT_STUCK, "the engine's loop is stuck, the process ends: {known}");
            let _ = said.send(());
        });
        let _ = wait.recv_timeout(LAST_WORDS_WITHIN);
        std::process::exit(EXIT_STUCK);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HealthConfig;

    const TICK: Duration = Duration::from_secs(1);
    const AFTER: Duration = Duration::from_secs(3);

    /// The verdicts of ticks, each with the loop's turns so far and whether it rests.
    fn verdicts(ticks: &[(u64, bool)]) -> Vec<Verdict> {
        let mut count = Count::default();
        ticks.iter().map(|(turns, rests)| count.tick(TICK, *turns, *rests, AFTER)).collect()
    }

    fn silent(seconds: u64) -> Verdict {
        Verdict::Silent(Duration::from_secs(seconds))
    }

    #[test]
    fn a_loop_that_does_not_turn_is_stuck_after_its_time() {
        let expected = [silent(0), silent(1), silent(2), Verdict::Stuck(AFTER)];
        assert_eq!(verdicts(&[(7, false); 4]), expected);
    }

    #[test]
    fn a_loop_that_turns_or_rests_for_a_reason_is_counted_anew() {
        let expected = [silent(0), silent(1), silent(2), silent(0), silent(1)];
        assert_eq!(verdicts(&[(7, false), (7, false), (7, false), (8, false), (8, false)]), expected);
        assert_eq!(verdicts(&[(7, false), (7, false), (7, false), (7, true), (7, false)]), expected);
    }

    #[test]
    fn without_a_time_nothing_is_ended() {
        let mut count = Count::default();
        for _ in 0..1_000 {
            assert!(matches!(count.tick(TICK, 0, false, Duration::ZERO), Verdict::Silent(_)));
        }
    }

    #[test]
    fn the_loop_rests_on_a_full_disk_and_while_it_waits_for_the_store() {
        let lifecycle = Lifecycle::default();
        assert!(!rests(&lifecycle));
        lifecycle.set_store_full(true);
        assert!(rests(&lifecycle), "the next process would have the same disk");
        lifecycle.set_store_full(false);
        lifecycle.set_waits_for_store(true);
        assert!(rests(&lifecycle), "the writer has all that it may have");
        lifecycle.set_waits_for_store(false);
        assert!(!rests(&lifecycle));
    }

    #[test]
    fn the_thread_says_so_and_tells_how_long_the_loop_is_silent() {
        let (stuck, said) = mpsc::channel();
        let lifecycle = Lifecycle::default();
        let board = Board::new(HealthConfig { watchdog_ms: 50, ..HealthConfig::default() });
        let watchdog =
            Watchdog::start(lifecycle.clone(), board, Box::new(move |silent| stuck.send(silent).unwrap_or_default()));
        assert!(said.recv().unwrap() >= Duration::from_millis(50));
        assert!(lifecycle.loop_silent() > Duration::ZERO);
        drop(watchdog);
        // Its sender is gone with the thread.
        while said.recv().is_ok() {}
    }
}

//! Where the process is in its life: starting, ready, stopping, closing.
//!
//! Stopping comes before closing: new work is refused first, what was accepted is flushed, and only then the streams end.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use evenkeel_shared::{Code, Error, Timestamp};
use tokio_util::sync::CancellationToken;

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// The state of the process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    closing: CancellationToken,
    loop_seen_us: AtomicU64,
}

impl Lifecycle {
    /// Recovered, and taking work.
    pub fn set_ready(&self) {
        // A stop that came first stays: only `STARTING` becomes `READY`.
        let _ = self.0.phase.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes no new work from here on.
    pub fn stop(&self) {
        self.0.phase.store(STOPPING, Ordering::Release);
    }

    /// Ends every stream and every wait.
    pub fn close(&self) {
        self.stop();
        self.0.closing.cancel();
    }

    /// Whether it takes work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.phase.load(Ordering::Acquire) == READY
    }

    /// Done once streams and waits have to end.
    pub async fn closed(&self) {
        self.0.closing.cancelled().await;
    }

    /// Refuses with UNAVAILABLE unless it takes work.
    ///
    /// # Errors
    /// What to answer a client that comes too early or too late.
    pub fn check_ready(&self) -> Result<(), Error> {
        match self.0.phase.load(Ordering::Acquire) {
            READY => Ok(()),
            STARTING => Err(Error::new(Code::Unavailable, "the coordinator is starting; try again")),
            _ => Err(Self::restarting()),
        }
    }

    /// What a stream or wait ends with when the process stops.
    #[must_use]
    pub fn restarting() -> Error {
        Error::new(Code::Unavailable, "the coordinator is stopping; try again once it has restarted")
    }

    /// The engine's loop was alive at this time.
    pub fn saw_loop(&self, at: Timestamp) {
        self.0.loop_seen_us.store(at.unix_micros(), Ordering::Relaxed);
    }

    /// When the engine's loop was last alive.
    #[must_use]
    pub fn loop_seen_at(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.loop_seen_us.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_work_only_between_ready_and_stop() {
        let life = Lifecycle::default();
        assert_eq!(life.check_ready().unwrap_err().code, Code::Unavailable);
        life.set_ready();
        assert!(life.check_ready().is_ok());
        life.stop();
        life.set_ready();
        assert!(!life.is_ready(), "a stop is final");
    }
}

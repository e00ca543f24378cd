//! Places where the process can be made to die, to panic, to hang, or to break a promise, for tests that need the exact moment.
//!
//! What holds when a process is killed between a commit and its answer cannot be shown by killing it at random: the gap is
//! microseconds wide. So the gap has a name here, and a binary built with the feature `failpoints` reads from
//! `EVENKEEL_FAILPOINTS` what is to happen at which visit. Without the feature every function here is empty and inlined
//! away, and the variable is not read.
//!
//! ```text
//! EVENKEEL_FAILPOINTS="after-commit=abort@17,publisher=panic~0.01/42,ack-before-commit=on"
//! ```
//!
//! `@n` is the n-th visit (the first where nothing is said), `~p/s` each visit with probability p from seed s. `abort` ends
//! the process at once and runs nothing more, as SIGKILL does; `panic` panics; `hang` keeps the thread that comes by for ever,
//! as an endless loop would; `on` is for what lasts: sabotage, which proves that a checker notices, and a short retention.
//!
//! The crate `fail` was looked at and rejected: its last release (0.5.1) is of 2022, and its closures, pauses and registry
//! that is changed at run time are not needed.

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A group with changes is about to be committed.
    BeforeCommit,
    /// A group that answers clients is durable; nobody has heard of it.
    AfterCommit,
    /// A group that assigns tasks is durable; no agent has heard of it.
    AfterClaimBeforeSend,
    /// A group that records results is durable; no agent has been told so.
    AfterRecordBeforeAck,
    /// The engine's actor is about to handle events.
    Engine,
    /// The store writer is about to work on a group.
    StoreWriter,
    /// The publisher is about to publish.
    Publisher,
    /// The resource manager is about to look at the fleet.
    Manager,
    /// Sabotage: messages go out before the commit that they depend on, and the commit is a while behind.
    AckBeforeCommit,
    /// Finished tasks are kept for minutes instead of a day at least, so that a test of minutes sees them go.
    ShortRetention,
}

/// Whether this build has failpoints.
pub const COMPILED_IN: bool = cfg!(feature = "failpoints");

/// `EVENKEEL_FAILPOINTS` makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("EVENKEEL_FAILPOINTS: `{entry}` {problem}; write `point=action`, such as `after-commit=abort@17`")]
pub struct BadFailpoints {
    entry: String,
    problem: &'static str,
}

#[cfg(not(feature = "failpoints"))]
mod switched {
    use std::time::Duration;

    use evenkeel_core::engine::Message;

    use super::{BadFailpoints, Point};

    /// Reads nothing.
    ///
    /// # Errors
    /// Never.
    #[inline(always)]
    pub const fn init() -> Result<(), BadFailpoints> {
        Ok(())
    }

    /// Does nothing.
    #[inline(always)]
    pub const fn hit(_: Point) {}

    /// Does nothing.
    #[inline(always)]
    pub fn committed<'a>(_: impl Iterator<Item = &'a Message>) {}

    /// False.
    #[inline(always)]
    #[must_use]
    pub const fn acks_before_commit() -> bool {
        false
    }

    /// Does nothing.
    #[inline(always)]
    pub const fn acked_before_commit() {}

    /// As it is set.
    #[inline(always)]
    #[must_use]
    pub const fn retention(set: Duration) -> Duration {
        set
    }
}

#[cfg(feature = "failpoints")]
mod switched;

pub use switched::{acked_before_commit, acks_before_commit, committed, hit, init, retention};

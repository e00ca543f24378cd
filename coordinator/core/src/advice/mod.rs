//! What to change, with evidence.
//!
//! Findings ([`findings`], [`history`]) are pure functions of what is measured and recorded; the [`Advisor`] keeps what became
//! of them. A finding has an id that is the same whenever the same is found, so that what an operator has dismissed does not come
//! back under another name.
//!
//! - A finding becomes a recommendation once, and then has its evidence refreshed while it is open.
//! - What was dismissed is not said again for a week ([`QUIET_AFTER`]), and what was applied neither: it needs time to take effect.
//! - What is no longer found for six hours ([`WITHDRAWN_AFTER`]) is withdrawn, if it is open.
//! - At most [`OPEN_MAX`] are open, the surest ones: a longer list is not read.
//!
//! A recommendation says what applying it does. Where that is something that the coordinator can do, it keeps what was in
//! force before, so that it can be undone; where it is not, such as agents that have to be started, it says what to do. What clients
//! put into their requests stays theirs: what is changed is what tasks of the kind reserve ([`crate::sizing`]), beside it.

mod advisor;
pub(crate) mod applying;
pub mod findings;
pub mod history;
mod recommendation;
pub mod strategy;

pub use advisor::{Advisor, KEPT_MAX, LOOK_INTERVAL, OPEN_MAX, QUIET_AFTER, WITHDRAWN_AFTER};
pub use applying::{
    because, drainable, limit_after, limit_undone, policy_after, resumable, size_after, size_undone, strategy_undone,
};
pub use recommendation::{Action, AdviceKind, AdviceState, Finding, Recommendation, Undo};

#[cfg(test)]
mod tests;

//! Who is well, who is gone, and how carefully to react.
//!
//! Small state machines without I/O. The time is an argument, reading changes nothing, and each answers one question:
//!
//! | module | question |
//! |---|---|
//! | [`thresholds`] | is this agent strained, by its processor, its memory, its failures? |
//! | [`lease`] | has this agent fallen silent, or was it the coordinator that did not listen? |
//! | [`outlier`] | does this agent fail so much more than the others that it should rest? |
//! | [`slow_start`] | how much may an agent that came back take on? |
//! | [`mod@panic`] | is so much of the fleet gone that reacting at full speed would make it worse? |
//! | [`pace`] | how long does it take, compared with the others? |
//! | [`decay`] | how much is a measurement worth that is this old? |
//!
//! Settings are plain values: durations are whole milliseconds in fields named `*_ms`, so that what a file says and what
//! the code reads is one thing. Unknown fields are refused, `validate` names the field that is out of its range.
//!
//! One score that mixes all of this was rejected: an operator could not say what made an agent sick, and a test could
//! not say which part was wrong.

pub mod decay;
pub mod lease;
pub mod outlier;
pub mod pace;
pub mod panic;
pub(crate) mod settings;
pub mod slow_start;
pub mod thresholds;

//! Whatever reads bytes that others wrote, fed with bytes that nobody should write.
//!
//! Each target is a plain function of bytes that panics when something is wrong, and knows nothing of the fuzzer. So the
//! same functions are run for hours by libFuzzer, which follows the coverage, and for seconds by the test command
//! (`cli/tests/fuzz_short.rs`), which replays the seeds and a fixed number of mutations of them.
//!
//! | target | bytes are | must hold |
//! |---|---|---|
//! | [`frames`] | what an agent sends, beside an honest one | what the honest agent has stays its own and is recorded; every task ends once |
//! | [`submissions`] | a request to submit tasks | what is refused leaves nothing; what is accepted reads back as it was |
//! | [`configs`] | a configuration file, a strategy | what is accepted reads back as it was, and works |
//! | [`words`] | a label rule, an amount on the command line | an answer |
//! | [`store`] | changes to the cells or to the bytes of a database | an error or data; what is recovered, the engine can go on with |
//!
//! Inputs are protobuf messages wherever the target leaves the choice, because then one [mutator](mutate) that knows the
//! format serves all: a change of a field deep inside does not break every length around it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a target says that something is wrong")]

pub mod cluster;
pub mod configs;
pub mod frames;
pub mod ledger;
pub mod mutate;
pub mod seeds;
pub mod short;
pub mod store;
pub mod submissions;
pub mod words;

/// A target: panics when something is wrong.
pub type Target = fn(&[u8]);

/// Targets by name, for those who run them all.
pub const TARGETS: [(&str, Target); 5] = [
    ("frames", frames::run),
    ("submissions", submissions::run),
    ("configs", configs::run),
    ("words", words::run),
    ("store", store::run),
];

//! The machinery behind `evenkeel run`: from inputs to outputs in their order.
//!
//! [`plan`] reads the inputs and names each task; [`journal`] remembers an unfinished run, so that the same command goes on
//! with it; [`ledger`] decides what is submitted and delivered when, without any I/O; [`drive`] speaks with the
//! coordinator and carries the ledger out.

pub mod drive;
pub mod journal;
pub mod ledger;
pub mod ordered;
pub mod plan;

//! The coordinator over real sockets, with generated clients and an agent that does what the test says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and so do the helpers of tests")]

mod agents;
mod bad_input;
mod connections;
mod frames;
mod hostile_agent;
mod http;
mod manager;
mod raw;
mod rest;
mod restart;
mod scaling;
mod streams;
mod support;
mod tasks;
mod tasks_over;
mod unread;
mod watch;

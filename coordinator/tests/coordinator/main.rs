//! The coordinator over real sockets, with generated clients and an agent that does what the test says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and so do the helpers of tests")]

mod advice;
mod agents;
mod bad_input;
#[path = "../../src/security/tls/testing.rs"]
mod certificates;
mod connections;
mod flooding_agent;
mod frames;
mod hostile_agent;
mod http;
mod manager;
mod observed;
mod promql;
mod raw;
mod rest;
mod restart;
mod scaling;
mod security;
mod starting;
mod stopping;
mod streams;
mod support;
mod tasks;
mod tasks_over;
mod tls;
mod unread;
mod watch;

//! The coordinator over real sockets, with generated clients and an agent that does what the test says.

mod agents;
mod bad_input;
mod http;
mod restart;
mod streams;
mod support;
mod tasks;
mod tasks_over;
mod watch;

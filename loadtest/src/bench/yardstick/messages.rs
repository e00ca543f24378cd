//! What is said to the yardstick and by it.
//!
//! An id is text of as many characters as Evenkeel's, made where the task comes in, and goes along all the way.

use bytes::Bytes;
use prost::Message;

/// A task: from a client without number and id, to an agent with them.
#[derive(Clone, PartialEq, Message)]
pub struct Task {
    /// What the router calls it.
    #[prost(fixed64, tag = "1")]
    pub number: u64,
    /// What everybody else calls it.
    #[prost(string, tag = "2")]
    pub id: String,
    /// What sort of work.
    #[prost(string, tag = "3")]
    pub kind: String,
    /// The work.
    #[prost(bytes = "bytes", tag = "4")]
    pub payload: Bytes,
}

/// What came of a task.
#[derive(Clone, PartialEq, Message)]
pub struct Done {
    /// As the task has it.
    #[prost(fixed64, tag = "1")]
    pub number: u64,
    /// As the task has it.
    #[prost(string, tag = "2")]
    pub id: String,
    /// What came out.
    #[prost(bytes = "bytes", tag = "3")]
    pub output: Bytes,
}

/// Tasks in one message.
#[derive(Clone, PartialEq, Message)]
pub struct Tasks {
    /// In their order.
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<Task>,
}

/// Results in one message. The first one of an agent is empty: it says that the agent is there.
#[derive(Clone, PartialEq, Message)]
pub struct Results {
    /// In their order.
    #[prost(message, repeated, tag = "1")]
    pub done: Vec<Done>,
}

/// The methods.
pub const EXECUTE: &str = "/yardstick.Router/Execute";
/// Tasks up, results down.
pub const SUBMIT: &str = "/yardstick.Router/Submit";
/// Results up, tasks down.
pub const AGENT: &str = "/yardstick.Router/Agent";

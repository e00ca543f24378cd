//! The one table of who may do what: each call of each service, and each route of the HTTP port that is no call.
//!
//! Routes under `/api/v1` are calls, and go by these. A test walks the descriptors: a call without a line fails the build.

use super::Role;
use Role::{Admin, Agent, Client, Viewer};

/// What is kept of a call in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: it changes nothing, or has a record of its own as every task has.
    Nothing,
    /// Who asked for what, when, and what came of it.
    Audited,
}
use Kept::{Audited, Nothing};

/// A line of the table: a call as `package.Service/Method`, who may make it, and whether that is kept.
pub type Rule = (&'static str, &'static [Role], Kept);

/// Calls.
#[rustfmt::skip]
pub const CALLS: &[Rule] = &[
    ("evenkeel.v1.AgentService/Session", &[Agent], Nothing),

    ("evenkeel.v1.TaskService/Submit", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/SubmitStream", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/Execute", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/Get", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Wait", &[Client, Admin], Nothing),
    ("evenkeel.v1.TaskService/Watch", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Cancel", &[Client, Admin], Audited),
    ("evenkeel.v1.TaskService/List", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Explain", &[Client, Viewer, Admin], Nothing),
    ("evenkeel.v1.TaskService/Redrive", &[Client, Admin], Audited),
];

//! The gRPC services: they read requests off the wire, ask the [gateway](crate::gateway), and write answers.

pub mod admin;
pub mod agent;
pub mod cluster;
pub mod keda;
pub mod outbound;
pub mod redrive;
pub mod resource;
pub mod scope;
pub mod submission;
pub mod submit_stream;
pub mod task;
pub mod task_list;
pub mod view;
pub mod watchers;

use std::error::Error as _;

use evenkeel_shared::{Code, Error, Violation, wire::status::to_status};
use tonic::Status;

use crate::metrics::{BadInput, Metrics};

/// Counts a request that is wrong in itself, and writes its error.
fn refuse(metrics: &Metrics, error: &Error) -> Status {
    if error.code == Code::InvalidArgument {
        metrics.bad_input(BadInput::Request);
    }
    to_status(error)
}

/// What is wrong with a message that could not be read from a stream; `None`: nothing is, the connection broke.
fn unreadable(status: &Status) -> Option<Error> {
    let what = match status.code() {
        tonic::Code::OutOfRange => format!("a message is too large: {}", status.message()),
        // What a connection broke of is the source of its error.
        tonic::Code::Internal if status.source().is_none() => format!("a message is damaged: {}", status.message()),
        _ => return None,
    };
    Some(Error::new(Code::InvalidArgument, what))
}

/// The size of a page: 0 stands for the default.
fn page_size(asked: u32, default: u32, max: u32) -> Result<u32, Violation> {
    match asked {
        0 => Ok(default),
        size if size <= max => Ok(size),
        size => Err(Violation::new("page_size", format!("{size} is above {max}"))),
    }
}

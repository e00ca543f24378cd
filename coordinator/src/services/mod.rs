//! The gRPC services: they read requests off the wire, ask the [gateway](crate::gateway), and write answers.

pub mod agent;
pub mod cluster;
pub mod redrive;
pub mod submission;
pub mod submit_stream;
pub mod task;
pub mod task_list;
pub mod view;
pub mod watchers;

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

/// The size of a page: 0 stands for the default.
fn page_size(asked: u32, default: u32, max: u32) -> Result<u32, Violation> {
    match asked {
        0 => Ok(default),
        size if size <= max => Ok(size),
        size => Err(Violation::new("page_size", format!("{size} is above {max}"))),
    }
}

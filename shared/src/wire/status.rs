//! Errors as gRPC statuses with `google.rpc` details, and as the errors of one item of a batch.
//!
//! A status travels in HTTP/2 headers, which peers bound to 16 KiB or less; what it carries is cut to stay below that.

use std::time::Duration;

use evenkeel_proto::v1;
use tonic::Status;
/// A `google.protobuf.FileDescriptorSet` with the types of the details, for tools that ask the server for them.
pub use tonic_types::pb::FILE_DESCRIPTOR_SET as DETAILS_DESCRIPTOR_SET;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{cut, cut_note, quantities::to_ms_or_zero};
use crate::error::{Code, Error, Violation};

/// Violations sent in one status. With [`DETAIL_BYTES_MAX`] it keeps a status below 16 KiB.
const VIOLATIONS_MAX: usize = 8;
/// Longest field path, description or name sent in one detail.
const DETAIL_BYTES_MAX: usize = 256;
/// The types of thing an error can be about; another one reads as [`OTHER_RESOURCE`].
const RESOURCES: [&str; 7] = ["task", "agent", "attempt", "session", "tenant", "strategy", "event"];
const OTHER_RESOURCE: &str = "resource";

/// Writes an error as a status, with `BadRequest`, `RetryInfo` and `ResourceInfo` where they apply.
#[must_use]
pub fn to_status(error: &Error) -> Status {
    let code = tonic::Code::from_i32(error.code.grpc());
    let message = cut_note(error.message.clone());
    let mut details = ErrorDetails::new();
    for violation in error.violations.iter().take(VIOLATIONS_MAX) {
        details.add_bad_request_violation(detail(&violation.field), detail(&violation.description));
    }
    if let Some(delay) = error.retry_after {
        details.set_retry_info(Some(delay));
    }
    if let Some((resource_type, name)) = &error.resource {
        details.set_resource_info(*resource_type, detail(name), "", "");
    }
    let plain = error.violations.is_empty() && error.retry_after.is_none() && error.resource.is_none();
    if plain { Status::new(code, message) } else { Status::with_error_details(code, message, details) }
}

fn detail(text: &str) -> String {
    cut(text.to_owned(), DETAIL_BYTES_MAX)
}

/// Reads an error from a status. A code that Evenkeel does not use (`UNKNOWN`) reads as [`Code::Internal`]; details that
/// cannot be read are left out.
#[must_use]
pub fn from_status(status: &Status) -> Error {
    let mut error = Error::new(Code::from_grpc(status.code().into()).unwrap_or(Code::Internal), status.message());
    let details = status.get_error_details();
    if let Some(bad_request) = details.bad_request() {
        let violations = bad_request.field_violations.iter();
        error.violations = violations.map(|v| Violation::new(v.field.as_str(), v.description.as_str())).collect();
    }
    error.retry_after = details.retry_info().and_then(|info| info.retry_delay);
    if let Some(info) = details.resource_info() {
        let resource_type = RESOURCES.into_iter().find(|known| *known == info.resource_type).unwrap_or(OTHER_RESOURCE);
        error.resource = Some((resource_type, info.resource_name.clone()));
    }
    error
}

/// Writes an error of one item of a batch; of several violations the first.
#[must_use]
pub fn to_item_error(error: &Error) -> v1::ItemError {
    v1::ItemError {
        code: error.code.grpc(),
        message: cut_note(error.message.clone()),
        field: error.violations.first().map(|violation| detail(&violation.field)).unwrap_or_default(),
        retry_after_ms: to_ms_or_zero(error.retry_after),
    }
}

/// Reads an error of one item of a batch.
#[must_use]
pub fn from_item_error(wire: v1::ItemError) -> Error {
    let mut error = Error::new(Code::from_grpc(wire.code).unwrap_or(Code::Internal), wire.message);
    if !wire.field.is_empty() {
        // An error made of a violation says its field before its description.
        let prefix = format!("{}: ", wire.field);
        let description = error.message.strip_prefix(&prefix).unwrap_or(&error.message).to_owned();
        error.violations = vec![Violation::new(wire.field, description)];
    }
    error.retry_after = (wire.retry_after_ms > 0).then(|| Duration::from_millis(wire.retry_after_ms));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &Error) {
        assert_eq!(from_status(&to_status(error)), *error);
    }

    #[test]
    fn an_error_reads_back_from_its_status() {
        for code in Code::ALL {
            check(&Error::new(code, "what happened"));
        }
        check(&Violation::new("tasks[3].kind", "must not be empty").into());
        check(&Error::exhausted("the queue is full", Duration::from_millis(1_500)));
        check(&Error::not_found("task", "0190"));
        check(&Error::new(Code::AlreadyExists, "taken").about("agent", "a-1"));
    }

    #[test]
    fn codes_and_resources_of_others_read_as_the_nearest() {
        assert_eq!(from_status(&Status::unknown("?")).code, Code::Internal);
        let foreign = to_status(&Error::not_found("bucket", "b"));
        assert_eq!(from_status(&foreign).resource, Some((OTHER_RESOURCE, "b".into())));
    }

    #[test]
    fn the_longest_error_fits_into_headers() {
        const HEADERS_BYTES_MAX: usize = 16 << 10;
        let mut error = Error::new(Code::InvalidArgument, "ü".repeat(5_000)).about("task", "n".repeat(5_000));
        error.violations = vec![Violation::new("f".repeat(5_000), "d".repeat(5_000)); 1_000];
        let headers = to_status(&error).into_http::<()>().into_parts().0.headers;
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!((4_000..HEADERS_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn an_item_error_reads_back() {
        let violation: Error = Violation::new("priority", "12 is not a priority").into();
        let full = Error::exhausted("the queue is full", Duration::from_secs(2));
        for error in [violation, full] {
            assert_eq!(from_item_error(to_item_error(&error)), error);
        }
    }
}

//! Errors as `application/problem+json` (RFC 9457).
//!
//! `type` is `about:blank`: what there is to know beyond the status is in `code`, the word that gRPC has for the same error,
//! and `violations`, the fields at fault.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use evenkeel_shared::{Code, Error, Violation};
use serde::Serialize;

use super::routes::Verb;

/// The media type.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error on its way out.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    // It is on the way of every good answer too, where it should not take much room.
    error: Box<Error>,
    allow: Option<String>,
}

impl Problem {
    /// With a status that no code of gRPC has.
    pub fn with_status(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, error: Box::new(Error::new(code, message)), allow: None }
    }

    /// Another method would do.
    pub fn other_method(method: &str, verbs: &[Verb]) -> Self {
        let allow = allow(verbs);
        let message = format!("{method} is not for this address; {allow} is");
        Self { allow: Some(allow), ..Self::with_status(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, message) }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.error.code
    }

    /// The answer to a request for `instance`.
    pub fn answer(self, instance: &str) -> Response {
        let Self { status, error, allow } = self;
        let violations = error.violations.iter();
        let body = Written {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &error.message,
            instance,
            code: error.code.name(),
            violations: violations.map(|v| Fault { field: &v.field, description: &v.description }).collect(),
            retry_after_ms: error.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        };
        // Nothing in it cannot be written.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(after) = error.retry_after {
            // In whole seconds, rounded up: too early would be refused again.
            headers.insert(header::RETRY_AFTER, after.as_millis().div_ceil(1_000).max(1).to_string().parse_or_none());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, allow.parse_or_none());
        }
        answer
    }
}

/// The value of the header `allow`.
pub fn allow(verbs: &[Verb]) -> String {
    let mut names: Vec<&str> = verbs.iter().map(|verb| verb.name()).collect();
    if verbs.contains(&Verb::Get) {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.join(", ")
}

/// Text as the value of a header; an empty one if it cannot be.
trait HeaderText {
    fn parse_or_none(self) -> HeaderValue;
}

impl HeaderText for String {
    fn parse_or_none(self) -> HeaderValue {
        HeaderValue::try_from(self).unwrap_or(HeaderValue::from_static(""))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error: Box::new(error), allow: None }
    }
}

impl From<Violation> for Problem {
    fn from(violation: Violation) -> Self {
        Error::from(violation).into()
    }
}

impl From<Vec<Violation>> for Problem {
    fn from(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [one] => one.to_string(),
            several => format!("{} fields are wrong; see `violations`", several.len()),
        };
        Error { violations, ..Error::new(Code::InvalidArgument, detail) }.into()
    }
}

/// As it is written.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    violations: Vec<Fault<'a>>,
    retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
struct Fault<'a> {
    field: &'a str,
    description: &'a str,
}

//! One error for all services, and the one place that knows its gRPC and HTTP status.
//!
//! A crate keeps its own typed errors where it needs them; what crosses a service's edge becomes an [`Error`].

use std::{fmt, time::Duration};

/// What kind of error it is: the standard gRPC codes that Evenkeel uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The request is wrong in itself.
    InvalidArgument,
    /// The thing named does not exist, or is no longer kept.
    NotFound,
    /// Something else exists under this name or key.
    AlreadyExists,
    /// The request is right, the state is not.
    FailedPrecondition,
    /// Overtaken by a newer session or a concurrent change.
    Aborted,
    /// A position or page that is not kept.
    OutOfRange,
    /// A bound is reached; later may be better.
    ResourceExhausted,
    /// The time is up.
    DeadlineExceeded,
    /// The caller gave up.
    Cancelled,
    /// Not now: starting, stopping, or the store is away.
    Unavailable,
    /// The caller may not.
    PermissionDenied,
    /// The caller is not known.
    Unauthenticated,
    /// Not built.
    Unimplemented,
    /// A defect of Evenkeel.
    Internal,
    /// Stored data is damaged.
    DataLoss,
}

impl Code {
    /// Name, gRPC code and HTTP status of each code.
    const fn row(self) -> (&'static str, i32, u16) {
        match self {
            Self::Cancelled => ("CANCELLED", 1, 499),
            Self::InvalidArgument => ("INVALID_ARGUMENT", 3, 400),
            Self::DeadlineExceeded => ("DEADLINE_EXCEEDED", 4, 504),
            Self::NotFound => ("NOT_FOUND", 5, 404),
            Self::AlreadyExists => ("ALREADY_EXISTS", 6, 409),
            Self::PermissionDenied => ("PERMISSION_DENIED", 7, 403),
            Self::ResourceExhausted => ("RESOURCE_EXHAUSTED", 8, 429),
            Self::FailedPrecondition => ("FAILED_PRECONDITION", 9, 409),
            Self::Aborted => ("ABORTED", 10, 409),
            Self::OutOfRange => ("OUT_OF_RANGE", 11, 400),
            Self::Unimplemented => ("UNIMPLEMENTED", 12, 501),
            Self::Internal => ("INTERNAL", 13, 500),
            Self::Unavailable => ("UNAVAILABLE", 14, 503),
            Self::DataLoss => ("DATA_LOSS", 15, 500),
            Self::Unauthenticated => ("UNAUTHENTICATED", 16, 401),
        }
    }

    /// Its name, as gRPC spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Its gRPC status code.
    #[must_use]
    pub const fn grpc(self) -> i32 {
        self.row().1
    }

    /// Its HTTP status.
    #[must_use]
    pub const fn http(self) -> u16 {
        self.row().2
    }

    /// The code with this gRPC number, if Evenkeel uses it.
    #[must_use]
    pub fn from_grpc(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.grpc() == number)
    }

    /// All codes.
    pub const ALL: [Self; 15] = [
        Self::Cancelled,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A field that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct Violation {
    /// The field's path, such as `tasks[3].requirements.required[0].key`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Violation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// The same, seen from the message that holds the field's message.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), description: self.description }
    }
}

/// All fields that are wrong, in the order in which they were read, so that who sent them hears of everything at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds one.
    pub fn push(&mut self, violation: Violation) {
        self.0.push(violation);
    }

    /// What was read; if it could not be, what is wrong with it is added, and the default stands in for it.
    pub fn or_default<T: Default>(&mut self, read: Result<T, Violation>) -> T {
        self.take(read).unwrap_or_default()
    }

    /// What was read, unless it is wrong, which is added.
    pub fn take<T>(&mut self, read: Result<T, Violation>) -> Option<T> {
        read.map_err(|violation| self.push(violation)).ok()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Violation] {
        &self.0
    }

    /// The same, seen from the message that holds the fields' message.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self(self.0.into_iter().map(|violation| violation.within(outer)).collect())
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, violation) in self.0.iter().enumerate() {
            write!(f, "{}{violation}", if at > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Self(vec![violation])
    }
}

/// What a service answers when it cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind of error.
    pub code: Code,
    /// What happened, to what, and what to do about it.
    pub message: String,
    /// The fields at fault.
    pub violations: Vec<Violation>,
    /// When to try again, where that can help.
    pub retry_after: Option<Duration>,
    /// The thing it is about: its type and its name.
    pub resource: Option<(&'static str, String)>,
}

impl Error {
    /// An error with nothing but its message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), violations: Vec::new(), retry_after: None, resource: None }
    }

    /// A bound is reached: `message` says which; try again after `retry_after`.
    pub fn exhausted(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Code::ResourceExhausted, message) }
    }

    /// There is no such thing.
    pub fn not_found(resource_type: &'static str, name: impl Into<String>) -> Self {
        let name = name.into();
        let message = format!("there is no {resource_type} `{name}`, or it is no longer kept");
        Self { resource: Some((resource_type, name)), ..Self::new(Code::NotFound, message) }
    }

    /// About this thing.
    #[must_use]
    pub fn about(mut self, resource_type: &'static str, name: impl Into<String>) -> Self {
        self.resource = Some((resource_type, name.into()));
        self
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Violations::from(violation).into()
    }
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        let message = violations.to_string();
        Self { violations: violations.0, ..Self::new(Code::InvalidArgument, message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_grpc_number_and_an_http_error_status() {
        for code in Code::ALL {
            assert_eq!(Code::from_grpc(code.grpc()), Some(code));
            assert!((400..600).contains(&code.http()), "{code}");
        }
        assert_eq!(Code::from_grpc(0), None);
    }
}

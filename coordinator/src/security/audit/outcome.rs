//! What came of a call, as the log says it.
//!
//! A call that fails says so in the head of its answer. Some are answered although what was asked for was not done, or only a part of
//! it: a configuration file that is wrong is an answer with its problems, and of a thousand tasks that are to be driven again
//! each has its own. Who reads the log asks one question of all of them: what has changed? So a service that answers like that says
//! beside its answer what came of it. Rejected: to read the answers here by their descriptors, which know the fields and not
//! what they mean.

use evenkeel_shared::Code;
use tonic::{
    Response, Status,
    body::Body,
    codegen::http::{self, HeaderMap},
};

/// How an outcome begins where what was asked for was done.
const DONE: &str = "OK";

/// What came of a call that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameOf(String);

impl CameOf {
    /// It was done, and this is to be said of it.
    #[must_use]
    pub fn done(note: &str) -> Self {
        Self(format!("{DONE}: {note}"))
    }

    /// Nothing was changed, for this reason.
    #[must_use]
    pub fn refused(code: Code, why: &str) -> Self {
        Self(failed(code, why))
    }

    /// The answer, with this beside it.
    #[must_use]
    pub fn beside<T>(self, answer: T) -> Response<T> {
        let mut answer = Response::new(answer);
        answer.extensions_mut().insert(self);
        answer
    }
}

/// What came of the call with this answer.
pub(super) fn of(answer: &http::Response<Body>) -> String {
    if let Some((code, message)) = failure(answer.headers()) {
        return failed(code, &message);
    }
    answer.extensions().get::<CameOf>().map_or_else(|| DONE.to_owned(), |came_of| came_of.0.clone())
}

fn failure(head: &HeaderMap) -> Option<(Code, String)> {
    let status = Status::from_header_map(head).filter(|status| status.code() != tonic::Code::Ok)?;
    Some((Code::from_grpc(status.code().into()).unwrap_or(Code::Internal), status.message().to_owned()))
}

fn failed(code: Code, why: &str) -> String {
    format!("{}: {why}", code.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(came_of: Option<CameOf>) -> http::Response<Body> {
        let mut answer = http::Response::new(Body::empty());
        if let Some(came_of) = came_of {
            answer.extensions_mut().insert(came_of);
        }
        answer
    }

    #[test]
    fn an_answer_says_what_came_of_it_beside_it_or_nothing() {
        assert_eq!(of(&answered(None)), "OK");
        assert_eq!(of(&answered(Some(CameOf::done("version 7")))), "OK: version 7");
        let refused = CameOf::refused(Code::InvalidArgument, "the file is wrong");
        assert_eq!(of(&answered(Some(refused))), "INVALID_ARGUMENT: the file is wrong");
    }

    #[test]
    fn a_call_that_fails_says_so_in_its_head() {
        let answer = Status::not_found("no such task").into_http();
        assert_eq!(of(&answer), "NOT_FOUND: no such task");
        assert_eq!(of(&Status::new(tonic::Code::Ok, "").into_http()), "OK");
    }
}

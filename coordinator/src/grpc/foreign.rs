//! Requests that are not gRPC, on the gRPC port.
//!
//! An answer of gRPC has the HTTP status 200 whatever came of the call: its own status follows in trailers. A probe, a proxy or
//! a load tool that does not know of them would take every failure for a success. So what does not say that it speaks gRPC gets
//! an HTTP status, 415, as the protocol asks for ([gRPC over HTTP/2], "Content-Type"), and a sentence for people.
//!
//! gRPC-Web and Connect are other protocols, with types of their own, and are not served; browsers have REST.
//!
//! [gRPC over HTTP/2]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

use http_body_util::Full;
use tonic::{
    body::Body,
    codegen::http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE},
};

/// The one type of gRPC; a name of the encoding may follow after `+`, parameters after `;`.
const GRPC: &str = "application/grpc";
/// What people are told who open the port with something else.
const ADVICE: &str =
    "this port speaks gRPC (HTTP/2 with content-type application/grpc); JSON over HTTP is on the HTTP port\n";

/// Whether a request with these headers says that it is one of gRPC.
pub fn speaks_grpc(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, rest) = given.split_at_checked(GRPC.len()).unwrap_or_default();
    kind.eq_ignore_ascii_case(GRPC) && matches!(rest.as_bytes().first(), None | Some(b'+' | b';'))
}

/// The answer to one that is not.
pub fn refusal() -> Response<Body> {
    let mut answer = Response::new(Body::new(Full::from(ADVICE)));
    *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_itself_is_grpc() {
        let check = |given: &str, is_grpc| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(given).unwrap())]);
            assert_eq!(speaks_grpc(&headers), is_grpc, "{given:?}");
        };
        for given in
            ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "Application/gRPC"]
        {
            check(given, true);
        }
        for given in ["", "application/grp", "application/grpc-web", "application/grpc-web+proto", "application/json"] {
            check(given, false);
        }
        assert!(!speaks_grpc(&HeaderMap::new()));
    }
}

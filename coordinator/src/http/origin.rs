//! Who may ask: programs, and pages that this port served itself; not pages of others.
//!
//! A browser on the operator's machine reaches `127.0.0.1:7480` whatever page it shows. Two things keep such pages out:
//!
//! - **The name in `host`.** A page whose name an attacker makes resolve to 127.0.0.1 (DNS rebinding) counts as of the same
//!   origin, but its requests still carry that name. Accepted are addresses, `localhost` and what ends in `.localhost`, names without
//!   a dot (of a machine or a service in the same network; nobody outside can own one), and the names that are configured.
//! - **`origin`.** A browser sends it with everything but plain reads; it has to be the host that was asked. Bodies have to be
//!   `application/json`, which a page of another origin can only send after asking first, and that is answered without consent.
//!
//! Programs send no `origin`, and have no part in any of this.

use std::net::IpAddr;

use axum::http::{
    HeaderMap, StatusCode, Uri,
    header::{HOST, ORIGIN},
    uri::Authority,
};
use evenkeel_shared::Code;

use super::problem::Problem;

/// Refuses what a page of another origin may have sent.
///
/// # Errors
/// 403 with what was wrong, and the setting that allows it.
pub fn check(uri: &Uri, headers: &HeaderMap, changes: bool, names: &[String]) -> Result<(), Problem> {
    let host = headers.get(HOST).map(|value| value.as_bytes());
    // A request in absolute form says its host in its address.
    let asked = match (uri.authority(), host) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => Authority::try_from(host).ok(),
        (None, None) => None,
    };
    let Some(asked) = asked else { return Err(refused("the header `host` is missing or is no host")) };
    if !is_ours(asked.host(), names) {
        let host = asked.host();
        let what = format!("`{host}` is none of this port's names; add it to the setting `http_names` if it is");
        return Err(refused(&what));
    }
    let Some(origin) = headers.get(ORIGIN).filter(|_| changes) else { return Ok(()) };
    let same = origin.to_str().ok().and_then(|origin| {
        let origin: Uri = origin.parse().ok()?;
        Some(origin.authority()? == &asked)
    });
    if same == Some(true) {
        return Ok(());
    }
    Err(refused("pages of another origin may not change anything here"))
}

fn refused(what: &str) -> Problem {
    Problem::with_status(StatusCode::FORBIDDEN, Code::PermissionDenied, what)
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || (!name.is_empty() && !name.contains('.'))
        || name.ends_with(".localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn ask(host: Option<&'static str>, origin: Option<&'static str>, changes: bool) -> bool {
        let mut headers = HeaderMap::new();
        let mut put =
            |name, value: Option<&'static str>| value.map(|v| headers.insert(name, HeaderValue::from_static(v)));
        put(HOST, host);
        put(ORIGIN, origin);
        check(&Uri::from_static("/x"), &headers, changes, &["lb.example.org".to_owned()]).is_ok()
    }

    #[test]
    fn addresses_and_local_and_configured_names_are_asked() {
        for host in ["127.0.0.1:7480", "[::1]:7480", "10.0.0.7", "localhost:7480", "a.localhost", "coordinator:7480"] {
            assert!(ask(Some(host), None, true), "{host}");
        }
        assert!(ask(Some("LB.example.org:7480"), None, true));
        assert!(ask(Some("lb.example.org."), None, true));
    }

    #[test]
    fn names_that_others_may_own_are_refused_even_for_reading() {
        for host in [None, Some(""), Some("evil.example.org"), Some("127.0.0.1.evil.org"), Some("localhost.evil.org")] {
            assert!(!ask(host, None, false), "{host:?}");
        }
    }

    #[test]
    fn only_pages_of_this_port_may_change_things() {
        assert!(ask(Some("localhost:7480"), Some("http://localhost:7480"), true));
        for origin in ["http://evil.example.org", "http://localhost:3000", "null", "http://localhost:7480.evil.org"] {
            assert!(!ask(Some("localhost:7480"), Some(origin), true), "{origin}");
        }
        assert!(
            ask(Some("localhost:7480"), Some("http://localhost:3000"), false),
            "reads are kept apart by the browser"
        );
    }
}

//! What callers show, and the one caller of all of it.

use std::sync::Arc;

use tonic::{Extensions, codegen::http::HeaderMap};

use super::{
    super::{Caller, PeerCertificate, live::Live},
    Refused,
};
use crate::connections::Peer;

/// Characters of a token; a web token with many roles has some two thousand.
const TOKEN_CHARS_MAX: usize = 8 << 10;

/// What was shown, and is good.
pub(super) struct Known {
    pub(super) caller: Arc<Caller>,
    pub(super) live: Arc<Live>,
}

pub(super) fn certificate(extensions: &Extensions) -> Option<PeerCertificate> {
    let of_peer = || extensions.get::<Peer>().and_then(|peer| peer.certificate().cloned());
    extensions.get::<PeerCertificate>().cloned().or_else(of_peer)
}

/// The token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut shown = headers.get_all("authorization").iter();
    let Some(value) = shown.next() else { return Ok(None) };
    if shown.next().is_some() {
        return Err(Refused::Malformed);
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refused::Malformed)?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= TOKEN_CHARS_MAX;
    if fits { Ok(Some(token.trim())) } else { Err(Refused::Malformed) }
}

/// The one caller of all that was shown.
pub(super) fn agree(shown: &[Known]) -> Result<Arc<Caller>, Refused> {
    let [first, rest @ ..] = shown else { return Err(Refused::Absent) };
    let mut caller = Arc::clone(&first.caller);
    for other in rest.iter().map(|known| &known.caller) {
        if caller.name != other.name || caller.tenant != other.tenant {
            return Err(Refused::Disagree);
        }
        // The last one shown is the token, which says more than the name in a certificate.
        let mut both = Caller::clone(other);
        both.roles.retain(|role| caller.roles.contains(role));
        both.agent = caller.agent.and(&other.agent);
        caller = Arc::new(both);
    }
    Ok(caller)
}

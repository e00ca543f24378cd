//! What callers show, who is known by it, and the one caller of all of it.

use std::sync::Arc;

use tonic::{Extensions, codegen::http::HeaderMap};

use super::{
    super::{
        Caller, PeerCertificate,
        live::{Call, Live},
        tls::expiry_unix_s,
    },
    Gate, Policy, Refused, now_unix_ms,
};
use crate::connections::Peer;

/// Characters of a token; a web token with many roles has some two thousand.
const TOKEN_CHARS_MAX: usize = 8 << 10;

/// Credentials of which something is known beyond the file: those in use, and those used lately.
const LIVES_MAX: usize = 65_536;

/// What was shown, and is good.
struct Known {
    caller: Arc<Caller>,
    live: Arc<Live>,
}

impl Gate {
    /// Who is calling, with a place for the call.
    pub(super) fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<(Call, Arc<Caller>), Refused> {
        let peer = extensions.get::<Peer>();
        loop {
            let policy = self.0.policy.load_full();
            let now = now_unix_ms();
            let shown = self.shown(&policy, headers, extensions, now)?;
            let caller = agree(&shown)?;
            let call = Call::begin(shown.into_iter().map(|known| known.live).collect(), peer, now);
            // What was revoked meanwhile has not seen this call.
            if self.is_same(&policy) {
                return Ok((call, caller));
            }
        }
    }

    /// All credentials that were shown, every one of them good.
    fn shown(
        &self,
        policy: &Policy,
        headers: &HeaderMap,
        extensions: &Extensions,
        now: i64,
    ) -> Result<Vec<Known>, Refused> {
        let mut shown = Vec::with_capacity(2);
        if let Some(certificate) = certificate(extensions).filter(|_| policy.config.certificates)
            && let Some(caller) = policy.files.certificate(&certificate)?
        {
            let expires = self.end_of(&caller, &certificate)?;
            shown.push(self.known(policy, caller, Some(expires), now)?);
        }
        if let Some(token) = bearer(headers)? {
            let (caller, expires) = match policy.files.credentials().find(token) {
                Some(known) if known.revoked => return Err(Refused::Revoked),
                Some(known) => (Arc::clone(&known.caller), known.expires_unix_ms),
                None => policy.files.web_token(token, now)?,
            };
            shown.push(self.known(policy, caller, expires, now)?);
        }
        if shown.is_empty() { Err(Refused::Absent) } else { Ok(shown) }
    }

    /// When a certificate ends, in milliseconds since 1970. The handshake has looked at that, but what it let in lasts.
    fn end_of(&self, caller: &Caller, certificate: &PeerCertificate) -> Result<i64, Refused> {
        // Its name is a hash of all of it, so what was read of it once holds.
        if let Some(end) = self.0.lives.get(&caller.credential).and_then(|live| live.expires_unix_ms) {
            return Ok(end);
        }
        let end = expiry_unix_s(&certificate.0).ok_or(Refused::Malformed)?;
        Ok(end.saturating_mul(1_000))
    }

    fn known(&self, policy: &Policy, caller: Arc<Caller>, expires: Option<i64>, now: i64) -> Result<Known, Refused> {
        if policy.revoked.contains(&caller.credential) {
            return Err(Refused::Revoked);
        }
        if expires.is_some_and(|end| end <= now) {
            return Err(Refused::Expired);
        }
        if let Some(live) = self.0.lives.get(&caller.credential).map(|live| Arc::clone(&live))
            && live.caller == caller
            && live.expires_unix_ms == expires
        {
            return Ok(Known { caller, live });
        }
        if self.0.lives.len() >= LIVES_MAX {
            self.0.lives.retain(|_, live| live.open() > 0);
            if self.0.lives.len() >= LIVES_MAX {
                return Err(Refused::Busy);
            }
        }
        let made = || Arc::new(Live::new(Arc::clone(&caller), expires));
        let mut entry = self.0.lives.entry(caller.credential.clone()).or_insert_with(made);
        if entry.caller != caller || entry.expires_unix_ms != expires {
            entry.end();
            *entry = made();
        }
        let live = Arc::clone(&entry);
        drop(entry);
        Ok(Known { caller, live })
    }
}

fn certificate(extensions: &Extensions) -> Option<PeerCertificate> {
    let of_peer = || extensions.get::<Peer>().and_then(|peer| peer.certificate().cloned());
    extensions.get::<PeerCertificate>().cloned().or_else(of_peer)
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
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
fn agree(shown: &[Known]) -> Result<Arc<Caller>, Refused> {
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

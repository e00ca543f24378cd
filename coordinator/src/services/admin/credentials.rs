//! Who is known, and who asks.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error, Violation, wire::cut_note};

use super::Admin;
use crate::security::{
    Caller,
    live::Live,
    revoked::{Revocation, RevokedError},
};

/// Credentials in one answer: those of the file, and those in use that are in no file.
const CREDENTIALS_MAX: usize = 10_000;
/// Characters of a credential's id.
const ID_CHARS_MAX: usize = 512;

pub fn who_am_i(admin: &Admin, caller: &Caller) -> Result<v1::WhoAmIResponse, Error> {
    Ok(v1::WhoAmIResponse {
        name: caller.name.clone(),
        roles: role_names(caller),
        tenant: caller.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        method: caller.method.name().to_owned(),
        expires_unix_ms: admin.gate.expires_unix_ms(caller),
        credential: caller.credential.clone(),
    })
}

/// Tokens of the file, then certificates and web tokens that are in use or were lately, then what was revoked beside them.
pub async fn list_credentials(
    admin: &Admin,
    _: v1::ListCredentialsRequest,
) -> Result<v1::ListCredentialsResponse, Error> {
    let mut listed: BTreeMap<String, v1::Credential> = BTreeMap::new();
    for token in admin.gate.credentials().tokens() {
        let shown = shown(
            &token.caller,
            token.expires_unix_ms,
            token.revoked || admin.gate.is_revoked(&token.caller.credential),
        );
        listed.insert(shown.id.clone(), shown);
    }
    for live in admin.gate.lives() {
        let revoked = admin.gate.is_revoked(&live.caller.credential);
        let entry = listed
            .entry(live.caller.credential.clone())
            .or_insert_with(|| shown(&live.caller, live.expires_unix_ms, revoked));
        put_live(entry, &live);
    }
    for revocation in admin.gate.revocations() {
        let unknown = || v1::Credential { id: revocation.id.clone(), ..v1::Credential::default() };
        listed.entry(revocation.id.clone()).or_insert_with(unknown).revoked = true;
    }
    Ok(v1::ListCredentialsResponse { credentials: listed.into_values().take(CREDENTIALS_MAX).collect() })
}

fn shown(caller: &Caller, expires_unix_ms: Option<i64>, revoked: bool) -> v1::Credential {
    v1::Credential {
        id: caller.credential.clone(),
        name: caller.name.clone(),
        method: caller.method.name().to_owned(),
        roles: role_names(caller),
        tenant: caller.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        agent_ids: if caller.is_one_of(&[crate::security::Role::Agent]) {
            caller.agent.ids.clone()
        } else {
            Vec::new()
        },
        expires_unix_ms: expires_unix_ms.unwrap_or(0),
        revoked,
        ..v1::Credential::default()
    }
}

fn put_live(shown: &mut v1::Credential, live: &Live) {
    shown.last_used_unix_ms = live.last_used_unix_ms();
    shown.open_streams = u32::try_from(live.open()).unwrap_or(u32::MAX);
}

fn role_names(caller: &Caller) -> Vec<String> {
    caller.roles.iter().map(|role| role.name().to_owned()).collect()
}

/// Refuses a credential, whether it is known or not: one that is to come may be refused before it does.
pub async fn revoke_credential(
    admin: &Admin,
    caller: &Caller,
    request: v1::RevokeCredentialRequest,
) -> Result<v1::RevokeCredentialResponse, Error> {
    if request.id.is_empty() || request.id.len() > ID_CHARS_MAX {
        return Err(Violation::new("id", format!("must have 1 to {ID_CHARS_MAX} characters")).into());
    }
    if !admin.gate.is_on() {
        let what = "authentication is off: everybody would still be let in; set `auth.enabled`";
        return Err(Error::new(Code::FailedPrecondition, what));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let revocation = Revocation {
        id: request.id,
        at_unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        by: caller.name.clone(),
        reason: cut_note(request.reason),
    };
    let gate = admin.gate.clone();
    let revoked = tokio::task::spawn_blocking(move || gate.revoke(revocation)).await;
    let lost = |_| Error::new(Code::Internal, "the revocation could not be kept");
    let streams = revoked.map_err(lost)?.map_err(|error| match error {
        RevokedError::Full => Error::new(Code::ResourceExhausted, error.to_string()),
        _ => Error::new(Code::Unavailable, format!("{error}; it is still accepted")),
    })?;
    Ok(v1::RevokeCredentialResponse { streams_ended: u32::try_from(streams).unwrap_or(u32::MAX) })
}

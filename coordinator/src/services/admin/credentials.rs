//! Who is known, and who asks.

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error};

use super::Admin;
use crate::security::Caller;

pub fn who_am_i(_: &Admin, caller: &Caller) -> Result<v1::WhoAmIResponse, Error> {
    Ok(v1::WhoAmIResponse {
        name: caller.name.clone(),
        roles: caller.roles.iter().map(|role| role.name().to_owned()).collect(),
        tenant: caller.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        method: caller.method.name().to_owned(),
        expires_unix_ms: 0,
        credential: caller.credential.clone(),
    })
}

pub async fn list_credentials(_: &Admin, _: v1::ListCredentialsRequest) -> Result<v1::ListCredentialsResponse, Error> {
    Err(Error::new(Code::Unimplemented, "who is known cannot be asked for yet"))
}

pub async fn revoke_credential(
    _: &Admin,
    _: v1::RevokeCredentialRequest,
) -> Result<v1::RevokeCredentialResponse, Error> {
    Err(Error::new(Code::Unimplemented, "who is known cannot be asked for yet"))
}

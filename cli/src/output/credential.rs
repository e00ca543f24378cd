//! Credentials, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
    text, time,
};

/// Who the coordinator takes a client for. The fields are those of `WhoAmIResponse` in admin.proto.
#[derive(Clone, Debug, Serialize)]
pub struct WhoView {
    pub name: String,
    pub roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    pub expires_unix_ms: Option<i64>,
}

impl From<v1::WhoAmIResponse> for WhoView {
    fn from(wire: v1::WhoAmIResponse) -> Self {
        Self {
            name: wire.name,
            roles: wire.roles,
            tenant: text(wire.tenant),
            method: wire.method,
            credential: text(wire.credential),
            expires_unix_ms: time(wire.expires_unix_ms),
        }
    }
}

impl Show for WhoView {
    fn show(&self, style: &Style) -> String {
        let credential = self.credential.as_deref().unwrap_or_default();
        table::pairs(
            &[
                ("name", Cell::text(&self.name)),
                ("roles", Cell::text(self.roles.join(", "))),
                ("tenant", Cell::text(self.tenant.as_deref().unwrap_or("all"))),
                ("shown by", Cell::text(&self.method)),
                ("credential", Cell::text(credential)),
                ("expires", Cell::text(table::at(self.expires_unix_ms))),
            ],
            style,
        )
    }
}

/// A credential. The fields are those of `Credential` in admin.proto.
#[derive(Clone, Debug, Serialize)]
pub struct CredentialView {
    pub id: String,
    pub name: String,
    pub method: String,
    pub roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub agent_ids: Vec<String>,
    pub expires_unix_ms: Option<i64>,
    pub last_used_unix_ms: Option<i64>,
    pub open_streams: u32,
    pub revoked: bool,
}

impl From<v1::Credential> for CredentialView {
    fn from(wire: v1::Credential) -> Self {
        Self {
            id: wire.id,
            name: wire.name,
            method: wire.method,
            roles: wire.roles,
            tenant: text(wire.tenant),
            agent_ids: wire.agent_ids,
            expires_unix_ms: time(wire.expires_unix_ms),
            last_used_unix_ms: time(wire.last_used_unix_ms),
            open_streams: wire.open_streams,
            revoked: wire.revoked,
        }
    }
}

impl Row for CredentialView {
    const HEADERS: &'static [&'static str] =
        &["ID", "NAME", "METHOD", "ROLES", "TENANT", "EXPIRES", "LAST USED", "OPEN", "STATE"];

    fn cells(&self) -> Vec<Cell> {
        let state = if self.revoked { Cell::text("revoked").tone(Tone::Bad) } else { Cell::text("accepted") };
        vec![
            Cell::text(table::cut(&self.id, 40)),
            Cell::text(&self.name),
            Cell::text(&self.method),
            Cell::text(self.roles.join(",")),
            Cell::text(self.tenant.as_deref().unwrap_or_default()),
            Cell::text(table::at(self.expires_unix_ms)),
            Cell::text(table::at(self.last_used_unix_ms)),
            Cell::number(self.open_streams),
            state,
        ]
    }
}

/// A credential that was revoked.
#[derive(Clone, Debug, Serialize)]
pub struct RevokedView {
    pub id: String,
    pub streams_ended: u32,
}

impl Show for RevokedView {
    fn show(&self, _: &Style) -> String {
        format!("`{}` is revoked; {} calls that were under way end", self.id, self.streams_ended)
    }
}

/// A token that was made.
#[derive(Clone, Debug, Serialize)]
pub struct NewTokenView {
    pub id: String,
    pub file: String,
    /// Shown this once.
    pub token: String,
}

impl Show for NewTokenView {
    fn show(&self, _: &Style) -> String {
        // The token alone, so that it can go on into a file; all else is said on stderr.
        self.token.clone()
    }
}

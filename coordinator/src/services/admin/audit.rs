//! Who changed what.

use std::io;

use evenkeel_proto::v1;
use evenkeel_shared::{Code, Error, Violation};

use super::Admin;
use crate::{
    security::audit::{
        entry::Entry,
        read::{Verification, Wanted},
    },
    services::page_size,
};

/// Entries of a page, where nothing is said, and at most.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

pub async fn list_audit(admin: &Admin, request: v1::ListAuditRequest) -> Result<v1::ListAuditResponse, Error> {
    let count = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)? as usize;
    let bad = |_| Violation::new("page_token", "is none of this service; begin again without one");
    let before = Some(request.page_token.as_str()).filter(|token| !token.is_empty());
    let wanted = Wanted {
        by: request.by,
        action: request.action,
        from_unix_ms: request.from_unix_ms,
        until_unix_ms: request.until_unix_ms,
        before: before.map(str::parse).transpose().map_err(bad)?,
        count,
    };
    let (entries, next) = admin.gate.audit().list(wanted).await.map_err(unreadable)?;
    Ok(v1::ListAuditResponse {
        entries: entries.into_iter().map(Into::into).collect(),
        next_page_token: next.map(|next| next.to_string()).unwrap_or_default(),
    })
}

pub async fn verify_audit(admin: &Admin, _: v1::VerifyAuditRequest) -> Result<v1::VerifyAuditResponse, Error> {
    admin.gate.audit().verify().await.map(Into::into).map_err(unreadable)
}

/// As it is said; whoever reads the files without a coordinator says it the same way.
impl From<Entry> for v1::AuditEntry {
    fn from(entry: Entry) -> Self {
        Self {
            number: entry.number,
            at_unix_ms: entry.at_unix_ms,
            by: entry.by,
            credential: entry.credential,
            from: entry.from,
            action: entry.action,
            request: entry.request,
            outcome: entry.outcome,
            hash: entry.hash,
        }
    }
}

impl From<Verification> for v1::VerifyAuditResponse {
    fn from(found: Verification) -> Self {
        let (broken_at, problem) = found.broken.unwrap_or_default();
        Self { whole: broken_at == 0, entries: found.entries, broken_at, problem, head: found.head }
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::new(Code::Unavailable, format!("the audit log cannot be read: {error}"))
}

//! The audit log, as printed.

use evenkeel_proto::v1;
use serde::Serialize;

use super::{
    Row, Show,
    table::{self, Cell, Style, Tone},
};

/// Characters of a request in a table; JSON has all of it.
const REQUEST_CHARS: usize = 60;

/// An entry. The fields are those of `AuditEntry` in admin.proto.
#[derive(Clone, Debug, Serialize)]
pub struct EntryView {
    pub number: u64,
    pub at_unix_ms: i64,
    pub by: String,
    pub credential: String,
    pub from: String,
    pub action: String,
    pub request: String,
    pub outcome: String,
    pub hash: String,
}

impl From<v1::AuditEntry> for EntryView {
    fn from(wire: v1::AuditEntry) -> Self {
        Self {
            number: wire.number,
            at_unix_ms: wire.at_unix_ms,
            by: wire.by,
            credential: wire.credential,
            from: wire.from,
            action: wire.action,
            request: wire.request,
            outcome: wire.outcome,
            hash: wire.hash,
        }
    }
}

impl Row for EntryView {
    const HEADERS: &'static [&'static str] = &["NUMBER", "AT", "BY", "FROM", "ACTION", "REQUEST", "OUTCOME"];

    fn cells(&self) -> Vec<Cell> {
        let outcome = table::cut(&self.outcome, REQUEST_CHARS);
        let tone = if self.outcome == "OK" || self.outcome.starts_with("OK: ") { Tone::Plain } else { Tone::Warn };
        vec![
            Cell::number(self.number),
            Cell::text(table::at(Some(self.at_unix_ms))),
            Cell::text(&self.by),
            Cell::text(&self.from),
            Cell::text(&self.action),
            Cell::text(table::cut(&self.request, REQUEST_CHARS)),
            Cell::text(outcome).tone(tone),
        ]
    }
}

/// What a check has found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifiedView {
    pub whole: bool,
    pub entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pub head: String,
}

impl From<v1::VerifyAuditResponse> for VerifiedView {
    fn from(wire: v1::VerifyAuditResponse) -> Self {
        let broken = (!wire.whole).then_some((wire.broken_at, wire.problem));
        let (broken_at, problem) = broken.unzip();
        Self { whole: wire.whole, entries: wire.entries, broken_at, problem, head: wire.head }
    }
}

impl Show for VerifiedView {
    fn show(&self, style: &Style) -> String {
        let verdict = match (self.broken_at, &self.problem) {
            (Some(number), Some(problem)) => {
                table::tinted(&format!("broken at entry {number}: {problem}"), Tone::Bad, style)
            }
            _ => table::tinted("whole", Tone::Good, style),
        };
        format!("{verdict}\nentries  {}\nhead     {}", self.entries, self.head)
    }
}

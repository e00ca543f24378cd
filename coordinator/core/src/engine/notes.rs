//! What limits, budgets and guards did, for the history, and what was declared of them.

use super::{
    Engine,
    effects::{Change, Effects},
    limits,
};
use crate::{
    admission::gates::{GateIx, Site},
    model::{AllocationRecord, Declaration, DeclarationKind, Record},
};

impl Engine {
    /// Writes about something, if that was not done just before: a `limit`, `budget`, `quota`, `kind` or `agent` of this name.
    pub(super) fn note(
        &mut self,
        what: &'static str,
        sort: &'static str,
        name: &str,
        message: String,
        out: &mut Effects,
    ) {
        let written_at = self.allocation.written_at.entry(sort).or_default();
        match written_at.get_mut(name) {
            Some(at) if self.now.since(*at) < limits::NOTE_INTERVAL => return,
            Some(at) => *at = self.now,
            None => {
                let now = self.now;
                if written_at.len() >= limits::NOTES_MAX {
                    written_at.retain(|_, at| now.since(*at) < limits::NOTE_INTERVAL);
                }
                written_at.insert(name.to_owned(), now);
            }
        }
        let id = self.numbers.position().0;
        let record = AllocationRecord { id, at: self.now, what, subject: format!("{sort}:{name}"), message };
        out.changes.push(Change::Record(Box::new(Record::Allocation(record))));
    }

    pub(super) fn note_turned(&mut self, site: &Site, gate: GateIx, shut: bool, out: &mut Effects) {
        let Some((name, why)) = self.allocation.limits.why(self.now, gate) else { return };
        let what = if shut { "throttled" } else { "opened" };
        // Before any words are made: a busy limit turns many times a second.
        let last = self.allocation.written_at.get("limit").and_then(|written| written.get(name));
        if last.is_some_and(|at| self.now.since(*at) < limits::NOTE_INTERVAL) {
            return;
        }
        let name = name.to_owned();
        let about = match site {
            Site::Kind(kind) => format!("kind {kind}"),
            Site::Tenant(tenant, None) => format!("tenant {tenant}"),
            Site::Tenant(tenant, Some(kind)) => format!("tenant {tenant}, kind {kind}"),
            Site::Agent(agent) if self.agents.contains(*agent) => format!("agent {}", self.agents[*agent].spec.id),
            Site::Agent(_) => return,
            Site::Group(_) => "its agents".to_owned(),
        };
        let message = if shut { format!("limit `{name}`, {about}: {why}") } else { format!("limit `{name}`, {about}") };
        self.note(what, "limit", &name, message, out);
    }

    /// A limit or budget is gone.
    pub(super) fn forget_notes(&mut self, sort: &'static str, name: &str) {
        if let Some(written) = self.allocation.written_at.get_mut(sort) {
            written.remove(name);
        }
    }

    /// The next version of a declaration, and its number.
    pub(super) fn declare(
        &mut self,
        kind: DeclarationKind,
        name: &str,
        body: Option<String>,
        reason: String,
        out: &mut Effects,
    ) -> u64 {
        let version = self.allocation.versions.entry((kind, name.to_owned())).or_default();
        *version += 1;
        let version = *version;
        let declaration = Declaration { kind, name: name.to_owned(), version, body, at: self.now, reason };
        out.changes.push(Change::Record(Box::new(Record::Declared(declaration))));
        version
    }
}

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
    /// Writes about a limit or budget, if that was not done just before.
    pub(super) fn note(&mut self, what: &'static str, subject: &str, message: String, out: &mut Effects) {
        let last = self.allocation.written_at.get_mut(subject);
        match last {
            Some(at) if self.now.since(*at) < limits::NOTE_INTERVAL => return,
            Some(at) => *at = self.now,
            None => {
                let (now, written_at) = (self.now, &mut self.allocation.written_at);
                if written_at.len() >= limits::NOTES_MAX {
                    written_at.retain(|_, at| now.since(*at) < limits::NOTE_INTERVAL);
                }
                written_at.insert(subject.to_owned(), now);
            }
        }
        let id = self.numbers.position().0;
        let record = AllocationRecord { id, at: self.now, what, subject: subject.to_owned(), message };
        out.changes.push(Change::Record(Box::new(Record::Allocation(record))));
    }

    pub(super) fn note_turned(&mut self, site: &Site, gate: GateIx, shut: bool, out: &mut Effects) {
        let Some((name, why)) = self.allocation.limits.why(self.now, gate) else { return };
        let what = if shut { "throttled" } else { "opened" };
        // Before any words are made: a busy limit turns many times a second.
        if self.allocation.written_at.get(name).is_some_and(|at| self.now.since(*at) < limits::NOTE_INTERVAL) {
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
        self.note(what, &name, message, out);
    }

    /// A limit or budget is gone.
    pub(super) fn forget_notes(&mut self, subject: &str) {
        self.allocation.written_at.remove(subject);
    }

    /// The next version of a declaration.
    pub(super) fn declare(
        &mut self,
        kind: DeclarationKind,
        name: &str,
        body: Option<String>,
        reason: String,
        out: &mut Effects,
    ) {
        let version = self.allocation.versions.entry((kind, name.to_owned())).or_default();
        *version += 1;
        let declaration = Declaration { kind, name: name.to_owned(), version: *version, body, at: self.now, reason };
        out.changes.push(Change::Record(Box::new(Record::Declared(declaration))));
    }
}

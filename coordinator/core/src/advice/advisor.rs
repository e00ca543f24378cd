//! What becomes of findings: they are said once, kept while they are found, and left alone once somebody has answered.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{Code, Error, Timestamp};

use super::{Action, AdviceState, Finding, Recommendation, Undo};
use crate::{
    manager::Outputs,
    model::{Declaration, DeclarationKind, Record},
};

/// Between two looks for findings: they are about an hour and more.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Open recommendations, at most.
pub const OPEN_MAX: usize = 20;
/// Recommendations kept, whatever their state; the oldest that are not open are forgotten first.
pub const KEPT_MAX: usize = 200;
/// For so long nothing is said again of what was dismissed or applied.
pub const QUIET_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// What is no longer found for so long is withdrawn.
pub const WITHDRAWN_AFTER: Duration = Duration::from_secs(6 * 3_600);
/// The evidence of an open one is stored anew so often.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug)]
struct Kept {
    advice: Recommendation,
    version: u64,
    found_at: Timestamp,
    stored_at: Timestamp,
}

/// Keeps what became of findings. See the module.
#[derive(Debug, Default)]
pub struct Advisor {
    kept: BTreeMap<String, Kept>,
    looked_at: Timestamp,
}

impl Advisor {
    /// An advisor that goes on with what is declared. What cannot be read was written by a newer program and is left out.
    #[must_use]
    pub fn new(now: Timestamp, declarations: &[Declaration]) -> Self {
        let declared = declarations.iter().filter(|declaration| declaration.kind == DeclarationKind::Recommendation);
        let kept = declared.filter_map(|declaration| {
            let advice: Recommendation = serde_json::from_str(declaration.body.as_deref()?).ok()?;
            let version = declaration.version;
            Some((advice.id.clone(), Kept { advice, version, found_at: now, stored_at: declaration.at }))
        });
        Self { kept: kept.collect(), looked_at: Timestamp::ZERO }
    }

    /// Whether it is time to look for findings.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        now.since(self.looked_at) >= LOOK_INTERVAL
    }

    /// More is known all at once: it is time to look for findings at the next turn.
    pub const fn look_soon(&mut self) {
        self.looked_at = Timestamp::ZERO;
    }

    /// Takes in what was found now, from wherever.
    pub fn found(&mut self, now: Timestamp, mut findings: Vec<Finding>, out: &mut Outputs) {
        self.looked_at = now;
        findings.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then_with(|| a.id.cmp(&b.id)));
        for finding in findings {
            self.take(now, finding, out);
        }
        let withdrawn =
            |kept: &Kept| kept.advice.state == AdviceState::Open && now.since(kept.found_at) >= WITHDRAWN_AFTER;
        let gone: Vec<String> =
            self.kept.iter().filter(|(_, kept)| withdrawn(kept)).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.forget(now, id, "it is no longer found", out));
        while self.kept.len() > KEPT_MAX {
            let closed = self.kept.iter().filter(|(_, kept)| kept.advice.state != AdviceState::Open);
            let Some(id) = closed.min_by_key(|(_, kept)| kept.advice.changed_unix_ms).map(|(id, _)| id.clone()) else {
                break;
            };
            self.forget(now, &id, "there is no room for it any more", out);
        }
    }

    fn take(&mut self, now: Timestamp, finding: Finding, out: &mut Outputs) {
        let open = self.kept.values().filter(|kept| kept.advice.state == AdviceState::Open).count();
        let Some(kept) = self.kept.get_mut(&finding.id) else {
            if open < OPEN_MAX {
                let advice = Recommendation::of(finding, now);
                let kept = Kept { advice, version: 0, found_at: now, stored_at: now };
                store(self.kept.entry(kept.advice.id.clone()).or_insert(kept), now, "found", out);
            }
            return;
        };
        kept.found_at = now;
        let changed = Timestamp::from_unix_millis(kept.advice.changed_unix_ms);
        match kept.advice.state {
            AdviceState::Open => {
                let fresh = Recommendation::of(finding, now);
                let (made_unix_ms, changed_unix_ms) = (kept.advice.made_unix_ms, kept.advice.changed_unix_ms);
                kept.advice = Recommendation { made_unix_ms, changed_unix_ms, ..fresh };
                if now.since(kept.stored_at) >= REFRESH_INTERVAL {
                    store(kept, now, "found again", out);
                }
            }
            AdviceState::Applied | AdviceState::Dismissed => {
                if now.since(changed) >= QUIET_AFTER && open < OPEN_MAX {
                    kept.advice = Recommendation::of(finding, now);
                    store(kept, now, "found again", out);
                }
            }
        }
    }

    fn forget(&mut self, now: Timestamp, id: &str, reason: &str, out: &mut Outputs) {
        if let Some(kept) = self.kept.remove(id) {
            out.records.push(Record::Declared(Declaration {
                kind: DeclarationKind::Recommendation,
                name: id.to_owned(),
                version: kept.version + 1,
                body: None,
                at: now,
                reason: reason.to_owned(),
            }));
        }
    }

    /// All of them: the open ones first, then the last changed ones.
    #[must_use]
    pub fn list(&self) -> Vec<&Recommendation> {
        let mut all: Vec<&Recommendation> = self.kept.values().map(|kept| &kept.advice).collect();
        all.sort_by(|a, b| {
            let by_state = a.state.cmp(&b.state);
            by_state.then(b.changed_unix_ms.cmp(&a.changed_unix_ms)).then_with(|| a.id.cmp(&b.id))
        });
        all
    }

    /// One of them.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub fn get(&self, id: &str) -> Result<&Recommendation, Error> {
        self.kept.get(id).map(|kept| &kept.advice).ok_or_else(|| Error::not_found("recommendation", id))
    }

    /// What is to be done to apply it.
    ///
    /// # Errors
    /// NOT_FOUND, or FAILED_PRECONDITION if it is not open, or is nothing that the coordinator can do.
    pub fn action(&self, id: &str) -> Result<&Action, Error> {
        let advice = self.get(id)?;
        if advice.state != AdviceState::Open {
            return Err(not_so(advice, "applied", "open"));
        }
        if let Action::Tell(what) = &advice.action {
            let words = format!("the coordinator cannot apply `{id}` itself; what to do: {what}");
            return Err(Error::new(Code::FailedPrecondition, words).about("recommendation", id));
        }
        Ok(&advice.action)
    }

    /// It is applied; `undo` is what was in force before.
    ///
    /// # Errors
    /// As [`Self::action`].
    pub fn applied(
        &mut self,
        id: &str,
        now: Timestamp,
        undo: Undo,
        reason: &str,
        out: &mut Outputs,
    ) -> Result<Recommendation, Error> {
        self.action(id)?;
        self.change(id, now, AdviceState::Applied, Some(undo), reason, out)
    }

    /// What is to be done to undo it.
    ///
    /// # Errors
    /// NOT_FOUND, or FAILED_PRECONDITION if it is not applied.
    pub fn undo(&self, id: &str) -> Result<&Undo, Error> {
        let advice = self.get(id)?;
        advice
            .undo
            .as_ref()
            .filter(|_| advice.state == AdviceState::Applied)
            .ok_or_else(|| not_so(advice, "undone", "applied"))
    }

    /// It is open: what was applied is undone, or could not be applied after all.
    ///
    /// # Errors
    /// NOT_FOUND, or FAILED_PRECONDITION if it is not applied.
    pub fn reopened(
        &mut self,
        id: &str,
        now: Timestamp,
        reason: &str,
        out: &mut Outputs,
    ) -> Result<Recommendation, Error> {
        self.undo(id)?;
        self.change(id, now, AdviceState::Open, None, reason, out)
    }

    /// It is not wanted.
    ///
    /// # Errors
    /// NOT_FOUND, or FAILED_PRECONDITION if it is not open.
    pub fn dismissed(
        &mut self,
        id: &str,
        now: Timestamp,
        reason: &str,
        out: &mut Outputs,
    ) -> Result<Recommendation, Error> {
        let advice = self.get(id)?;
        if advice.state != AdviceState::Open {
            return Err(not_so(advice, "dismissed", "open"));
        }
        self.change(id, now, AdviceState::Dismissed, None, reason, out)
    }

    fn change(
        &mut self,
        id: &str,
        now: Timestamp,
        state: AdviceState,
        undo: Option<Undo>,
        reason: &str,
        out: &mut Outputs,
    ) -> Result<Recommendation, Error> {
        let kept = self.kept.get_mut(id).ok_or_else(|| Error::not_found("recommendation", id))?;
        (kept.advice.state, kept.advice.undo) = (state, undo);
        kept.advice.changed_unix_ms = now.unix_millis();
        kept.found_at = now;
        store(kept, now, reason, out);
        Ok(kept.advice.clone())
    }
}

fn not_so(advice: &Recommendation, wanted: &str, must_be: &str) -> Error {
    let words = format!("`{}` cannot be {wanted}: it is {}, and must be {must_be}", advice.id, advice.state.name());
    Error::new(Code::FailedPrecondition, words).about("recommendation", advice.id.clone())
}

fn store(kept: &mut Kept, now: Timestamp, reason: &str, out: &mut Outputs) {
    kept.version += 1;
    kept.stored_at = now;
    out.records.push(Record::Declared(Declaration {
        kind: DeclarationKind::Recommendation,
        name: kept.advice.id.clone(),
        version: kept.version,
        // Plain data: its keys are text, and its numbers finite.
        body: serde_json::to_string(&kept.advice).ok(),
        at: now,
        reason: reason.to_owned(),
    }));
}

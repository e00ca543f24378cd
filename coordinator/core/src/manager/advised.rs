//! Advice about the scaling policy: the manager's own, so that it is changed and marked in one.

use evenkeel_shared::{Code, Error, Timestamp};

use super::{Manager, Outputs};
use crate::{
    advice::{Recommendation, Undo, applying::changed_since, because, policy_after},
    capacity::{Policy, validate},
};

impl Manager {
    /// Changes the scaling policy as this recommendation says, and marks it as applied.
    ///
    /// # Errors
    /// As [`crate::advice::Advisor::action`]; and FAILED_PRECONDITION if it is not about the policy, if the policy has changed
    /// since so that it does not fit any more, or if there is one now.
    pub fn apply_policy(
        &mut self,
        now: Timestamp,
        id: &str,
        reason: &str,
        out: &mut Outputs,
    ) -> Result<Recommendation, Error> {
        let before = self.scaling.policy().clone();
        let refused = |words: String| Error::new(Code::FailedPrecondition, words).about("recommendation", id);
        let action = self.advisor.action(id)?;
        let puts = matches!(action, crate::advice::Action::PolicyPut(_));
        let after = policy_after(action, &before)
            .ok_or_else(|| refused(format!("`{id}` is not about the scaling policy, but: {}", action.words())))?;
        if puts == self.scaling.deciding().is_some() {
            let is = if puts { "there is a scaling policy by now" } else { "there is no scaling policy any more" };
            return Err(refused(format!("{is}, so `{id}` does not fit; it is found anew if there is still reason to")));
        }
        if let Some(wrong) = validate(&after).into_iter().find(|advice| advice.error) {
            return Err(refused(format!(
                "the scaling policy has changed since, and would not be valid: {}: {}",
                wrong.field, wrong.advice
            )));
        }
        let undo = if self.scaling.is_put() { Undo::Policy(Box::new(before)) } else { Undo::NoPolicy };
        let applied = self.advisor.applied(id, now, undo, reason, out)?;
        self.scaling.put_policy(now, after, because("applied", id, reason), out);
        Ok(applied)
    }

    /// Puts back the policy that was in force before this recommendation was applied, or none, and marks it as open.
    ///
    /// # Errors
    /// As [`crate::advice::Advisor::undo`]; and FAILED_PRECONDITION if the policy was changed since.
    pub fn undo_policy(
        &mut self,
        now: Timestamp,
        id: &str,
        reason: &str,
        out: &mut Outputs,
    ) -> Result<Recommendation, Error> {
        let before = match self.advisor.undo(id)? {
            Undo::Policy(policy) => Some((**policy).clone()),
            _ => None,
        };
        let current = self.scaling.policy();
        // Versions count on, whatever is in them.
        let same = |left: &Policy| Policy { version: current.version, ..left.clone() } == *current;
        let basis = before.clone().unwrap_or_else(|| self.scaling.configured());
        let left = policy_after(&self.advisor.get(id)?.action, &basis).filter(same);
        if left.is_none() || !self.scaling.is_put() {
            return Err(changed_since(id, "the scaling policy", "`evenkeel scaling policy put`"));
        }
        let open = self.advisor.reopened(id, now, reason, out)?;
        let words = because("undid", id, reason);
        match before {
            Some(policy) => drop(self.scaling.put_policy(now, policy, words, out)),
            None => self.scaling.take_policy(now, words, out),
        }
        Ok(open)
    }
}

#[cfg(test)]
#[path = "advised_tests.rs"]
mod tests;

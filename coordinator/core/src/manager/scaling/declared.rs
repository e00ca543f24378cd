//! What operators set: the policy, and a size that is fixed for a while.

use evenkeel_shared::Timestamp;

use super::Scaling;
use crate::{
    capacity::{Override, Policy},
    manager::Outputs,
    model::{ClusterEventKind, Declaration, DeclarationKind, Notice, Record},
};

impl Scaling {
    /// Puts a policy in force, which has been found valid. Answers it with its version.
    pub fn put_policy(&mut self, now: Timestamp, policy: Policy, reason: String, out: &mut Outputs) -> Policy {
        self.policy_version += 1;
        let version = self.policy_version;
        let policy = Policy { version, ..policy };
        let words = format!("the scaling policy is `{}`, version {version}{}", policy.name, because(&reason));
        // A policy is plain data: it has no keys that are not text, and all its numbers are finite.
        let body = serde_json::to_string(&policy).ok();
        let kind = DeclarationKind::ScalingPolicy;
        let declared = Declaration { kind, name: String::new(), version, body, at: now, reason };
        out.records.push(Record::Declared(declared));
        out.notices.push(Notice::new(ClusterEventKind::Scaling, words));
        self.scaler.set_policy(policy.clone());
        (self.decides, self.policy_stored) = (true, Some(now));
        policy
    }

    /// Takes back the policy that was put: that of the settings is in force again, or none.
    pub fn take_policy(&mut self, now: Timestamp, reason: String, out: &mut Outputs) {
        self.policy_version += 1;
        let version = self.policy_version;
        let words = format!("the scaling policy that was put is taken back{}", because(&reason));
        let kind = DeclarationKind::ScalingPolicy;
        out.records.push(Record::Declared(Declaration {
            kind,
            name: String::new(),
            version,
            body: None,
            at: now,
            reason,
        }));
        out.notices.push(Notice::new(ClusterEventKind::Scaling, words));
        (self.decides, self.policy_stored) = (self.settings.policy.is_some(), None);
        self.scaler.set_policy(self.configured());
    }

    /// Fixes the number of agents for a while, or no longer.
    pub fn put_override(&mut self, now: Timestamp, fixed: Option<Override>, reason: String, out: &mut Outputs) {
        self.override_version += 1;
        let words = match &fixed {
            Some(fixed) => {
                let time_s = fixed.until.since(now).as_secs();
                format!("the fleet is fixed at {} agents for {time_s} s{}", fixed.agents, because(&reason))
            }
            None => format!("the size of the fleet is no longer fixed{}", because(&reason)),
        };
        let declared = Declaration {
            kind: DeclarationKind::ScalingOverride,
            name: String::new(),
            version: self.override_version,
            body: fixed.as_ref().and_then(|fixed| serde_json::to_string(fixed).ok()),
            at: now,
            reason,
        };
        out.records.push(Record::Declared(declared));
        out.notices.push(Notice::new(ClusterEventKind::Scaling, words));
        self.scaler.set_override(fixed);
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

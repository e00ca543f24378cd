//! What a limit may say, and whom it is about.
//!
//! A limit is about tasks (their tenant, their kind) or about agents (one, those with a label, each), never both: "tenant T on
//! agent A" would make a gate of every pair, which neither a lane of the queue nor an agent could show as closed, so every
//! task would have to be asked about every agent. Such a limit is refused with the field's name.
//!
//! A limit for each tenant, kind or agent gives way to one that names it and is otherwise the same: with a limit of 10 for each
//! tenant and one of 50 for `acme`, `acme` has 50.

use evenkeel_shared::{AgentSpec, Kind, Tenant, Violation};

use super::{
    Limit, LimitScope,
    bucket::{BURST_MAX, RATE_PER_S_MAX, RATE_PER_S_MIN},
};

/// Most limits declared: each new pair of tenant and kind passes over all of them once.
pub const LIMITS_MAX: usize = 1_000;
/// Highest concurrency: beyond it a number is a mistake.
const CONCURRENCY_MAX: u32 = 10_000_000;

impl Limit {
    /// Checks what can be checked without knowing the others.
    ///
    /// # Errors
    /// A violation that names the field.
    pub fn validate(&self) -> Result<(), Violation> {
        Kind::new(&self.name).map_err(|wrong| Violation::new("limit.name", wrong.description))?;
        self.scope.validate()?;
        if self.concurrency_max.is_none() && self.rate_per_s.is_none() {
            return Err(Violation::new("limit.concurrency_max", "or `rate_per_s` must be set: it limits nothing"));
        }
        if self.concurrency_max.is_some_and(|max| !(1..=CONCURRENCY_MAX).contains(&max)) {
            return Err(Violation::new("limit.concurrency_max", format!("must be 1 to {CONCURRENCY_MAX}")));
        }
        if self.rate_per_s.is_some_and(|rate| !(RATE_PER_S_MIN..=RATE_PER_S_MAX).contains(&rate)) {
            let range = format!("must be {RATE_PER_S_MIN} to {RATE_PER_S_MAX}");
            return Err(Violation::new("limit.rate_per_s", range));
        }
        if !(1..=BURST_MAX).contains(&self.burst) {
            return Err(Violation::new("limit.burst", format!("must be 1 to {BURST_MAX}")));
        }
        Ok(())
    }
}

impl LimitScope {
    fn validate(&self) -> Result<(), Violation> {
        let wrong = |field: &'static str, words: &str| Err(Violation::new(field, words));
        let tasks = self.is_about_tasks();
        let agents = self.agent.is_some() || self.agent_label.is_some() || self.each_agent;
        match () {
            () if !tasks && !agents => wrong("limit.scope", "must name a tenant, a kind, an agent or a label"),
            () if tasks && agents => {
                wrong("limit.scope", "is about tasks (tenant, kind) or about agents (agent, label), not both")
            }
            () if self.tenant.is_some() && self.each_tenant => {
                wrong("limit.scope.each_tenant", "and `tenant` exclude each other")
            }
            () if self.kind.is_some() && self.each_kind => {
                wrong("limit.scope.each_kind", "and `kind` exclude each other")
            }
            () if self.agent.is_some() && self.each_agent => {
                wrong("limit.scope.each_agent", "and `agent_id` exclude each other")
            }
            () if self.agent.is_some() && self.agent_label.is_some() => {
                wrong("limit.scope.agent_label", "and `agent_id` exclude each other")
            }
            () => Ok(()),
        }
    }

    /// Whether it is about tasks, and not about agents.
    #[must_use]
    pub const fn is_about_tasks(&self) -> bool {
        self.tenant.is_some() || self.kind.is_some() || self.each_tenant || self.each_kind
    }

    /// Whether it has one limit for each of many.
    #[must_use]
    pub const fn is_for_each(&self) -> bool {
        self.each_tenant || self.each_kind || self.each_agent
    }

    /// Whether it is about such tasks.
    #[must_use]
    pub fn covers(&self, tenant: &Tenant, kind: &Kind) -> bool {
        self.is_about_tasks()
            && self.tenant.as_ref().is_none_or(|of| of == tenant)
            && self.kind.as_ref().is_none_or(|of| of == kind)
    }

    /// Whether it is about this agent.
    #[must_use]
    pub fn covers_agent(&self, agent: &AgentSpec) -> bool {
        let label = |(key, value): &(String, String)| agent.labels.get(key) == Some(value);
        !self.is_about_tasks()
            && self.agent.as_ref().is_none_or(|of| *of == agent.id)
            && self.agent_label.as_ref().is_none_or(label)
    }

    /// The scope that names what this one, which is for each, has for such tasks.
    #[must_use]
    pub fn named(&self, tenant: &Tenant, kind: &Kind) -> Self {
        Self {
            tenant: self.each_tenant.then(|| tenant.clone()).or_else(|| self.tenant.clone()),
            kind: self.each_kind.then(|| kind.clone()).or_else(|| self.kind.clone()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_shared::AgentId;

    use super::*;

    fn limit(scope: LimitScope) -> Limit {
        Limit { name: "l".into(), scope, concurrency_max: Some(1), rate_per_s: None, burst: 1 }
    }

    /// Expects the field at fault; none if it is empty.
    fn check(limit: &Limit, field: &str) {
        let found = limit.validate().err().map(|violation| violation.field).unwrap_or_default();
        assert_eq!(found, field, "{limit:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_the_field() {
        let tenant = Some(Tenant::new("t").unwrap());
        let kind = Some(Kind::new("k").unwrap());
        let agent = Some(AgentId::new("a").unwrap());
        let label = Some(("gpu".to_owned(), "a100".to_owned()));
        let base = LimitScope::default;
        check(&limit(base()), "limit.scope");
        check(&limit(LimitScope { tenant: tenant.clone(), agent: agent.clone(), ..base() }), "limit.scope");
        let twice = LimitScope { tenant: tenant.clone(), each_tenant: true, ..base() };
        check(&limit(twice), "limit.scope.each_tenant");
        check(&limit(LimitScope { kind: kind.clone(), each_kind: true, ..base() }), "limit.scope.each_kind");
        check(&limit(LimitScope { agent: agent.clone(), each_agent: true, ..base() }), "limit.scope.each_agent");
        let both = LimitScope { agent, agent_label: label.clone(), ..base() };
        check(&limit(both), "limit.scope.agent_label");
        check(&limit(LimitScope { agent_label: label, each_agent: true, ..base() }), "");
        let good = limit(LimitScope { tenant, kind, ..base() });
        check(&good, "");
        check(&Limit { name: "not a name".into(), ..good.clone() }, "limit.name");
        check(&Limit { concurrency_max: None, ..good.clone() }, "limit.concurrency_max");
        check(&Limit { concurrency_max: Some(0), ..good.clone() }, "limit.concurrency_max");
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            check(&Limit { rate_per_s: Some(rate), ..good.clone() }, "limit.rate_per_s");
        }
        check(&Limit { burst: 0, ..good }, "limit.burst");
    }
}

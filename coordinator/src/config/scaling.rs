//! Settings of the resource manager and of the fleet's size.

use std::time::Duration;

use evenkeel_core::{
    capacity::{Policy, TEMPLATES, Template, validate},
    manager::{
        change::ChangeSettings,
        scaling::{Carrier, ScalingSettings},
    },
};
use evenkeel_shared::{Violation, limits::DURATION_MAX};
use serde::{Deserialize, Serialize};

use super::{ConfigError, at_most, ms};
use crate::actuators::ActuatorConfig;

/// Advice is about an hour, and some minutes more or less do not matter.
const LOOK_BACK_INTERVAL: Duration = Duration::from_secs(600);

/// Settings of the resource manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourcesConfig {
    /// Whether there is one: without it the fleet is not measured over time, not scaled and not advised about; limits,
    /// quotas, breakers and budgets are the engine's and stay.
    pub enabled: bool,
    /// How often recent history is looked back at for advice.
    pub look_back_interval_ms: u64,
}

impl Default for ResourcesConfig {
    fn default() -> Self {
        Self { enabled: true, look_back_interval_ms: ms(LOOK_BACK_INTERVAL) }
    }
}

/// Settings of scaling. Durations are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalingConfig {
    /// The template of the policy at first start; a policy that was put later is kept in the store and wins. Not set: the
    /// fleet is not scaled before a policy is put.
    pub template: Option<String>,
    /// At least so many agents; not set: as the template says.
    pub agents_min: Option<u32>,
    /// At most so many.
    pub agents_max: Option<u32>,
    /// A whole policy instead of a template.
    pub policy: Option<Policy>,
    /// What carries decisions out.
    pub actuator: ActuatorConfig,
    /// How long agents that go may take to finish what they run. Not set: 10 minutes.
    pub drain_timeout_ms: Option<u64>,
    /// How long new agents may take to join. Not set: 2 minutes.
    pub join_timeout_ms: Option<u64>,
    /// Nothing is decided for so long after the start, while agents come back. Not set: `engine.adoption_grace_ms`.
    pub quiet_ms: Option<u64>,
}

impl ScalingConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(name) = self.template.as_deref().filter(|name| Template::named(name).is_none()) {
            let names: Vec<&str> = TEMPLATES.iter().map(|template| template.name).collect();
            let what = format!("is `{name}`; there are {}", names.join(", "));
            return Err(Violation::new("scaling.template", what).into());
        }
        if self.template.is_some() && self.policy.is_some() {
            return Err(Violation::new("scaling.policy", "cannot be set together with `scaling.template`").into());
        }
        if let Some(policy) = self.policy()
            && let Some(advice) = validate(&policy).into_iter().find(|advice| advice.error)
        {
            return Err(Violation::new(format!("scaling.policy.{}", advice.field), advice.advice).into());
        }
        for (field, value) in [
            ("scaling.drain_timeout_ms", self.drain_timeout_ms),
            ("scaling.join_timeout_ms", self.join_timeout_ms),
            ("scaling.quiet_ms", self.quiet_ms),
        ] {
            at_most(field, value.unwrap_or_default(), ms(DURATION_MAX))?;
        }
        Ok(self.actuator.validate()?)
    }

    /// The policy at first start.
    fn policy(&self) -> Option<Policy> {
        let template = self.template.as_deref().and_then(Template::named).map(Template::policy);
        let policy = self.policy.clone().or(template)?;
        let agents_max = self.agents_max.unwrap_or(policy.agents_max);
        let agents_min = self.agents_min.unwrap_or_else(|| policy.agents_min.min(agents_max));
        Some(Policy { agents_min, agents_max, ..policy })
    }

    pub(super) fn settings(&self, adoption_grace: Duration) -> ScalingSettings {
        let default = ScalingSettings::default();
        let duration = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
        ScalingSettings {
            policy: self.policy(),
            actuator: self.actuator.name().to_owned(),
            carrier: match &self.actuator {
                ActuatorConfig::Advise => Carrier::Nobody,
                ActuatorConfig::Keda => Carrier::Choosing,
                told => Carrier::Told(told.removable_prefix().unwrap_or_default().to_owned()),
            },
            change: ChangeSettings {
                drain: duration(self.drain_timeout_ms, default.change.drain),
                join: duration(self.join_timeout_ms, default.change.join),
            },
            quiet: duration(self.quiet_ms, adoption_grace),
        }
    }
}

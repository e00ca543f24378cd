//! What a scenario has to be like, beyond what its types say.

use std::collections::BTreeSet;

use evenkeel_shared::{
    Tenant,
    limits::{LABEL_VALUE_BYTES_MAX, PAYLOAD_BYTES_MAX, SLOTS_MAX},
};

use super::{Arrivals, Curve, ESCALATED, Fleet, Harm, Process, Scenario, ScenarioError, Work};
use crate::plan::AGENTS_MAX;

/// Longest run: a week. Beyond it a number is a mistake of units.
const DURATION_S_MAX: f64 = 7.0 * 86_400.0;
/// Highest rate that can be asked for: more than a machine can send.
const RATE_MAX: f64 = 1e6;
/// Largest factor of a rate or a time.
const FACTOR_MAX: f64 = 1_000.0;
/// Largest mean of bursts and of sessions, in tasks.
const MEAN_TASKS_MAX: f64 = 10_000.0;
/// Longest absence of agents: no longer than a run.
const AWAY_S_MAX: f64 = DURATION_S_MAX;
/// Departures and breaks a minute, at most: a thousand a second.
const PER_MINUTE_MAX: f64 = 60_000.0;
/// Kinds of work, regions and tenants of one kind of work, at most: each has histograms of its own.
const NAMES_MAX: usize = 64;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;
/// Most tries of a submission.
const TRIES_MAX: u32 = 100;
/// Longest first pause before another try.
const BACKOFF_MS_MAX: u64 = 60_000;
/// A fleet of specialists alone would have nobody for the tasks that call for them.
const SPECIALISTS_SHARE_MAX: f64 = 0.9;

type Checked = Result<(), ScenarioError>;

impl Scenario {
    /// Checks every number and every name.
    ///
    /// # Errors
    /// The first field that is out of its range, and the range.
    pub fn validate(&self) -> Checked {
        name("name", &self.name)?;
        within("duration_s", self.duration_s, 0.1, DURATION_S_MAX)?;
        self.fleet.validate()?;
        self.arrivals.validate(&self.work)?;
        self.validate_work()?;
        self.validate_network()?;
        self.validate_levels()?;
        for (at, fault) in self.faults.iter().enumerate() {
            let field = |name: &str| format!("faults[{at}].{name}");
            within(&field("at_share"), fault.at_share, 0.0, 1.0)?;
            fault.what.validate(&self.fleet, field)?;
        }
        Ok(())
    }

    fn validate_work(&self) -> Checked {
        let traced = matches!(self.arrivals.process, Process::Trace { .. });
        count("work", self.work.len(), usize::from(!traced), NAMES_MAX)?;
        let mut names = BTreeSet::new();
        for (at, work) in self.work.iter().enumerate() {
            let field = |name: &str| format!("work[{at}].{name}");
            if !names.insert(&work.name) {
                return Err(wrong(field("name"), format!("`{}` is there twice", work.name)));
            }
            work.validate(field)?;
            if work.escalation.is_some() && self.fleet.specialists_share == 0.0 {
                let what = format!("`{}` escalates, and a share of 0 leaves nobody to take it", work.name);
                return Err(wrong("fleet.specialists_share".into(), what));
            }
        }
        if !traced && self.work.iter().all(|work| work.weight == 0.0) {
            return Err(wrong("work[0].weight".into(), "all weights are 0; one must be above".into()));
        }
        Ok(())
    }

    /// Only what depends on the rest of the scenario; [`crate::levels::check`] does the others.
    fn validate_levels(&self) -> Checked {
        let of_work = |wanted: &str, work: &Work| {
            let escalated = work.escalation.is_some() && wanted.strip_suffix(ESCALATED) == Some(&work.name);
            work.name == wanted || escalated
        };
        for (at, level) in self.levels.iter().enumerate() {
            if let Some(wanted) = &level.work
                && !self.work.iter().any(|work| of_work(wanted, work))
            {
                return Err(wrong(format!("levels[{at}].work"), format!("there is no work `{wanted}`")));
            }
        }
        Ok(())
    }

    fn validate_network(&self) -> Checked {
        let network = &self.network;
        within("network.agent_breaks_per_minute", network.agent_breaks_per_minute, 0.0, PER_MINUTE_MAX)?;
        within("network.client_breaks_per_minute", network.client_breaks_per_minute, 0.0, PER_MINUTE_MAX)?;
        within("network.tries_max", f64::from(network.tries_max), 1.0, f64::from(TRIES_MAX))?;
        within("network.backoff_ms", network.backoff_ms as f64, 1.0, BACKOFF_MS_MAX as f64)
    }
}

impl Fleet {
    fn validate(&self) -> Checked {
        within("fleet.agents", self.agents.into(), 1.0, AGENTS_MAX.into())?;
        within("fleet.slots", self.slots.into(), 1.0, SLOTS_MAX.into())?;
        within("fleet.agents_per_connection", self.agents_per_connection.into(), 1.0, AGENTS_MAX.into())?;
        within("fleet.specialists_share", self.specialists_share, 0.0, SPECIALISTS_SHARE_MAX)?;
        if self.specialists_share > 0.0 && self.agents < 2 {
            return Err(wrong("fleet.agents".into(), "is 1, which is the specialist; at least 2 are needed".into()));
        }
        count("fleet.regions", self.regions.len(), 0, NAMES_MAX)?;
        for (region, share) in &self.regions {
            let field = format!("fleet.regions.{region}");
            if region.is_empty() || region.len() > LABEL_VALUE_BYTES_MAX {
                return Err(wrong(field, format!("its name must have 1 to {LABEL_VALUE_BYTES_MAX} bytes")));
            }
            above_zero(&field, *share, FACTOR_MAX)?;
        }
        self.curve.validate("fleet.curve", 1.0)?;
        within("fleet.churn.per_minute", self.churn.per_minute, 0.0, PER_MINUTE_MAX)?;
        within("fleet.churn.orderly_share", self.churn.orderly_share, 0.0, 1.0)?;
        within("fleet.churn.away_s", self.churn.away_s, 0.0, AWAY_S_MAX)
    }
}

impl Arrivals {
    fn validate(&self, work: &[Work]) -> Checked {
        match &self.process {
            Process::Poisson => {}
            Process::Bursts { mean_size } => within("arrivals.process.mean_size", *mean_size, 1.0, MEAN_TASKS_MAX)?,
            Process::Sessions { mean_tasks, .. } => {
                within("arrivals.process.mean_tasks", *mean_tasks, 1.0, MEAN_TASKS_MAX)?;
            }
            Process::Trace { speed, .. } => above_zero("arrivals.process.speed", *speed, FACTOR_MAX)?,
        }
        if !matches!(self.process, Process::Trace { .. }) {
            above_zero("arrivals.rate_per_s", self.rate_per_s, RATE_MAX)?;
        }
        self.curve.validate("arrivals.curve", FACTOR_MAX)?;
        count("arrivals.spikes", self.spikes.len(), 0, NAMES_MAX)?;
        for (at, spike) in self.spikes.iter().enumerate() {
            let field = |name: &str| format!("arrivals.spikes[{at}].{name}");
            within(&field("at_share"), spike.at_share, 0.0, 1.0)?;
            within(&field("length_share"), spike.length_share, 0.0, 1.0)?;
            within(&field("times"), spike.times, 0.0, FACTOR_MAX)?;
            if spike.work.is_some() && matches!(self.process, Process::Sessions { .. }) {
                return Err(wrong(field("work"), "is not for sessions, which are of mixed work".into()));
            }
            if let Some(wanted) = &spike.work
                && !work.iter().any(|work| work.name == *wanted)
            {
                return Err(wrong(field("work"), format!("there is no work `{wanted}`")));
            }
        }
        Ok(())
    }
}

impl Work {
    fn validate(&self, field: impl Fn(&str) -> String) -> Checked {
        name(&field("name"), &self.name)?;
        within(&field("weight"), self.weight, 0.0, RATE_MAX)?;
        within(&field("priority"), self.priority.into(), 0.0, 9.0)?;
        within(&field("payload_bytes"), self.payload_bytes.into(), 0.0, PAYLOAD_BYTES_MAX as f64)?;
        within(&field("failure_share"), self.failure_share, 0.0, 1.0)?;
        count(&field("tenants"), self.tenants.len(), 0, NAMES_MAX)?;
        for (tenant, weight) in &self.tenants {
            let field = field(&format!("tenants.{tenant}"));
            if let Err(violation) = tenant.parse::<Tenant>() {
                return Err(wrong(field, violation.description));
            }
            above_zero(&field, *weight, RATE_MAX)?;
        }
        if let Some(escalation) = &self.escalation {
            within(&field("escalation.share"), escalation.share, 0.0, 1.0)?;
            within(&field("escalation.priority"), escalation.priority.into(), 0.0, 9.0)?;
        }
        Ok(())
    }
}

impl Harm {
    fn validate(&self, fleet: &Fleet, field: impl Fn(&str) -> String) -> Checked {
        let (share, seconds, region) = match self {
            Self::KillCoordinator => return Ok(()),
            Self::LoseAgents { share, away_s, region } | Self::DrainAgents { share, away_s, region } => {
                (*share, ("what.away_s", *away_s), region.as_ref())
            }
            Self::SlowAgents { share, factor, length_s } => {
                above_zero(&field("what.factor"), *factor, FACTOR_MAX)?;
                (*share, ("what.length_s", *length_s), None)
            }
        };
        within(&field("what.share"), share, 0.0, 1.0)?;
        within(&field(seconds.0), seconds.1, 0.0, AWAY_S_MAX)?;
        match region {
            Some(region) if !fleet.regions.contains_key(region) => {
                Err(wrong(field("what.region"), format!("the fleet has no region `{region}`")))
            }
            _ => Ok(()),
        }
    }
}

impl Curve {
    fn validate(&self, field: &str, factor_max: f64) -> Checked {
        for (at, (share, factor)) in self.0.iter().enumerate() {
            within(&format!("{field}[{at}][0]"), *share, 0.0, 1.0)?;
            within(&format!("{field}[{at}][1]"), *factor, 0.0, factor_max)?;
        }
        if !self.0.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(wrong(field.into(), "its points are not in the order of their shares".into()));
        }
        Ok(())
    }
}

fn wrong(field: String, what: String) -> ScenarioError {
    ScenarioError::Field { field, what }
}

fn within(field: &str, value: f64, min: f64, max: f64) -> Checked {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(wrong(field.into(), format!("is {value}; it must be {min} to {max}")))
}

fn above_zero(field: &str, value: f64, max: f64) -> Checked {
    if value > 0.0 && value <= max {
        return Ok(());
    }
    Err(wrong(field.into(), format!("is {value}; it must be above 0 and at most {max}")))
}

fn count(field: &str, len: usize, min: usize, max: usize) -> Checked {
    if (min..=max).contains(&len) {
        return Ok(());
    }
    Err(wrong(field.into(), format!("has {len} entries; it must have {min} to {max}")))
}

fn name(field: &str, name: &str) -> Checked {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    Err(wrong(field.into(), format!("`{name}` is no name; use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and _")))
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;

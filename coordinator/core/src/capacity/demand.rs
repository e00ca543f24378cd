//! How many agents the work asks for.
//!
//! By Little's law (J. D. C. Little, 1961: what is in a system is its arrival rate times the time each spends in it) tasks
//! that come at `rate` and run for `service` occupy `rate * service` slots. That is the steady part. What waits already is
//! work of `waiting * service`, and is to be begun within the policy's wait target, so it asks for `waiting * service /
//! wait_target` slots on top; but for no more than `waiting`, since a task uses one slot however long it runs. So a thousand
//! tasks of 10 ms ask for one slot where ten tasks of ten minutes ask for ten.
//!
//! Counting waiting tasks as slots, as queue-length scalers do, was rejected: it asks for a thousand slots in the first
//! case. Tasks that wait for a limit, a budget or a quota are no demand: more agents would not begin them sooner.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::Policy;

/// What the scaler is told of the fleet at one moment. Rates and means are over the meter's window. All numbers are finite and
/// not negative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Agents that are connected and can be used.
    pub agents: u32,
    /// Agents that were asked for and have not come yet.
    pub starting: u32,
    /// Agents that are being drained; not among `agents`.
    pub draining: u32,
    /// Slots of an agent, mean. 0: never seen one, which counts as 1.
    pub slots_per_agent: f64,
    /// Slots in use.
    pub slots_used: f64,
    /// Tasks that wait for a slot, without those that wait for a limit, a budget or a quota.
    pub waiting: u64,
    /// How long the longest of them waits.
    pub oldest_wait: Duration,
    /// Tasks accepted per second.
    pub arrivals_per_s: f64,
    /// Mean run time of an attempt. `None`: none has been measured.
    pub service_mean: Option<Duration>,
    /// Processor in use, mean over agents, 0 to 1.
    pub cpu_share: f64,
    /// Memory in use, mean over agents, 0 to 1.
    pub memory_share: f64,
    /// From acceptance to end, mean; zero if nothing came to its end.
    pub response_mean: Duration,
    /// Share of attempts that failed.
    pub error_share: f64,
    /// Demand that is expected when an agent that is asked for now begins to work.
    pub foreseen: Option<Foreseen>,
}

/// A forecast of demand, in slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foreseen {
    /// Slots that will be asked for.
    pub slots: f64,
    /// How far ahead.
    pub ahead: Duration,
}

impl Load {
    /// Agents that there are or will be soon.
    #[must_use]
    pub const fn agents_coming(&self) -> u32 {
        self.agents.saturating_add(self.starting)
    }

    /// Slots that an agent gives.
    #[must_use]
    pub fn slots_each(&self) -> f64 {
        if self.slots_per_agent > 0.0 { self.slots_per_agent } else { 1.0 }
    }
}

/// What the work asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Slots asked for now.
    pub slots: f64,
    /// Of them, for what waits.
    pub backlog_slots: f64,
    /// Slots that will be asked for; the same as now where nothing is foreseen.
    pub foreseen_slots: f64,
    /// Agents that give so many slots, in full use.
    pub agents: f64,
    /// The same of what is foreseen.
    pub foreseen_agents: f64,
    /// Agents beyond what is asked for now; below 0: so many are missing.
    pub headroom: f64,
    /// Slots asked for over slots that there are; 0 if neither is there.
    pub utilisation: f64,
}

impl Demand {
    /// What `load` asks for under `policy`.
    #[must_use]
    pub fn of(policy: &Policy, load: &Load) -> Self {
        let wait_target_s = (policy.wait_target_ms.max(1) as f64) / 1_000.0;
        let waiting = load.waiting as f64;
        let (offered, backlog_slots) = match load.service_mean {
            Some(service) => {
                let service_s = service.as_secs_f64();
                (load.arrivals_per_s * service_s, waiting * (service_s / wait_target_s).min(1.0))
            }
            // Nothing has come to its end: the tasks are long, or this is the first of them.
            None => (0.0, waiting),
        };
        // What runs may be more than what came lately, and what came lately more than what could be begun.
        let slots = load.slots_used.max(offered) + backlog_slots;
        let foreseen_slots = load.foreseen.map_or(slots, |foreseen| foreseen.slots.max(0.0));
        let each = load.slots_each();
        let agents = slots / each;
        let there = f64::from(load.agents);
        let utilisation = match load.agents {
            0 if slots > 0.0 => slots / each,
            0 => 0.0,
            _ => agents / there,
        };
        Self {
            slots,
            backlog_slots,
            foreseen_slots,
            agents,
            foreseen_agents: foreseen_slots / each,
            headroom: there - agents,
            utilisation,
        }
    }

    /// Agents needed to carry it at the policy's utilisation; what is foreseen counts if the policy says so.
    #[must_use]
    pub fn agents_at_target(&self, policy: &Policy) -> f64 {
        let agents = if policy.predictive { self.agents.max(self.foreseen_agents) } else { self.agents };
        agents / policy.target()
    }
}

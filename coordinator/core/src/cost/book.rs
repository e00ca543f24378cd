//! The accounts: what attempts cost, by tenant, kind, agent and task, in stretches of a minute.
//!
//! The cost of an attempt is its share of the fleet at the prices in force, and what its executor reported:
//!
//! - of its agent's hourly price the share of the slots that it had, for as long as it ran;
//! - cores and memory: what was measured, where its agent measures (processor time; the most memory at once, for all of the
//!   time), else what was reserved;
//! - storage: what it had of the named resource [`STORAGE_RESOURCE`], in gigabytes; network: its payload and its output.
//!
//! What an agent costs while its slots are free is *idle*. It is sampled, since an attempt is accounted for when it ends, and
//! may have run for hours.
//!
//! The book is written at the end of each attempt: three look-ups and no allocation once a name is known. With no prices and
//! nothing reported it costs a branch. Names are bounded; the rest goes under [`OTHER`]. A minute that has passed is handed out
//! to be stored, added to what is stored; what a crash loses of it is at most that minute, of analytics alone: budgets are
//! settled with the attempts themselves.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_shared::{AgentId, CostUnit, Kind, Labels, Micros, Resources, TaskId, Tenant, Timestamp, Usage};

use super::{Prices, expensive::Expensive};
use crate::model::CostEntry;

/// How long a stretch is.
pub const STRETCH: Duration = Duration::from_secs(60);
/// How often idle agents are looked for. Walks the fleet, so not more often; and several times in a stretch.
pub const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// Tenants, kinds and agents accounted for by name in a stretch: rows that a minute writes, three times over.
pub const NAMES_MAX: usize = 256;
/// Under what the rest goes. No tenant, kind or agent can be called so.
pub const OTHER: &str = "(other)";
/// The named resource of tasks and agents that counts as storage, in gigabytes.
pub const STORAGE_RESOURCE: &str = "storage_gb";

const HOUR_US: u128 = 3_600_000_000;
/// Thousandths of a core in one.
const MILLIS: u128 = 1_000;
const GB: u128 = 1 << 30;
const MB: u128 = 1_000_000;

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedAttempt<'a> {
    /// Of which task.
    pub task: TaskId,
    /// Whose.
    pub tenant: &'a Tenant,
    /// Of what.
    pub kind: &'a Kind,
    /// Where.
    pub agent: &'a AgentId,
    /// For the agent's price.
    pub labels: &'a Labels,
    /// The agent's slots.
    pub slots: u32,
    /// What it had of the agent.
    pub had: &'a Resources,
    /// How long it ran.
    pub run: Duration,
    /// Bytes of its payload.
    pub payload_bytes: usize,
    /// What it used and cost, as its agent said.
    pub usage: Option<&'a Usage>,
}

/// An agent that is connected.
#[derive(Clone, Copy, Debug)]
pub struct PaidAgent<'a> {
    /// Which.
    pub id: &'a AgentId,
    /// For its price.
    pub labels: &'a Labels,
    /// Since when.
    pub since: Timestamp,
    /// What it has.
    pub slots: u32,
    /// Of that, in use.
    pub slots_used: u32,
}

/// What one name has cost in a stretch.
#[derive(Clone, Debug, Default)]
struct Line {
    resources: Micros,
    idle: Micros,
    tasks: u64,
    attempts: u64,
    reported: Vec<(CostUnit, Micros)>,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.resources == Micros::ZERO
            && self.idle == Micros::ZERO
            && self.tasks + self.attempts == 0
            && self.reported.iter().all(|(_, amount)| *amount == Micros::ZERO)
    }

    fn attempt(&mut self, resources: Micros, usage: Option<&Usage>) {
        self.attempts += 1;
        self.resources += resources;
        for (unit, amount) in usage.into_iter().flat_map(|usage| &usage.cost) {
            match self.reported.iter_mut().find(|(known, _)| known == unit) {
                Some((_, sum)) => *sum += *amount,
                None => self.reported.push((unit.clone(), *amount)),
            }
        }
    }

    /// Begins another stretch, with the units that it knows.
    fn reset(&mut self) {
        (self.resources, self.idle, self.tasks, self.attempts) = (Micros::ZERO, Micros::ZERO, 0, 0);
        self.reported.iter_mut().for_each(|(_, amount)| *amount = Micros::ZERO);
    }

    /// One entry a unit; that of the prices says how many tasks and attempts there were.
    fn entries(&self, subject: &str, at: Timestamp, length: Duration, unit: &CostUnit, out: &mut Vec<CostEntry>) {
        if self.is_empty() {
            return;
        }
        let of = |reported: Micros, unit: &CostUnit| {
            CostEntry::reported(at, length, subject.to_owned(), unit.clone(), reported)
        };
        let in_unit = self.reported.iter().find(|(known, _)| known == unit).map(|(_, amount)| *amount);
        let main = CostEntry {
            resources: self.resources,
            idle: self.idle,
            tasks: self.tasks,
            attempts: self.attempts,
            ..of(in_unit.unwrap_or_default(), unit)
        };
        out.push(main);
        let others = self.reported.iter().filter(|(other, amount)| other != unit && *amount > Micros::ZERO);
        out.extend(others.map(|(unit, amount)| of(*amount, unit)));
    }
}

/// Lines by name.
#[derive(Debug)]
struct Lines<K> {
    by_name: BTreeMap<K, Line>,
    other: Line,
}

impl<K> Default for Lines<K> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), other: Line::default() }
    }
}

impl<K: Ord + Clone> Lines<K> {
    fn of(&mut self, name: &K) -> &mut Line {
        if !self.by_name.contains_key(name) {
            if self.by_name.len() >= NAMES_MAX {
                return &mut self.other;
            }
            self.by_name.insert(name.clone(), Line::default());
        }
        self.by_name.get_mut(name).unwrap_or(&mut self.other)
    }

    /// Begins another stretch; names of which nothing was heard in the last are forgotten.
    fn reset(&mut self) {
        self.by_name.retain(|_, line| !line.is_empty());
        self.by_name.values_mut().for_each(Line::reset);
        self.other.reset();
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    prices: Prices,
    /// Something costs something.
    priced: bool,
    /// Something has been written since the stretch began.
    written: bool,
    since: Timestamp,
    paid_until: Timestamp,
    tenants: Lines<Tenant>,
    kinds: Lines<Kind>,
    agents: Lines<AgentId>,
    fleet: Line,
    expensive: Expensive,
}

impl Book {
    /// What resources cost from now on.
    pub fn set_prices(&mut self, now: Timestamp, prices: Prices) {
        let amounts =
            [prices.agent_hour, prices.core_hour, prices.memory_gb_hour, prices.storage_gb_hour, prices.network_mb];
        let of_agents = prices.agent_prices.iter().map(|(_, price)| *price);
        self.priced = amounts.into_iter().chain(of_agents).any(|price| price > Micros::ZERO);
        self.prices = prices;
        self.paid_until = now;
    }

    /// What resources cost.
    #[must_use]
    pub const fn prices(&self) -> &Prices {
        &self.prices
    }

    /// Whether something has a price: then all attempts and tasks are accounted for, and otherwise those that report a cost.
    #[must_use]
    pub const fn is_priced(&self) -> bool {
        self.priced
    }

    /// An attempt has ended.
    pub fn attempt(&mut self, now: Timestamp, attempt: EndedAttempt<'_>) {
        let reports = attempt.usage.is_some_and(|usage| !usage.cost.is_empty());
        if !self.priced && !reports {
            return;
        }
        self.begin(now);
        let resources = if self.priced { self.prices.attempt(&attempt) } else { Micros::ZERO };
        self.tenants.of(attempt.tenant).attempt(resources, attempt.usage);
        self.kinds.of(attempt.kind).attempt(resources, attempt.usage);
        self.agents.of(attempt.agent).attempt(resources, attempt.usage);
        self.fleet.attempt(resources, attempt.usage);
        self.expensive.add(now, attempt.task, &self.prices.unit, resources, attempt.usage);
    }

    /// A task that counts has ended, with so many bytes of output; `agent` had it last.
    pub fn task(&mut self, now: Timestamp, tenant: &Tenant, kind: &Kind, agent: Option<&AgentId>, output_bytes: usize) {
        self.begin(now);
        let network = scaled(self.prices.network_mb, output_bytes as u128, MB);
        let of_agent = agent.map(|agent| self.agents.of(agent));
        for line in [self.tenants.of(tenant), self.kinds.of(kind), &mut self.fleet].into_iter().chain(of_agent) {
            line.tasks += 1;
            line.resources += network;
        }
    }

    /// Whether idle agents cost anything.
    #[must_use]
    pub fn pays_agents(&self) -> bool {
        let prices = self.prices.agent_prices.iter().map(|(_, price)| *price);
        self.priced && prices.chain([self.prices.agent_hour]).any(|price| price > Micros::ZERO)
    }

    /// Accounts for what the agents' free slots have cost since this was called last.
    pub fn pay<'a>(&mut self, now: Timestamp, agents: impl Iterator<Item = PaidAgent<'a>>) {
        let until = std::mem::replace(&mut self.paid_until, now);
        for agent in agents {
            let free = u128::from(agent.slots.saturating_sub(agent.slots_used));
            let time = now.since(agent.since.max(until)).as_micros();
            let price = self.prices.agent(agent.labels);
            let idle = scaled(price, free * time, HOUR_US * u128::from(agent.slots.max(1)));
            if idle > Micros::ZERO {
                self.begin(now);
                self.agents.of(agent.id).idle += idle;
                self.fleet.idle += idle;
            }
        }
    }

    /// When the stretch that is being written ends.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.written.then(|| self.since.plus(STRETCH))
    }

    /// Hands out the stretch that has been written, to be stored, and begins another.
    pub fn take(&mut self, now: Timestamp) -> Vec<CostEntry> {
        let entries = self.entries();
        self.tenants.reset();
        self.kinds.reset();
        self.agents.reset();
        self.fleet.reset();
        self.expensive.forget(now);
        self.written = false;
        entries
    }

    /// What has not been handed out yet.
    #[must_use]
    pub fn entries(&self) -> Vec<CostEntry> {
        let mut entries = Vec::new();
        if !self.written {
            return entries;
        }
        let (at, unit) = (self.since, &self.prices.unit);
        let mut add = |subject: &str, line: &Line| line.entries(subject, at, STRETCH, unit, &mut entries);
        self.tenants.by_name.iter().for_each(|(name, line)| add(&format!("tenant:{name}"), line));
        add(&format!("tenant:{OTHER}"), &self.tenants.other);
        self.kinds.by_name.iter().for_each(|(name, line)| add(&format!("kind:{name}"), line));
        add(&format!("kind:{OTHER}"), &self.kinds.other);
        self.agents.by_name.iter().for_each(|(name, line)| add(&format!("agent:{name}"), line));
        add(&format!("agent:{OTHER}"), &self.agents.other);
        add("fleet", &self.fleet);
        entries
    }

    /// The tasks that cost most within the last hour, as entries of `task:ID`.
    #[must_use]
    pub fn expensive(&self, now: Timestamp) -> Vec<CostEntry> {
        self.expensive.entries(now, &self.prices.unit)
    }

    fn begin(&mut self, now: Timestamp) {
        if !self.written {
            self.written = true;
            let stretch = u64::try_from(STRETCH.as_micros()).unwrap_or(u64::MAX);
            self.since = Timestamp::from_unix_micros(now.unix_micros() / stretch * stretch);
        }
    }
}

impl Prices {
    /// The hourly price of an agent with these labels.
    #[must_use]
    pub fn agent(&self, labels: &Labels) -> Micros {
        let rule = self.agent_prices.iter().find(|(rule, _)| rule.matches(labels));
        rule.map_or(self.agent_hour, |(_, price)| *price)
    }

    /// What an attempt cost of the fleet's resources.
    #[must_use]
    pub fn attempt(&self, attempt: &EndedAttempt<'_>) -> Micros {
        let run = attempt.run.as_micros();
        let had = attempt.had;
        let slots = u128::from(had.slots.min(attempt.slots));
        let measured = |of: fn(&Usage) -> u128| attempt.usage.map(of).filter(|&used| used > 0);
        let core_time = measured(|usage| usage.cpu.as_micros() * MILLIS).unwrap_or(u128::from(had.cpu_millis) * run);
        let memory = measured(|usage| u128::from(usage.memory_max_bytes)).unwrap_or(u128::from(had.memory_bytes));
        let storage_gb = u128::from(had.custom.get(STORAGE_RESOURCE).copied().unwrap_or(0));
        [
            scaled(self.agent(attempt.labels), slots * run, HOUR_US * u128::from(attempt.slots.max(1))),
            scaled(self.core_hour, core_time, HOUR_US * MILLIS),
            scaled(self.memory_gb_hour, memory.saturating_mul(run), HOUR_US * GB),
            scaled(self.storage_gb_hour, storage_gb * run, HOUR_US),
            scaled(self.network_mb, attempt.payload_bytes as u128, MB),
        ]
        .into_iter()
        .sum()
    }
}

/// A price times `amount / whole`, rounded down.
fn scaled(price: Micros, amount: u128, whole: u128) -> Micros {
    Micros(u64::try_from(u128::from(price.0).saturating_mul(amount) / whole).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;

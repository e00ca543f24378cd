//! The limits in force, each as the *gates* that it makes: one for a limit that names what it is about, one for each tenant,
//! kind or agent that appears where it says `each`.
//!
//! A gate is open or shut, and says so only when that changes, so that what depends on it is told once and nobody asks per
//! waiting task. Where it takes effect is its [`Site`]: a class of tasks, a tenant's lanes, an agent, or the agents of a label.
//! An assignment takes a permit of every gate that covers it, and keeps those of concurrency until its place is free. A gate
//! shuts with the permit that uses it up, and opens when one comes back, or when its bucket has gained enough:
//! [`Gates::open_due`].
//!
//! The pair of a tenant and a kind is a [`LaneIx`]: which gates cover it is found once and kept, so that an assignment costs its
//! own gates and not the number of limits. Pairs and the gates of `each` limits that are idle, and full again, are no different
//! from new ones: they are forgotten when there are many.
//!
//! Rejected: a semaphore a limit with a list of those that wait (the queue would no longer decide who is next), and asking the
//! limits at each decision (a throttled tenant's backlog would be looked at by every agent that has room).

mod permits;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use evenkeel_shared::{AgentSpec, Kind, Tenant, Timestamp};
use slab::Slab;

use super::{Limit, bucket::TokenBucket};
use crate::ix::AgentIx;

/// A bucket that has run dry is waited for until it has gained what it gains in this time, not for each token: a rate of
/// 100,000 a second would otherwise shut and open a gate as often. Short beside anybody's wait for a rate limit.
pub const REFILL_PAUSE: Duration = Duration::from_millis(10);
/// The agents of a label are opened again at most this often: each time costs an update of every one of them. Meanwhile the
/// places that come free go to the agents that free them, so none is idle for it but those whose own work has run out.
pub const GROUP_PAUSE: Duration = Duration::from_millis(20);
/// Gates at most, about 200 bytes each. Beyond it what appears anew is not held to `each` limits until others have been idle;
/// limits that name what they are about always hold.
pub const GATES_MAX: usize = 65_536;
/// Pairs of tenant and kind that are kept before idle ones are looked for. About 200 bytes each.
const LANES_KEPT: usize = 4_096;

/// Where a shut gate takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// On the tasks of a kind, whoever's they are.
    Kind(Kind),
    /// On the tasks of a tenant: of this kind, or all.
    Tenant(Tenant, Option<Kind>),
    /// On an agent.
    Agent(AgentIx),
    /// On the agents of the group with this number.
    Group(usize),
}

/// A pair of a tenant and a kind that limits cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneIx(u32);

/// A gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GateIx(usize);

/// A gate that has shut or opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The gate.
    pub gate: GateIx,
    /// Where it takes effect.
    pub site: Site,
    /// How it is now.
    pub shut: bool,
}

/// Why a gate is shut, with the numbers that say so.
#[derive(Clone, Debug, PartialEq)]
pub enum Shut {
    /// As many attempts run as may.
    Concurrency {
        /// They.
        in_use: u32,
        /// As many as may.
        max: u32,
    },
    /// As many began as may.
    Rate {
        /// Of it, per second.
        per_s: f64,
        /// When it opens.
        opens: Timestamp,
    },
}

impl fmt::Display for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrency { in_use, max } => write!(f, "{in_use} of {max} attempts at a time"),
            Self::Rate { per_s, .. } => write!(f, "{per_s} attempts a second"),
        }
    }
}

#[derive(Debug)]
struct Rule {
    limit: Limit,
    /// Times that one of its gates shut.
    throttled: u64,
    /// Of a limit of a label: its agents.
    members: BTreeSet<AgentIx>,
}

/// Which of a rule's gates: the tenant, kind and agent of an `each` limit.
type Key = (usize, Option<Tenant>, Option<Kind>, Option<AgentIx>);

#[derive(Debug)]
struct Gate {
    key: Key,
    site: Site,
    concurrency_max: u32,
    in_use: u32,
    bucket: Option<TokenBucket>,
    shut: bool,
    shut_at: Timestamp,
    /// When it is to be looked at, if that is set.
    due: Option<Timestamp>,
    /// Of a group that is shut: the agent that freed a place last may fill it.
    lent_to: Option<AgentIx>,
}

impl Gate {
    fn has_place(&self) -> bool {
        self.in_use < self.concurrency_max
    }

    fn has_token(&self, now: Timestamp) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.has(now))
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        self.in_use == 0 && !self.shut && self.bucket.as_ref().is_none_or(|bucket| bucket.is_full(now))
    }
}

#[derive(Debug)]
struct Lane {
    tenant: Tenant,
    kind: Kind,
    gates: Vec<GateIx>,
    /// Permits that are out.
    permits: u32,
}

/// What there is to see of a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitView {
    /// As declared.
    pub limit: Limit,
    /// Attempts that count against it; of an `each` limit those of all its gates.
    pub in_use: u32,
    /// Left in its bucket; of an `each` limit in the emptiest.
    pub tokens: f64,
    /// Times that it shut.
    pub throttled: u64,
    /// Whether it, or any of its gates, is shut.
    pub closed: bool,
    /// When it opens by itself. `None`: it is open, or opens when something ends.
    pub opens: Option<Timestamp>,
    /// Where its gates are shut.
    pub sites: Vec<Site>,
}

/// All limits in force. See the module.
#[derive(Debug, Default)]
pub struct Gates {
    rules: Slab<Rule>,
    by_name: BTreeMap<String, usize>,
    gates: Slab<Gate>,
    by_key: BTreeMap<Key, GateIx>,
    lanes: Slab<Lane>,
    by_pair: BTreeMap<Tenant, BTreeMap<Kind, LaneIx>>,
    /// The gates of agents, by [`AgentIx`].
    by_agent: Vec<Vec<GateIx>>,
    /// Gates to look at, by time.
    due: BTreeSet<(Timestamp, GateIx)>,
    /// What has changed since it was last taken.
    turned: Vec<Turned>,
    /// Kinds that are shut, with the number of gates that do it.
    shut_kinds: BTreeMap<Kind, u32>,
    /// Pairs at which idle ones are looked for next.
    sweep_at: usize,
}

impl Gates {
    /// Whether there is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many limits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// The limit of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Limit> {
        self.by_name.get(name).map(|&rule| &self.rules[rule].limit)
    }

    /// Declares a valid limit, or replaces the one of its name. What its gates had in their buckets stays, as far as it fits,
    /// if it is about the same. [`Gates::recount`] must follow.
    pub fn put(&mut self, now: Timestamp, limit: Limit) {
        let Some(&rule) = self.by_name.get(&limit.name) else {
            let name = limit.name.clone();
            let rule = self.rules.insert(Rule { limit, throttled: 0, members: BTreeSet::new() });
            self.by_name.insert(name, rule);
            return;
        };
        let same_scope = self.rules[rule].limit.scope == limit.scope;
        let (max, rate, burst) = (limit.concurrency_max.unwrap_or(u32::MAX), limit.rate_per_s, limit.burst);
        self.rules[rule].limit = limit;
        if !same_scope {
            self.drop_gates(rule);
            return;
        }
        for (_, gate) in self.gates.iter_mut().filter(|(_, gate)| gate.key.0 == rule) {
            gate.concurrency_max = max;
            gate.bucket = rate.map(|rate| match &gate.bucket {
                Some(bucket) => bucket.resized(now, rate, burst),
                None => TokenBucket::full(now, rate, burst),
            });
        }
    }

    /// Takes a limit back. False: there is none of this name. [`Gates::recount`] must follow.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(rule) = self.by_name.remove(name) else { return false };
        self.drop_gates(rule);
        self.rules.remove(rule);
        true
    }

    fn drop_gates(&mut self, rule: usize) {
        let gone: Vec<usize> = self.gates.iter().filter(|(_, gate)| gate.key.0 == rule).map(|(at, _)| at).collect();
        for at in gone {
            self.drop_gate(at);
        }
    }

    fn drop_gate(&mut self, at: usize) {
        self.set_shut(GateIx(at), false);
        let gate = self.gates.remove(at);
        self.by_key.remove(&gate.key);
        if let Some(due) = gate.due {
            self.due.remove(&(due, GateIx(at)));
        }
    }

    /// Counts from nothing, after the limits have changed: `agents` are those that are registered; `permits` finds the tenant,
    /// kind and agent of everything that is assigned and is given what it holds from now on. Costs all of them. What is shut or
    /// open afterwards is to be asked anew: nothing is said to have [turned](Gates::take_turned).
    pub fn recount<'a>(
        &mut self,
        now: Timestamp,
        agents: impl Iterator<Item = (AgentIx, &'a AgentSpec)>,
        assigned: impl Iterator<Item = (AgentIx, &'a Tenant, &'a Kind, &'a mut Option<LaneIx>)>,
    ) {
        self.lanes.clear();
        self.by_pair.clear();
        self.by_agent.clear();
        for (_, rule) in &mut self.rules {
            rule.members.clear();
        }
        for (_, gate) in &mut self.gates {
            (gate.in_use, gate.lent_to) = (0, None);
        }
        for (agent, spec) in agents {
            self.set_agent(now, agent, spec, 0);
        }
        for (agent, tenant, kind, lane) in assigned {
            *lane = self.lane(now, tenant, kind);
            self.count(*lane, agent, 1);
        }
        let all: Vec<usize> = self.gates.iter().map(|(at, _)| at).collect();
        for at in all {
            self.settle(now, GateIx(at));
        }
        self.turned.clear();
    }

    /// The pair of this tenant and kind. `None`: no limit of tasks covers it.
    pub fn lane(&mut self, now: Timestamp, tenant: &Tenant, kind: &Kind) -> Option<LaneIx> {
        if let Some(&lane) = self.by_pair.get(tenant).and_then(|kinds| kinds.get(kind)) {
            return Some(lane).filter(|&lane| !self.row(lane).gates.is_empty());
        }
        if self.rules.is_empty() {
            return None;
        }
        self.sweep(now);
        let matching: Vec<usize> =
            self.rules.iter().filter(|(_, r)| self.applies(&r.limit, tenant, kind)).map(|(at, _)| at).collect();
        let gates = matching.into_iter().filter_map(|rule| self.gate_of_tasks(now, rule, tenant, kind)).collect();
        let row = Lane { tenant: tenant.clone(), kind: kind.clone(), gates, permits: 0 };
        let empty = row.gates.is_empty();
        let lane = LaneIx(u32::try_from(self.lanes.insert(row)).unwrap_or(u32::MAX));
        self.by_pair.entry(tenant.clone()).or_default().insert(kind.clone(), lane);
        (!empty).then_some(lane)
    }

    /// Whether a limit is about such tasks, and none that names them takes its place.
    fn applies(&self, limit: &Limit, tenant: &Tenant, kind: &Kind) -> bool {
        let scope = &limit.scope;
        if !scope.covers(tenant, kind) || !scope.is_for_each() {
            return scope.covers(tenant, kind);
        }
        let named = scope.named(tenant, kind);
        !self.rules.iter().any(|(_, other)| other.limit.scope == named)
    }

    fn gate_of_tasks(&mut self, now: Timestamp, rule: usize, tenant: &Tenant, kind: &Kind) -> Option<GateIx> {
        let scope = &self.rules[rule].limit.scope;
        let each_tenant = scope.each_tenant.then(|| tenant.clone());
        let each_kind = scope.each_kind.then(|| kind.clone());
        let of_kind = scope.kind.clone().or_else(|| each_kind.clone());
        let site = match (scope.tenant.clone().or_else(|| each_tenant.clone()), of_kind) {
            (None, _) => Site::Kind(kind.clone()),
            (Some(tenant), kind) => Site::Tenant(tenant, kind),
        };
        self.gate(now, (rule, each_tenant, each_kind, None), site)
    }

    /// The gate of this key, made if there is none yet and room for it.
    fn gate(&mut self, now: Timestamp, key: Key, site: Site) -> Option<GateIx> {
        if let Some(&gate) = self.by_key.get(&key) {
            return Some(gate);
        }
        let limit = &self.rules[key.0].limit;
        if limit.scope.is_for_each() && self.gates.len() >= GATES_MAX {
            return None;
        }
        let gate = GateIx(self.gates.insert(Gate {
            key: key.clone(),
            site,
            concurrency_max: limit.concurrency_max.unwrap_or(u32::MAX),
            in_use: 0,
            bucket: limit.rate_per_s.map(|rate| TokenBucket::full(now, rate, limit.burst)),
            shut: false,
            shut_at: now,
            due: None,
            lent_to: None,
        }));
        self.by_key.insert(key, gate);
        Some(gate)
    }

    fn row(&self, lane: LaneIx) -> &Lane {
        &self.lanes[lane.0 as usize]
    }
}

#[cfg(test)]
mod tests;

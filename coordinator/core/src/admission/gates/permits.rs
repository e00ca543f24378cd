//! Permits: taken at an assignment, given back when its place is free; and what shuts and opens gates.

use evenkeel_shared::{AgentSpec, Kind, Tenant, Timestamp};

use super::{
    GATES_MAX, GROUP_PAUSE, Gate, GateIx, Gates, LANES_KEPT, LaneIx, LimitView, REFILL_PAUSE, Shut, Site, Turned,
};
use crate::ix::AgentIx;

impl Gates {
    /// An agent registered, or did so anew with other labels, while it holds so many assignments.
    pub fn set_agent(&mut self, now: Timestamp, agent: AgentIx, spec: &AgentSpec, held: u32) {
        if self.rules.is_empty() {
            return;
        }
        let earlier = self.leave_gates(agent, held);
        let mut gates = Vec::new();
        let covering: Vec<usize> =
            self.rules.iter().filter(|(_, rule)| rule.limit.scope.covers_agent(spec)).map(|(at, _)| at).collect();
        for at in covering {
            let scope = &self.rules[at].limit.scope;
            let (each, group) = (scope.each_agent, scope.agent_label.is_some() && !scope.each_agent);
            let by_name = |other: &super::Rule| other.limit.scope.agent.as_ref() == Some(&spec.id);
            if each && self.rules.iter().any(|(_, other)| by_name(other)) {
                continue;
            }
            let site = if group { Site::Group(at) } else { Site::Agent(agent) };
            // An index may be another agent's one day, so the gate of a limit that names an agent has it in its key too.
            let key = (at, None, None, (!group).then_some(agent));
            if group {
                self.rules[at].members.insert(agent);
            }
            gates.extend(self.gate(now, key, site));
        }
        for &GateIx(at) in &gates {
            self.gates[at].in_use += held;
        }
        if agent.at() >= self.by_agent.len() {
            self.by_agent.resize_with(agent.at() + 1, Vec::new);
        }
        for &gate in gates.iter().chain(&earlier) {
            self.settle(now, gate);
        }
        for gate in earlier.into_iter().filter(|gate| !gates.contains(gate)) {
            self.drop_agent_gate(gate);
        }
        self.by_agent[agent.at()] = gates;
    }

    /// An agent is forgotten while it holds so many assignments.
    pub fn remove_agent(&mut self, now: Timestamp, agent: AgentIx, held: u32) {
        for gate in self.leave_gates(agent, held) {
            self.settle(now, gate);
            self.drop_agent_gate(gate);
        }
    }

    /// The agent counts at none of its gates any more, which are given.
    fn leave_gates(&mut self, agent: AgentIx, held: u32) -> Vec<GateIx> {
        let gates = self.by_agent.get_mut(agent.at()).map(std::mem::take).unwrap_or_default();
        for gate in &gates {
            let row = &mut self.gates[gate.0];
            row.in_use = row.in_use.saturating_sub(held);
            row.lent_to = row.lent_to.filter(|lent_to| *lent_to != agent);
            if let Site::Group(rule) = row.site {
                self.rules[rule].members.remove(&agent);
            }
        }
        gates
    }

    fn drop_agent_gate(&mut self, gate: GateIx) {
        if matches!(self.gates[gate.0].site, Site::Agent(_)) {
            self.drop_gate(gate.0);
        }
    }

    /// The agents of a group.
    #[must_use]
    pub fn members(&self, group: usize) -> Vec<AgentIx> {
        self.rules.get(group).map(|rule| rule.members.iter().copied().collect()).unwrap_or_default()
    }

    /// A gate that keeps such tasks waiting, whoever is to run them.
    #[must_use]
    pub fn lane_shut(&self, lane: LaneIx) -> Option<GateIx> {
        self.row(lane).gates.iter().copied().find(|gate| self.gates[gate.0].shut)
    }

    /// The same among those that are about a tenant.
    #[must_use]
    pub fn tenant_shut(&self, lane: LaneIx) -> Option<GateIx> {
        let of_tenant = |gate: &Gate| matches!(gate.site, Site::Tenant(..));
        self.row(lane).gates.iter().copied().find(|gate| self.gates[gate.0].shut && of_tenant(&self.gates[gate.0]))
    }

    /// A gate that keeps such tasks waiting; what no gate was asked for yet is not.
    #[must_use]
    pub fn shut_for(&self, tenant: &Tenant, kind: &Kind) -> Option<GateIx> {
        self.by_pair.get(tenant).and_then(|kinds| kinds.get(kind)).and_then(|lane| self.lane_shut(*lane))
    }

    /// Whether a gate about the tenant keeps such tasks waiting; what no gate was asked for yet is not.
    #[must_use]
    pub fn is_tenant_shut(&self, tenant: &Tenant, kind: &Kind) -> bool {
        let lane = self.by_pair.get(tenant).and_then(|kinds| kinds.get(kind));
        lane.is_some_and(|lane| self.tenant_shut(*lane).is_some())
    }

    /// Whether a gate keeps all tasks of this kind waiting.
    #[must_use]
    pub fn kind_shut(&self, kind: &Kind) -> bool {
        self.shut_kinds.contains_key(kind)
    }

    /// A gate for which this agent gets nothing.
    #[must_use]
    pub fn agent_shut(&self, agent: AgentIx) -> Option<GateIx> {
        let gates = self.by_agent.get(agent.at())?;
        let shut = |gate: &Gate| gate.shut && gate.lent_to != Some(agent);
        gates.iter().copied().find(|gate| shut(&self.gates[gate.0]))
    }

    /// The limit of a gate, and why that is shut. `None`: it is gone.
    #[must_use]
    pub fn why(&self, now: Timestamp, gate: GateIx) -> Option<(&str, Shut)> {
        let row = self.gates.get(gate.0)?;
        let limit = &self.rules[row.key.0].limit;
        let shut = match &row.bucket {
            Some(bucket) if row.has_place() => Shut::Rate {
                per_s: limit.rate_per_s.unwrap_or_default(),
                opens: row.due.unwrap_or_else(|| bucket.has_at(now, 1)),
            },
            _ => Shut::Concurrency { in_use: row.in_use, max: row.concurrency_max },
        };
        Some((&limit.name, shut))
    }

    /// Takes a permit of every gate of the tasks and the agent, whether or not there is one: who may not go is not asked for.
    pub fn take(&mut self, now: Timestamp, lane: Option<LaneIx>, agent: AgentIx) {
        for gate in self.count(lane, agent, 1) {
            let row = &mut self.gates[gate.0];
            if let Some(bucket) = &mut row.bucket {
                bucket.take(now);
            }
            self.settle(now, gate);
        }
    }

    /// Counts what was assigned before the limits were known: nothing is taken from a bucket.
    pub fn hold(&mut self, now: Timestamp, lane: Option<LaneIx>, agent: AgentIx) {
        for gate in self.count(lane, agent, 1) {
            self.settle(now, gate);
        }
    }

    /// Gives back what [`Gates::take`] took, but the tokens.
    pub fn give_back(&mut self, now: Timestamp, lane: Option<LaneIx>, agent: AgentIx) {
        for gate in self.count(lane, agent, -1) {
            self.lend(gate, agent);
            self.settle(now, gate);
        }
    }

    /// Counts an assignment in or out, and says at which gates.
    pub(super) fn count(&mut self, lane: Option<LaneIx>, agent: AgentIx, by: i32) -> Vec<GateIx> {
        let of_agent = self.by_agent.get(agent.at()).map(Vec::as_slice).unwrap_or_default();
        let of_tasks = lane.map(|lane| self.row(lane).gates.as_slice()).unwrap_or_default();
        // No allocation where no gate covers it.
        let gates: Vec<GateIx> = of_agent.iter().chain(of_tasks).copied().collect();
        for gate in &gates {
            let row = &mut self.gates[gate.0];
            row.in_use = row.in_use.saturating_add_signed(by);
        }
        if let Some(lane) = lane {
            let row = &mut self.lanes[lane.0 as usize];
            row.permits = row.permits.saturating_add_signed(by);
        }
        gates
    }

    /// A place of a group that is shut goes to the agent that freed it.
    fn lend(&mut self, gate: GateIx, agent: AgentIx) {
        let row = &mut self.gates[gate.0];
        if !row.shut || !matches!(row.site, Site::Group(_)) || !row.has_place() {
            return;
        }
        let earlier = row.lent_to.replace(agent).filter(|earlier| *earlier != agent);
        if let Some(earlier) = earlier {
            self.turned.push(Turned { gate, site: Site::Agent(earlier), shut: true });
        }
    }

    /// Shuts or opens a gate as it stands, and sees to it that it is looked at when it may open by itself.
    pub(super) fn settle(&mut self, now: Timestamp, gate: GateIx) {
        let row = &mut self.gates[gate.0];
        let (place, token) = (row.has_place(), row.has_token(now));
        let due = match (place && token, row.shut) {
            (true, false) => None,
            (false, false) => {
                (row.shut_at, row.lent_to) = (now, None);
                self.rules[row.key.0].throttled += 1;
                let due = refilled(row, now);
                self.set_shut(gate, true);
                due
            }
            (true, true) if matches!(row.site, Site::Group(_)) && now < row.shut_at.plus(GROUP_PAUSE) => {
                Some(row.shut_at.plus(GROUP_PAUSE))
            }
            // A bucket that ran dry is left to gain a while.
            (true, true) if row.due.is_some_and(|due| due > now) && row.bucket.is_some() => row.due,
            (true, true) => {
                row.lent_to = None;
                self.set_shut(gate, false);
                None
            }
            (false, true) => {
                if let Some(agent) = row.lent_to.take() {
                    self.turned.push(Turned { gate, site: Site::Agent(agent), shut: true });
                }
                refilled(row, now)
            }
        };
        self.set_due(gate, due);
    }

    pub(super) fn set_shut(&mut self, gate: GateIx, shut: bool) {
        let row = &mut self.gates[gate.0];
        if row.shut == shut {
            return;
        }
        row.shut = shut;
        self.turned.push(Turned { gate, site: row.site.clone(), shut });
        let Site::Kind(kind) = &row.site else { return };
        if shut {
            *self.shut_kinds.entry(kind.clone()).or_default() += 1;
        } else if let Some(gates) = self.shut_kinds.get_mut(kind) {
            *gates -= 1;
            if *gates == 0 {
                self.shut_kinds.remove(kind);
            }
        }
    }

    fn set_due(&mut self, gate: GateIx, due: Option<Timestamp>) {
        let row = &mut self.gates[gate.0];
        if row.due == due {
            return;
        }
        if let Some(earlier) = std::mem::replace(&mut row.due, due) {
            self.due.remove(&(earlier, gate));
        }
        self.due.extend(due.map(|due| (due, gate)));
    }

    /// When [`Gates::open_due`] has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Opens what has waited long enough.
    pub fn open_due(&mut self, now: Timestamp) {
        while let Some(&(_, gate)) = self.due.first().filter(|(due, _)| *due <= now) {
            self.set_due(gate, None);
            self.settle(now, gate);
        }
    }

    /// The gates that have shut or opened since this was last asked, in that order.
    pub fn take_turned(&mut self) -> Vec<Turned> {
        std::mem::take(&mut self.turned)
    }

    /// Whether there are any.
    #[must_use]
    pub fn has_turned(&self) -> bool {
        !self.turned.is_empty()
    }

    /// All limits as they stand, by name. Walks all gates.
    #[must_use]
    pub fn views(&self, now: Timestamp) -> Vec<LimitView> {
        let mut views: Vec<LimitView> = Vec::with_capacity(self.rules.len());
        for &rule in self.by_name.values() {
            let row = &self.rules[rule];
            let mut view = LimitView {
                limit: row.limit.clone(),
                in_use: 0,
                tokens: f64::from(if row.limit.rate_per_s.is_some() { row.limit.burst } else { 0 }),
                throttled: row.throttled,
                closed: false,
                opens: None,
                sites: Vec::new(),
            };
            let gates = self.by_key.range((rule, None, None, None)..(rule + 1, None, None, None));
            for gate in gates.map(|(_, gate)| &self.gates[gate.0]) {
                view.in_use += gate.in_use;
                if let Some(bucket) = &gate.bucket {
                    view.tokens = view.tokens.min(bucket.tokens(now));
                }
                if gate.shut {
                    view.closed = true;
                    view.opens = view.opens.into_iter().chain(gate.due).min();
                    view.sites.push(gate.site.clone());
                }
            }
            views.push(view);
        }
        views
    }

    /// What every gate counts, for the invariants: the limit's name, the pair it is about, and the attempts in use.
    pub fn counts(&self) -> impl Iterator<Item = (&str, GateIx, u32, u32)> {
        self.gates.iter().map(|(at, gate)| {
            (self.rules[gate.key.0].limit.name.as_str(), GateIx(at), gate.in_use, gate.concurrency_max)
        })
    }

    /// The gates that an assignment of this pair to this agent counts at.
    pub fn covering(&self, lane: Option<LaneIx>, agent: AgentIx) -> impl Iterator<Item = GateIx> + '_ {
        let of_agent = self.by_agent.get(agent.at()).into_iter().flatten();
        of_agent.chain(lane.map(|lane| &self.row(lane).gates).into_iter().flatten()).copied()
    }

    /// Forgets pairs and gates that are no different from new ones, once there are twice as many as after the last time.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        if self.lanes.len() < self.sweep_at.max(LANES_KEPT) && self.gates.len() < GATES_MAX {
            return;
        }
        let idle: Vec<usize> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.permits == 0 && lane.gates.iter().all(|gate| self.may_go(*gate, now)))
            .map(|(at, _)| at)
            .collect();
        for at in idle {
            let lane = self.lanes.remove(at);
            self.forget_pair(&lane.tenant, &lane.kind);
        }
        let used: std::collections::BTreeSet<GateIx> =
            self.lanes.iter().flat_map(|(_, lane)| lane.gates.iter().copied()).collect();
        let unused: Vec<usize> = self
            .gates
            .iter()
            .filter(|(at, gate)| {
                !used.contains(&GateIx(*at))
                    && gate.is_idle(now)
                    && matches!(gate.site, Site::Tenant(..) | Site::Kind(_))
            })
            .map(|(at, _)| at)
            .collect();
        for at in unused {
            self.drop_gate(at);
        }
        self.sweep_at = 2 * self.lanes.len();
    }

    /// Whether nothing would be forgotten with a pair of this gate: gates that name what they are about stay anyway.
    fn may_go(&self, gate: GateIx, now: Timestamp) -> bool {
        let row = &self.gates[gate.0];
        !self.rules[row.key.0].limit.scope.is_for_each() || row.is_idle(now)
    }

    fn forget_pair(&mut self, tenant: &Tenant, kind: &Kind) {
        if let Some(kinds) = self.by_pair.get_mut(tenant) {
            kinds.remove(kind);
            if kinds.is_empty() {
                self.by_pair.remove(tenant);
            }
        }
    }
}

/// When a gate that lacks tokens is to be looked at. `None`: it waits for a place, too, and that comes with an event.
fn refilled(gate: &Gate, now: Timestamp) -> Option<Timestamp> {
    let bucket = gate.bucket.as_ref().filter(|_| gate.has_place())?;
    Some(bucket.has_at(now, bucket.gained_in(REFILL_PAUSE)))
}

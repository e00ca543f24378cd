//! What a task must pass before it goes: limits, budgets, and what the guards say.
//!
//! Each of them takes effect in one of three places, so that nobody asks for each waiting task and one throttled key holds up
//! nobody else:
//!
//! | what is shut | where | what it costs when it turns |
//! |---|---|---|
//! | a kind (limits of kinds, breakers, quotas) | a flag of each class, asked once for each class of which tasks wait | the classes of which tasks wait |
//! | a tenant, or a tenant's tasks of a kind (limits, budgets) | the tenant's lanes in the queue, which then have no turn | the lanes of that tenant |
//! | an agent (limits of agents and labels) | the agent is not schedulable for the router | that agent, or the label's |
//!
//! Permits and reservations are taken with the assignment. Permits of concurrency come back with the agent's place, a
//! reservation is settled with the end of the attempt, tokens do not come back. What opens is offered at the end of the event,
//! as after a strategy has relented, so many tasks at a time; one timer serves all buckets and windows.
//!
//! With no limit, no budget and nothing shut by a guard all this costs one branch for each task.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use evenkeel_shared::{AssignmentId, Kind, Micros, TaskSpec, Tenant, Timestamp};

use super::{Engine, Timer, effects::Effects, holdings::Holding, limits, statistics::Statistics};
use crate::{
    admission::gates::{Gates, LaneIx, Site},
    cost::ledger::{Ledger, Shortage},
    ix::{AgentIx, ClassIx, TaskIx},
    model::{BudgetShare, DeclarationKind},
    sizing::Sizes,
    timer::TimerKey,
};

/// What limits, budgets and request sizes need in the engine.
#[derive(Debug, Default)]
pub(super) struct Allocation {
    pub limits: Gates,
    pub ledger: Ledger,
    /// What tasks reserve whatever they ask for, by kind: nothing waits for it, so it keeps nothing active.
    pub sizes: Sizes,
    /// There is a limit or a budget.
    pub active: bool,
    /// Versions of what was declared, by kind and name; what was taken back counts on.
    pub versions: BTreeMap<(DeclarationKind, String), u64>,
    /// By [`ClassIx`], for classes of which tasks wait: none of them may go.
    shut_classes: Vec<bool>,
    /// Lanes that wait for a budget.
    pub short: BTreeMap<(Tenant, Kind), Shortage>,
    /// The same by budget, in the order in which they shut.
    pub waiting: BTreeMap<Arc<str>, VecDeque<WaitingLane>>,
    /// Something may go now that could not before.
    pub opened: bool,
    /// A budget may have more left than before.
    pub budget_opened: bool,
    /// There is more to do at once than one event should.
    pub follow_up: bool,
    pub next_roll: Option<Timestamp>,
    timer: Option<(Timestamp, TimerKey)>,
    /// Who gets how much.
    pub statistics: Statistics,
    /// When each limit, budget, quota and so on was last written about, by sort and name.
    pub written_at: BTreeMap<&'static str, BTreeMap<String, Timestamp>>,
}

/// A lane that waits for a budget.
#[derive(Debug)]
pub struct WaitingLane {
    /// Whose tasks, and of which kind.
    pub of: (Tenant, Kind),
    /// What the budget must have left for its next task; 0 where that is to be found out anew.
    pub needed: Micros,
}

impl Allocation {
    /// The kind is shut for everybody, as was found when it last turned.
    pub fn is_class_shut(&self, class: ClassIx) -> bool {
        self.shut_classes.get(class.at()).is_some_and(|shut| *shut)
    }

    fn set_class_shut(&mut self, class: ClassIx, shut: bool) {
        if class.at() >= self.shut_classes.len() {
            if !shut {
                return;
            }
            self.shut_classes.resize(class.at() + 1, false);
        }
        self.opened |= self.shut_classes[class.at()] && !shut;
        self.shut_classes[class.at()] = shut;
    }

    /// The budget that the tenant's tasks of a kind wait for.
    pub fn short(&self, tenant: &Tenant, kind: &Kind) -> Option<&Shortage> {
        if self.short.is_empty() {
            return None;
        }
        self.short.get(&(tenant.clone(), kind.clone()))
    }

    /// The lanes that wait for a budget.
    pub fn waiting_for(&self, budget: &str) -> impl Iterator<Item = &(Tenant, Kind)> {
        self.waiting.get(budget).into_iter().flatten().map(|lane| &lane.of)
    }

    fn is_lane_shut(&mut self, now: Timestamp, tenant: &Tenant, kind: &Kind) -> bool {
        self.limits.lane(now, tenant, kind).is_some_and(|lane| self.limits.tenant_shut(lane).is_some())
            || self.short(tenant, kind).is_some()
    }

    /// What is to be done now or later: see [`Engine::arm_gates`].
    fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let follow_up = self.follow_up.then(|| now.plus(limits::FOLLOW_UP));
        [self.limits.next_due(), self.next_roll, follow_up].into_iter().flatten().min()
    }

    /// Whether what is open now will be offered with a later event.
    pub fn is_behind(&self) -> bool {
        self.follow_up
    }
}

impl Engine {
    /// Whether a task has anything to pass at all.
    pub(super) fn is_gated(&self) -> bool {
        self.allocation.active || self.guards_are_up()
    }

    /// Whether the task may go now, if it goes at once. If not, its class or lane is shut in the queue.
    pub(super) fn may_go(&mut self, task: TaskIx, out: &mut Effects) -> bool {
        let row = &self.tasks[task];
        let (spec, class) = (row.spec.clone(), row.class);
        let lane = self.allocation.limits.lane(self.now, &spec.tenant, &spec.kind);
        let shut = lane.is_some_and(|lane| self.allocation.limits.lane_shut(lane).is_some());
        if shut || self.guards_shut(class) || self.allocation.short(&spec.tenant, &spec.kind).is_some() {
            self.show_shut(&spec.tenant, &spec.kind, class);
            return false;
        }
        self.has_money(&spec, out)
    }

    /// Says of a class and a lane in the queue how they stand.
    pub(super) fn show_shut(&mut self, tenant: &Tenant, kind: &Kind, class: ClassIx) {
        let class_shut = self.allocation.limits.kind_shut(kind) || self.guards_shut(class);
        self.allocation.set_class_shut(class, class_shut);
        let shut = self.allocation.is_lane_shut(self.now, tenant, kind);
        self.allocation.opened |= self.queue.set_shut(tenant, class, shut) && !shut;
    }

    /// How a task's class and lane stand, before it begins to wait: whether the lane is shut.
    pub(super) fn begins_shut(&mut self, task: TaskIx) -> bool {
        let row = &self.tasks[task];
        let (spec, class) = (row.spec.clone(), row.class);
        let class_shut = self.allocation.limits.kind_shut(&spec.kind) || self.guards_shut(class);
        self.allocation.set_class_shut(class, class_shut);
        self.allocation.is_lane_shut(self.now, &spec.tenant, &spec.kind)
    }

    /// Takes a permit of every limit that covers the assignment, and reserves what it may cost: it may go, as was found just
    /// before.
    pub(super) fn take_permits(&mut self, task: TaskIx, agent: AgentIx) -> Option<LaneIx> {
        let row = &mut self.tasks[task];
        let TaskSpec { tenant, kind, budget, .. } = &*row.spec;
        if !self.allocation.ledger.is_empty() {
            let reservation = self.allocation.ledger.hold(self.now, tenant, kind, budget.as_deref());
            row.spending = (!reservation.is_empty()).then(|| Box::new(reservation));
        }
        let lane = self.allocation.limits.lane(self.now, tenant, kind);
        self.allocation.limits.take(self.now, lane, agent);
        lane
    }

    /// After a restart, for the attempt of this number, which may run. `reserved` is what it holds of budgets, where that was written
    /// down.
    pub(super) fn restore_permits(
        &mut self,
        task: TaskIx,
        agent: AgentIx,
        assignment: AssignmentId,
        reserved: Option<&[BudgetShare]>,
    ) -> Option<LaneIx> {
        let row = &mut self.tasks[task];
        let TaskSpec { tenant, kind, budget, .. } = &*row.spec;
        let ledger = &mut self.allocation.ledger;
        let reservation = match reserved {
            Some(shares) => ledger.restore(self.now, shares, assignment),
            None => ledger.restore_unwritten(self.now, tenant, kind, budget.as_deref(), assignment),
        };
        row.spending = (!reservation.is_empty()).then(|| Box::new(reservation));
        let lane = self.allocation.limits.lane(self.now, tenant, kind);
        self.allocation.limits.hold(self.now, lane, agent);
        lane
    }

    /// An agent registered: its own limits and those of its labels hold it from now on.
    pub(super) fn limit_agent(&mut self, agent: AgentIx) {
        let row = &self.agents[agent];
        let held = u32::try_from(row.holdings.len()).unwrap_or(u32::MAX);
        self.allocation.limits.set_agent(self.now, agent, &row.spec, held);
    }

    /// Whether a limit keeps the agent from getting anything.
    pub(super) fn is_agent_shut(&self, agent: AgentIx) -> bool {
        self.allocation.limits.agent_shut(agent).is_some()
    }

    /// Passes on what has shut or opened: to the queue, the router, and the history.
    pub(super) fn pass_on_turned(&mut self, out: &mut Effects) {
        while self.allocation.limits.has_turned() {
            for turned in self.allocation.limits.take_turned() {
                self.note_turned(&turned.site, turned.gate, turned.shut, out);
                match turned.site {
                    Site::Kind(kind) => self.recheck_classes(Some(&kind)),
                    Site::Tenant(tenant, kind) => self.recheck_lanes(&tenant, kind.as_ref()),
                    Site::Agent(agent) => self.recheck_agent(agent),
                    Site::Group(group) => {
                        for agent in self.allocation.limits.members(group) {
                            self.recheck_agent(agent);
                        }
                    }
                }
            }
        }
    }

    /// Something about the class gates has changed. Costs the classes of which tasks wait.
    pub(super) fn recheck_classes(&mut self, kind: Option<&Kind>) {
        let classes: Vec<ClassIx> = self.queue.classes().collect();
        if kind.is_none() {
            // Of which nothing waits any more: what was true of them may not be when their like comes again.
            self.allocation.shut_classes.fill(false);
            self.allocation.opened = true;
        }
        for class in classes {
            let Some((of, _)) = self.router.asks_for(class).filter(|(of, _)| kind.is_none_or(|kind| *of == kind))
            else {
                continue;
            };
            let shut = self.allocation.limits.kind_shut(of) || self.guards_shut(class);
            self.allocation.set_class_shut(class, shut);
        }
    }

    /// Something about a tenant's lanes has changed: all, or those of a kind.
    pub(super) fn recheck_lanes(&mut self, tenant: &Tenant, kind: Option<&Kind>) {
        for class in self.queue.classes_of(tenant) {
            let Some((of, _)) = self.router.asks_for(class) else { continue };
            if kind.is_some_and(|kind| of != kind) {
                continue;
            }
            let of = of.clone();
            let shut = self.allocation.is_lane_shut(self.now, tenant, &of);
            self.allocation.opened |= self.queue.set_shut(tenant, class, shut) && !shut;
        }
    }

    fn recheck_agent(&mut self, agent: AgentIx) {
        if !self.agents.contains(agent) {
            return;
        }
        self.refresh(agent);
        if self.allocation.limits.agent_shut(agent).is_none() {
            self.unheld.push(agent);
        }
    }

    /// Everything is looked at anew: limits or budgets have changed.
    pub(super) fn recheck_all(&mut self) {
        self.recheck_classes(None);
        let tenants: Vec<Tenant> = self.queue.tenant_lens().map(|(tenant, _)| tenant.clone()).collect();
        for tenant in tenants {
            self.recheck_lanes(&tenant, None);
        }
        for agent in self.agents.indices() {
            self.recheck_agent(agent);
        }
        self.allocation.opened = true;
    }

    /// The time of buckets and windows has come.
    pub(super) fn gates_due(&mut self, out: &mut Effects) {
        self.allocation.timer = None;
        self.allocation.follow_up = false;
        self.allocation.limits.open_due(self.now);
        if self.allocation.next_roll.is_some_and(|at| at <= self.now) {
            self.allocation.budget_opened |= self.allocation.ledger.roll(self.now);
            self.allocation.next_roll = self.allocation.ledger.next_roll();
        }
        self.pass_on_turned(out);
    }

    /// At the end of an event: what has opened is passed on, what was crossed is said, and the timer set.
    pub(super) fn settle_gates(&mut self, out: &mut Effects) {
        if std::mem::take(&mut self.allocation.budget_opened) {
            self.open_lanes();
        }
        self.pass_on_turned(out);
        let crossings = self.allocation.ledger.take_crossings();
        self.say_crossings(crossings, out);
    }

    /// After all that an event brought: what is left for later is seen to.
    pub(super) fn end_with_gates(&mut self, out: &mut Effects) {
        let crossings = self.allocation.ledger.take_crossings();
        self.say_crossings(crossings, out);
        self.allocation.follow_up |= self.allocation.budget_opened || (self.allocation.opened && !self.paused);
        self.arm_gates();
        let Allocation { limits, ledger, short, follow_up, .. } = &self.allocation;
        self.allocation.active = !limits.is_empty() || !ledger.is_empty() || !short.is_empty() || *follow_up;
    }

    /// Sees to it that the engine is called when a bucket, a window or a rest of work is due.
    pub(super) fn arm_gates(&mut self) {
        let due = self.allocation.next_due(self.now);
        if due == self.allocation.timer.map(|(at, _)| at) {
            return;
        }
        if let Some((_, key)) = self.allocation.timer.take() {
            self.timers.cancel(key);
        }
        self.allocation.timer = due.map(|at| (at, self.timers.insert(at, Timer::Gates)));
    }

    /// So many tasks went with one event; the rest goes with one that follows at once.
    pub(super) const fn go_on_later(&mut self) {
        self.allocation.opened = true;
        self.allocation.follow_up = true;
    }

    /// Counts all that is assigned under the limits as they are now. Walks the fleet: an operator has changed them.
    pub(super) fn recount(&mut self) {
        let Self { allocation, agents, now, .. } = self;
        let specs: Vec<_> =
            agents.iter().filter(|(_, row)| row.registered).map(|(ix, row)| (ix, row.spec.clone())).collect();
        let registered = specs.iter().map(|(ix, spec)| (*ix, &**spec));
        let assigned = agents.holdings_mut();
        let assigned = assigned.map(|(agent, holding)| {
            let Holding { spec, lane, .. } = holding;
            (agent, &spec.tenant, &spec.kind, lane)
        });
        allocation.limits.recount(*now, registered, assigned);
        self.budgets_changed();
        self.recheck_all();
    }
}

/// How long until then, for a retry hint: at least one millisecond.
pub(super) fn hint(now: Timestamp, until: Option<Timestamp>) -> Duration {
    until.map_or(limits::RETRY_AFTER, |until| until.since(now).max(Duration::from_millis(1)))
}

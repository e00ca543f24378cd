//! The engine: one synchronous state machine over the fleet, the queue and every live task.
//!
//! [`Engine::handle`] takes the time and one event and appends to [`Effects`] what is to be made durable and what may be
//! said once it is. The rules it keeps, checked after every step in tests by [`invariants`]:
//!
//! - A task has a live attempt exactly while it is assigned or running, and at most one.
//! - What an agent has set aside is the sum of its assignments, each of which ends with the agent's word or the agent.
//! - No task waits in the queue while an agent that may take it has room. A queued task is therefore looked at only when
//!   room appears, and then only for the agent on which it appeared: nothing ever scans the queue or the fleet.
//!
//! | file | what |
//! |---|---|
//! | `submit` | acceptance: keys, bounds, deadlines |
//! | `dispatch`, `held` | which agent for a task, which task for an agent; agents that are held for a large task |
//! | `places`, `holdings` | what is set aside on an agent: taken with the assignment, given back with the agent's word |
//! | `attempts` | what agents say of attempts: begun, under way, over |
//! | `deadlines` | the limits in time of a task |
//! | `ends` | the end of attempts and tasks: cancellation, retries, what is recorded |
//! | `sessions` | registration, fencing, adoption, heartbeats, health |
//! | `failover` | silence, lost agents, and what becomes of their work |
//! | `admin` | the operator's commands |
//! | `configure` | settings that change while it runs |
//! | `keep` | what the resource manager wants stored and said |
//! | `costs` | what attempts cost, and what of it is stored |
//! | `gates`, `budgets`, `control` | limits and budgets: what they let through, and how they are declared |
//! | `allocation`, `statistics`, `notes` | who gets how much, and what keeps a task from going |
//! | `guards` | upstream quotas, circuit breakers, slots that follow latency: what they shut |
//! | `sizes` | what tasks of a kind reserve, whatever they ask for |
//! | `samples` | what the resource manager is told each second |
//! | `recover` | from what a store kept to a running engine |
//! | `pause` | what does not happen while the store is full |
//! | `explain` | why a task is where it is |
//!
//! Threads of control that hand a task around (an actor a task, a lock a queue) were rejected: the order of events would
//! then be nobody's, and no run could be replayed.

mod admin;
mod agent;
mod allocation;
mod attempts;
mod budgets;
mod configure;
mod control;
mod costs;
mod deadlines;
mod dispatch;
mod effects;
mod ends;
mod event;
mod explain;
mod failover;
mod gates;
mod guards;
mod held;
mod holdings;
pub mod invariants;
mod keep;
pub mod limits;
mod notes;
mod pause;
mod places;
mod recover;
mod sabotage;
mod samples;
mod sessions;
mod settings;
mod sizes;
mod statistics;
mod submit;
mod tables;

use std::collections::{BTreeMap, VecDeque};

use evenkeel_shared::{AgentId, AttemptNumber, TaskId, TaskState, Timestamp};

#[cfg(feature = "sabotage")]
pub use self::sabotage::Sabotage;
#[cfg(not(feature = "sabotage"))]
use self::sabotage::Sabotage;
use self::{
    agent::{AgentTimer, Wanted},
    costs::Accounts,
    gates::Allocation,
    guards::Guarding,
    held::Held,
    tables::{AgentTable, KeyTable, Numbers, Recorded, TaskTable},
};
pub use self::{
    allocation::{AllocationBy, AllocationView, Blocked},
    costs::LiveCosts,
    effects::{
        AcceptedTask, AgentMessage, Assignment, Change, Effects, FinishedTask, Message, Placed, Put, Reply, Submitted,
    },
    event::{AdminCommand, Configure, ControlCommand, Event, NewTask, RequestId, StoredKey},
    guards::{DynamicLimitView, QuotaView},
    samples::Gated,
    settings::Settings,
};
use crate::{
    health::{lease::LagGuard, outlier::Outliers, pace::Norms, panic::PanicGuard},
    ix::{AgentIx, TaskIx},
    model::{AgentView, ClusterEvent, ClusterEventKind, EngineStatus, TaskEvent, TaskEventKind, view::Counters},
    queue::Queue,
    routing::Router,
    timer::TimerWheel,
};

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
enum Timer {
    /// A limit of a task.
    Task(TaskIx),
    /// Something an agent waits for.
    Agent(AgentIx, AgentTimer),
    /// The next failover that panic mode lets through.
    Failover,
    /// Something to do for the accounts.
    Accounts,
    /// The next bucket, window or rest of work of limits and budgets.
    Gates,
    /// The next quota or breaker that opens.
    Guards,
}

/// The state machine. See the module.
pub struct Engine {
    settings: Settings,
    /// The latest time seen; events that say an earlier one happen at this one.
    now: Timestamp,
    numbers: Numbers,
    /// For the random part of ids.
    id_draws: fastrand::Rng,
    /// For the jitter of retries.
    jitter_draws: fastrand::Rng,
    agents: AgentTable,
    tasks: TaskTable,
    keys: KeyTable,
    recorded: Recorded,
    queue: Queue,
    router: Router,
    timers: TimerWheel<Timer>,
    lag: LagGuard,
    outliers: Outliers,
    norms: Norms,
    panic: PanicGuard,
    was_panicking: bool,
    /// When the fleet was last looked over for silent agents.
    silence_looked_at: Timestamp,
    /// Tasks whose agent is gone and that wait for panic mode to let them through.
    awaiting_failover: VecDeque<TaskId>,
    /// There is a timer for the next of them.
    failover_due: bool,
    /// Agents that get nothing else until a task fits that needs much.
    held: Held,
    /// Agents that were held until now; they are offered at the end of the event.
    unheld: Vec<AgentIx>,
    /// Wishes of the operator for agents that are not known.
    wanted: BTreeMap<AgentId, Wanted>,
    /// Connected agents that are unhealthy, to notice when that is most of them.
    unhealthy: usize,
    ignores_health: bool,
    /// The store has no room, so nothing is assigned.
    paused: bool,
    /// What to say of the start, once there is somebody to say it to.
    started: Option<String>,
    counters: Counters,
    /// Limits and budgets.
    allocation: Allocation,
    /// What attempts cost.
    accounts: Accounts,
    /// Upstream quotas, circuit breakers, slots that follow latency.
    guarding: Guarding,
    sabotage: sabotage::State,
}

impl Engine {
    /// Handles one event at a time: appends what follows from it to `out`.
    ///
    /// A time before that of an earlier event counts as that one's: time does not run backwards here.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Effects) {
        let earlier = (out.changes.len(), out.messages.len());
        self.now = self.now.max(now);
        self.lag.observe_tick(self.now);
        if let Some(words) = self.started.take() {
            self.announce(ClusterEventKind::Coordinator, None, words, out);
        }
        self.run_timers(out);
        let mut put = None;
        match event {
            Event::Submit { request, tasks } => self.submit(request, tasks, out),
            Event::Cancel { request, task, reason } => self.cancel(request, task, &reason, out),
            Event::Register { session, registration } => self.register(session, *registration, out),
            Event::SessionClosed { session, reason } => self.session_closed(session, &reason, out),
            Event::Heartbeat { session, load } => self.heartbeat(session, *load, out),
            Event::Started { session, attempt } => self.started(session, attempt, out),
            Event::Progress { session, attempt, fraction, note, usage } => {
                self.progress(session, attempt, fraction, note, usage, out);
            }
            Event::Result { session, attempt, outcome, run, usage } => {
                self.result(session, attempt, outcome, run, usage, out);
            }
            Event::QuotaExhausted { session, key, retry_after, reason } => {
                self.quota_exhausted(session, &key, retry_after, &reason, out);
            }
            Event::Control { request, command, reason } => put = self.control(request, *command, reason, out),
            Event::Keep { request, records, notices } => self.keep(request, records, notices, out),
            Event::AgentDraining { session, reason } => self.agent_draining(session, &reason, out),
            Event::Admin { request, agent, command, reason } => self.admin(request, &agent, command, reason, out),
            Event::SetStrategy { request, strategy } => self.set_strategy(request, strategy, out),
            Event::StoreFull(full) => self.store_full(full, out),
            Event::Tick => {}
        }
        self.watch_panic(out);
        if self.allocation.active {
            self.settle_gates(out);
        }
        self.offer_unheld(out);
        self.offer_relented(out);
        if self.is_gated() || self.allocation.is_behind() {
            self.end_with_gates(out);
        }
        if let Some((request, named)) = put {
            self.answer_put(request, &named, out);
        }
        self.drop_effects(earlier, out);
    }

    /// When the engine wants to be told the time by [`Event::Tick`] at the latest. `None`: nothing is waited for.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let due = self.timers.next_due();
        if self.agents.connected() == 0 {
            return due;
        }
        let tick = self.now.plus(limits::TICK_INTERVAL);
        Some(due.map_or(tick, |due| due.min(tick)))
    }

    /// Whether the task is live: accepted and not over.
    #[must_use]
    pub fn task_is_live(&self, task: TaskId) -> bool {
        self.tasks.find(task).is_some()
    }

    /// The whole in numbers. Walks the fleet: for publication now and then, not for every task.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> EngineStatus {
        let now = self.now.max(now);
        let live = |state: TaskState| self.tasks.by_state[state as usize];
        let mut status = EngineStatus {
            strategy: self.router.strategy().name(),
            queued: live(TaskState::Queued),
            assigned: live(TaskState::Assigned),
            running: live(TaskState::Running),
            retry_wait: live(TaskState::RetryWait),
            payload_bytes: self.tasks.payload_bytes,
            oldest_queued: self.queue.oldest().map(|since| now.since(since)).unwrap_or_default(),
            queued_by_priority: self.queue.level_lens().map(|len| len as u64),
            panic_mode: self.panic.active(now),
            counters: self.counters,
            ..EngineStatus::default()
        };
        for (_, agent) in self.agents.iter() {
            status.agents_by_health[agent.observed_health() as usize] += 1;
            if agent.session.is_some() {
                status.slots_total += agent.spec.capacity.slots;
                status.slots_used += agent.reserved.slots;
            }
        }
        status
    }

    /// Agents that look different from when this was called last; `None` for those that are no longer known.
    pub fn take_changed_agents(&mut self) -> Vec<(AgentId, Option<AgentView>)> {
        let (forgotten, changed) = self.agents.take_changed();
        let forgotten = forgotten.into_iter().filter(|id| self.agents.find(id).is_none()).map(|id| (id, None));
        let views = changed.into_iter().map(|ix| {
            let agent = &self.agents[ix];
            (agent.spec.id.clone(), Some(agent.view(self.now)))
        });
        forgotten.chain(views).collect()
    }

    fn run_timers(&mut self, out: &mut Effects) {
        self.keys.forget(self.now);
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Task(task) => {
                    self.tasks[task].timer = None;
                    self.task_timer(task, out);
                }
                Timer::Agent(agent, timer) => {
                    self.agents[agent].timers[timer as usize] = None;
                    self.agent_timer(agent, timer, out);
                }
                Timer::Accounts => self.accounts_due(out),
                Timer::Gates => self.gates_due(out),
                Timer::Guards => self.guards_due(out),
                Timer::Failover => {
                    self.failover_due = false;
                    self.fail_over_next(out);
                }
            }
        }
    }

    fn set_agent_timer(&mut self, agent: AgentIx, timer: AgentTimer, at: Timestamp) {
        self.clear_agent_timer(agent, timer);
        let key = self.timers.insert(at, Timer::Agent(agent, timer));
        self.agents[agent].timers[timer as usize] = Some(key);
    }

    fn clear_agent_timer(&mut self, agent: AgentIx, timer: AgentTimer) {
        if let Some(key) = self.agents[agent].timers[timer as usize].take() {
            self.timers.cancel(key);
        }
    }

    /// Says what happened to a task, to those who watch and, where it is durable, to the history.
    fn tell(&mut self, task: TaskIx, kind: TaskEventKind, told: Told, out: &mut Effects) {
        let row = &self.tasks[task];
        let event = TaskEvent {
            position: self.numbers.position(),
            at: self.now,
            task: row.id,
            kind,
            state: row.state,
            attempt: AttemptNumber(row.attempts_made),
            agent: told.agent,
            progress: told.progress,
            message: told.message,
        };
        if row.is_durable() && kind.is_durable() {
            out.changes.push(Change::TaskEvent(event.clone()));
        }
        out.messages.push(Message::TaskEvent(event));
    }

    /// Says what happened to the fleet.
    fn announce(&mut self, kind: ClusterEventKind, agent: Option<AgentIx>, message: String, out: &mut Effects) {
        self.announce_task(kind, agent, None, message, out);
    }

    fn announce_task(
        &mut self,
        kind: ClusterEventKind,
        agent: Option<AgentIx>,
        task: Option<TaskId>,
        message: String,
        out: &mut Effects,
    ) {
        let event = ClusterEvent {
            position: self.numbers.position(),
            at: self.now,
            kind,
            agent: agent.map(|ix| self.agents[ix].spec.id.clone()),
            task,
            message,
        };
        out.changes.push(Change::ClusterEvent(event.clone()));
        out.messages.push(Message::ClusterEvent(event));
    }

    fn send(&self, agent: AgentIx, message: AgentMessage, out: &mut Effects) {
        if let Some(session) = self.agents[agent].session {
            out.messages.push(Message::ToAgent { session, message });
        }
    }
}

/// The parts of a task's event that are not read off the task.
#[derive(Default)]
struct Told {
    agent: Option<AgentId>,
    progress: f64,
    message: String,
}

impl Told {
    fn by(agent: AgentId, message: impl Into<String>) -> Self {
        Self { agent: Some(agent), progress: 0.0, message: message.into() }
    }

    fn words(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests;

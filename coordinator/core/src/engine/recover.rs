//! From what a store kept to a running engine.
//!
//! Tasks that were assigned stay so: their agents may well still run them. Each such agent is known by name until it
//! registers, and gets longer than usual to come back, since every agent has lost its coordinator at once.

use std::collections::{BTreeMap, VecDeque};

use evenkeel_shared::{AgentId, TaskState, Timestamp};

use super::{
    Engine, Settings,
    agent::{Agent, AgentTimer, Wanted},
    gates::Allocation,
    guards::Guarding,
    holdings::Holding,
    tables::{AgentTable, Current, KeyTable, Keyed, Numbers, Recorded, Task, TaskTable},
};
use crate::{
    health::{lease::LagGuard, outlier::Outliers, pace::Norms, panic::PanicGuard},
    ix::{AgentIx, TaskIx},
    model::{RecoveredState, RecoveredTask, Recovery, view::Counters},
    queue::{Queue, QueueConfig, Waiting},
    routing::{self, ClassLimit, Room, Router},
    timer::TimerWheel,
};

impl Engine {
    /// An engine that goes on where the recovered incarnation ended.
    ///
    /// # Errors
    /// If the recovered tasks ask for more different things than the router can tell apart.
    pub fn new(now: Timestamp, settings: Settings, recovery: Recovery) -> Result<Self, ClassLimit> {
        let strategy = recovery.strategy.as_ref().unwrap_or(&settings.strategy);
        let seed = settings.seed ^ recovery.incarnation;
        let queue = QueueConfig {
            ageing_interval: settings.ageing_interval,
            tenant_weights: settings.tenant_weights.clone(),
            ..QueueConfig::default()
        };
        let mut engine = Self {
            now,
            numbers: Numbers::new(recovery.incarnation),
            id_draws: fastrand::Rng::with_seed(seed),
            jitter_draws: fastrand::Rng::with_seed(seed.rotate_left(32)),
            agents: AgentTable::default(),
            tasks: TaskTable::default(),
            keys: KeyTable::default(),
            recorded: Recorded::default(),
            queue: Queue::new(queue),
            router: Router::new(strategy, seed.rotate_left(16)),
            timers: TimerWheel::new(now),
            lag: LagGuard::new(&settings.lease, super::limits::TICK_INTERVAL),
            outliers: Outliers::new(settings.outliers),
            norms: Norms::default(),
            panic: PanicGuard::new(settings.panic),
            was_panicking: false,
            silence_looked_at: Timestamp::ZERO,
            awaiting_failover: VecDeque::new(),
            failover_due: false,
            held: super::held::Held::default(),
            unheld: Vec::new(),
            wanted: BTreeMap::new(),
            unhealthy: 0,
            ignores_health: false,
            paused: false,
            started: None,
            counters: Counters::default(),
            allocation: Allocation::default(),
            accounts: super::costs::Accounts::default(),
            guarding: Guarding::new(&settings, seed.rotate_left(48)),
            sabotage: Default::default(),
            settings,
        };
        for admin in recovery.admin {
            let wanted = Wanted { state: admin.state, drain_deadline: admin.drain_deadline, reason: admin.reason };
            engine.wanted.insert(admin.agent, wanted);
        }
        engine.guarding.recover(&recovery.declarations);
        engine.recover_declarations(recovery.declarations, &recovery.spent);
        engine.tasks.reserve(recovery.tasks.len());
        let keyed = |task: &RecoveredTask| Keyed { task: task.id, fingerprint: task.fingerprint };
        engine.keys = KeyTable::of(recovery.tasks.iter().map(|task| (&*task.spec, keyed(task))));
        for task in recovery.tasks {
            engine.recover(task)?;
        }
        let tasks = engine.tasks.len();
        engine.started = Some(format!("start number {} on this store; {tasks} tasks go on", recovery.incarnation));
        Ok(engine)
    }

    fn recover(&mut self, recovered: RecoveredTask) -> Result<(), ClassLimit> {
        let RecoveredTask { id, spec, payload, order, accepted_at, attempts_made, crashes, state, .. } = recovered;
        let class = self.router.class(&spec.kind, &spec.requirements)?;
        // The wall clock may have been set back meanwhile: nothing began in the future, no retry waits longer than it may.
        let (task_state, since, not_before) = match &state {
            RecoveredState::Queued { since } => (TaskState::Queued, (*since).min(self.now), self.now),
            RecoveredState::RetryWait { not_before } => {
                let latest = self.now.plus(spec.retry.backoff_max);
                (TaskState::RetryWait, self.now, (*not_before).min(latest))
            }
            RecoveredState::Assigned { at, .. } => (TaskState::Assigned, (*at).min(self.now), self.now),
        };
        let affinity = routing::affinity(&spec.affinity_key);
        let rows = self.enter_rows(&spec);
        let task = self.tasks.insert(Task {
            id,
            spec,
            payload,
            order,
            accepted_at,
            class,
            affinity,
            state: task_state,
            attempts_made,
            crashes,
            since,
            not_before,
            current: None,
            last_agent: None,
            timer: None,
            spending: None,
            used: None,
            reported: false,
            rows,
        });
        match state {
            RecoveredState::Queued { .. } => self.enqueue(task),
            RecoveredState::RetryWait { .. } => self.arm(task),
            RecoveredState::Assigned { attempt, agent, reserved, .. } => {
                let spec = self.tasks[task].spec.clone();
                let agent_ix = self.awaited(&agent);
                let row = &mut self.tasks[task];
                row.last_agent = Some(agent);
                row.current = Some(Current { attempt, agent: agent_ix, started_at: None, running_since: None });
                let lane = self.restore_permits(task, agent_ix, attempt.assignment, reserved.as_deref());
                self.count_grant(task, agent_ix, None);
                self.hold_place(
                    agent_ix,
                    attempt.assignment,
                    Holding { task: Some(task), spec, room: Room::Now, measured: false, lane },
                );
                self.arm(task);
            }
        }
        Ok(())
    }

    /// The agent of this name, which is expected to come back.
    fn awaited(&mut self, id: &AgentId) -> AgentIx {
        self.agents.find(id).unwrap_or_else(|| {
            let agent = self.agents.insert(Agent::unknown(id.clone(), &self.settings, self.now));
            let at = self.now.plus(self.settings.adoption_grace);
            self.set_agent_timer(agent, AgentTimer::Grace, at);
            agent
        })
    }

    /// Places a waiting task in the queue.
    pub(super) fn enqueue(&mut self, task: TaskIx) {
        let shut = self.is_gated() && self.begins_shut(task);
        let row = &self.tasks[task];
        self.queue.push(Waiting {
            task,
            class: row.class,
            priority: row.spec.priority,
            tenant: &row.spec.tenant,
            cost: row.spec.requirements.resources.slots,
            order: row.order,
            since: row.since,
            ahead: row.may_go_ahead(),
            shut,
        });
        self.arm(task);
    }
}
